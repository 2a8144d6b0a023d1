//! The commands a client can send, one by one.
//!
//! A command that fits a read buffer is seen whole before it enters the gate; a larger one streams through.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use wire::command::Command;
use wire::packet::{HEADER_LEN, Header, PAYLOAD_MAX};
use wire::response::{OK, OkPacket};
use wire::{Capabilities, WireError};

use crate::backend::response::Expect;
use crate::figures::registry::SessionPhase;
use crate::memory::{self, For, Held};
use crate::session::Session;
use crate::session::buffer::CHUNK;
use crate::session::relay::{Outcome, Question};
use crate::state::prepared::Place;
use crate::state::statements::{Statement, Types};
use crate::text::names::Named;
use crate::text::screen::{Asks, Screen, Screened};
use crate::trouble::{
    Stop, malformed, no_cursor, no_longer_known, no_longer_known_error, no_room_for_statement,
    outcome_unknown, prepare_again, too_large, types_missing, unknown_command, unknown_statement,
    unsupported,
};

/// Up to so many bytes a statement's text is a common one.
const SHORT_TEXT: usize = 4 * 1024;

/// In the flags of `COM_STMT_EXECUTE`: a cursor is to be opened.
const CURSOR_TYPES: u8 = 7;

impl Session {
    /// Carries out the command whose first bytes have arrived.
    pub async fn command(&mut self) -> Result<(), Stop> {
        let data = self.inbound.data();
        let header = Header::parse([data[0], data[1], data[2], data[3]]);
        if header.seq != 0 || header.len == 0 {
            return Err(malformed(WireError::Malformed("command")));
        }
        let command = Command(data[HEADER_LEN]);
        self.left = HEADER_LEN + header.len;
        self.continues = header.len == PAYLOAD_MAX;
        self.seq = 1;
        self.lane.gate.shards()[self.lane.shard].commands.fetch_add(1, Relaxed);
        match command {
            Command::QUERY => self.query().await,
            Command::STMT_EXECUTE => self.execute().await,
            Command::STMT_PREPARE => self.prepare().await,
            Command::STMT_CLOSE => self.close_statement().await,
            Command::STMT_RESET => self.reset_statement().await,
            Command::STMT_FETCH => self.fetch().await,
            Command::STMT_SEND_LONG_DATA => self.long_data().await,
            Command::PING => self.ping().await,
            Command::INIT_DB => self.init_db().await,
            Command::FIELD_LIST => self.forward(Expect::Fields).await.map(drop),
            Command::STATISTICS => self.forward(Expect::Text).await.map(drop),
            Command::SET_OPTION => self.set_option().await,
            Command::RESET_CONNECTION => self.reset_connection().await,
            Command::PROCESS_KILL => self.process_kill().await,
            // On the heap, as the login is.
            Command::CHANGE_USER => Box::pin(self.change_user()).await,
            Command::QUIT => Err(self.part().await),
            Command::BINLOG_DUMP | Command::BINLOG_DUMP_GTID => Err(unsupported("a binary log dump")),
            Command::REGISTER_REPLICA => Err(unsupported("replication")),
            Command::CLONE => Err(unsupported("the clone command")),
            // Whether the account may is the server's to say.
            Command::DEBUG => self.forward(Expect::Single).await.map(drop),
            // Gone from MySQL 8.4 on; there are statements for them.
            Command::REFRESH => Err(unsupported("COM_REFRESH (use FLUSH)")),
            Command::SHUTDOWN => Err(unsupported("COM_SHUTDOWN (use SHUTDOWN)")),
            Command::PROCESS_INFO => Err(unsupported("COM_PROCESS_INFO (use SHOW PROCESSLIST)")),
            Command(_) => Err(unknown_command()),
        }
    }

    /// Enters the gate and makes sure of a backend.
    pub async fn begin(&mut self) -> Result<(), Stop> {
        self.enter().await?;
        if self.seat.phase() == SessionPhase::Idle {
            self.shared.registry.set_phase(&self.seat, SessionPhase::Command);
        }
        self.ensure_link().await
    }

    /// Reads the command's first packet whole.
    pub async fn whole(&mut self, max: usize) -> Result<usize, Stop> {
        if self.continues || self.left > max {
            return Err(too_large());
        }
        self.take_in(self.left).await?;
        Ok(self.left)
    }

    /// Reads what fits a buffer of the command's first packet; whether that is all of the command.
    async fn beginning(&mut self) -> Result<bool, Stop> {
        let n = self.left.min(CHUNK);
        self.take_in(n).await?;
        Ok(n == self.left && !self.continues)
    }

    /// A command that needs no more than to be passed on.
    pub async fn forward(&mut self, expect: Expect) -> Result<Outcome, Stop> {
        self.whole(CHUNK).await?;
        self.begin().await?;
        self.send(None).await?;
        self.relay(Question::plain(expect, Screened::COMMAND)).await
    }

    /// While the gate is held the door itself answers: a client that only asks whether its connection is good must not
    /// take it for broken because a writer changes.
    async fn ping(&mut self) -> Result<(), Stop> {
        self.point_over().await?;
        if self.pass.is_some() || !self.lane.gate.held() {
            return self.forward(Expect::Single).await.map(drop);
        }
        self.whole(CHUNK).await?;
        self.skip_command().await?;
        let ok = OkPacket { status: self.profile.idle_status(), ..OkPacket::default() };
        self.say(&ok.encode(OK, self.identity.capabilities)).await
    }

    async fn reset_connection(&mut self) -> Result<(), Stop> {
        self.point_over().await?;
        match self.forward(Expect::Single).await? {
            Outcome::Done => self.after_reset().await,
            Outcome::Failed => Ok(()),
        }
    }

    async fn init_db(&mut self) -> Result<(), Stop> {
        if self.shared.routing.by_schema {
            let n = self.whole(CHUNK).await?;
            let schema = self.inbound.data()[HEADER_LEN + 1..n].to_vec();
            self.steer(&Named { uses: Some(schema), ..Named::default() }).await?;
        }
        self.forward(Expect::Single).await.map(drop)
    }

    /// Before a statement whose text begins at `at` of the payload, where schemas have routes of their own: to the cluster
    /// that has what it names.
    async fn steer_text(&mut self, at: Option<usize>) -> Result<(), Stop> {
        let payload = &self.inbound.data()[HEADER_LEN..self.left];
        // Where the text cannot be found, neither can a name in it be told from what is before it.
        let named = self.named(payload.get(at.unwrap_or(1)..).unwrap_or_default());
        self.steer(&named).await
    }

    async fn query(&mut self) -> Result<(), Stop> {
        let whole = match self.shared.routing.by_schema {
            // What it names must be known before its first byte goes out.
            true => self.whole(HEADER_LEN + PAYLOAD_MAX - 1).await.map(|_| true)?,
            false => self.beginning().await?,
        };
        let payload = &self.inbound.data()[HEADER_LEN..self.left.min(self.inbound.len())];
        let text_at = match self.identity.capabilities.has(Capabilities::QUERY_ATTRIBUTES) {
            true => text_after_attributes(payload),
            false => Some(1),
        };
        self.observe_query(text_at, whole);
        if self.shared.routing.by_schema {
            self.steer_text(text_at).await?;
        }
        let payload = &self.inbound.data()[HEADER_LEN..self.left.min(self.inbound.len())];
        if let (true, Some(at)) = (whole, text_at) {
            let text = &payload[at..];
            let screened = Screen::of(text, self.reading_of(text));
            if screened.kills && Box::pin(self.killed(screened, at)).await? {
                return Ok(());
            }
            if screened.asks != Asks::Nothing && self.answers_itself(screened, at).await? {
                return Ok(());
            }
            return self.ask(screened).await;
        }
        let mut screen = Screen::new(self.likely_reading());
        self.begin().await?;
        let own = self.own && self.own_diagnostics && self.profile.own_found || self.account.is_none();
        self.send(Some((&mut screen, text_at.unwrap_or(1)))).await?;
        // Without knowing where the text began, nothing it says explains a state change.
        let screened = screen.end();
        let screened = Screened { explains: screened.explains && text_at.is_some(), ..screened };
        self.note(screened);
        if screened.asks != Asks::Nothing && !own {
            // Too long to have been read before it was sent; its answer would be about another client's statement.
            return Err(Stop::end(no_longer_known_error("what happened")));
        }
        self.relay(Question::plain(Expect::Results, screened)).await.map(drop)
    }

    /// A statement about the one before, whose text begins at `at` of the payload.
    async fn answers_itself(&mut self, screened: Screened, at: usize) -> Result<bool, Stop> {
        let text = self.inbound.data()[HEADER_LEN + at..self.left].to_vec();
        let _held = Held::of(text.len());
        Box::pin(self.answer_for_the_one_before(screened, &text)).await
    }

    async fn ask(&mut self, screened: Screened) -> Result<(), Stop> {
        self.begin().await?;
        self.send(None).await?;
        self.note(screened);
        self.relay(Question::plain(Expect::Results, screened)).await.map(drop)
    }

    pub fn note(&mut self, screened: Screened) {
        self.profile.asked(screened);
        if screened.asks_id
            && let Some(link) = &self.link
        {
            self.seat.told_id.store(link.id, Relaxed);
        }
        (self.own, self.own_diagnostics) = (true, true);
        if screened.asks != Asks::Diagnostics {
            self.told = None;
        }
    }

    async fn prepare(&mut self) -> Result<(), Stop> {
        let n = self.whole(PAYLOAD_MAX - 1 + HEADER_LEN).await?;
        let text = &self.inbound.data()[HEADER_LEN + 1..n];
        // Common statements have room that large buffers cannot take.
        let what = if text.len() <= SHORT_TEXT { For::Client } else { For::Large };
        if !memory::may_take(text.len() + Statement::SIZE, what) {
            return Err(no_room_for_statement());
        }
        let screened = Screen::of(text, self.reading_of(text));
        let preparing = Some(self.shared.texts.keep(text, &self.shared.memory));
        if self.shared.routing.by_schema {
            let mut named = self.named(text);
            // Nothing is used yet.
            named.schemas.extend(named.uses.take());
            self.steer(&named).await?;
        }
        self.begin().await?;
        self.send(None).await?;
        if self.profile.keeps.is_none() {
            self.profile.keeps = screened.keeps;
        }
        (self.own_diagnostics, self.told) = (true, None);
        let question = Question { preparing, ..Question::plain(Expect::Prepared, screened) };
        self.relay(question).await?;
        self.note_what_is_kept();
        match &mut self.link {
            Some(link) => link.close_statements().await.map_err(|_| outcome_unknown()),
            None => Ok(()),
        }
    }

    async fn execute(&mut self) -> Result<(), Stop> {
        let whole = self.beginning().await?;
        let id = self.statement_id()?;
        let Some(screened) = self.statements.get(id).map(|s| s.screened) else {
            return Err(unknown_statement(id, "mysql_stmt_precheck"));
        };
        self.observe_execution(id);
        if self.shared.routing.by_schema {
            self.steer_statement(id).await?;
        }
        match screened.asks {
            Asks::Nothing => self.begin().await?,
            _ => self.begin_asking(id, screened).await?,
        }
        let prepared = self.prepare_on_backend(id).await;
        if prepared.is_err()
            && let Some(statement) = self.statements.get(id)
        {
            // The types it came with hold all the same.
            let payload = &self.inbound.data()[HEADER_LEN..self.left.min(self.inbound.len())];
            let _ = statement.types(payload, self.identity.capabilities, true);
        }
        let Some(mut place) = prepared? else {
            return Err(unknown_statement(id, "mysql_stmt_precheck"));
        };
        let payload = &self.inbound.data()[HEADER_LEN..self.left.min(self.inbound.len())];
        if payload.get(5).is_some_and(|flags| flags & CURSOR_TYPES != 0) {
            place = self.isolate(id, place);
        }
        let teller = (self.seat.id, id);
        let (Some(link), Some(statement)) = (&mut self.link, self.statements.get(id)) else {
            return Err(unknown_statement(id, "mysql_stmt_precheck"));
        };
        let long_data = statement.long_data;
        let told = match place.is_private() {
            true => statement.types_told,
            false => link.prepared.told_by(&place, teller),
        };
        let payload = &self.inbound.data()[HEADER_LEN..self.left.min(self.inbound.len())];
        // Types that cannot be read are the server's to complain about.
        let types = statement.types(payload, self.identity.capabilities, told).unwrap_or(Types::AsSent);
        let inject = match types {
            Types::AsSent => None,
            Types::Inject { at, types } if whole && payload.len() + types.len() < PAYLOAD_MAX => {
                let mut packet = Vec::with_capacity(HEADER_LEN + payload.len() + types.len());
                packet.extend_from_slice(&Header { len: payload.len() + types.len(), seq: 0 }.encode());
                packet.extend_from_slice(&payload[..at]);
                packet.push(1);
                packet.extend_from_slice(&types);
                packet.extend_from_slice(&payload[at + 1..]);
                packet[HEADER_LEN + 1..HEADER_LEN + 5].copy_from_slice(&place.id.to_le_bytes());
                Some(packet)
            }
            // A parameter sent ahead is text.
            Types::Missing if long_data => None,
            Types::Missing => return Err(types_missing()),
            Types::Inject { .. } => return Err(prepare_again()),
        };
        statement.types_told = true;
        link.prepared.tell(&place, teller);
        match inject {
            None => {
                self.set_statement_id(place.id);
                self.send(None).await?;
            }
            Some(packet) => {
                self.inbound.consume(std::mem::take(&mut self.left));
                self.write_backend(&packet).await?;
            }
        }
        self.note(screened);
        self.statements.set_busy(id, false, false);
        let question = Question { statement: Some(id), ..Question::plain(Expect::Results, screened) };
        self.relay(question).await.map(drop)
    }

    /// As [`Session::begin`], for a prepared statement that asks about the statement before.
    async fn begin_asking(&mut self, id: u32, screened: Screened) -> Result<(), Stop> {
        if self.account.is_none() {
            return self.begin().await;
        }
        Box::pin(self.answer_for_the_one_before(screened, b"")).await?;
        let here = self.place_here(id).is_some();
        if !here && (screened.asks != Asks::Diagnostics || self.profile.warnings) {
            // Preparing it again would come between; now that it is, the next time is answered.
            self.prepare_on_backend(id).await?;
            return Err(no_longer_known("the outcome"));
        }
        Ok(())
    }

    /// Where a statement is prepared on the backend of the moment, if it is.
    fn place_here(&mut self, id: u32) -> Option<Place> {
        let place = self.statements.get(id)?.place?;
        let link = self.link.as_mut().filter(|link| link.serial == place.serial)?;
        link.prepared.holds(&place).then_some(place)
    }

    async fn fetch(&mut self) -> Result<(), Stop> {
        self.whole(CHUNK).await?;
        let id = self.statement_id()?;
        match self.statements.get(id).map(|s| s.cursor) {
            Some(true) => {}
            Some(false) => return Err(no_cursor(id)),
            None => return Err(unknown_statement(id, "mysql_stmt_precheck")),
        }
        self.begin().await?;
        let Some(place) = self.prepare_on_backend(id).await? else {
            return Err(unknown_statement(id, "mysql_stmt_precheck"));
        };
        self.set_statement_id(place.id);
        self.send(None).await?;
        let question =
            Question { statement: Some(id), ..Question::plain(Expect::Fetched, Screened::COMMAND) };
        self.relay(question).await.map(drop)
    }

    async fn reset_statement(&mut self) -> Result<(), Stop> {
        self.whole(CHUNK).await?;
        let id = self.statement_id()?;
        if self.statements.get(id).is_none() {
            return Err(unknown_statement(id, "mysql_stmt_precheck"));
        }
        self.begin().await?;
        match self.place_here(id) {
            Some(place) => {
                self.set_statement_id(place.id);
                self.send(None).await?;
            }
            None => {
                self.reset_nothing().await?;
                self.statements.set_busy(id, false, false);
                return Ok(());
            }
        }
        if self.relay(Question::plain(Expect::Single, Screened::COMMAND)).await? == Outcome::Done {
            self.statements.set_busy(id, false, false);
        }
        Ok(())
    }

    /// Where a statement is not prepared there is nothing to reset. A ping leaves the warnings of the statement before in
    /// place, as a reset does; but it also counts them, as a reset does not.
    async fn reset_nothing(&mut self) -> Result<(), Stop> {
        self.inbound.consume(std::mem::take(&mut self.left));
        let Some(link) = &mut self.link else { return Err(outcome_unknown()) };
        let answer = link.ask(&[Command::PING.0], Expect::Single).await.map_err(|_| outcome_unknown())?;
        let status = answer.ok(link.capabilities).map_err(|_| outcome_unknown())?.status;
        self.profile.plain_ok(status, 0);
        let ok = OkPacket { status, ..OkPacket::default() };
        self.say(&ok.encode(OK, self.identity.capabilities)).await
    }

    /// No answer is expected, so none may be given, not even a refusal.
    async fn close_statement(&mut self) -> Result<(), Stop> {
        self.whole(CHUNK).await?;
        let id = self.statement_id()?;
        // One that others use too stays prepared, until its backend needs the room.
        let place = self.statements.get(id).and_then(|s| s.place).filter(|place| place.is_private());
        let here = |place: &Place| self.link.as_ref().is_some_and(|link| link.serial == place.serial);
        let place = place.filter(here);
        // With the backend gone, or replaced on the way here, there is nothing to close but our own record.
        let reached = match place {
            Some(_) => self.begin().await,
            None => Ok(()),
        };
        self.statements.close(id);
        self.note_what_is_kept();
        let here = |place: &Place| self.link.as_ref().is_some_and(|link| link.serial == place.serial);
        match (reached, place.filter(here)) {
            (Ok(()), Some(place)) => {
                self.set_statement_id(place.id);
                self.send(None).await?;
                self.is_answered();
                Ok(())
            }
            (Err(Stop::End(why)), _) => Err(Stop::End(why)),
            _ => self.skip_command().await,
        }
    }

    /// No answer is expected here either; an error shows when the statement is executed.
    async fn long_data(&mut self) -> Result<(), Stop> {
        self.beginning().await?;
        let id = self.statement_id()?;
        let to_end = |stop| match stop {
            Stop::Refuse(error) => Stop::end(error),
            end => end,
        };
        if self.shared.routing.by_schema {
            self.steer_statement(id).await.map_err(to_end)?;
        }
        self.begin().await.map_err(to_end)?;
        let Some(place) = self.prepare_on_backend(id).await.map_err(to_end)? else {
            return self.skip_command().await;
        };
        let place = self.isolate(id, place);
        self.set_statement_id(place.id);
        let cursor = self.statements.get(id).is_some_and(|s| s.cursor);
        self.statements.set_busy(id, true, cursor);
        self.send(None).await?;
        self.is_answered();
        Ok(())
    }

    /// A command that gets no answer has been sent.
    fn is_answered(&mut self) {
        if let Some(link) = &mut self.link {
            link.awaiting = false;
        }
    }

    async fn set_option(&mut self) -> Result<(), Stop> {
        let n = self.whole(CHUNK).await?;
        let option = self.inbound.data()[HEADER_LEN + 1..n].try_into().ok();
        if self.forward(Expect::Single).await? == Outcome::Done {
            self.profile.option(option);
        }
        Ok(())
    }

    async fn change_user(&mut self) -> Result<(), Stop> {
        let n = self.whole(CHUNK).await?;
        let payload = self.inbound.data()[HEADER_LEN..n].to_vec();
        self.inbound.consume(std::mem::take(&mut self.left));
        let (now, shared) = (Arc::clone(&self.identity), Arc::clone(&self.shared));
        let mut dialogue = self.dialogue();
        let proof = dialogue.change_user(&payload, &now, &shared);
        let guest = tokio::time::timeout(shared.rules.get().entrance.login_max, proof)
            .await
            .map_err(|_| Stop::End(None))??;
        self.become_guest(guest).await
    }

    /// The statement a command is about.
    fn statement_id(&self) -> Result<u32, Stop> {
        let id = self.inbound.data()[..self.left.min(self.inbound.len())].get(HEADER_LEN + 1..HEADER_LEN + 5);
        let id = id.and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        id.ok_or_else(|| malformed(WireError::Truncated("statement id")))
    }

    fn set_statement_id(&mut self, id: u32) {
        self.inbound.data_mut()[HEADER_LEN + 1..HEADER_LEN + 5].copy_from_slice(&id.to_le_bytes());
    }
}

/// Where the text of a `COM_QUERY` begins behind its query attributes; `None` if they cannot be read.
pub(crate) fn text_after_attributes(payload: &[u8]) -> Option<usize> {
    let mut r = wire::Reader::new(payload);
    r.u8("command").ok()?;
    let count = usize::try_from(r.lenenc_int("attributes").ok()?).ok()?;
    r.lenenc_int("attribute sets").ok()?;
    if count > 0 {
        let nulls = r.bytes(count.div_ceil(8), "NULL bitmap").ok()?;
        if r.u8("new parameters flag").ok()? != 1 {
            return None;
        }
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(r.u16("type").ok()? as u8);
            r.lenenc_bytes("name").ok()?;
        }
        for (i, column_type) in types.into_iter().enumerate() {
            if nulls[i / 8] & 1 << (i % 8) != 0 {
                continue;
            }
            let len = match column_type {
                6 => 0,
                1 => 1,
                2 | 13 => 2,
                3 | 4 | 9 => 4,
                5 | 8 => 8,
                7 | 10..=12 => usize::from(r.u8("length").ok()?),
                _ => usize::try_from(r.lenenc_int("length").ok()?).ok()?,
            };
            r.bytes(len, "attribute").ok()?;
        }
    }
    Some(payload.len() - r.len())
}

#[cfg(test)]
mod tests {
    use super::text_after_attributes;

    #[test]
    fn query_attributes_are_skipped_whatever_their_types() {
        assert_eq!(text_after_attributes(b"\x03\x00\x01SELECT 1"), Some(3));
        let with = b"\x03\x02\x01\x00\x01\x08\x00\x01n\xfe\x00\x01s\x01\0\0\0\0\0\0\0\x03'@'SELECT 1";
        assert_eq!(&with[text_after_attributes(with).unwrap()..], b"SELECT 1");
        for n in 0..with.len() - 8 {
            assert_eq!(text_after_attributes(&with[..n]), None);
        }
    }
}
