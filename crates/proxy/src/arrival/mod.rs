//! Who comes in: listening, the login and what it must prove, the rules for accounts and addresses.

pub(crate) mod accounts;
pub(crate) mod admission;
pub(crate) mod entrance;
pub(crate) mod listener;
pub(crate) mod login;
pub(crate) mod network;
pub(crate) mod pace;
pub(crate) mod proven;
pub(crate) mod tls;
