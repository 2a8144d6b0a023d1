//! Binary log events: header and checksum, the few events a follower must understand, table maps, and rows.
//!
//! Invariant: an event of an unknown type is [`Event::Unknown`], never skipped here; whoever follows the log decides,
//! and may only pass over what the server itself marked as ignorable.
//!
//! Source: MySQL source, `libs/mysql/binlog/event/`.

mod cell;
mod decimal;
mod event;
mod gtid;
mod json;
mod payload;
mod rows;
mod status_vars;
mod table_map;
mod xa;

pub use cell::Cell;
pub use decimal::write_decimal;
pub use event::{Event, EventHeader, QueryEvent, RawEvent};
pub use gtid::GtidEvent;
pub use json::{
    DEPTH_MAX as JSON_DEPTH_MAX, Json, Opaque, parse as parse_json, parse_patched as parse_patched_json,
};
pub use payload::Payload;
pub use rows::{RowImage, RowsEvent, RowsKind};
pub use status_vars::StatusVars;
pub use table_map::{ColumnType, TableMap};
pub use xa::XaPrepareEvent;
