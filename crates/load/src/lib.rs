//! The demo's shop, the shoppers who use it, the proof that none of their orders was lost, and the report.
//!
//! workload ([`shop`]) -> driver ([`shoppers`]) -> histogram ([`timeline`]) -> proof ([`history`]) -> [`report`].
//! Invariant: what is proved is what clients were told. A history is kept by the shoppers alone, in memory, and
//! compared with the database only once they have stopped.

mod error;
pub mod history;
pub mod report;
pub mod shop;
pub mod shoppers;
pub mod timeline;

pub use error::{Error, Result};
pub use history::{History, Verdict};
pub use report::{CutoverRecord, Figure, ReportData, VerifyRecord, VerifyTable, write_html};
pub use shop::{Scale, Shop, ShopSummary};
pub use shoppers::{Live, ShopperOptions, Shoppers};
pub use timeline::{MarkId, Recording, Timeline};
