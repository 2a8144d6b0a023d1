//! What can go wrong while the shop is built, shopped in, or checked.

/// An error of this crate. Messages name tables and counts, never a row's values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A connection of ours failed or the server refused a statement.
    #[error(transparent)]
    Mysql(#[from] mysql::Error),
    /// The schema to build the shop in is there already; it is never overwritten.
    #[error("schema '{schema}' exists already on {address}")]
    SchemaExists {
        /// The schema's name.
        schema: String,
        /// `host:port`.
        address: String,
    },
    /// The schema's name could not be put into a statement safely.
    #[error("a shop cannot live in a schema of this name: letters, digits and '_' only")]
    SchemaName,
    /// The schema holds no shop that shoppers could use.
    #[error("schema '{schema}' holds no shop: table {table} is empty")]
    EmptyShop {
        /// The schema's name.
        schema: String,
        /// The table without rows.
        table: &'static str,
    },
    /// A query of the order check answered with something other than what was asked for.
    #[error("cannot read the answer of the order check on table {0}")]
    Unreadable(&'static str),
    /// The report could not be written.
    #[error("cannot write the report: {0}")]
    Report(#[from] std::io::Error),
    /// A task of ours ended by a panic: a bug.
    #[error("a shopper or loader ended unexpectedly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
