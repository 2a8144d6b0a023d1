//! What the clients do: one of sysbench's scripts, by so many threads.

use crate::{Result, failed};

/// A kind of work, as results and the command line name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// For `--work`.
    pub key: &'static str,
    /// For a case's name.
    pub name: &'static str,
    pub threads: usize,
    pub script: &'static str,
    /// Whether statements are prepared, and executed by number.
    pub prepared: bool,
}

/// All there are.
pub const EVERYTHING: [Work; 3] = [
    Work {
        key: "prepared",
        name: "prepared point select, 16 threads",
        threads: 16,
        script: "oltp_point_select",
        prepared: true,
    },
    Work {
        key: "text",
        name: "text point select, 200 threads",
        threads: 200,
        script: "oltp_point_select",
        prepared: false,
    },
    Work {
        key: "read-write",
        name: "read-write, 16 threads",
        threads: 16,
        script: "oltp_read_write",
        prepared: true,
    },
];

/// Those asked for; all of them if none is.
pub fn asked_for(keys: &[String]) -> Result<Vec<Work>> {
    if let Some(unknown) = keys.iter().find(|key| EVERYTHING.iter().all(|w| w.key != key.as_str())) {
        let known: Vec<&str> = EVERYTHING.iter().map(|w| w.key).collect();
        return Err(failed(format!("do the work '{unknown}'"), format!("there is {}", known.join(", "))));
    }
    let wanted = |work: &Work| keys.is_empty() || keys.iter().any(|key| key == work.key);
    Ok(EVERYTHING.into_iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_chosen_by_its_key_and_a_misspelt_one_is_refused() {
        assert_eq!(asked_for(&[]).unwrap().len(), EVERYTHING.len());
        let text = asked_for(&["text".to_owned()]).unwrap();
        assert_eq!(text.iter().map(|w| w.threads).collect::<Vec<_>>(), [200]);
        assert!(asked_for(&["texts".to_owned()]).unwrap_err().what.contains("prepared, text, read-write"));
    }
}
