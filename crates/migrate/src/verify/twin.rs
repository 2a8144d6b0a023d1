//! A question to both servers, each of which may call the schema of the table otherwise.

use model::{Side, Table};

/// A statement that names one table, once.
pub(crate) struct Twin {
    before: Vec<u8>,
    source: String,
    target: String,
    after: Vec<u8>,
}

impl Twin {
    /// Begins with what stands before the table's name, and the name.
    pub fn of(table: &Table, before: impl Into<Vec<u8>>) -> Self {
        let on = |side| table.on(side).quoted();
        Self { before: before.into(), source: on(Side::Source), target: on(Side::Target), after: Vec::new() }
    }

    /// Goes on with this.
    pub fn push(&mut self, sql: &[u8]) {
        self.after.extend_from_slice(sql);
    }

    /// Ends with this.
    pub fn then(mut self, sql: &str) -> Self {
        self.push(sql.as_bytes());
        self
    }

    /// As one side takes it.
    pub fn on(&self, side: Side) -> Vec<u8> {
        let name = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        [&self.before, name.as_bytes(), &self.after].concat()
    }
}
