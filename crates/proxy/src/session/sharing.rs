//! Sharing: a session takes a backend when a command comes, and gives it back when its transaction is over.
//!
//! ```text
//! no backend --command--> take (own, equal, any, new, or wait) --> fit --> execute --edge, nothing kept--> park
//!                                                                              \--only the backend knows--> linger
//! linger --next command--> execute            linger --somebody waits--> ask what it knows --> park
//! ```
//!
//! A session *lingers* on its backend, though it is at an edge, if the backend knows something of it that the door
//! does not: warnings, what `LAST_INSERT_ID()` returns, whether a transaction is open after an error. That costs nothing
//! while there are backends for everybody; when somebody waits, the session asks for it and parks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wire::capability::Status;
use wire::command::Command;

use crate::arrival::proven::Account;
use crate::backend::parked::Parked;
use crate::backend::pool::{Fresh, Grant, Pool, Slot, Wanted};
use crate::backend::response::Expect;
use crate::backend::{AskError, Link};
use crate::figures::registry::SessionPhase;
use crate::memory::{self, For, Held};
use crate::session::Session;
use crate::session::stalled::pass_on;
use crate::state::settings::Settings;
use crate::text::screen::{Asks, Screened};
use crate::trouble::{Stop, lost_inside, no_backend, no_longer_known, outcome_unknown};

/// While somebody waits, how often one more session that lingers is asked for its backend: the one asked before may have
/// begun a transaction instead.
const PRESSES: Duration = Duration::from_millis(20);
/// The longest answer to `SHOW WARNINGS` that is kept, in bytes.
const TOLD_MAX: usize = 64 * 1024;

impl Session {
    /// Begins the session of a client that says it is this account, if the server says so too, of late or now.
    pub async fn join(&mut self, schema: Option<Vec<u8>>) -> Result<Status, Stop> {
        self.admit(&self.lane.gate).await?;
        let account = self.shared.proven.of(&self.identity);
        self.identity = account.client(&self.identity);
        self.seat.detail().identity = Some(Arc::clone(&self.identity));
        let collation = self.identity.collation;
        let pool = Arc::clone(&self.lane.gate.pool);
        if let (true, Some(fresh)) = (account.is_proven(pool.serial), pool.fresh(collation)) {
            return self.join_proven(account, fresh, schema).await;
        }
        let crowd = Arc::clone(&account);
        let _asking = crowd.proving.lock().await;
        if let (true, Some(fresh)) = (account.is_proven(pool.serial), pool.fresh(collation)) {
            return self.join_proven(account, fresh, schema).await;
        }
        let (pool, slot) = loop {
            let pool = Arc::clone(&self.lane.gate.pool);
            let slot = match pool.take_slot() {
                Some(slot) => slot,
                None => self.wait_for_slot(&account).await?,
            };
            // Else what the session wants was sent to another cluster while it waited.
            if Arc::ptr_eq(&self.lane.gate.pool, slot.pool()) {
                break (pool, slot);
            }
        };
        let link = self.open(&account, schema.as_deref(), slot).await?;
        account.prove(pool.serial, true);
        if let Err(stop) = self.take_place() {
            link.quit();
            return Err(stop);
        }
        let status = link.status;
        if link.shareable {
            let bare = Settings { schema: None, ..(*link.settings).clone() };
            pool.note_fresh(
                collation,
                Fresh { settings: self.shared.settings.intern(Arc::new(bare)), status },
            );
            self.account = Some(account);
        }
        self.begin_with(link);
        Ok(status)
    }

    /// The same, without asking the server whether the password is right; but whether the schema may be used.
    async fn join_proven(
        &mut self,
        account: Arc<Account>,
        fresh: Fresh,
        schema: Option<Vec<u8>>,
    ) -> Result<Status, Stop> {
        self.take_place()?;
        *self.profile = crate::state::profile::Profile::new(Arc::clone(&fresh.settings), fresh.status);
        self.account = Some(account);
        let Some(schema) = schema else { return Ok(fresh.status) };
        let settings = Settings { schema: Some(schema.as_slice().into()), ..(*fresh.settings).clone() };
        self.profile.settings = self.shared.settings.intern(Arc::new(settings));
        self.lease().await?;
        let Some(link) = &mut self.link else { return Err(lost_inside()) };
        let init_db = [&[Command::INIT_DB.0], schema.as_slice()].concat();
        match link.ask(&init_db, Expect::Single).await {
            Ok(_) => Ok(fresh.status),
            Err(AskError::Server(error)) => Err(Stop::end(error)),
            Err(AskError::Lost) => Err(Stop::end(crate::trouble::new_server_lost())),
        }
    }

    async fn wait_for_slot(&mut self, account: &Arc<Account>) -> Result<Slot, Stop> {
        let settings = Arc::clone(&self.profile.settings);
        match self.wait(account, &settings).await? {
            Grant::Slot(slot) => Ok(slot),
            Grant::Parked(parked) => parked.close(self.pass.is_some()).ok_or_else(lost_inside),
        }
    }

    /// Opens a connection of the account, to be shared.
    async fn open(
        &self,
        account: &Arc<Account>,
        schema: Option<&[u8]>,
        slot: Slot,
    ) -> Result<Box<Link>, Stop> {
        let gate = Arc::clone(&self.lane.gate);
        let identity = account.identity(self.identity.collation);
        let pool = slot.pool().serial;
        let mut link = match Link::open_shared(&gate, &identity, schema, self.lane.shard, slot).await {
            Ok(link) => link,
            Err(error) => {
                if matches!(error, mysql::Error::Login { .. }) {
                    account.prove(pool, false);
                }
                return Err(self.turned_away(&error, &gate));
            }
        };
        link.settings = self.shared.settings.intern(Arc::clone(&link.settings));
        Ok(link)
    }

    /// A connection of the account that was opened before its server became the writer.
    fn opened_ahead(&self, account: &Arc<Account>, pool: &Pool) -> Option<Box<Link>> {
        let warm = pool.warm(account, self.identity.collation)?;
        let mut link = warm.into_link(self.lane.gate.index).filter(|link| link.shareable)?;
        link.shard = self.lane.shard;
        link.settings = self.shared.settings.intern(Arc::clone(&link.settings));
        Some(link)
    }

    /// Takes a backend and gives it this session's settings. The session is inside the gate when this returns.
    pub async fn lease(&mut self) -> Result<(), Stop> {
        let Some(account) = self.account.clone() else { return Err(lost_inside()) };
        loop {
            let pool = Arc::clone(&self.lane.gate.pool);
            let wanted = Wanted {
                account: &account,
                settings: &self.profile.settings,
                last_insert_id: self.profile.last_insert_id,
                serial: self.last_serial,
            };
            let grant = match pool.take(self.lane.shard, &wanted) {
                Some(grant) => grant,
                None => {
                    let settings = Arc::clone(&self.profile.settings);
                    Box::pin(self.wait(&account, &settings)).await?
                }
            };
            if !Arc::ptr_eq(&pool, &self.lane.gate.pool) {
                // What the session wants was sent to another cluster while it waited.
                continue;
            }
            match grant {
                Grant::Parked(parked) => {
                    let untouched = parked.serial() == self.last_serial && parked.last_user == self.seat.id;
                    let Some(link) = parked.lend(self.lane.shard) else { continue };
                    return match link.settings_are(&self.profile) {
                        true => {
                            self.attach(link, untouched);
                            Ok(())
                        }
                        false => Box::pin(self.fit_and_attach(link)).await,
                    };
                }
                Grant::Slot(slot) => {
                    return Box::pin(async {
                        let link = match self.opened_ahead(&account, &pool) {
                            Some(mut link) => {
                                link.slot = Some(slot);
                                link
                            }
                            None => {
                                let schema = self.profile.settings.schema.clone();
                                self.open(&account, schema.as_deref(), slot).await?
                            }
                        };
                        if !link.shareable {
                            return Err(Stop::end(crate::trouble::not_shareable()));
                        }
                        self.fit_and_attach(link).await
                    })
                    .await;
                }
            }
        }
    }

    async fn fit_and_attach(&mut self, mut link: Box<Link>) -> Result<(), Stop> {
        let (settings, id) = (Arc::clone(&self.profile.settings), self.profile.last_insert_id);
        link.status = Status::AUTOCOMMIT;
        link.fit(&settings, id).await.map_err(Stop::end)?;
        if link.status.has(Status::IN_TRANS) {
            // Never seen; but then it is no edge, and the connection nobody's.
            return Err(lost_inside());
        }
        self.attach(link, false);
        Ok(())
    }

    /// Waits outside the gate, so that a drain need not wait for this session, until a backend comes free; then enters.
    async fn wait(&mut self, account: &Arc<Account>, settings: &Arc<Settings>) -> Result<Grant, Stop> {
        let pool = Arc::clone(&self.lane.gate.pool);
        self.pass = None;
        let before = self.seat.phase();
        self.shared.registry.set_phase(&self.seat, SessionPhase::Waiting);
        let mut waiting = pool.wait(account, settings);
        pool.press();
        let queue_max = self.shared.rules.get().queue_max;
        let began = Instant::now();
        let deadline = began + queue_max;
        let mut watching = true;
        let waited = loop {
            tokio::select! {
                biased;
                granted = waiting.granted() => break granted.ok_or_else(lost_inside),
                () = tokio::time::sleep_until(deadline) => break Err(no_backend(queue_max, pool.max())),
                () = tokio::time::sleep(PRESSES) => pool.press(),
                // A client that has given up must not have its command carried out later.
                peeked = self.client.peek(), if watching => match peeked {
                    Ok(true) => watching = false,
                    _ => break Err(Stop::End(None)),
                },
            }
        };
        drop(waiting);
        if let Some(observed) = &mut self.observed {
            observed.waited += began.elapsed();
        }
        self.shared.registry.set_phase(&self.seat, before);
        let grant = waited?;
        self.enter().await?;
        Ok(grant)
    }

    /// Whether its backend could serve others once the transaction is over.
    pub fn shareable(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.slot.is_some())
            && self.profile.pin.is_none()
            && self.profile.keeps.is_none()
            && !self.statements.busy()
    }

    /// At an edge, inside the gate: gives the backend back, unless it knows something that the door does not.
    pub fn part_with_link(&mut self) {
        if !self.shareable() {
            return;
        }
        if self.profile.burdened() || self.statements.has_private() {
            return self.linger();
        }
        let (Some(mut link), Some(account)) = (self.link.take(), &self.account) else { return };
        self.kick.stop_lingering();
        if !self.seat.leave_backend() {
            // A KILL may be on its way to it.
            return link.quit();
        }
        link.settings = Arc::clone(&self.profile.settings);
        link.last_insert_id = self.profile.last_insert_id;
        let Some(pool) = link.slot.as_ref().map(|slot| Arc::clone(slot.pool())) else { return };
        if let Some(parked) = Parked::park(link, account, self.seat.id) {
            pool.park(self.lane.shard, parked);
        }
    }

    /// Keeps the backend until somebody waits for one.
    pub fn linger(&mut self) {
        if let Some(slot) = self.link.as_ref().and_then(|link| link.slot.as_ref()) {
            slot.pool().linger(&self.kick);
        }
    }

    /// Between commands: gives up the backend the session lingers on, if somebody waits for one.
    pub async fn oblige(&mut self) -> Result<(), Stop> {
        if !self.shareable() || self.statements.busy() || self.profile.certainly_inside() {
            return Ok(());
        }
        let awaited =
            self.link.as_ref().and_then(|link| link.slot.as_ref()).is_some_and(|s| s.pool().is_awaited());
        match awaited {
            true => Box::pin(self.unburden()).await,
            false => Ok(()),
        }
    }

    /// Idle for a while: gives the backend up, or learns at least what state it is in, before the server closes it.
    ///
    /// # Errors
    /// If the backend is lost already, with a transaction perhaps open.
    pub async fn rest(&mut self) -> Result<(), Stop> {
        if self.shareable() {
            return self.unburden().await;
        }
        if self.profile.unconfirmed && self.pass.is_some() {
            self.confirm().await?;
            self.settle();
        }
        Ok(())
    }

    /// Asks the backend what only it knows of this session, and gives it back.
    pub async fn unburden(&mut self) -> Result<(), Stop> {
        if self.pass.is_none() {
            self.pass = self.lane.enter();
        }
        let stale = self.link.as_ref().is_some_and(|link| link.gate != self.lane.gate.index);
        if self.pass.is_none() || stale {
            return Ok(());
        }
        if self.profile.unconfirmed {
            self.confirm().await?;
            if self.profile.inside() {
                self.settle();
                return Ok(());
            }
        }
        match self.ask_what_it_knows().await {
            Ok(()) => {}
            Err(AskError::Server(_)) => {
                self.profile.pin("it could not be asked what its last statement left behind")
            }
            // The client has its answer; what is lost is what only this connection knew.
            Err(AskError::Lost) => {
                self.link = None;
                self.profile.last_insert_id_unsure = false;
                self.told = std::mem::take(&mut self.profile.warnings).then_some(None).or(self.told.take());
            }
        }
        self.settle();
        Ok(())
    }

    /// Asks the backend what only it knows of this session: warnings, and what `LAST_INSERT_ID()` returns.
    pub async fn ask_what_it_knows(&mut self) -> Result<(), AskError> {
        let private = self.statements.leave_private();
        let Some(link) = &mut self.link else { return Err(AskError::Lost) };
        private.into_iter().for_each(|id| link.prepared.close(id));
        link.close_statements().await.map_err(|_| AskError::Lost)?;
        // From here on the statement before is no longer this session's.
        (self.own, self.own_diagnostics, self.last_serial) = (false, false, 0);
        if self.profile.warnings {
            self.ask_warnings().await?;
        }
        let Some(link) = &mut self.link else { return Err(AskError::Lost) };
        // It also clears the warnings, for whoever comes next.
        let answer = link.ask_sql(b"SELECT LAST_INSERT_ID()").await?;
        let id = crate::session::restore::only_cell(&answer.bytes)
            .and_then(|id| std::str::from_utf8(&id).ok()?.parse().ok());
        self.profile.last_insert_id = id.ok_or(AskError::Lost)?;
        self.profile.last_insert_id_unsure = false;
        Ok(())
    }

    /// Asks for the warnings of the last statement, to tell them if the client asks.
    pub async fn ask_warnings(&mut self) -> Result<(), AskError> {
        let Some(link) = &mut self.link else { return Err(AskError::Lost) };
        let answer = link.ask_sql(b"SHOW WARNINGS").await?;
        let short = |bytes: &Vec<u8>| bytes.len() <= TOLD_MAX && memory::may_take(bytes.len(), For::Large);
        self.told = Some(Some(answer.bytes).filter(short).map(|bytes| {
            let held = Held::of(bytes.len());
            (bytes.into_boxed_slice(), held)
        }));
        self.profile.warnings = false;
        Ok(())
    }

    /// Before a statement is sent: sees to it that what it asks about the one before is answered as on a connection
    /// of its own. `true`: it has been answered.
    pub async fn answer_for_the_one_before(&mut self, screened: Screened, text: &[u8]) -> Result<bool, Stop> {
        if self.account.is_none() || screened.asks == Asks::Nothing {
            return Ok(false);
        }
        if self.told.is_none() || screened.asks != Asks::Diagnostics {
            // It may be what tells: a backend that is left now is asked for the last time.
            self.begin().await?;
        }
        if self.told.is_some() && screened.asks == Asks::Diagnostics {
            let shows = text.trim_ascii().strip_suffix(b";").unwrap_or(text).trim_ascii();
            let mut words = shows.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let plain = words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"SHOW"))
                && words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"WARNINGS"))
                && words.next().is_none();
            let Some(Some((answer, _))) = self.told.as_ref().filter(|_| plain) else {
                return Err(no_longer_known("what went wrong"));
            };
            pass_on(&mut self.client, &self.kick, answer).await?;
            self.skip_command().await?;
            return Ok(true);
        }
        match screened.asks {
            Asks::RowCount if self.own => Ok(false),
            Asks::FoundRows if self.own && self.profile.own_found => Ok(false),
            Asks::RowCount | Asks::FoundRows => {
                // It will ask again; from now on its backend is its own.
                self.profile.asked(screened);
                Err(no_longer_known("the number of rows"))
            }
            _ if self.own_diagnostics => Ok(false),
            // The statement before left nothing, else the session would have stayed or been told.
            _ => {
                let Some(link) = &mut self.link else { return Err(outcome_unknown()) };
                match link.ask_sql(b"DO 0").await {
                    Ok(_) => Ok(false),
                    Err(_) => Err(outcome_unknown()),
                }
            }
        }
    }
}
