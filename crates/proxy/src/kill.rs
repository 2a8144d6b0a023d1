//! `KILL`: the id that the door gave a client stands for the connection that serves it at the moment, wherever that is.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use wire::packet::HEADER_LEN;
use wire::response::{OK, OkPacket};

use crate::backend::{AskError, Link};
use crate::buffer::CHUNK;
use crate::hold::Gate;
use crate::registry::{FIRST_ID, Seat};
use crate::response::Expect;
use crate::session::Session;
use crate::trouble::{Stop, cannot_open, held_elsewhere, new_server_lost};

impl Session {
    /// `KILL` with an id the door gave out is meant for the connection behind it. `true`: it has been answered, since that
    /// is on another cluster.
    pub async fn kills(&mut self, text_at: usize) -> Result<bool, Stop> {
        self.enter().await?;
        let Some(victim) = self.translate_kill(text_at) else { return Ok(false) };
        let text = self.inbound.data()[HEADER_LEN + text_at..self.left].to_vec();
        Box::pin(self.kill_elsewhere(&victim, &text)).await?;
        Ok(true)
    }

    /// `COM_PROCESS_KILL`.
    pub async fn process_kill(&mut self) -> Result<(), Stop> {
        let n = self.whole(CHUNK).await?;
        self.enter().await?;
        if let Some(id) = self.inbound.data_mut()[HEADER_LEN + 1..n].first_chunk_mut::<4>() {
            let wanted = u32::from_le_bytes(*id);
            if let Some(seat) = self.shared.registry.seat(wanted) {
                let on_server = seat.to_kill();
                *id = on_server.to_le_bytes();
                if let Some(victim) = self.elsewhere(&seat, on_server) {
                    let text = format!("KILL {on_server}");
                    return Box::pin(self.kill_elsewhere(&victim, text.as_bytes())).await;
                }
            }
        }
        self.forward(Expect::Single).await.map(drop)
    }

    /// Writes the server's id over the door's; tells the cluster to send it to if that is another one than the session's.
    fn translate_kill(&mut self, text_at: usize) -> Option<Arc<Gate>> {
        let text = &self.inbound.data()[HEADER_LEN + text_at..self.left];
        let text = std::str::from_utf8(text).ok()?;
        let end = text.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
        let digits = end.len() - end.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let at = end.len() - digits;
        let id = end[at..].parse::<u32>().ok()?;
        let seat = self.shared.registry.seat(id).filter(|_| id >= FIRST_ID)?;
        let on_server = seat.to_kill();
        // A server's id has no more digits than one of ours: blanks keep the length.
        let new = format!("{on_server:>digits$}");
        let from = HEADER_LEN + text_at + at;
        self.inbound.data_mut()[from..from + digits].copy_from_slice(new.as_bytes());
        self.elsewhere(&seat, on_server)
    }

    /// The cluster of a session that has a connection, if it is not this session's.
    fn elsewhere(&self, seat: &Seat, on_server: u32) -> Option<Arc<Gate>> {
        let index = seat.gate.load(SeqCst);
        let elsewhere = on_server != 0 && index != self.lane.gate.index;
        elsewhere.then(|| self.shared.routing.gates().get(index).cloned()).flatten()
    }

    /// Kills over a connection made for it, as this client, and answers.
    async fn kill_elsewhere(&mut self, victim: &Arc<Gate>, text: &[u8]) -> Result<(), Stop> {
        self.inbound.consume(std::mem::take(&mut self.left));
        let lane = self.lanes.to(victim);
        let Some(_inside) = lane.enter() else { return Err(held_elsewhere(&victim.backend.id)) };
        let opened = Link::open(victim, &self.identity, None).await;
        let mut link = opened.map_err(|e| Stop::Refuse(cannot_open(&e, &victim.backend.id)))?;
        match link.ask_sql(text).await {
            Ok(_) => link.quit(),
            Err(AskError::Server(error)) => {
                link.quit();
                return Err(Stop::Refuse(error));
            }
            Err(AskError::Lost) => return Err(Stop::Refuse(new_server_lost())),
        }
        let ok = OkPacket { status: self.profile.shown_status(), ..OkPacket::default() };
        self.say(&ok.encode(OK, self.identity.capabilities)).await
    }
}
