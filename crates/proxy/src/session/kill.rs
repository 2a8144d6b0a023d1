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
//! A kill that meets the end of the victim's transaction finds its connection gone: the server answers 1094, for a client that is there
//! all the same. The door then looks again where the victim is. So the server's answer is read before the client is told anything.
//! Invariant: a connection that a kill was sent for serves nobody after its victim ([`Seat::to_kill`]), so a kill that comes late finds
//! nobody there, and never another client.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use wire::Capabilities;
use wire::packet::HEADER_LEN;
use wire::response::ErrPacket;

use crate::backend::response::Expect;
use crate::backend::{AskError, Link};
use crate::figures::registry::{FIRST_ID, Seat};
use crate::gate::hold::Gate;
use crate::session::Session;
use crate::session::buffer::CHUNK;
use crate::session::relay::Question;
use crate::text::screen::Screened;
use crate::trouble::{Stop, cannot_open, held_elsewhere, new_server_lost, outcome_unknown};

/// Whether the session's account may kill others' clients.
const MAY_KILL: &[u8] = b"SELECT COUNT(*) FROM information_schema.user_privileges \
    WHERE privilege_type IN ('CONNECTION_ADMIN', 'SUPER') \
    AND grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')";

/// A `KILL` statement: whether all of the connection is meant, and the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kill {
    pub connection: bool,
    pub id: u32,
}

impl Kill {
    /// Reads a statement that is nothing but a `KILL` of a number, without comments; others are left to the server.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let words: Vec<&str> = text
            .trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace())
            .split_ascii_whitespace()
            .collect();
        let is = |word: &str, name| word.eq_ignore_ascii_case(name);
        let (connection, number) = match words[..] {
            [kill, number] if is(kill, "KILL") => (true, number),
            [kill, what, number] if is(kill, "KILL") && is(what, "CONNECTION") => (true, number),
            [kill, what, number] if is(kill, "KILL") && is(what, "QUERY") => (false, number),
            _ => return None,
        };
        let id = number.parse().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit()))?;
        Some(Self { connection, id })
    }

    /// The statement that does so to a connection of a server's.
    fn of(self, connection: u32) -> String {
        match self.connection {
            true => format!("KILL {connection}"),
            false => format!("KILL QUERY {connection}"),
        }
    }
}

/// `ER_NO_SUCH_THREAD`: the connection is gone.
const NO_SUCH_THREAD: u16 = 1094;

/// How a `KILL` ended.
#[derive(Debug)]
enum Killed {
    /// It means nobody at the door, and has not been sent.
    Stranger,
    /// It has been done, or there was nothing to do.
    Done,
    /// The server said this.
    Refused(ErrPacket),
}

/// What is to be done about a `KILL`.
#[derive(Debug)]
enum Verdict {
    /// It means nobody at the door; the server may know who it is.
    Stranger,
    /// The server of this cluster is to kill this connection of its own, which this client has.
    Server(Arc<Gate>, u32, Arc<Seat>),
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
        let kill = Kill { connection: true, id };
        match Box::pin(self.kill(kill)).await? {
            Killed::Stranger => self.forward(Expect::Single).await.map(drop),
            Killed::Done => self.answer_with_ok().await,
            Killed::Refused(error) => self.answer_with_error(&error).await,
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
            Killed::Stranger => {
                self.send(None).await?;
                self.note(screened);
                self.relay(Question::plain(Expect::Results, screened)).await?;
            }
            Killed::Done => {
                self.answer_with_ok().await?;
                self.note(screened);
            }
            Killed::Refused(error) => {
                self.note(screened);
                self.answer_with_error(&error).await?;
            }
        }
        Ok(true)
    }

    /// Kills whom an id means. The session has a backend: what kills itself must find itself there.
    ///
    /// # Errors
    /// If the victim may not be killed by this account, or a server is lost.
    async fn kill(&mut self, kill: Kill) -> Result<Killed, Stop> {
        let mut gone = 0;
        loop {
            let (gate, connection, victim) = match self.verdict(kill, gone).await? {
                Verdict::Stranger if gone == 0 => return Ok(Killed::Stranger),
                // It has left the door meanwhile.
                Verdict::Stranger => return Err(no_such_client(kill.id)),
                Verdict::Done => return Ok(Killed::Done),
                Verdict::Server(gate, connection, victim) => (gate, connection, victim),
            };
            let asked = match gate.index == self.lane.gate.index {
                true => self.kill_here(kill, connection).await,
                false => self.kill_elsewhere(kill, &gate, connection).await?,
            };
            // Who kills itself is answered with an error.
            if kill.connection && (asked.is_ok() || Arc::ptr_eq(&victim, &self.seat)) {
                victim.dismiss();
            }
            match asked {
                Ok(()) => return Ok(Killed::Done),
                Err(AskError::Server(error)) if error.code != NO_SUCH_THREAD => {
                    return Ok(Killed::Refused(error));
                }
                // The victim has given the connection up meanwhile, which closed it. A statement that was to be killed is over.
                Err(AskError::Server(_)) if !kill.connection => return Ok(Killed::Done),
                Err(AskError::Server(_)) => gone = connection,
                Err(AskError::Lost) => return Err(outcome_unknown()),
            }
        }
    }

    /// Asks the server of the session's own cluster, over its own connection.
    async fn kill_here(&mut self, kill: Kill, connection: u32) -> Result<(), AskError> {
        // The question comes between the client's statement before and one that asks about it.
        (self.own, self.own_diagnostics, self.profile.own_found) = (false, false, false);
        let Some(link) = &mut self.link else { return Err(AskError::Lost) };
        link.ask_sql(kill.of(connection).as_bytes()).await.map(drop)
    }

    /// Asks another cluster's server, over a connection made for it, as this client.
    async fn kill_elsewhere(
        &mut self,
        kill: Kill,
        gate: &Arc<Gate>,
        connection: u32,
    ) -> Result<Result<(), AskError>, Stop> {
        let lane = self.lanes.to(gate);
        let Some(_inside) = lane.enter() else { return Err(held_elsewhere(&gate.backend.id)) };
        let opened = Link::open(gate, &self.identity, None).await;
        let mut link = opened.map_err(|e| Stop::Refuse(cannot_open(&e, &gate.backend.id)))?;
        match link.ask_sql(kill.of(connection).as_bytes()).await {
            Err(AskError::Lost) => Err(Stop::Refuse(new_server_lost())),
            asked => {
                link.quit();
                Ok(asked.map(drop))
            }
        }
    }

    /// Finds whom an id means, and ends a client that no server knows. `gone`: a connection that was killed for this and was not
    /// there; 0 is none.
    ///
    /// # Errors
    /// If the victim may not be killed by this account.
    async fn verdict(&mut self, kill: Kill, gone: u32) -> Result<Verdict, Stop> {
        let registry = &self.shared.registry;
        let victim = match registry.seat(kill.id).filter(|_| kill.id >= FIRST_ID) {
            Some(seat) => seat,
            None => match registry.known_as(kill.id, |gate| self.is_on_this_cluster(gate)) {
                Some(seat) => seat,
                None => return Ok(Verdict::Stranger),
            },
        };
        match victim.to_kill() {
            0 if !kill.connection => return Ok(Verdict::Done),
            0 => {}
            // A session that has lost its connection may not have noticed.
            connection if connection == gone => {}
            connection => return Ok(self.on_its_server(connection, victim)),
        }
        if !self.may_kill(&victim).await? {
            let text = format!("You are not owner of thread {}", kill.id);
            return Err(Stop::Refuse(ErrPacket::new(1095, b"HY000", text)));
        }
        victim.dismiss();
        // It may have taken a backend just now; then the server must know, as with any other.
        match victim.backend_id.load(SeqCst) {
            0 => Ok(Verdict::Done),
            connection if connection == gone => Ok(Verdict::Done),
            connection => Ok(self.on_its_server(connection, victim)),
        }
    }

    /// The server that has the victim's connection is to kill it.
    fn on_its_server(&self, connection: u32, victim: Arc<Seat>) -> Verdict {
        let (index, routing) = (victim.gate.load(SeqCst), &self.shared.routing);
        let gate = match routing.gates().get(index) {
            // The command is this client's, so it passes the gate that is for it.
            Some(gate) if !self.is_on_this_cluster(index) => routing.gate_for(gate, self.lane.gate.party),
            _ => Arc::clone(&self.lane.gate),
        };
        Verdict::Server(gate, connection, victim)
    }

    /// Whether a gate, by its place in the list, is before the cluster that this session is sent to.
    fn is_on_this_cluster(&self, gate: usize) -> bool {
        self.shared.routing.are_beside(gate, self.lane.gate.index)
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

    /// Answers a command with the server's error to it, which its session has taken already.
    async fn answer_with_error(&mut self, error: &ErrPacket) -> Result<(), Stop> {
        self.skip_command().await?;
        self.profile.failed();
        self.shared.registry.backend_errors.fetch_add(1, Relaxed);
        if let Some(observed) = &mut self.observed {
            observed.failed = true;
        }
        self.say(&error.encode()).await
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

/// As a server says it, of the id that the client knows.
fn no_such_client(id: u32) -> Stop {
    Stop::Refuse(ErrPacket::new(NO_SUCH_THREAD, b"HY000", format!("Unknown thread id: {id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_kills_are_read() {
        let read = |text: &str| Kill::parse(text.as_bytes()).map(|k| (k.connection, k.id));
        assert_eq!(read("KILL 5"), Some((true, 5)));
        assert_eq!(read("  kill\tquery 2147483650 ; "), Some((false, 2_147_483_650)));
        assert_eq!(read("Kill Connection 7;"), Some((true, 7)));
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
