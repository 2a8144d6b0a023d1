//! What is known of clients and statements, for whoever asks.

pub(crate) mod digests;
pub(crate) mod held;
pub(crate) mod observed;
pub(crate) mod registry;
