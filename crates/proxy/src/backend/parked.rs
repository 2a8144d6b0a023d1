//! A backend connection between two sessions.
//!
//! ```text
//! opened --> lent (a Link) --command--> awaiting --answer complete--> lent
//!              |    ^                      \--dropped--> closed
//!            park  lend
//!              v    |
//!            parked
//! ```
//!
//! Invariant: a [`Parked`] is made in one place, from a link whose last answer was read to its end. A link that is
//! dropped anywhere else, with a session's future or by an error, is closed with its socket and never serves again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::arrival::proven::Account;
use crate::backend::Link;
use crate::backend::pool::Slot;
use crate::state::settings::Settings;

/// How long a connection may be reused: what a login takes from the server, global variables and global privileges, is
/// no older than this.
const AGE_MAX: Duration = Duration::from_secs(600);

/// An idle connection is not lent when it is so close to the server's `wait_timeout`: its command would meet the end.
const MARGIN: Duration = Duration::from_secs(1);

/// A connection that awaits nothing, is in no transaction, and has exactly the settings it is said to have.
#[derive(Debug)]
pub(crate) struct Parked {
    link: Box<Link>,
    /// Whose login it has.
    pub account: Arc<Account>,
    /// Which session used it last.
    pub last_user: u32,
    /// Since when it is idle.
    pub since: Instant,
}

impl Parked {
    /// Parks a link that is done with; one that must not be reused is closed instead.
    pub fn park(link: Box<Link>, account: &Arc<Account>, last_user: u32) -> Option<Self> {
        let since = Instant::now();
        if link.awaiting || since.duration_since(link.born) > AGE_MAX {
            link.quit();
            return None;
        }
        Some(Self { link, account: Arc::clone(account), last_user, since })
    }

    /// Which connection it is.
    pub fn serial(&self) -> u64 {
        self.link.serial
    }

    /// What it has set.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.link.settings
    }

    /// What `LAST_INSERT_ID()` returns on it.
    pub fn last_insert_id(&self) -> u64 {
        self.link.last_insert_id
    }

    /// Whether the server is about to close it because it was idle, if it has not yet.
    fn expires(&self) -> bool {
        let idle = self.since.elapsed();
        idle >= MARGIN && idle + MARGIN >= Duration::from_secs(self.link.settings.wait_timeout().into())
    }

    /// Lends it to a session of this thread; `None` if the server has closed it meanwhile, or might while it is lent.
    pub fn lend(mut self, shard: usize) -> Option<Box<Link>> {
        if self.expires() {
            return None;
        }
        match self.link.alive() {
            true => self.link.move_to(shard).ok(),
            false => None,
        }
    }

    /// Closes it, and keeps its place in the budget. `says_goodbye` only if bytes may go to the server now.
    pub fn close(mut self, says_goodbye: bool) -> Option<Slot> {
        let slot = self.link.slot.take();
        if says_goodbye {
            self.link.quit();
        }
        slot
    }
}
