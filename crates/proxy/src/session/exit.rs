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
//!
//! Where another process serves the same address by then (`Control::see_over`), a client that asks whether its connection is still good,
//! by a ping or a reset, is told that it is not, from the first moment on: whoever asks has a next connection in mind, and no statement
//! of it fails. One that has something in its session which only this connection has is not.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::Control;
use crate::session::Session;
use crate::session::buffer::CHUNK;
use crate::trouble::{Stop, shutting_down};

/// How far the exit is.
#[derive(Debug, Default)]
pub(crate) struct Exit {
    closed: watch::Sender<bool>,
    out: AtomicBool,
    /// Somebody else serves the address now.
    over: AtomicBool,
    /// The sockets that are listened on, to be handed over; none when the entrance is closed.
    sockets: Mutex<Vec<TcpListener>>,
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

    /// Whether clients that ask are told to go to the process that serves the address now.
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// The sockets that are listened on from now on.
    pub fn listening_on(&self, sockets: Vec<TcpListener>) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = sockets;
    }

    /// Nobody comes in any more.
    pub fn close(&self) {
        self.listening_on(Vec::new());
        self.closed.send_replace(true);
    }
}

impl Control {
    /// Takes no more clients from now on: the address is no longer listened on.
    pub fn close_entrance(&self) {
        self.shared.exit.close();
    }

    /// The sockets that are listened on, once more each, for a process that goes on accepting from them; none when the entrance is closed.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn sockets(&self) -> std::io::Result<Vec<TcpListener>> {
        let sockets = self.shared.exit.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().map(TcpListener::try_clone).collect()
    }

    /// Clients that have been accepted and have not left, whether or not they have logged in.
    pub fn seated(&self) -> usize {
        self.shared.registry.seated()
    }

    /// The id that the last client got, or would have.
    pub fn last_id(&self) -> u32 {
        self.shared.registry.last_id()
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
        self.see_all_out(|| self.shared.registry.guests(), within, patience, told).await
    }

    /// The same, where another process accepts from the same sockets already: clients that ask whether their connection is good are told
    /// that it is not, and one that has been accepted and has not logged in yet is waited for too, since nobody has refused it.
    pub async fn see_over(
        &self,
        within: Duration,
        patience: Option<Duration>,
        told: impl Fn(usize),
    ) -> SeenOut {
        self.shared.exit.over.store(true, Relaxed);
        self.see_all_out(|| self.seated(), within, patience, told).await
    }

    async fn see_all_out(
        &self,
        count: impl Fn() -> usize,
        within: Duration,
        patience: Option<Duration>,
        told: impl Fn(usize),
    ) -> SeenOut {
        self.close_entrance();
        let clients = count();
        let begun = Instant::now();
        let at_deadline = self.gone(&count, begun.checked_add(within), &told).await;
        self.shared.exit.out.store(true, Relaxed);
        // Each session looks where it stands.
        self.shared.routing.stir();
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let remaining = self.gone(&count, until, &told).await;
        SeenOut {
            clients,
            by_themselves: clients.saturating_sub(at_deadline),
            ended: at_deadline.saturating_sub(remaining),
            remaining,
        }
    }

    /// Waits until nobody is left, at most until then if there is such a time; returns how many are.
    async fn gone(
        &self,
        count: impl Fn() -> usize,
        deadline: Option<Instant>,
        told: impl Fn(usize),
    ) -> usize {
        loop {
            let mut left = std::pin::pin!(self.shared.exit.left.notified());
            left.as_mut().enable();
            let guests = count();
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
        if !self.is_at_an_edge().await? || self.inbound.len() > 0 {
            return Ok(());
        }
        // The number of an answer to a command that the client may be about to send: drivers then read it as just that.
        self.seq = 1;
        Err(shutting_down())
    }

    /// The client asks whether its connection is good, or for it to be as new: where it would be better off at the process that serves
    /// the address now, and has nothing here that it could not have there, it is told so in the place of an answer.
    ///
    /// # Errors
    /// That is what the client is told.
    pub async fn point_over(&mut self) -> Result<(), Stop> {
        if !self.shared.exit.is_over() || self.seat.pinned() || self.seat.keeps() {
            return Ok(());
        }
        if !self.is_at_an_edge().await? {
            return Ok(());
        }
        self.whole(CHUNK).await?;
        self.skip_command().await?;
        Err(shutting_down())
    }

    /// Whether no transaction, lock or cursor is open.
    async fn is_at_an_edge(&mut self) -> Result<bool, Stop> {
        if self.pass.is_some() && self.profile.unconfirmed && !self.statements.busy() {
            self.confirm().await?;
            self.settle();
        }
        Ok(!self.profile.certainly_inside() && !self.statements.busy())
    }
}
