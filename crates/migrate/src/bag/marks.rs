//! Which work on a bag waits for which.
//!
//! Rows gained and rows gained never mind each other. Rows lost are found by reading the table, so they wait for all work
//! on it before them, and all work on it waits for them: side by side, two such reads would only wait for each other's locks.

use super::BagFold;
use crate::apply::Mark;
use crate::literal::Key;

/// No row's literals look like these.
const GAINS: &[u8] = b"bag: gains";
const LOSES: &[u8] = b"bag: loses";

fn mark(table: usize, what: &[u8]) -> Mark {
    Mark::of(table, &Key::from(what))
}

/// What this work is to be remembered by.
pub(crate) fn recorded(table: usize, fold: &BagFold) -> Vec<Mark> {
    match fold.loses() {
        true => vec![mark(table, GAINS), mark(table, LOSES)],
        false => vec![mark(table, GAINS)],
    }
}

/// What this work has to wait for.
pub(crate) fn waits(table: usize, fold: &BagFold) -> Vec<Mark> {
    match fold.loses() {
        true => vec![mark(table, GAINS), mark(table, LOSES)],
        false => vec![mark(table, LOSES)],
    }
}
