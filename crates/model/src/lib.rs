//! The nouns of a move: GTID sets, tables, positions, and errors as an operator reads them. No I/O, no async.

pub mod gtid;
pub mod position;
pub mod table;
mod trouble;

pub use gtid::{Gtid, GtidSet};
pub use position::BinlogPosition;
pub use table::{Column, ColumnKind, Located, Side, Table, TableName, quote_ident};
pub use trouble::Trouble;
