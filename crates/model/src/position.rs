//! A place in one server's binary log.

use std::cmp::Ordering;

/// A binary log file and the offset in it. Positions of different servers must never be compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct BinlogPosition {
    /// File name, for example `binlog.000012`.
    pub file: String,
    /// Offset in bytes.
    pub offset: u64,
}

impl BinlogPosition {
    /// The file's number: what orders files once there are more than the name's digits can show.
    fn number(&self) -> u64 {
        self.file.rsplit('.').next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

impl PartialOrd for BinlogPosition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BinlogPosition {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.number(), self.offset)
            .cmp(&(other.number(), other.offset))
            .then_with(|| self.file.cmp(&other.file))
    }
}

impl std::fmt::Display for BinlogPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_ordered_by_number_not_by_text() {
        let at = |file: &str, offset| BinlogPosition { file: file.into(), offset };
        assert!(at("binlog.999999", 900) < at("binlog.1000000", 4));
        assert!(at("binlog.000002", 900) < at("binlog.000002", 901));
    }
}
