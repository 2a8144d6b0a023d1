//! Statements as the door reads them: by a lexer, for what they may leave behind, name or be called; never by a parser.

pub(crate) mod digest;
pub(crate) mod lexer;
pub(crate) mod names;
pub(crate) mod screen;
