//! One expression that both servers are asked, and what it means that they answer differently.

use super::report::Outcome;

/// One expression, and what it means that it answers otherwise on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expression {
    /// Its name in a report.
    pub name: &'static str,
    /// One statement, or several with semicolons in between, of which the last gives the answer.
    pub sql: &'static str,
    /// The session variables that decide the answer; none if only the version does.
    pub settings: &'static [&'static str],
    /// What another answer means to an application.
    pub meaning: &'static str,
    /// How it comes out if the target answers with another value, which nobody notices. An error is noticed at the
    /// first such statement, and always a warning.
    pub unnoticed: Outcome,
    /// What to do about a difference that no setting explains; `None` if there is only the application to look at.
    pub remedy: Option<&'static str>,
}

/// An expression with which another value is warned about.
pub(super) const fn ask(
    name: &'static str,
    sql: &'static str,
    settings: &'static [&'static str],
    meaning: &'static str,
) -> Expression {
    Expression { name, sql, settings, meaning, unnoticed: Outcome::Warned, remedy: None }
}

/// A word that became reserved in some version.
pub(super) const fn word(name: &'static str, sql: &'static str, remedy: &'static str) -> Expression {
    ask(name, sql, &[], "the word is reserved on one side: a column or table of that name must be quoted")
        .or_else(remedy)
}

impl Expression {
    /// Refused if the target answers with another value: what the application stores would be wrong.
    pub const fn refusing(self) -> Self {
        Self { unnoticed: Outcome::Refused, ..self }
    }

    /// With something to do about a difference that no setting explains.
    pub const fn or_else(self, remedy: &'static str) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// How many results it answers with.
    pub fn statements(&self) -> usize {
        self.sql.split(';').count()
    }
}
