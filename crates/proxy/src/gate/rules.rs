//! What an operator can change while the door is open.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::{Entrance, Observe, Terms};

/// The rules a door goes by. New ones hold from the next login, hold, wait or statement on; whoever is in stays in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How long a client may be held before its command fails with error 1205.
    pub hold_max: Duration,
    /// How many clients may be connected; more are refused with error 1040.
    pub clients_max: usize,
    /// Who may come in, and how.
    pub entrance: Entrance,
    /// Shared connections to each cluster at most, over all threads and accounts. Fewer than there are: idle ones are closed at
    /// once, the others when they are given back.
    pub backends_max: usize,
    /// How long a command may wait for one before it fails with error 1203.
    pub queue_max: Duration,
    /// What clients may do, and how long they may take.
    pub terms: Terms,
    /// How much memory the door may hold for its clients, in bytes; `usize::MAX` is no bound. At three quarters of it statements that
    /// need large buffers wait, at seven eighths clients are refused with error 1040; those who hold most and do not get on are ended.
    pub memory_max: usize,
    /// What is noted of statements.
    pub observe: Observe,
}

/// The rules of the moment. Looked at where a client comes in or has to wait, and not for each command.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<Rules>>);

impl Current {
    pub fn new(rules: Rules) -> Self {
        Self(RwLock::new(Arc::new(rules)))
    }

    /// The rules. Whoever does one thing by several of them asks once.
    pub fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn set(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
