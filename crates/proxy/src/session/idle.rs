//! What becomes of an idle session: it gives its backend back before the server closes that, and ends itself if it has been idle
//! for longer than its terms or its own `wait_timeout` allow.
//!
//! The server's `wait_timeout` is about its connections, not about the door's clients: those outlive it, and none of them notices. So a
//! session that lingers on a backend ([`crate::session::sharing`]) is asked what the backend knows while there is time. A value that the
//! client itself has set means what it means on a connection of its own.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use wire::response::ErrPacket;

use crate::session::Session;
use crate::session::clock;
use crate::trouble::Stop;

/// How long a session lingers on a backend at most.
const LINGERS_MAX: u32 = 30;

impl Session {
    /// When this session, if it stays idle, is to be looked at: in a second of its thread's clock, 0 for never.
    pub fn due(&self) -> u32 {
        clock::earlier(self.ends_at(), self.rests_at())
    }

    fn ends_at(&self) -> u32 {
        let terms = &self.terms;
        if self.keeps_inside() {
            return clock::after(self.idle_since, terms.transaction_idle_max);
        }
        let own = self
            .profile
            .own_wait_timeout
            .map_or(0, |seconds| clock::after(self.idle_since, Duration::from_secs(u64::from(seconds))));
        clock::earlier(clock::after(self.idle_since, terms.idle_max), own)
    }

    /// When it gives its backend back: at the latest half-way to where the server would close it.
    fn rests_at(&self) -> u32 {
        let lingers =
            self.link.is_some() && !self.keeps_inside() && (self.shareable() || self.profile.unconfirmed);
        if !lingers {
            return 0;
        }
        let server = (self.profile.wait_timeout / 2).max(1);
        self.idle_since.saturating_add(server.min(LINGERS_MAX))
    }

    fn keeps_inside(&self) -> bool {
        self.profile.certainly_inside() || self.statements.busy()
    }

    /// Looks at an idle session: whether it is due.
    ///
    /// # Errors
    /// If it has been idle for too long: it ends, and the client has been told.
    pub async fn look_at_clock(&mut self) -> Result<(), Stop> {
        let now = clock::now();
        let is_due = |at: u32| at != 0 && at <= now;
        if is_due(self.ends_at()) {
            return Box::pin(self.end_idle()).await;
        }
        if is_due(self.rests_at()) {
            return Box::pin(self.rest()).await;
        }
        Ok(())
    }

    async fn end_idle(&mut self) -> Result<(), Stop> {
        tracing::debug!(client = self.seat.id, "closed, since it was idle for too long");
        self.shared.registry.idle_ended.fetch_add(1, Relaxed);
        // MySQL 8.0.24 and later say this, with this number, before they close.
        let text = "The client was disconnected by the server because of inactivity. See wait_timeout and \
                    interactive_timeout for configuring this behavior.";
        self.seq = 0;
        self.say(&ErrPacket::new(4031, b"HY000", text).encode()).await?;
        Err(self.part().await)
    }
}
