//! What the sources of the model go through: few rows, but each of the changes that are hard.

use crate::source::{At, Do, Range, Script};

fn at(id: u8) -> At {
    At(0, id)
}

fn insert(id: u8, unique: u8) -> Do {
    Do::Insert(at(id), unique)
}

fn set(id: u8, unique: u8) -> Do {
    Do::Update(at(id), at(id), unique)
}

fn delete(id: u8) -> Do {
    Do::Delete(at(id))
}

/// One table in two ranges: the row 1, and all others.
fn two_ranges() -> Vec<Range> {
    vec![Range { table: 0, from: 0, to: 1 }, Range { table: 0, from: 2, to: 9 }]
}

/// Two rows swap their unique values, by way of a third one.
pub fn swapping() -> Script {
    Script {
        name: "swapping unique values",
        rows: vec![(at(1), 1), (at(2), 2)],
        transactions: vec![vec![set(1, 9), set(2, 1), set(1, 2)], vec![delete(1)]],
        ranges: two_ranges(),
    }
}

/// A row moves to the other range and back, by its key.
pub fn changing_keys() -> Script {
    Script {
        name: "changing keys across ranges",
        rows: vec![(at(1), 1)],
        transactions: vec![vec![Do::Update(at(1), at(2), 1)], vec![Do::Update(at(2), at(1), 2)]],
        ranges: two_ranges(),
    }
}

/// A unique value goes from a deleted row to a new one.
pub fn handing_on() -> Script {
    Script {
        name: "handing a unique value on",
        rows: vec![(at(1), 1)],
        transactions: vec![vec![delete(1)], vec![insert(3, 1)]],
        ranges: vec![Range { table: 0, from: 0, to: 9 }],
    }
}

/// A row comes, goes and comes again.
pub fn reinserting() -> Script {
    Script {
        name: "inserting, deleting, inserting again",
        rows: vec![],
        transactions: vec![vec![insert(1, 1)], vec![delete(1)], vec![insert(1, 2)]],
        ranges: vec![Range { table: 0, from: 0, to: 9 }],
    }
}

/// Two tables, one transaction that changes both, one that changes neither.
pub fn two_tables() -> Script {
    Script {
        name: "two tables in a transaction",
        rows: vec![(at(1), 1), (At(1, 1), 1)],
        transactions: vec![vec![set(1, 2), Do::Delete(At(1, 1))], vec![]],
        ranges: vec![Range { table: 0, from: 0, to: 9 }, Range { table: 1, from: 0, to: 9 }],
    }
}

/// A unique value goes round, and with it the key, in three transactions.
pub fn longer() -> Script {
    Script {
        name: "handing a unique value and a key on",
        rows: vec![(at(1), 1), (at(2), 2)],
        transactions: vec![
            vec![delete(1)],
            vec![insert(3, 1), set(2, 3)],
            vec![Do::Update(at(3), at(1), 2), set(2, 1)],
        ],
        ranges: vec![Range { table: 0, from: 0, to: 9 }],
    }
}
