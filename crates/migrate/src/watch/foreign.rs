//! A write that is not ours, as it is told.

use serde::{Deserialize, Serialize};

use crate::literal::civil_date;

/// What one transaction that is not ours did to one moved table of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignWrite {
    /// The table.
    pub table: String,
    /// Rows inserted, as far as they were looked at.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Whether it changed more rows of the table than were looked at.
    pub more: bool,
    /// The statement, by verb and tables, if it was one that changes tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The first of their keys, as literals; none of a table without a key, where it would be the whole row.
    pub keys: Vec<String>,
    /// When the target committed it, in microseconds since the epoch.
    pub at_micros: Option<u64>,
    /// Its transaction.
    pub gtid: String,
    /// The connection it came by, as the target numbers them.
    pub thread: Option<u32>,
    /// The account of that connection, if it was still there to be asked for.
    pub account: Option<String>,
}

impl std::fmt::Display for ForeignWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.table)?;
        let done = [(self.inserted, "inserted"), (self.updated, "updated"), (self.deleted, "deleted")];
        let done: Vec<String> =
            done.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!("{rows} {what}")).collect();
        match (done.is_empty(), self.more) {
            _ if let Some(statement) = &self.statement => f.write_str(statement)?,
            (true, _) => f.write_str("rows changed")?,
            (false, false) => f.write_str(&done.join(", "))?,
            (false, true) => write!(f, "{} and more", done.join(", "))?,
        }
        let rows = self.inserted + self.updated + self.deleted;
        match self.keys.as_slice() {
            [] => {}
            [key] => write!(f, ", key ({key})")?,
            keys => {
                let more = if self.more || rows > keys.len() as u64 { " …" } else { "" };
                write!(f, ", keys ({}){more}", keys.join(") ("))?;
            }
        }
        if let Some(micros) = self.at_micros {
            write!(f, ", at {}", utc(micros))?;
        }
        f.write_str(", by ")?;
        f.write_str(self.account.as_deref().unwrap_or("an account that has left"))?;
        if let Some(thread) = self.thread {
            write!(f, " in connection {thread}")?;
        }
        write!(f, ", transaction {}", self.gtid)
    }
}

/// A moment to the millisecond.
fn utc(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (year, month, day) = civil_date(u32::try_from(seconds / 86_400).unwrap_or(u32::MAX / 4));
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{:03} UTC",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        micros / 1000 % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_reads_as_a_sentence() {
        let mut write = ForeignWrite {
            table: "shop.orders".into(),
            updated: 2,
            keys: vec!["7".into(), "9".into()],
            at_micros: Some(1_735_689_600_123_456),
            gtid: "3e11fa47-71ca-11e1-9e33-c80aa9429562:5".into(),
            thread: Some(12),
            account: Some("root@localhost".into()),
            ..ForeignWrite::default()
        };
        assert_eq!(
            write.to_string(),
            "shop.orders: 2 updated, keys (7) (9), at 2025-01-01 00:00:00.123 UTC, by root@localhost in connection 12, \
             transaction 3e11fa47-71ca-11e1-9e33-c80aa9429562:5"
        );
        let emptied = ForeignWrite { statement: Some("TRUNCATE TABLE shop.orders".into()), ..write.clone() };
        assert!(emptied.to_string().starts_with("shop.orders: TRUNCATE TABLE shop.orders, "), "{emptied}");
        write = ForeignWrite { inserted: 1, updated: 0, deleted: 9, more: true, account: None, ..write };
        let told = write.to_string();
        assert!(told.contains("1 inserted, 9 deleted and more, keys (7) (9) …, at"), "{told}");
        assert!(told.contains("by an account that has left in connection 12"), "{told}");
        assert!(utc(u64::MAX).ends_with(" UTC"), "no moment is too far to be told");
    }
}
