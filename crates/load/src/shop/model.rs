//! What the shop holds before any row is written: how many of each thing, and the orders of its past.
//!
//! Invariant: the past balances. Stock is what was received less what past orders took, and each past order's total is
//! the sum of its lines, so that the order check can ask the same of whole tables afterwards.

use fastrand::Rng;

use super::Scale;

/// How many rows each table gets at the default scale of 300,000.
const ROWS_BASE: u64 = 300_000;

/// Categories, whatever the scale.
pub const CATEGORIES: u64 = 60;

/// One line of a past order.
pub struct Line {
    /// Order id, from 1.
    pub order: u64,
    /// Position in the order, from 1.
    pub line_no: u64,
    /// Variant id, from 1.
    pub variant: u64,
    /// Pieces.
    pub quantity: u64,
}

/// Counts and cross-table facts; the same for the same scale and seed.
pub struct Model {
    seed: u64,
    pub artists: u64,
    pub products: u64,
    pub variants: u64,
    pub customers: u64,
    pub addresses: u64,
    pub sessions: u64,
    pub carts: u64,
    pub orders: u64,
    /// Lines of all past orders, in order of their key.
    pub lines: Vec<Line>,
    /// Total in cents by order id; index 0 is unused.
    pub totals: Vec<u64>,
    /// Pieces sold by variant id; index 0 is unused.
    pub sold: Vec<u64>,
}

impl Model {
    /// Works out the shop for a scale and seed.
    pub fn new(scale: Scale, seed: u64) -> Self {
        let scaled = |rows: u64| (rows * scale.rows / ROWS_BASE).max(20);
        let mut model = Self {
            seed,
            artists: scaled(2_000),
            products: scaled(12_000),
            variants: scaled(38_000),
            customers: scaled(15_000),
            addresses: scaled(16_000),
            sessions: scaled(3_000),
            carts: scaled(5_000),
            orders: scaled(20_000),
            lines: Vec::new(),
            totals: vec![0],
            sold: Vec::new(),
        };
        model.sold = vec![0; model.variants as usize + 1];
        for order in 1..=model.orders {
            let mut rng = model.rng("past orders", order);
            let mut total = 0;
            for line_no in 1..=rng.u64(1..=3) {
                let variant = rng.u64(1..=model.variants);
                let quantity = rng.u64(1..=4);
                total += quantity * model.price_cents(variant);
                model.sold[variant as usize] += quantity;
                model.lines.push(Line { order, line_no, variant, quantity });
            }
            model.totals.push(total);
        }
        model
    }

    /// Random numbers that depend on the row alone, so that loaders may write rows in any order.
    pub fn rng(&self, table: &str, row: u64) -> Rng {
        let mut mixed = self.seed ^ row.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for byte in table.bytes() {
            mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        Rng::with_seed(mixed ^ (mixed >> 31))
    }

    /// A variant's price in cents; a few are given away.
    pub fn price_cents(&self, variant: u64) -> u64 {
        let mut rng = self.rng("price", variant);
        if rng.u8(..) == 0 { 0 } else { rng.u64(95..24_999) }
    }

    /// The product a variant belongs to; each product has its variants side by side.
    pub fn product_of(&self, variant: u64) -> u64 {
        1 + (variant - 1) * self.products / self.variants
    }

    /// Pieces of a variant ever received.
    pub fn received(&self, variant: u64) -> u64 {
        self.sold[variant as usize] + self.rng("received", variant).u64(5_000..20_000)
    }
}
