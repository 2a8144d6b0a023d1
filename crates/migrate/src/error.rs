//! What stops a move, whose fault it is, and whether starting again from the ledger can help.

pub use model::Side;
use model::{TableName, Trouble};
use wire::WireError;

/// Why a move stopped.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A server refused or the connection to it broke.
    #[error("cannot {doing} on the {side}: {error}")]
    Server {
        /// Which one.
        side: Side,
        /// Verb and object: what was being done.
        doing: String,
        /// What it said.
        error: mysql::Error,
    },
    /// The target is not what the stream says it must be: evidence of a foreign write or of a bug, never passed over.
    #[error("{table}: {evidence}")]
    NotExact {
        /// The table.
        table: TableName,
        /// What was found, without row values.
        evidence: String,
    },
    /// Something in the stream that this version cannot carry exactly.
    #[error("the binary log of the source holds {0}")]
    Unsupported(String),
    /// The move's tables, or the servers' settings, are not as they must be.
    #[error("{what}")]
    Refused {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A server did not answer in time; what it was asked to do may be done yet.
    #[error("the {side} did not answer within {seconds} s")]
    Silent {
        /// Which one.
        side: Side,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A statement in the stream has changed the moved tables: the pipeline has to begin anew with what they are now.
    #[error("a statement in the stream changed the tables")]
    Reshaped,
    /// The source's address leads to another server than the one whose log is followed.
    #[error("the source's address leads to another server now")]
    SourceMoved,
    /// A part of the pipeline ended because another one failed or the move was stopped.
    #[error("the move was stopped")]
    Stopped,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, MoveError>;

impl From<WireError> for MoveError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Unsupported(what) => Self::Unsupported(what),
            other => {
                Self::Server { side: Side::Source, doing: "read the binary log".into(), error: other.into() }
            }
        }
    }
}

impl MoveError {
    /// Someone else has claimed our ledger.
    pub(crate) fn taken_over() -> Self {
        Self::Refused {
            what: "another process has taken this move over: the ledger is no longer ours".into(),
            hint: "run one process for each move; see who else runs `highwater copy` or `serve` with it"
                .into(),
        }
    }

    /// Whether work done ahead of its turn may fail this way because what comes before it was not there yet.
    pub fn may_come_from_running_ahead(&self) -> bool {
        matches!(self, Self::NotExact { .. }) || self.is_lock_conflict()
    }

    /// Whether a read can have failed because the source's tables are already what a statement makes of them that the
    /// stream has yet to bring: unknown database, column or table, a definition that changed under a read, or values of
    /// another type.
    pub(crate) fn may_come_from_being_behind(&self) -> bool {
        match self {
            Self::Server { side: Side::Source, error, .. } => {
                matches!(error.server_code(), Some(1049 | 1054 | 1146 | 1412))
            }
            Self::Unsupported(_) => true,
            _ => false,
        }
    }

    /// Whether the server chose us as the victim of a deadlock, which it sees at once.
    pub(crate) fn is_deadlock(&self) -> bool {
        matches!(self, Self::Server { error, .. } if error.server_code() == Some(1213))
    }

    /// Whether the server gave up waiting for a lock, or chose us as the victim of a deadlock.
    pub(crate) fn is_lock_conflict(&self) -> bool {
        matches!(self, Self::Server { error, .. } if matches!(error.server_code(), Some(1205 | 1213)))
    }

    /// Whether reading the ledger and going on from there may help: the connection broke, the server went away, or
    /// the target rolled our transaction back for another one's sake (1205, 1213), or has no room for a setting that is to outlive a
    /// restart (3549).
    pub fn can_resume(&self) -> bool {
        match self {
            Self::Server { error, .. } => {
                error.is_connection_lost() || matches!(error.server_code(), Some(1205 | 1213 | 1317 | 3549))
            }
            Self::SourceMoved => true,
            _ => false,
        }
    }

    /// The server that cannot be reached or does not answer, if that is what is wrong and nothing else.
    pub fn away(&self) -> Option<Side> {
        match self {
            Self::Server { side, error, .. } if error.is_connection_lost() => Some(*side),
            Self::Silent { side, .. } => Some(*side),
            _ => None,
        }
    }

    /// The error as an operator reads it.
    pub fn trouble(&self) -> Trouble {
        let stopped =
            "the move is stopped; what the ledger says is applied is applied, traffic is where it was";
        let hint = match self {
            Self::Server { side, error, .. } => server_hint(*side, error),
            Self::NotExact { .. } => {
                "someone else writes to the target, or this is a bug: find the writer, then drop \
                 the table on the target, run `highwater finish` and copy again"
                    .into()
            }
            Self::Unsupported(_) => {
                "run `highwater check`; what it refuses must be changed before the move".into()
            }
            Self::Refused { hint, .. } => hint.clone(),
            Self::Silent { side, .. } => format!("see that the {side} is up and can be reached"),
            Self::Reshaped | Self::SourceMoved => "it goes on by itself".into(),
            Self::Stopped => "start it again: it goes on from the ledger".into(),
        };
        Trouble::new(self.to_string(), stopped, hint)
    }
}

fn server_hint(side: Side, error: &mysql::Error) -> String {
    match error.server_code() {
        Some(1236) => "the source no longer has the transactions that follow the ledger: raise \
             binlog_expire_logs_seconds, run `highwater finish` and copy again"
            .into(),
        Some(1021 | 1114 | 3549 | 3675 | 1041 | 28) => {
            format!("free disk space on the {side}, then start again")
        }
        Some(1290 | 1836) => format!(
            "the {side} is read-only and our account may not write through it: grant CONNECTION_ADMIN, or SET GLOBAL \
             super_read_only = OFF"
        ),
        Some(1044 | 1045 | 1142 | 1143 | 1227 | 1410) => {
            format!("grant our account what `highwater check` lists for the {side}")
        }
        _ if error.is_connection_lost() => {
            format!("see that the {side} is up; the move goes on by itself when it is")
        }
        _ => "read the server's message above; `highwater check` names the usual causes".into(),
    }
}

/// Adds what was being done, and where, to an error of a connection.
pub(crate) trait Doing<T> {
    /// Names the side and, as verb and object, the work.
    fn doing(self, side: Side, what: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for mysql::Result<T> {
    fn doing(self, side: Side, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| MoveError::Server { side, doing: what.into(), error })
    }
}

#[cfg(test)]
mod tests {
    use mysql::ErrPacket;

    use super::*;

    fn check(code: u16, resumes: bool, hint: &str) {
        let error = mysql::Error::Server(ErrPacket::new(code, b"HY000", "said the server"));
        let error = MoveError::Server { side: Side::Target, doing: "commit".into(), error };
        assert_eq!(error.can_resume(), resumes, "{code}");
        let trouble = error.trouble();
        assert!(trouble.hint.contains(hint), "{code}: {trouble:?}");
        assert!(trouble.what.contains("commit on the target") && !trouble.state.is_empty());
    }

    #[test]
    fn each_refusal_of_a_server_has_its_own_hint() {
        check(1021, false, "free disk space on the target");
        check(1114, false, "free disk space on the target");
        check(3549, true, "free disk space on the target");
        check(1290, false, "CONNECTION_ADMIN");
        check(1236, false, "no longer has the transactions");
        check(1142, false, "grant our account");
        check(1213, true, "server's message");
        check(1053, true, "goes on by itself");
    }
}
