//! Getting a session the backend it needs: the one it has, or another that is made to look the same.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::AsyncWriteExt;
use wire::command::Command;
use wire::response::ErrPacket;

use crate::backend::{AskError, Link, trackers};
use crate::hold::Route;
use crate::profile::Profile;
use crate::response::{Expect, Kind};
use crate::screen::Screened;
use crate::session::Session;
use crate::trouble::{Stop, cannot_open, lost_inside, outcome_unknown, pinned, prepare_again};

impl Session {
    /// Makes `link` a live connection to the writer with this session's settings. The session is inside the gate, so
    /// the writer cannot change meanwhile.
    ///
    /// A link that broke while idle is replaced as well: nothing of the command has been sent yet.
    pub async fn ensure_link(&mut self) -> Result<(), Stop> {
        let epoch = self.lane.gate.epoch();
        if self.link.as_mut().is_some_and(|link| link.epoch == epoch && link.alive()) {
            return Ok(());
        }
        if self.profile.inside() || self.statements.busy() {
            return Err(lost_inside());
        }
        if let Some(reason) = &self.profile.pin {
            return Err(pinned(reason));
        }
        self.link = None;
        self.statements.forget_backend();
        let route = self.lane.gate.route();
        let mut link = self.another(&route).await?;
        self.restore(&mut link).await.map_err(|error| {
            let text = format!(
                "Highwater: the session could not be moved to '{}': {}",
                route.writer.id, error.message
            );
            Stop::end(ErrPacket { message: text, ..error })
        })?;
        self.seat.backend_id.store(link.id, Relaxed);
        self.link = Some(link);
        Ok(())
    }

    /// A connection opened ahead, or a new one; in the right schema.
    async fn another(&mut self, route: &Route) -> Result<Link, Stop> {
        let warm = self.seat.detail().warm.take();
        if let Some(warm) =
            warm.filter(|w| w.backend == *route.writer && Arc::ptr_eq(&w.identity, &self.identity))
        {
            let same_schema = warm.schema == self.profile.schema;
            if let Some(mut link) = warm.into_link(route.epoch) {
                let moved = match (&self.profile.schema, same_schema) {
                    (_, true) => true,
                    (Some(schema), false) => {
                        let init_db = [&[Command::INIT_DB.0], schema.as_slice()].concat();
                        link.ask(&init_db, Expect::Single).await.is_ok()
                    }
                    // There is no command to leave a schema: log in without one.
                    (None, false) => false,
                };
                if moved && link.tracked {
                    return Ok(link);
                }
            }
        }
        let schema = self.profile.schema.as_deref();
        let opened = Link::open(&route.writer, &self.identity, schema, route.epoch).await;
        let link = opened.map_err(|error| Stop::end(cannot_open(&error, &route.writer.id)))?;
        match link.tracked {
            true => Ok(link),
            false => Err(pinned("the new server does not report session state")),
        }
    }

    /// Gives a fresh backend connection this session's settings, and sees them reported back.
    async fn restore(&self, link: &mut Link) -> Result<(), ErrPacket> {
        let lost = || ErrPacket::new(2013, b"HY000", "the new server was lost");
        let failed = |error| match error {
            AskError::Server(error) => error,
            AskError::Lost => lost(),
        };
        if self.profile.was_reset {
            link.ask(&[Command::RESET_CONNECTION.0], Expect::Single).await.map_err(failed)?;
            link.ask_sql(trackers().as_bytes()).await.map_err(failed)?;
        }
        if let Some(option) = self.profile.option {
            let set_option = [Command::SET_OPTION.0, option[0], option[1]];
            link.ask(&set_option, Expect::Single).await.map_err(failed)?;
        }
        let Some(sql) = self.profile.restoring() else { return Ok(()) };
        let answer = link.ask_sql(&sql).await.map_err(failed)?;
        let ok = answer.ok(link.capabilities).map_err(|_| lost())?;
        match self.profile.agrees(&ok) {
            Ok(true) => Ok(()),
            _ => Err(ErrPacket::new(1105, b"HY000", "a session variable did not take its old value")),
        }
    }

    /// Asks the server what the session's state is, where its last answer did not say.
    pub async fn confirm(&mut self) -> Result<(), Stop> {
        let Some(link) = &mut self.link else { return Err(lost_inside()) };
        match link.ask(&[Command::PING.0], Expect::Single).await {
            Ok(answer) => {
                let ok = answer.ok(link.capabilities).map_err(|_| lost_inside())?;
                self.take_report(&ok)
            }
            Err(AskError::Server(_)) | Err(AskError::Lost) => {
                self.link = None;
                Err(lost_inside())
            }
        }
    }

    fn take_report(&mut self, ok: &wire::response::OkPacket) -> Result<(), Stop> {
        let doubtful = Screened { explains: false, ..Screened::COMMAND };
        self.profile.ok(ok, doubtful).map_err(|_| lost_inside())
    }

    /// Asks for the connection's collation, which `SET NAMES x COLLATE y` changes without its being reported.
    pub async fn ask_collation(&mut self) -> Result<(), Stop> {
        self.profile.collation_unknown = false;
        let Some(link) = &mut self.link else { return Ok(()) };
        let answer = match link.ask_sql(b"SELECT @@collation_connection").await {
            Ok(answer) => answer,
            Err(AskError::Server(_)) => {
                self.profile.pin("its collation could not be asked for");
                return Ok(());
            }
            // The client has its answer; its next command will find the link gone.
            Err(AskError::Lost) => return Err(outcome_unknown()),
        };
        match only_cell(&answer.bytes) {
            Some(collation) => self.profile.collation(&collation),
            None => self.profile.pin("its collation could not be asked for"),
        }
        Ok(())
    }

    /// `COM_RESET_CONNECTION` has succeeded: the session is new, and its reports must be asked for again.
    pub async fn after_reset(&mut self) -> Result<(), Stop> {
        self.statements.clear();
        self.profile.reset();
        let Some(link) = &mut self.link else { return Ok(()) };
        match link.ask_sql(trackers().as_bytes()).await {
            Ok(_) if link.tracked => {}
            Ok(_) | Err(AskError::Server(_)) => {
                link.tracked = false;
                self.profile.pin("the server does not report session state");
            }
            Err(AskError::Lost) => return Err(outcome_unknown()),
        }
        Ok(())
    }

    /// Makes sure a statement is prepared on the current backend; returns its id there.
    pub async fn prepare_on_backend(&mut self, id: u32) -> Result<Option<u32>, Stop> {
        let (Some(statement), Some(link)) = (self.statements.get(id), &mut self.link) else {
            return Ok(None);
        };
        if statement.on_backend.is_some() {
            return Ok(statement.on_backend);
        }
        let payload = [&[Command::STMT_PREPARE.0], &*statement.text].concat();
        let answer = match link.ask(&payload, Expect::Prepared).await {
            Ok(answer) => answer,
            Err(AskError::Server(error)) => return Err(Stop::Refuse(error)),
            Err(AskError::Lost) => {
                self.link = None;
                return Err(outcome_unknown());
            }
        };
        let Some(&(Kind::Prepared { columns, params }, from, _)) = answer.packets.first() else {
            return Err(outcome_unknown());
        };
        let on_backend =
            answer.bytes.get(from + 5..from + 9).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        if (columns, params) != (statement.columns, statement.params) {
            // What the client was told of it no longer holds; it must prepare anew, and this one is of no use.
            let close =
                [&[5, 0, 0, 0, Command::STMT_CLOSE.0], &on_backend.unwrap_or(0).to_le_bytes()[..]].concat();
            link.stream.write_all(&close).await.map_err(|_| outcome_unknown())?;
            return Err(prepare_again());
        }
        statement.on_backend = on_backend;
        Ok(on_backend)
    }

    /// The profile, for those who only change that.
    pub fn profile(&mut self) -> &mut Profile {
        &mut self.profile
    }
}

/// The one cell of a one-row, one-column text result: the third packet, or the fourth after an EOF.
fn only_cell(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes;
    let mut payloads = Vec::new();
    while let [a, b, c, _, tail @ ..] = rest {
        let len = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        payloads.push(tail.get(..len)?);
        rest = &tail[len..];
    }
    let row = payloads.iter().skip(2).find(|p| !wire::response::is_eof(p))?;
    wire::Reader::new(row).text_cell().ok()?.map(<[u8]>::to_vec)
}
