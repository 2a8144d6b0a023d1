//! What shoppers were promised, and whether the database kept every promise.
//!
//! Invariant: an order is *acknowledged* only after its COMMIT was answered with success, and then it must exist exactly
//! once, line by line, cent by cent. An *unknown* order may exist or not. Any other order of this run must not exist.

mod judge;
mod read;

use std::collections::BTreeMap;

use mysql::Connection;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::timeline::Recording;
pub(crate) use judge::grouped;
pub use judge::{Finding, Verdict};

/// A shopper's name for an order, unique over all runs; the database holds it as 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The run, never 0.
    pub run: u64,
    /// The shopper's number.
    pub shopper: u32,
    /// The how-manieth order the shopper tried to place.
    pub number: u32,
}

impl Token {
    /// The token as 32 hexadecimal digits.
    pub fn hex(self) -> String {
        format!("{:016x}{:08x}{:08x}", self.run, self.shopper, self.number)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bits = u128::from_be_bytes(bytes.try_into().ok()?);
        Some(Self { run: (bits >> 64) as u64, shopper: (bits >> 32) as u32, number: bits as u32 })
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// Variant id.
    pub variant: u64,
    /// Pieces.
    pub quantity: u32,
    /// Price of a piece in cents.
    pub unit_price_cents: u64,
}

/// An order as the shopper who placed it remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its token.
    pub token: Token,
    /// Its total in cents.
    pub total_cents: u64,
    /// Its lines, in order of their number.
    pub lines: Vec<OrderLine>,
    /// The UTC offset of the session that placed it, in minutes.
    pub utc_offset_minutes: i32,
}

/// A cart as its shopper remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    /// Its key.
    pub id: u64,
    /// Pieces by variant id.
    pub items: BTreeMap<u64, u32>,
    /// Whether every change to it was acknowledged; if not, the shopper cannot know what is in it.
    pub certain: bool,
}

/// What the shop held before the first shopper came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Pieces in stock, over all variants.
    pub stock: i64,
    /// Orders.
    pub orders: u64,
}

impl Before {
    pub(crate) async fn read(conn: &mut Connection) -> Result<Self> {
        read::before(conn).await
    }
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Statements sent.
    pub statements: u64,
    /// Those that failed, connects included.
    pub failed_statements: u64,
    /// Checkouts given up because stock had run out.
    pub sold_out: u64,
    /// Answers with rows other than those that were asked for.
    pub wrong_answers: u64,
}

/// All that the shoppers of one run remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The run; all its tokens begin with it.
    pub run: u64,
    /// The schema they shopped in.
    pub schema: String,
    /// What was there before.
    pub before: Before,
    /// Orders that were acknowledged.
    pub orders: Vec<Order>,
    /// Orders whose COMMIT was not answered with success.
    pub unknown: Vec<Order>,
    /// Carts.
    pub carts: Vec<Cart>,
    /// Counts.
    pub counts: Counts,
    /// Latencies over time.
    pub recording: Recording,
}

impl History {
    /// Reads everything the run should have left in the database, in one consistent snapshot, and judges it. Use a
    /// connection with rights to read the schema; the session's time zone is changed.
    ///
    /// # Errors
    /// [`crate::Error::Mysql`] if the database cannot be read; a broken promise is a verdict, not an error.
    pub async fn check(&self, conn: &mut Connection) -> Result<Verdict> {
        let found = read::found(conn, self).await?;
        Ok(judge::judge(self, &found))
    }
}
