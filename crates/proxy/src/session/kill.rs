//! `KILL`, by the ids that clients know: the one they were greeted with, and the server's own as `CONNECTION_ID()` told it.
//!
//! ```text
//! the victim has a backend ---> its server is asked to kill that one: over a connection of its own if that is another cluster
//!               has none -----> KILL QUERY: nothing to do.   KILL: the door ends it, if the server would have let it be killed
//! ```
//!
//! A client between transactions has no backend, so the server knows nothing of it. It may then be killed by its own account, or by one
//! with `CONNECTION_ADMIN` or `SUPER` (held directly, not by a role).
//!
//! A server's id can mean two clients: who uses that connection now, and who was told that id and uses another, or none, now. The
//! first counts, since that is what the server's own list shows; the second if the connection is in nobody's hands. It means a client
//! on the cluster of whoever kills.
//!
//! A kill that meets the end of the victim's transaction may find its connection gone, and is then answered with the server's 1094.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use wire::Capabilities;
use wire::packet::HEADER_LEN;
use wire::response::{ErrPacket, OK, OkPacket};

use crate::backend::response::Expect;
use crate::backend::{AskError, Link};
use crate::figures::registry::{FIRST_ID, Seat};
use crate::gate::hold::Gate;
use crate::session::Session;
use crate::session::buffer::CHUNK;
use crate::session::relay::{Outcome, Question};
use crate::text::screen::Screened;
use crate::trouble::{Stop, cannot_open, held_elsewhere, new_server_lost, outcome_unknown};

/// Whether the session's account may kill others' clients.
const MAY_KILL: &[u8] = b"SELECT COUNT(*) FROM information_schema.user_privileges \
    WHERE privilege_type IN ('CONNECTION_ADMIN', 'SUPER') \
    AND grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";

/// A `KILL` statement: whether all of the connection is meant, the id, and where its digits begin and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    pub connection: bool,
    pub id: u32,
    pub at: usize,
    pub digits: usize,
}

impl Kill {
    /// Reads a statement that is nothing but a `KILL` of a number, without comments; others are left to the server.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let end = text.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
        let words: Vec<&str> = end.split_ascii_whitespace().collect();
        let is = |word: &str, name| word.eq_ignore_ascii_case(name);
        let (connection, number) = match words[..] {
            [kill, number] if is(kill, "KILL") => (true, number),
            [kill, what, number] if is(kill, "KILL") && is(what, "CONNECTION") => (true, number),
            [kill, what, number] if is(kill, "KILL") && is(what, "QUERY") => (false, number),
            _ => return None,
        };
        let id = number.parse().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit()))?;
        Some(Self { connection, id, at: end.len() - number.len(), digits: number.len() })
    }
}

/// What a `KILL` comes to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The server is to kill this connection of its own, which this client has, if it is one of the door's.
    Server(u32, Option<Arc<Seat>>),
    /// The same, of the server of another cluster.
    Elsewhere(Arc<Gate>, u32, Arc<Seat>),
    /// It has been done, or there was nothing to do.
    Done,
}

impl Session {
    /// `COM_PROCESS_KILL`.
    pub async fn process_kill(&mut self) -> Result<(), Stop> {
        let n = self.whole(CHUNK).await?;
        let id = self.inbound.data()[HEADER_LEN + 1..n].first_chunk().copied().map(u32::from_le_bytes);
        let Some(id) = id else { return self.forward(Expect::Single).await.map(drop) };
        self.begin().await?;
        let kill = Kill { connection: true, id, at: 0, digits: 0 };
        match Box::pin(self.kill(kill)).await? {
            Verdict::Done => self.answer_with_ok().await,
            Verdict::Elsewhere(gate, id, victim) => {
                Box::pin(self.kill_elsewhere(kill, &gate, id, victim)).await
            }
            Verdict::Server(id, victim) => {
                let from = HEADER_LEN + 1;
                self.inbound.data_mut()[from..from + 4].copy_from_slice(&id.to_le_bytes());
                let outcome = self.forward(Expect::Single).await?;
                self.after_kill(kill, victim, outcome);
                Ok(())
            }
        }
    }

    /// A `KILL`, whose text begins at `at` of the payload: has it mean what the client means. `false`: it is none that the door
    /// reads.
    pub async fn killed(&mut self, screened: Screened, text_at: usize) -> Result<bool, Stop> {
        let Some(kill) = Kill::parse(&self.inbound.data()[HEADER_LEN + text_at..self.left]) else {
            return Ok(false);
        };
        self.begin().await?;
        match self.kill(kill).await? {
            Verdict::Done => self.answer_with_ok().await?,
            Verdict::Elsewhere(gate, id, victim) => self.kill_elsewhere(kill, &gate, id, victim).await?,
            Verdict::Server(id, victim) => {
                let from = HEADER_LEN + text_at + kill.at;
                let said = &self.inbound.data()[..self.left];
                let number = id.to_string();
                let payload =
                    [&said[HEADER_LEN..from], number.as_bytes(), &said[from + kill.digits..]].concat();
                let (mut packet, mut seq) = (Vec::new(), 0);
                wire::packet::frame(&mut packet, &mut seq, &payload);
                self.skip_command().await?;
                self.write_backend(&packet).await?;
                self.note(screened);
                let outcome = self.relay(Question::plain(Expect::Results, screened)).await?;
                self.after_kill(kill, victim, outcome);
            }
        }
        Ok(true)
    }

    /// Kills over a connection made for it, as this client, and answers.
    async fn kill_elsewhere(
        &mut self,
        kill: Kill,
        gate: &Arc<Gate>,
        id: u32,
        victim: Arc<Seat>,
    ) -> Result<(), Stop> {
        self.inbound.consume(std::mem::take(&mut self.left));
        let lane = self.lanes.to(gate);
        let Some(_inside) = lane.enter() else { return Err(held_elsewhere(&gate.backend.id)) };
        let opened = Link::open(gate, &self.identity, None).await;
        let mut link = opened.map_err(|e| Stop::Refuse(cannot_open(&e, &gate.backend.id)))?;
        let text = if kill.connection { format!("KILL {id}") } else { format!("KILL QUERY {id}") };
        match link.ask_sql(text.as_bytes()).await {
            Ok(_) => link.quit(),
            Err(AskError::Server(error)) => {
                link.quit();
                return Err(Stop::Refuse(error));
            }
            Err(AskError::Lost) => return Err(Stop::Refuse(new_server_lost())),
        }
        self.after_kill(kill, Some(victim), Outcome::Done);
        let ok = OkPacket { status: self.profile.shown_status(), ..OkPacket::default() };
        self.say(&ok.encode(OK, self.identity.capabilities)).await
    }

    /// Finds whom an id means, and ends a client that the server does not know. The session has a backend: what kills
    /// itself must find itself there.
    ///
    /// # Errors
    /// If the victim may not be killed by this account.
    async fn kill(&mut self, kill: Kill) -> Result<Verdict, Stop> {
        let registry = &self.shared.registry;
        let victim = match registry.seat(kill.id).filter(|_| kill.id >= FIRST_ID) {
            Some(seat) => seat,
            None => match registry.known_as(kill.id, |gate| self.is_on_this_cluster(gate)) {
                Some(seat) => seat,
                None => return Ok(Verdict::Server(kill.id, None)),
            },
        };
        match victim.to_kill() {
            0 if !kill.connection => return Ok(Verdict::Done),
            0 => {}
            backend => return Ok(self.on_its_server(backend, victim)),
        }
        if !self.may_kill(&victim).await? {
            let text = format!("You are not owner of thread {}", kill.id);
            return Err(Stop::Refuse(ErrPacket::new(1095, b"HY000", text)));
        }
        victim.dismiss();
        // It may have taken a backend just now; then the server must know, as with any other.
        match victim.backend_id.load(SeqCst) {
            0 => Ok(Verdict::Done),
            backend => Ok(self.on_its_server(backend, victim)),
        }
    }

    /// The server that has the victim's connection is to kill it.
    fn on_its_server(&self, connection: u32, victim: Arc<Seat>) -> Verdict {
        let (index, routing) = (victim.gate.load(SeqCst), &self.shared.routing);
        match routing.gates().get(index) {
            Some(gate) if !self.is_on_this_cluster(index) => {
                // The command is this client's, so it passes the gate that is for it.
                Verdict::Elsewhere(routing.gate_for(gate, self.lane.gate.party), connection, victim)
            }
            _ => Verdict::Server(connection, Some(victim)),
        }
    }

    /// Whether a gate, by its place in the list, is before the cluster that this session is sent to.
    fn is_on_this_cluster(&self, gate: usize) -> bool {
        self.shared.routing.are_beside(gate, self.lane.gate.index)
    }

    /// The server has answered the kill of a client's connection: the client goes with it, rather than on with another one.
    fn after_kill(&self, kill: Kill, victim: Option<Arc<Seat>>, outcome: Outcome) {
        let Some(victim) = victim.filter(|_| kill.connection) else { return };
        // Who kills itself is answered with an error.
        if outcome == Outcome::Done || Arc::ptr_eq(&victim, &self.seat) {
            victim.dismiss();
        }
    }

    async fn may_kill(&mut self, victim: &Arc<Seat>) -> Result<bool, Stop> {
        let user = victim.detail().identity.as_ref().map(|identity| identity.user.clone());
        if user.as_ref() == Some(&self.identity.user) {
            return Ok(true);
        }
        (self.own, self.own_diagnostics, self.profile.own_found) = (false, false, false);
        let Some(link) = &mut self.link else { return Err(outcome_unknown()) };
        match link.ask_sql(MAY_KILL).await {
            Ok(answer) => {
                Ok(crate::session::restore::only_cell(&answer.bytes).is_some_and(|count| count != b"0"))
            }
            Err(AskError::Server(_)) => Ok(false),
            Err(AskError::Lost) => Err(outcome_unknown()),
        }
    }

    /// Answers a command with the server's OK to a statement that does nothing, in the command's place.
    pub async fn answer_with_ok(&mut self) -> Result<(), Stop> {
        self.skip_command().await?;
        let nothing: &[u8] = match self.identity.capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
            true => b"\x07\0\0\0\x03\0\x01DO 0",
            false => b"\x05\0\0\0\x03DO 0",
        };
        self.write_backend(nothing).await?;
        self.relay(Question::plain(Expect::Single, Screened::COMMAND)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_kills_are_read() {
        let read = |text: &str| {
            Kill::parse(text.as_bytes())
                .map(|k| (k.connection, k.id, text[k.at..k.at + k.digits] == *k.id.to_string()))
        };
        assert_eq!(read("KILL 5"), Some((true, 5, true)));
        assert_eq!(read("  kill\tquery 2147483650 ; "), Some((false, 2_147_483_650, true)));
        assert_eq!(read("Kill Connection 7;"), Some((true, 7, true)));
        for other in [
            "KILL",
            "KILL @a",
            "KILL +5",
            "KILL 5 6",
            "KILL QUERY x",
            "KILL 99999999999",
            "SELECT 5",
            "KILL 5; KILL 6",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
