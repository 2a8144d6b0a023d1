//! Keys of a table that were found different, to be repaired or proven again.

use std::collections::BTreeSet;

use crate::literal::Key;

/// Bytes of one table's keys worth remembering: a table with more of them is better copied anew.
const BYTES_MAX: usize = 32 << 20;

/// The keys, each once, as far as they are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    keys: BTreeSet<Key>,
    bytes: usize,
}

impl Wrong {
    /// Adds a key, if it is not known yet and there is room for it. Says whether it was not known.
    pub fn add(&mut self, key: &[u8]) -> bool {
        if self.keys.contains(key) {
            return false;
        }
        if self.bytes + key.len() <= BYTES_MAX {
            self.bytes += key.len();
            self.keys.insert(key.into());
        }
        true
    }

    /// Forgets a key, and says whether it was known.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let known = self.keys.remove(key);
        if known {
            self.bytes -= key.len();
        }
        known
    }

    /// Whether no key is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in the order of their bytes.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_known_once_and_those_beyond_the_bound_not_at_all() {
        let mut wrong = Wrong::default();
        assert!(wrong.add(b"1") && !wrong.add(b"1"));
        let large = vec![7; BYTES_MAX];
        assert!(wrong.add(&large) && wrong.add(&large), "counted, and not remembered");
        assert_eq!(wrong.keys().count(), 1);
        assert!(wrong.remove(b"1") && !wrong.remove(b"1") && wrong.is_empty());
        assert!(wrong.add(&large) && !wrong.add(&large));
    }
}
