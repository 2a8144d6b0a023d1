//! What a session is on its connection, so that it can be the same on another one.

pub(crate) mod prepared;
pub(crate) mod profile;
pub(crate) mod settings;
pub(crate) mod statements;
pub(crate) mod texts;
