//! Getting a session the backend it needs: the one it has, or another that is made to look the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use wire::command::Command;
use wire::response::ErrPacket;

use crate::backend::response::{Expect, Kind};
use crate::backend::{AskError, Link, Warm, trackers};
use crate::gate::hold::Gate;
use crate::memory::Held;
use crate::session::Session;
use crate::session::buffer::CHUNK;
use crate::state::prepared::Place;
use crate::state::profile::Profile;
use crate::state::settings::{Baseline, Settings, baseline_question};
use crate::text::screen::Screened;
use crate::trouble::{
    Stop, cannot_open, lost_inside, new_server_lost, outcome_unknown, pinned, prepare_again,
};

/// How long the writer before may take to say what a session's last statement left behind.
const FAREWELL: Duration = Duration::from_secs(1);

impl Session {
    /// Makes `link` a live connection to the session's cluster with this session's settings. The session is inside the
    /// cluster's gate, so what it wants is not sent elsewhere meanwhile.
    ///
    /// A link that broke while idle is replaced as well: nothing of the command has been sent yet.
    pub async fn ensure_link(&mut self) -> Result<(), Stop> {
        let gate = self.lane.gate.index;
        if self.link.as_mut().is_some_and(|link| link.gate == gate && link.alive()) {
            return Ok(());
        }
        if self.profile.inside() || self.statements.busy() {
            return Err(lost_inside());
        }
        if let Some(reason) = &self.profile.pin {
            return Err(pinned(reason));
        }
        self.take_leave().await;
        self.link = None;
        match self.account {
            Some(_) => self.lease().await,
            None => Box::pin(self.replace_own()).await,
        }
    }

    /// Before a link is dropped that is broken, or of the writer before this one: what only that connection knows of the
    /// session is asked for, if it is there to be asked, else it is lost with it. Nothing but questions goes to a server
    /// that is the writer no longer.
    pub async fn take_leave(&mut self) {
        let Some(link) = &mut self.link else { return };
        if self.profile.burdened() && link.alive() {
            let _ = tokio::time::timeout(FAREWELL, Box::pin(self.ask_what_it_knows())).await;
        }
        self.statements.forget_backend();
        self.profile.last_insert_id_unsure = false;
        if std::mem::take(&mut self.profile.warnings) {
            self.told = Some(None);
        }
    }

    /// Another connection for a session that shares with nobody.
    async fn replace_own(&mut self) -> Result<(), Stop> {
        let gate = Arc::clone(&self.lane.gate);
        let mut link = self.another(&gate).await?;
        let (settings, id) = (Arc::clone(&self.profile.settings), self.profile.last_insert_id);
        link.fit(&settings, id).await.map_err(|error| {
            let text = format!(
                "Highwater: the session could not be moved to '{}': {}",
                gate.backend.id, error.message
            );
            Stop::end(ErrPacket { message: text, ..error })
        })?;
        self.attach(link, false);
        Ok(())
    }

    /// A connection opened ahead, or a new one.
    async fn another(&mut self, gate: &Gate) -> Result<Box<Link>, Stop> {
        let warm = self.seat.detail().warm.take();
        let suits = |w: &Warm| w.backend == *gate.backend && Arc::ptr_eq(&w.identity, &self.identity);
        if let Some(warm) = warm.filter(|w| suits(w))
            && let Some(link) = warm.into_link(gate.index)
            && link.tracked
            && link.settings.leads_to(&self.profile.settings)
        {
            return Ok(link);
        }
        let schema = self.profile.settings.schema.as_deref();
        let opened = Link::open(gate, &self.identity, schema).await;
        let link = opened.map_err(|error| Stop::end(cannot_open(&error, &gate.backend.id)))?;
        match link.tracked {
            true => Ok(link),
            false => Err(pinned("the new server does not report session state")),
        }
    }

    /// Asks the server what the session's state is, where its last answer did not say.
    pub async fn confirm(&mut self) -> Result<(), Stop> {
        // A ping changes what ROW_COUNT() and FOUND_ROWS() say.
        (self.own, self.profile.own_found) = (false, false);
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
        if self.account.is_some() {
            // The question comes between this statement and one that asks about it.
            (self.own, self.own_diagnostics, self.profile.own_found) = (false, false, false);
            if self.profile.warnings && self.ask_warnings().await.is_err() {
                return Err(outcome_unknown());
            }
        }
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
            Some(collation) => self.profile.collation(collation),
            None => self.profile.pin("its collation could not be asked for"),
        }
        Ok(())
    }

    /// `COM_RESET_CONNECTION` has succeeded: the session is new, its reports must be asked for again, and what its
    /// character set is now.
    pub async fn after_reset(&mut self) -> Result<(), Stop> {
        self.statements.clear();
        self.note_what_is_kept();
        // A reset does not undo everything that pins a session, so such a backend is not given to others.
        let marked = self.profile.pin.is_some() || self.profile.keeps.is_some();
        self.profile.reset();
        (self.own, self.own_diagnostics, self.told) = (false, false, None);
        let Some(link) = &mut self.link else { return Ok(()) };
        link.prepared.clear();
        let asked = match link.ask_sql(trackers().as_bytes()).await {
            Ok(_) => link.ask_sql(baseline_question().as_bytes()).await,
            Err(error) => Err(error),
        };
        match asked.map(|answer| cells(&answer.bytes).and_then(Baseline::of)) {
            Ok(Some(baseline)) if link.tracked => self.profile.baseline(&baseline),
            Ok(_) | Err(AskError::Server(_)) => {
                link.tracked = false;
                self.profile.pin("the server does not report session state");
            }
            Err(AskError::Lost) => return Err(outcome_unknown()),
        }
        if marked && self.account.is_some() && self.profile.pin.is_none() {
            self.profile.intern(&self.shared.settings);
            self.drop_link();
        }
        Ok(())
    }

    /// Makes sure a statement is prepared on the current backend; returns where.
    pub async fn prepare_on_backend(&mut self, id: u32) -> Result<Option<Place>, Stop> {
        let (Some(statement), Some(link)) = (self.statements.get(id), &mut self.link) else {
            return Ok(None);
        };
        if let Some(place) = &statement.place
            && place.serial == link.serial
            && link.prepared.holds(place)
        {
            return Ok(Some(*place));
        }
        statement.types_told = false;
        let shape = (statement.params, statement.columns);
        if self.profile.pin.is_none()
            && let Some((place, params, columns)) =
                link.prepared.find(link.serial, &statement.text, &statement.settings)
        {
            if (params, columns) != shape {
                return Err(prepare_again());
            }
            statement.place = Some(place);
            return Ok(Some(place));
        }
        Box::pin(self.prepare_anew(id)).await.map(Some)
    }

    async fn prepare_anew(&mut self, id: u32) -> Result<Place, Stop> {
        let own_only = self.statements.busy() || self.profile.pin.is_some();
        let (Some(statement), Some(link)) = (self.statements.get(id), &mut self.link) else {
            return Err(outcome_unknown());
        };
        let own_only = own_only || statement.text.len() > CHUNK;
        // The command, and the same as a packet.
        let _held = Held::of(2 * statement.text.len());
        // It means what it meant when the client prepared it.
        let (now, insert_id) = (Arc::clone(&self.profile.settings), self.profile.last_insert_id);
        let there = now.parsing_as(&statement.settings);
        let elsewhere = there != *now;
        if elsewhere {
            if !now.leads_to(&there)
                || !there.leads_to(&now)
                || now.must_reset(&there)
                || there.must_reset(&now)
            {
                return Err(prepare_again());
            }
            link.settings = Arc::clone(&now);
            link.last_insert_id = insert_id;
            if let Err(error) = link.fit(&Arc::new(there), insert_id).await {
                self.link = None;
                return Err(Stop::end(error));
            }
        }
        let payload = [&[Command::STMT_PREPARE.0], &*statement.text].concat();
        let answer = link.ask(&payload, Expect::Prepared).await;
        if elsewhere && matches!(answer, Err(AskError::Server(_))) {
            // The way back clears what the refusal has left. What is asked for now would be told in the other settings.
            self.told = Some(None);
        }
        if elsewhere && let Err(error) = link.fit(&now, insert_id).await {
            self.link = None;
            return Err(Stop::end(error));
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(AskError::Server(error)) => return Err(Stop::Refuse(error)),
            Err(AskError::Lost) => {
                self.link = None;
                return Err(outcome_unknown());
            }
        };
        let Some(&(Kind::Prepared { columns, params, .. }, from, _)) = answer.packets.first() else {
            return Err(outcome_unknown());
        };
        let on_backend = answer.bytes.get(from + 5..from + 9).and_then(|b| b.try_into().ok());
        let on_backend = on_backend.map(u32::from_le_bytes).ok_or_else(outcome_unknown)?;
        if (columns, params) != (statement.columns, statement.params) {
            // What the client was told of it no longer holds; it must prepare anew, and this one is of no use.
            link.prepared.close(on_backend);
            link.close_statements().await.map_err(|_| outcome_unknown())?;
            return Err(prepare_again());
        }
        let place = match &link.slot {
            Some(slot) if !own_only => {
                let of = (&statement.text, &statement.settings);
                let max = slot.pool().prepared_max();
                link.prepared.add(link.serial, of, (on_backend, params, columns), max)
            }
            _ => Place::private(link.serial, on_backend),
        };
        statement.place = Some(place);
        link.close_statements().await.map_err(|_| outcome_unknown())?;
        if place.is_private() {
            self.statements.set_private(id, place);
        }
        Ok(place)
    }

    /// Takes a statement away from the other sessions of this backend: it is about to have a cursor or long data.
    pub fn isolate(&mut self, id: u32, place: Place) -> Place {
        let Some(link) = self.link.as_mut().filter(|_| !place.is_private()) else { return place };
        let place = link.prepared.isolate(&place);
        self.statements.set_private(id, place);
        place
    }
}

impl Link {
    /// Whether nothing needs to be done for a session.
    pub fn settings_are(&self, profile: &Profile) -> bool {
        Arc::ptr_eq(&self.settings, &profile.settings) && self.last_insert_id == profile.last_insert_id
    }

    /// Gives a connection at a transaction edge these settings, and sees them reported back. After an error it is of no use.
    ///
    /// # Errors
    /// What the server said, or that it was lost.
    pub async fn fit(&mut self, settings: &Arc<Settings>, last_insert_id: u64) -> Result<(), ErrPacket> {
        let failed = |error| match error {
            AskError::Server(error) => error,
            AskError::Lost => new_server_lost(),
        };
        if !self.settings.leads_to(settings) {
            return Err(ErrPacket::new(
                1105,
                b"HY000",
                "the connection cannot be given the session's settings",
            ));
        }
        let mut steps = self.settings.steps_to(settings);
        let mut sql = b"SET ".to_vec();
        if steps.reset {
            self.ask(&[Command::RESET_CONNECTION.0], Expect::Single).await.map_err(failed)?;
            self.prepared.clear();
            self.last_insert_id = 0;
            sql = trackers().into_bytes();
            if !steps.assignments.is_empty() || last_insert_id != 0 {
                sql.extend_from_slice(b", ");
            }
        }
        if let Some(schema) = &steps.schema {
            let init_db = [&[Command::INIT_DB.0], &**schema].concat();
            self.ask(&init_db, Expect::Single).await.map_err(failed)?;
        }
        if let Some(option) = steps.option {
            let set_option = [Command::SET_OPTION.0, option[0], option[1]];
            self.ask(&set_option, Expect::Single).await.map_err(failed)?;
        }
        if last_insert_id != self.last_insert_id {
            steps.assign(b"last_insert_id", last_insert_id.to_string().as_bytes());
        }
        if steps.reset || !steps.assignments.is_empty() {
            sql.extend_from_slice(&steps.assignments);
            let answer = self.ask_sql(&sql).await.map_err(failed)?;
            let ok = answer.ok(self.capabilities).map_err(|_| new_server_lost())?;
            self.status = ok.status;
            if !matches!(settings.agrees(&ok), Ok(true)) {
                return Err(ErrPacket::new(1105, b"HY000", "a session variable did not take its old value"));
            }
            if ok.warnings > 0 {
                // They are nobody's.
                self.ask_sql(b"DO 0").await.map_err(failed)?;
            }
        }
        self.settings = Arc::clone(settings);
        self.last_insert_id = last_insert_id;
        Ok(())
    }

    /// Closes the statements that are of no more use; there is no answer to that.
    ///
    /// # Errors
    /// If the server is gone.
    pub async fn close_statements(&mut self) -> std::io::Result<()> {
        let closing = self.prepared.closing();
        if closing.is_empty() {
            return Ok(());
        }
        let mut out = Vec::with_capacity(closing.len() * 9);
        for id in closing {
            out.extend_from_slice(&[5, 0, 0, 0, Command::STMT_CLOSE.0]);
            out.extend_from_slice(&id.to_le_bytes());
        }
        let before = std::mem::replace(&mut self.awaiting, true);
        self.stream.write_all(&out).await?;
        self.awaiting = before;
        Ok(())
    }
}

/// The one cell of a one-row, one-column text result.
pub(crate) fn only_cell(bytes: &[u8]) -> Option<Vec<u8>> {
    cells(bytes)?.into_iter().next()?
}

/// The cells of a one-row text result: what follows the column definitions, and the EOF there may be behind them.
pub(crate) fn cells(bytes: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let mut rest = bytes;
    let mut payloads = Vec::new();
    while let [a, b, c, _, tail @ ..] = rest {
        let len = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        payloads.push(tail.get(..len)?);
        rest = &tail[len..];
    }
    let columns = usize::from(*payloads.first()?.first()?);
    let row = payloads.iter().skip(1 + columns).find(|p| !wire::response::is_eof(p))?;
    let mut row = wire::Reader::new(row);
    (0..columns).map(|_| Some(row.text_cell().ok()?.map(<[u8]>::to_vec))).collect()
}
