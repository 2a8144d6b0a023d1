//! Asks a server what it does: evaluates every expression of the table in a session such as an application gets.
//!
//! One packet carries a group of them. An error ends the packet, so what came after it is sent again: a round trip for a
//! group, and one for each expression that answers with an error.

use std::collections::{BTreeMap, BTreeSet};

use mysql::{Connection, Error, QueryResult};

use super::expression::Expression;
use super::expressions;
use super::rule::{Fact, Unread};

/// What a server answered, and in which session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// By the expression's name.
    pub answers: BTreeMap<&'static str, Answer>,
    /// The session's variables that decide answers, where the server has them.
    pub settings: BTreeMap<String, String>,
}

impl Behaviour {
    /// What the server answered to an expression.
    pub fn answer(&self, expression: &Expression) -> Result<&Answer, Unread> {
        self.answers.get(expression.name).ok_or_else(|| Unread {
            error: format!("no answer to {}", expression.sql),
            fix: "see the server's error log".into(),
        })
    }
}

/// What came of an expression.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// Its value; `None` for NULL.
    Value(Option<String>),
    /// The server refused it.
    Error {
        /// The error's number.
        code: u16,
        /// Its text, which differs between versions.
        message: String,
    },
}

/// Errors are the same if their numbers are.
impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(a), Self::Value(b)) => a == b,
            (Self::Error { code: a, .. }, Self::Error { code: b, .. }) => a == b,
            _ => false,
        }
    }
}

impl Eq for Answer {}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(None) => f.write_str("NULL"),
            Self::Value(Some(value)) => write!(f, "'{value}'"),
            // Up to the first semicolon or the end of a sentence: what follows is advice.
            Self::Error { code, message } => {
                let end = [message.find("; "), message.find(". ")]
                    .into_iter()
                    .flatten()
                    .min()
                    .unwrap_or(message.len());
                write!(f, "error {code} ({})", &message[..end])
            }
        }
    }
}

/// Asks everything. A server too busy to answer has told nothing.
///
/// # Errors
/// If the connection breaks.
pub(super) async fn read(conn: &mut Connection) -> mysql::Result<Fact<Behaviour>> {
    match ask_everything(conn).await {
        Ok(behaviour) => Ok(Ok(behaviour)),
        Err(error @ Error::Server(_)) if !error.is_connection_lost() => {
            let fix = "run `highwater check` again when the server is less busy".into();
            Ok(Err(Unread { error: error.to_string(), fix }))
        }
        Err(error) => Err(error),
    }
}

async fn ask_everything(conn: &mut Connection) -> mysql::Result<Behaviour> {
    let settings = read_settings(conn).await?;
    let mut answers = BTreeMap::new();
    for group in expressions::GROUPS {
        answers.extend(answers_to(conn, group).await?);
    }
    Ok(Behaviour { answers, settings })
}

async fn read_settings(conn: &mut Connection) -> mysql::Result<BTreeMap<String, String>> {
    let names: BTreeSet<&str> = expressions::all().flat_map(|e| e.settings).copied().collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let sql = format!("SHOW SESSION VARIABLES WHERE Variable_name IN ({})", quoted.join(","));
    Ok(conn.rows(sql).await?.iter().map(|row| (row.text(0), row.text(1))).collect())
}

/// What a server answers to each of them.
async fn answers_to(
    conn: &mut Connection,
    mut rest: &'static [Expression],
) -> mysql::Result<Vec<(&'static str, Answer)>> {
    let mut answers = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let sql: Vec<&str> = rest.iter().map(|e| e.sql).collect();
        let (results, error) = conn.query_until_error(sql.join(";")).await?;
        let mut results = results.into_iter();
        while let Some((expression, others)) = rest.split_first() {
            let mine: Vec<QueryResult> = results.by_ref().take(expression.statements()).collect();
            if mine.len() < expression.statements() {
                break;
            }
            answers.push((expression.name, value(mine)?));
            rest = others;
        }
        match (error, rest.split_first()) {
            (None, None) => {}
            (Some(error), Some((expression, others))) if !passes(error.code) => {
                answers.push((expression.name, Answer::Error { code: error.code, message: error.message }));
                rest = others;
            }
            (Some(error), _) => return Err(Error::Server(error)),
            (None, Some(_)) => return Err(Error::Unexpected("fewer results than statements")),
        }
    }
    Ok(answers)
}

/// The value in the last result.
fn value(results: Vec<QueryResult>) -> mysql::Result<Answer> {
    let Some(last) = results.into_iter().last() else {
        return Err(Error::Unexpected("no result of a statement"));
    };
    let rows = last.into_rows()?.rows;
    let cell = rows.first().and_then(|row| row.bytes(0));
    Ok(Answer::Value(cell.map(|bytes| String::from_utf8_lossy(bytes).into_owned())))
}

/// Whether an error says something about the moment and not about the statement: 1037, 1038 and 1041 no memory, 1053
/// shutting down, 1317 interrupted, 1927 and 3169 killed, 3024 out of time.
fn passes(code: u16) -> bool {
    matches!(code, 1037 | 1038 | 1041 | 1053 | 1317 | 1927 | 3024 | 3169)
}
