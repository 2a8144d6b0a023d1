//! What a session has become since its login, as the server reported it: what another backend must be given
//! before it may serve this client, and why one perhaps cannot be.
//!
//! Known by report: schema, system variables, transaction state. [`crate::text::screen`] says what is not reported.
//! Two reports are late. A result set of a client without `CLIENT_DEPRECATE_EOF` ends with an EOF, which carries none;
//! an ERR carries none either, and may leave a transaction open (a procedure that fails after its
//! `START TRANSACTION`) or have closed one. After both the state is *unconfirmed*, and the session counts as inside
//! a transaction until a `COM_PING`, sent only when somebody holds the gate, has brought the truth.

use std::borrow::Cow;
use std::sync::Arc;

use wire::WireError;
use wire::capability::Status;
use wire::response::{OkPacket, SessionChange};

use crate::state::settings::{Baseline, Interned, Results, Settings};
use crate::text::screen::{Asks, Screened};

/// What a session has become since its login.
#[derive(Debug)]
pub(crate) struct Profile {
    /// What any backend can be given.
    pub settings: Arc<Settings>,
    /// Whether the settings changed since they were interned.
    settings_changed: bool,
    /// What `LAST_INSERT_ID()` returns, as far as OK packets tell.
    pub last_insert_id: u64,
    /// The last insert's id may be an explicit key that was only echoed, or a statement may have set another one that was
    /// not reported: what `LAST_INSERT_ID()` returns, only the backend can say. If it is gone before it could be asked,
    /// the function may return such a key.
    pub last_insert_id_unsure: bool,
    /// The last statement left warnings or an error, which `SHOW WARNINGS` can still ask for.
    pub warnings: bool,
    /// `FOUND_ROWS()` on this link is about a query of this session.
    pub own_found: bool,
    /// Why the session cannot be moved.
    pub pin: Option<Cow<'static, str>>,
    /// Why its backend cannot be lent to others between its statements, though it could be moved.
    pub keeps: Option<&'static str>,
    /// Inside a transaction, by the status flags.
    in_transaction: bool,
    /// Tables are locked.
    tables_locked: bool,
    /// `SET TRANSACTION` waits for the next transaction.
    one_shot: bool,
    /// A savepoint was set before the transaction that it will belong to has begun: possible with autocommit off, and shown
    /// by no status flag (seen on 9.7.4).
    savepoint: bool,
    /// The last answer did not say what the state is.
    pub unconfirmed: bool,
    /// The connection's collation may have changed without being reported.
    pub collation_unknown: bool,
    /// Whether a backslash escapes inside quotes.
    no_backslash: bool,
    /// Seconds after which the server closes a connection with these settings.
    pub wait_timeout: u32,
    /// The same, if the client itself has said so.
    pub own_wait_timeout: Option<u32>,
}

/// `SERVER_STATUS_NO_BACKSLASH_ESCAPES`.
const NO_BACKSLASH_ESCAPES: Status = Status(1 << 9);

impl Profile {
    /// The profile of a session that has just logged in.
    pub fn new(settings: Arc<Settings>, status: Status) -> Self {
        let mut profile = Self::of(settings);
        profile.status(status);
        profile
    }

    fn of(settings: Arc<Settings>) -> Self {
        Self {
            wait_timeout: settings.wait_timeout(),
            own_wait_timeout: None,
            settings,
            settings_changed: false,
            last_insert_id: 0,
            last_insert_id_unsure: false,
            warnings: false,
            own_found: false,
            pin: None,
            keeps: None,
            in_transaction: false,
            tables_locked: false,
            one_shot: false,
            savepoint: false,
            unconfirmed: false,
            collation_unknown: false,
            no_backslash: false,
        }
    }

    /// The profile of nobody: a client that has not logged in.
    pub fn nobody() -> Self {
        Self::of(Arc::new(Settings::of_login(0)))
    }

    /// Whether the session must stay where it is until its transaction ends. Also true of a `SET TRANSACTION` not
    /// used yet and of locked tables, and while the last answer left it open.
    pub fn inside(&self) -> bool {
        self.in_transaction || self.tables_locked || self.one_shot || self.savepoint || self.unconfirmed
    }

    /// Whether the session is inside a transaction for certain.
    pub fn certainly_inside(&self) -> bool {
        self.inside() && !self.unconfirmed
    }

    /// Whether the backend knows something of this session that the door does not: then it must be asked before the
    /// backend may serve another.
    pub fn burdened(&self) -> bool {
        self.unconfirmed || self.warnings || self.last_insert_id_unsure
    }

    /// After a command: gives the settings their interned form; whether they had changed.
    pub fn intern(&mut self, interned: &Interned<Settings>) -> bool {
        let changed = std::mem::take(&mut self.settings_changed);
        if changed {
            self.settings = interned.intern(Arc::clone(&self.settings));
        }
        changed
    }

    /// The status flags of this session between transactions.
    pub fn idle_status(&self) -> Status {
        let autocommit = self.settings.variables.get(b"autocommit".as_slice()).is_none_or(|v| **v != *b"OFF");
        let autocommit = if autocommit { Status::AUTOCOMMIT.0 } else { 0 };
        Status(autocommit | if self.no_backslash { NO_BACKSLASH_ESCAPES.0 } else { 0 })
    }

    /// Whether a backslash escapes inside quotes.
    pub fn backslash(&self) -> bool {
        !self.no_backslash
    }

    /// Pins the session; the first reason stays.
    pub fn pin(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.pin.get_or_insert_with(|| reason.into());
    }

    /// Takes note of the status flags of an answer.
    pub fn status(&mut self, status: Status) {
        self.in_transaction = status.has(Status::IN_TRANS);
        self.savepoint &= !self.in_transaction && !status.has(Status::AUTOCOMMIT);
        self.no_backslash = status.has(NO_BACKSLASH_ESCAPES);
    }

    /// Takes note of an OK without text and session changes.
    pub fn plain_ok(&mut self, status: Status, last_insert_id: u64) {
        self.status(status);
        self.unconfirmed = false;
        if last_insert_id != 0 {
            self.last_insert_id = last_insert_id;
            self.last_insert_id_unsure = true;
        }
    }

    /// Takes note of a server's error, which says nothing of the session.
    pub fn failed(&mut self) {
        self.unconfirmed = true;
        self.warnings = true;
        self.last_insert_id_unsure = true;
    }

    /// Takes note of a statement that was sent.
    pub fn asked(&mut self, screened: Screened) {
        if let Some(reason) = screened.pins {
            self.pin(reason);
        }
        if self.keeps.is_none() {
            self.keeps = screened.keeps;
        }
        self.last_insert_id_unsure |= screened.sets_insert_id;
        self.savepoint = screened.savepoint.unwrap_or(self.savepoint);
    }

    /// Takes note of how many warnings a statement left.
    pub fn warned(&mut self, warnings: u16, screened: Screened) {
        // Asking for them may leave them in place.
        self.warnings = warnings > 0 || self.warnings && screened.asks == Asks::Diagnostics;
    }

    /// Takes note of an OK.
    ///
    /// # Errors
    /// If its session changes cannot be read.
    pub fn ok(&mut self, ok: &OkPacket, screened: Screened) -> Result<(), WireError> {
        self.plain_ok(ok.status, ok.last_insert_id);
        let (mut changed, mut explained) = (false, false);
        for change in ok.session_changes()? {
            match change {
                SessionChange::Variable { name, value } => {
                    explained = true;
                    self.variable(name, value, screened);
                }
                SessionChange::Schema(schema) => {
                    explained = true;
                    let schema = Some(schema.into_boxed_slice()).filter(|s| !s.is_empty());
                    if self.settings.schema != schema {
                        self.change().schema = schema;
                    }
                }
                SessionChange::State(state) => changed |= state,
                SessionChange::TransactionState(state) => self.tables_locked = state.get(7) == Some(&b'L'),
                SessionChange::TransactionCharacteristics(text) => {
                    // Inside a transaction they only describe it, but for what waited for it: that is used up when it is
                    // reported gone, and not by every end of a transaction (`SET autocommit = 1` leaves it, on 9.7.4).
                    let waits = text.starts_with(b"SET TRANSACTION");
                    self.one_shot = waits || !text.is_empty() && !self.in_transaction;
                }
                SessionChange::Gtids(_) => {}
                SessionChange::Unknown(_) => changed = true,
            }
        }
        if changed && !(explained && screened.explains) {
            self.pin("it has state that cannot be copied (a user variable, temporary table or the like)");
        }
        Ok(())
    }

    fn variable(&mut self, name: Vec<u8>, value: Vec<u8>, screened: Screened) {
        match name.as_slice() {
            b"statement_id" => return,
            b"last_insert_id" => {
                self.last_insert_id =
                    std::str::from_utf8(&value).ok().and_then(|v| v.parse().ok()).unwrap_or(0);
                self.last_insert_id_unsure = false;
                return;
            }
            b"session_track_schema" | b"session_track_state_change" if value == b"ON" => return,
            b"session_track_transaction_info" if value == b"CHARACTERISTICS" => return,
            b"session_track_schema"
            | b"session_track_state_change"
            | b"session_track_system_variables"
            | b"session_track_transaction_info" => {
                return self.pin("it changed what the server reports (session_track_...)");
            }
            // `SET NAMES x COLLATE y` reports the character set alone.
            b"character_set_connection" => self.collation_unknown = true,
            b"character_set_results" => {
                let results =
                    if screened.collates { Results::Collated(Box::default()) } else { Results::Named };
                if self.settings.results != results {
                    self.change().results = results;
                }
            }
            b"wait_timeout" => {
                let seconds = std::str::from_utf8(&value).ok().and_then(|v| v.parse().ok());
                self.own_wait_timeout = seconds;
                self.wait_timeout = seconds.unwrap_or(self.wait_timeout);
            }
            _ => {}
        }
        if !name.iter().chain(&value).all(|b| (b' '..0x7F).contains(b) && *b != b'\\') {
            return self.pin("it set a variable to text that cannot be quoted safely");
        }
        self.set(&name, value);
    }

    fn set(&mut self, name: &[u8], value: Vec<u8>) {
        if self.settings.variables.get(name).is_none_or(|now| **now != *value) {
            self.change().variables.insert(name.into(), value.into());
        }
    }

    /// The settings, to be changed.
    fn change(&mut self) -> &mut Settings {
        self.settings_changed = true;
        Arc::make_mut(&mut self.settings)
    }

    /// `COM_SET_OPTION` succeeded.
    pub fn option(&mut self, option: Option<[u8; 2]>) {
        self.change().option = option;
    }

    /// What a question to the server said the connection's collation is.
    pub fn collation(&mut self, collation: Vec<u8>) {
        self.collation_unknown = false;
        if self.settings.results == Results::Collated(Box::default()) {
            self.change().results = Results::Collated(collation.as_slice().into());
        }
        self.set(b"collation_connection", collation);
    }

    /// `COM_RESET_CONNECTION` succeeded: only schema and option stay.
    pub fn reset(&mut self) {
        let Settings { schema, option, .. } = (*self.settings).clone();
        *self = Self::nobody();
        *self.change() = Settings { results: Results::Reset, schema, option, ..Settings::of_login(0) };
    }

    /// The answer to [`crate::state::settings::baseline_question`] after a reset, which undoes the login's own character set.
    pub fn baseline(&mut self, baseline: &Baseline) {
        self.change().set_baseline(baseline);
        self.wait_timeout = self.settings.wait_timeout();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::reading::Reading;
    use crate::text::screen::Screen;

    fn put(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
        let mut data = Vec::new();
        match kind {
            2 => data.extend_from_slice(parts[0]),
            _ => parts.iter().for_each(|p| wire::put_lenenc_bytes(&mut data, p)),
        }
        out.push(kind);
        wire::put_lenenc_bytes(out, &data);
    }

    fn ok(status: u16, changes: &[(u8, &[&[u8]])]) -> OkPacket {
        let mut session_track = Vec::new();
        changes.iter().for_each(|(kind, parts)| put(&mut session_track, *kind, parts));
        OkPacket { status: Status(status), session_track, ..OkPacket::default() }
    }

    fn after(text: &str, changes: &[(u8, &[&[u8]])]) -> Profile {
        let mut profile = Profile::new(Arc::new(Settings::of_login(45)), Status(2));
        profile.ok(&ok(2, changes), Screen::of(text.as_bytes(), Reading::plain(true))).unwrap();
        profile
    }

    fn restoring(profile: &Profile) -> String {
        String::from_utf8(Settings::of_login(45).steps_to(&profile.settings).assignments).unwrap()
    }

    #[test]
    fn a_reported_setting_is_restored_and_does_not_pin() {
        let zone: (u8, &[&[u8]]) = (0, &[b"time_zone", b"+00:00"]);
        let limit: (u8, &[&[u8]]) = (0, &[b"sql_select_limit", b"5"]);
        let profile = after("SET time_zone='+00:00', sql_select_limit=5", &[zone, limit, (2, &[b"1"])]);
        assert!(profile.pin.is_none());
        assert_eq!(restoring(&profile), "SESSION sql_select_limit=5, SESSION time_zone='+00:00'");
    }

    #[test]
    fn an_unexplained_change_pins() {
        assert!(after("SET @a=1", &[(2, &[b"1"])]).pin.is_some());
        assert!(after("SELECT f()", &[(0, &[b"sql_mode", b""]), (2, &[b"1"])]).pin.is_some());
        assert!(after("SELECT 1", &[(9, &[b"?"])]).pin.is_some());
        assert!(after("SET x", &[(0, &[b"session_track_state_change", b"OFF"])]).pin.is_some());
    }

    #[test]
    fn locks_and_one_shot_settings_count_as_a_transaction() {
        assert!(after("LOCK TABLES t READ", &[(5, &[b"_______L"])]).inside());
        assert!(!after("UNLOCK TABLES", &[(5, &[b"________"])]).inside());
        assert!(after("SET TRANSACTION READ ONLY", &[(4, &[b"SET TRANSACTION READ ONLY;"])]).inside());
        assert!(!after("SELECT 1", &[(4, &[b""])]).inside());
        // A transaction that `SET autocommit = 1` ended, and the next one is read-only all the same.
        let mut profile = after("SET TRANSACTION READ ONLY", &[(4, &[b"SET TRANSACTION READ ONLY;"])]);
        profile.plain_ok(Status::IN_TRANS, 0);
        profile.plain_ok(Status::AUTOCOMMIT, 0);
        assert!(profile.inside());
        profile.ok(&ok(2, &[(4, &[b""])]), Screened::COMMAND).unwrap();
        assert!(!profile.inside());
    }

    #[test]
    fn a_savepoint_before_its_transaction_counts_as_one() {
        let mut profile = after("SELECT 1", &[]);
        let mut inside = |text: &str, status: Status| {
            profile.asked(Screen::of(text.as_bytes(), Reading::plain(true)));
            profile.plain_ok(status, 0);
            profile.inside()
        };
        assert!(!inside("SAVEPOINT s", Status::AUTOCOMMIT), "gone at once");
        assert!(inside("SAVEPOINT s", Status(0)) && inside("SELECT 1", Status(0)));
        assert!(inside("ROLLBACK TO s", Status(0)) && !inside("COMMIT", Status(0)));
        assert!(inside("SAVEPOINT s", Status(0)) && inside("INSERT INTO t VALUES (1)", Status::IN_TRANS));
        assert!(!inside("COMMIT", Status(0)));
    }

    #[test]
    fn the_collation_is_asked_for_after_the_character_set_changed() {
        let mut profile = after("SET NAMES latin1", &[(0, &[b"character_set_connection", b"latin1"])]);
        assert!(profile.collation_unknown);
        profile.collation(b"latin1_bin".to_vec());
        assert_eq!(
            restoring(&profile),
            "SESSION character_set_connection='latin1', SESSION collation_connection='latin1_bin'"
        );
    }

    #[test]
    fn what_only_the_backend_knows_burdens_it() {
        let mut profile = after("SELECT 1", &[]);
        assert!(!profile.burdened());
        profile.plain_ok(Status(2), 7);
        assert!(profile.burdened() && profile.last_insert_id == 7);
        profile
            .ok(&ok(2, &[(0, &[b"last_insert_id", b"9"])]), Screen::of(b"SET x", Reading::plain(true)))
            .unwrap();
        assert!(!profile.burdened() && profile.last_insert_id == 9);
        profile.warned(1, Screen::of(b"SELECT 1", Reading::plain(true)));
        profile.warned(0, Screen::of(b"SHOW WARNINGS", Reading::plain(true)));
        assert!(profile.burdened());
        profile.warned(0, Screen::of(b"SELECT 1", Reading::plain(true)));
        profile.asked(Screen::of(b"CALL p()", Reading::plain(true)));
        assert!(profile.burdened() && profile.keeps.is_some() && profile.pin.is_none());
    }
}
