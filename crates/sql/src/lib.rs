//! Statements as they are read here: by a lexer, for what they may leave behind, name or be called; never by a parser.
//!
//! Imports nothing of ours, opens nothing, and survives any bytes.

pub mod digest;
pub mod lexer;
pub mod names;
pub mod reading;
pub mod screen;
mod tracked;

pub use tracked::TRACKED;
