//! Private MySQL servers on this machine, for the demo, the tests and the benchmarks.
//!
//! ```text
//! Mysqld::find()     HIGHWATER_MYSQLD, PATH, or scripts/mysql.sh which fetches one into the cache
//!   -> template      an initialised data folder with the accounts below; made once, kept in the cache
//!     -> Node::start a copy of it in a fresh folder, on a port of 127.0.0.1 that stays the node's own
//! ```
//!
//! Invariant: nothing outlives its owner. Dropping a [`Node`] kills its server and removes its folder (it stays with
//! `HIGHWATER_KEEP` set). A server whose parent process died, `kill -9` included, dies with it where util-linux's
//! `setpriv` is installed, and its folder goes when the next node is started.

mod cache;
mod disk;
mod error;
mod folder;
mod launch;
mod mysqld;
mod node;
mod options;
mod port;
mod relay;
mod template;

pub use disk::Disk;
pub use error::SandboxError;
pub use mysqld::{Mysqld, client_tool};
pub use node::Node;
pub use options::NodeOptions;
pub use port::PortLease;
pub use relay::Relay;

/// The account that may do everything, from any host.
pub const ADMIN_USER: &str = "highwater";
/// The password of [`ADMIN_USER`].
pub const ADMIN_PASSWORD: &str = "highwater-admin";
/// The account of the shop's application: all privileges on the database `shop`, none elsewhere.
pub const SHOP_USER: &str = "shop";
/// The password of [`SHOP_USER`].
pub const SHOP_PASSWORD: &str = "shop-secret";
