//! Amounts of memory as operators write them, and how much there is.

use std::path::Path;

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

/// Reads an amount: a whole number and a unit, `512MiB` or `2GiB`; never zero.
///
/// # Errors
/// What is wrong, as the rest of a sentence.
pub fn parse(text: &str) -> Result<usize, String> {
    let wrong =
        || format!("'{text}' is no amount of memory; write a whole number and a unit, like 512MiB or 2GiB");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: usize = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let bytes = number.checked_mul(unit).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| format!("'{text}' is out of range; it must be more than zero"))
}

/// For `#[serde(deserialize_with)]`, of a key that may be left out.
pub fn deserialize_some<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Spanned<usize>>, D::Error> {
    let written = Spanned::<String>::deserialize(deserializer)?;
    let bytes = parse(written.get_ref()).map_err(de::Error::custom)?;
    Ok(Some(Spanned::new(written.span(), bytes)))
}

/// An amount as it is shown.
pub fn shown(bytes: usize) -> String {
    let (mib, gib) = (bytes as f64 / f64::from(1 << 20), bytes as f64 / f64::from(1 << 30));
    if gib >= 1.0 { format!("{gib:.1} GiB") } else { format!("{mib:.1} MiB") }
}

/// How much memory this process may use, in bytes: the machine's, or what the control group that it is in, or one around that,
/// may use, if that is less. `None` if the system does not tell.
pub fn available() -> Option<usize> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine(&text));
    let group = std::fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| group(&text, Path::new("/sys/fs/cgroup")));
    machine.into_iter().chain(group).min()
}

/// From `/proc/meminfo` (proc_meminfo(5): kB are KiB).
fn machine(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// The least of the limits from the process's control group up to the root (Linux: cgroup-v2, `memory.max`; before,
/// `memory.limit_in_bytes` below `memory/`).
fn group(cgroup: &str, root: &Path) -> Option<usize> {
    let limits = cgroup.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let below = match controllers {
            "" => Some((root.to_owned(), "memory.max")),
            one if one.split(',').any(|c| c == "memory") => {
                Some((root.join("memory"), "memory.limit_in_bytes"))
            }
            _ => None,
        };
        below.into_iter().flat_map(move |(root, file)| {
            let own = Path::new(path.trim_start_matches('/')).to_owned();
            let folders: Vec<_> = own.ancestors().map(|folder| root.join(folder).join(file)).collect();
            folders
                .into_iter()
                .filter_map(|file| std::fs::read_to_string(file).ok()?.trim().parse::<usize>().ok())
        })
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_a_number_and_a_unit() {
        assert_eq!(
            [parse("64KiB"), parse("512MiB"), parse("2GiB")],
            [Ok(65_536), Ok(512 << 20), Ok(2 << 30)]
        );
        for wrong in ["", "2", "2GB", "2 GiB", "-1MiB", "0MiB", "GiB", "99999999999GiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!([shown(3 << 29), shown(300 << 10)], ["1.5 GiB", "0.3 MiB"]);
    }

    #[test]
    fn the_least_limit_around_the_process_counts() {
        assert_eq!(machine("MemFree: 1 kB\n"), None);
        assert_eq!(machine("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        let root = std::env::temp_dir().join(format!("highwater-cgroup-{}", std::process::id()));
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("memory/v1")).unwrap();
        std::fs::write(root.join("a/memory.max"), "1000\n").unwrap();
        std::fs::write(root.join("a/b/memory.max"), "max\n").unwrap();
        std::fs::write(root.join("memory/v1/memory.limit_in_bytes"), "500\n").unwrap();
        assert_eq!(group("0::/a/b\n", &root), Some(1000));
        assert_eq!(group("0::/\n", &root), None);
        assert_eq!(group("5:cpu,memory:/v1\n1:cpu:/a\n0::/a/b\n", &root), Some(500));
        std::fs::remove_dir_all(&root).unwrap();
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
