//! How clients are seen out before the process ends.
//!
//! ```text
//! open --> closed: nobody comes in, whoever is in goes on --> out: each session ends where no transaction of it is open
//! ```
//!
//! Harm: a client whose session ends between transactions is told error 1053 (`ER_SERVER_SHUTDOWN`), as by a server that is shut
//! down, where it would have read its next answer. Nothing of it was lost; what it kept in its session (temporary tables, user
//! variables, locks) is, so nobody is sent away before the time to leave by oneself is over. A session is ended only with nothing of a
//! next command read.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::Control;
use crate::session::Session;
use crate::trouble::{Stop, shutting_down};

/// How far the exit is.
#[derive(Debug, Default)]
pub(crate) struct Exit {
    closed: watch::Sender<bool>,
    out: AtomicBool,
    /// Somebody has left.
    pub left: Notify,
}

/// How the clients of a door have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeenOut {
    /// Clients that were logged in when the door was closed.
    pub clients: usize,
    /// Of those, the ones that left by themselves.
    pub by_themselves: usize,
    /// The ones whose session was ended where no transaction of it was open.
    pub ended: usize,
    /// The ones that still have a transaction, lock, cursor or statement open.
    pub remaining: usize,
}

impl Exit {
    /// Resolves when nobody is to come in any more.
    pub async fn closed(&self) {
        // An error means that the door is gone, which is as good.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Whether sessions end at their next edge.
    pub fn is_out(&self) -> bool {
        self.out.load(Relaxed)
    }
}

impl Control {
    /// Takes no more clients from now on: the address is no longer listened on.
    pub fn close_entrance(&self) {
        self.shared.exit.closed.send_replace(true);
    }

    /// Sees all clients out: lets nobody in, gives those who are in `within` to leave by themselves, then ends each session where no
    /// transaction of it is open, and waits for the others `patience` more, if that is limited. `told` hears how many are left,
    /// whenever one has gone.
    pub async fn see_out(
        &self,
        within: Duration,
        patience: Option<Duration>,
        told: impl Fn(usize),
    ) -> SeenOut {
        self.close_entrance();
        let registry = &self.shared.registry;
        let clients = registry.guests();
        let begun = Instant::now();
        let at_deadline = self.gone(begun.checked_add(within), &told).await;
        self.shared.exit.out.store(true, Relaxed);
        // Each session looks where it stands.
        self.shared.routing.stir();
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let remaining = self.gone(until, &told).await;
        SeenOut {
            clients,
            by_themselves: clients.saturating_sub(at_deadline),
            ended: at_deadline.saturating_sub(remaining),
            remaining,
        }
    }

    /// Waits until nobody is left, at most until then if there is such a time; returns how many are.
    async fn gone(&self, deadline: Option<Instant>, told: impl Fn(usize)) -> usize {
        loop {
            let mut left = std::pin::pin!(self.shared.exit.left.notified());
            left.as_mut().enable();
            let guests = self.shared.registry.guests();
            told(guests);
            if guests == 0 {
                return 0;
            }
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = left => {}
                () = late => return guests,
            }
        }
    }
}

impl Session {
    /// Everybody is to leave: ends the session, unless a transaction, lock or cursor is open, or a command has begun to arrive.
    ///
    /// # Errors
    /// What the client is told, if it ends.
    pub async fn see_out(&mut self) -> Result<(), Stop> {
        if self.pass.is_some() && self.profile.unconfirmed && !self.statements.busy() {
            self.confirm().await?;
            self.settle();
        }
        if self.profile.certainly_inside() || self.statements.busy() || self.inbound.len() > 0 {
            return Ok(());
        }
        // The number of an answer to a command that the client may be about to send: drivers then read it as just that.
        self.seq = 1;
        Err(shutting_down())
    }
}
