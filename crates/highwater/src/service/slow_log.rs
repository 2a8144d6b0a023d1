//! The log of slow statements: one JSON object a line, appended, each with one write.
//!
//! A thread of its own writes, so that a disk that does not keep up holds up nobody. A file that was moved away by a rotation is
//! written to until the settings are read again, which opens it anew under its name.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Trouble;
use proxy::SlowStatement;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

/// The log; without a file nothing is written.
#[derive(Debug, Clone, Default)]
pub(super) struct SlowLog(Arc<Mutex<Option<File>>>);

/// Opens a log, for this user only: it can hold values.
///
/// # Errors
/// If it cannot be appended to.
pub(super) fn open(path: &Path) -> Result<File, Trouble> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(|error| {
        Trouble::new(
            format!("cannot write the slow log {}: {error}", path.display()),
            "nothing was started",
            "name a file this user can write with `front_door.slow_log`, or remove `front_door.slow`",
        )
    })
}

impl SlowLog {
    /// Writes to this file from the next statement on.
    pub fn set(&self, file: Option<File>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Writes down what comes, until the door is gone.
    ///
    /// # Errors
    /// If the thread cannot be made.
    pub fn write_down(&self, mut statements: Receiver<SlowStatement>) -> Result<(), Trouble> {
        let this = self.clone();
        let writer = move || {
            while let Some(statement) = statements.blocking_recv() {
                this.line(&statement);
            }
        };
        std::thread::Builder::new().name("slow-log".to_owned()).spawn(writer).map(drop).map_err(|error| {
            let what = format!("cannot start the thread of the slow log: {error}");
            Trouble::new(what, "the front door is not open", "raise the limit on threads (`ulimit -u`)")
        })
    }

    fn line(&self, statement: &SlowStatement) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = file.as_mut() else { return };
        let line = format!("{}\n", told(statement));
        if let Err(error) = open.write_all(line.as_bytes()) {
            // Once, not for every statement: a full disk stays full. Reading the settings again begins anew.
            tracing::error!(target: "highwater::door", %error, "the slow log cannot be written and is closed");
            *file = None;
        }
    }
}

fn told(statement: &SlowStatement) -> Value {
    let ms = |of: Duration| (of.as_secs_f64() * 1e6).round() / 1000.0;
    let mut line = json!({
        "time": utc(statement.at),
        "client": statement.from.to_string(),
        "client_id": statement.client_id,
        "user": statement.user,
        "schema": statement.schema,
        "digest": format!("{:016x}", statement.digest),
        "statement": &*statement.text,
        "took_ms": ms(statement.took),
        "waited_ms": ms(statement.waited),
        "held_ms": ms(statement.held),
        "backend_id": statement.backend_connection_id,
        "bytes": statement.bytes,
        "failed": statement.failed,
    });
    if let Some(values) = &statement.values {
        line["values"] = json!(values);
    }
    line
}

/// `2026-11-27T20:00:00.123Z`.
fn utc(at: SystemTime) -> String {
    let ms = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
    // Days are counted from 1 March of the year 0, where a leap day is a year's last: Howard Hinnant, "chrono-Compatible
    // Low-Level Date Algorithms", `civil_from_days`.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) =
        (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = era * 400 + year_of_era + u128::from(month <= 2);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        let at = |s: u64| utc(UNIX_EPOCH + Duration::from_millis(s));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400_001), "2000-02-29T00:00:00.001Z");
        assert_eq!(at(1_795_809_599_999), "2026-11-27T19:59:59.999Z");
        assert_eq!(at(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
