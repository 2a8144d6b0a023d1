//! Which cluster a session is sent to, and a statement with it; and going from one to another.
//!
//! A session goes where its account's rule says, else where its schema is; without a schema it *roams*: it goes to the
//! cluster of the schemas that a statement names, since no other table can be meant, and stays there until one names
//! others. It changes clusters only at a transaction edge and without state that cannot be copied, before a byte of the
//! command is sent; else the statement is refused.
//!
//! An account's rule is not checked against what is used: it may lead to a copy. One of a party is where its tables are, so a schema
//! that has a route to another cluster, or is another party's that is elsewhere, cannot be meant to be used here, and is refused; and so is
//! a party's schema to whoever does not go with it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::gate::hold::{Gate, Lane};
use crate::gate::routes::Table;
use crate::session::Session;
use crate::state::settings::{Results, Settings};
use crate::text::names::Named;
use crate::text::reading::{Letters, Reading};
use crate::trouble::{Stop, across, pinned};

impl Session {
    /// Before a login: where the account and the schema belong.
    pub fn route_login(&mut self, schema: Option<&[u8]>) {
        if let Some(schema) = schema {
            let settings = Settings { schema: Some(schema.into()), ..Settings::of_login(0) };
            self.profile.settings = Arc::new(settings);
        }
        let table = self.lanes.table();
        let gate = self.wanted(&table, None);
        self.take_lane(&gate, table.version);
    }

    /// Where the table leads; `here`: where it is now, to stay there if it may.
    fn wanted(&self, table: &Table, here: Option<&Arc<Gate>>) -> Arc<Gate> {
        let rule = table.of_user(&self.identity.user);
        let schema = || self.profile.settings.schema.as_deref().and_then(|schema| table.of_schema(schema));
        let roams = || here.filter(|here| table.serves(here));
        Arc::clone(rule.or_else(schema).or_else(roams).unwrap_or(&table.writer.gate))
    }

    fn take_lane(&mut self, gate: &Arc<Gate>, version: u64) {
        self.pass = None;
        self.lane = self.lanes.to(gate);
        self.seat.gate.store(gate.index, SeqCst);
        self.routed_as_of = version;
    }

    /// Looks at the table; `true` if it leads elsewhere now, and the session has left for there.
    pub async fn aim(&mut self) -> Result<bool, Stop> {
        let table = self.lanes.table();
        let gate = self.wanted(&table, Some(&self.lane.gate));
        if Arc::ptr_eq(&gate, &self.lane.gate) {
            self.routed_as_of = table.version;
            return Ok(false);
        }
        if self.link.is_some() && (self.profile.inside() || self.statements.busy()) {
            // It got there by a way that was not foreseen, and no statement of it can be right any more.
            return Err(match self.inside_across(&gate) {
                Stop::Refuse(error) => Stop::end(error),
                end => end,
            });
        }
        if let Some(reason) = self.profile.pin.as_deref() {
            return Err(pinned(reason));
        }
        self.take_leave().await;
        self.drop_link();
        self.take_lane(&gate, table.version);
        Ok(true)
    }

    /// After a command that changed the schema: if that is on another cluster, the table must be looked at again before
    /// the next one.
    pub fn look_whether_strayed(&mut self) {
        if self.shared.routing.by_schema {
            let table = self.lanes.table();
            if !Arc::ptr_eq(&self.wanted(&table, Some(&self.lane.gate)), &self.lane.gate) {
                self.routed_as_of = 0;
            }
        }
    }

    /// How the server reads this session's text.
    pub fn reading(&self) -> Reading {
        reading(&self.profile.settings, self.profile.backslash())
    }

    /// The same, but letters that nobody has reported are taken for those of the login.
    pub fn likely_reading(&self) -> Reading {
        let reading = self.reading();
        match (reading.letters, &self.profile.settings.results) {
            (Letters::Unknown, Results::Login(collation)) => {
                Reading { letters: Letters::of_collation(u16::from(*collation)), ..reading }
            }
            _ => reading,
        }
    }

    /// The same for one text: of most texts little has to be known.
    pub fn reading_of(&self, text: &[u8]) -> Reading {
        match Reading::matters_to(text) {
            true => self.likely_reading(),
            false => Reading::plain(self.profile.backslash()),
        }
    }

    /// The same, but letters that nobody has reported are not known.
    pub fn reading_to_show(&self, text: &[u8]) -> Reading {
        match Reading::matters_to(text) {
            true => self.reading(),
            false => {
                let letters = letters(&self.profile.settings);
                Reading { letters, ..Reading::plain(self.profile.backslash()) }
            }
        }
    }

    /// What a text names, read as this session's server does.
    pub fn named(&self, text: &[u8]) -> Named {
        let table = self.lanes.table();
        Named::of(text, self.reading(), |schema| table.place_of(schema).is_some())
    }

    /// Enters the gate of the cluster that has all that a command names, and goes there if need be.
    ///
    /// # Errors
    /// If there is no such cluster, or the session cannot go there.
    pub async fn steer(&mut self, named: &Named) -> Result<(), Stop> {
        loop {
            self.enter().await?;
            let table = self.lanes.table();
            let own = named.uses.as_deref().or(self.profile.settings.schema.as_deref());
            let all = own.into_iter().chain(named.schemas.iter().map(Vec::as_slice));
            if self.lane.gate.party.is_some() {
                return self.refuse_routed_away(all, &table);
            }
            if table.of_user(&self.identity.user).is_some() {
                return Ok(());
            }
            let mut first: Option<(&[u8], &Arc<Gate>)> = None;
            for schema in all {
                if let Some(there) = table.gone(schema) {
                    return Err(self.has_gone(schema, there));
                }
                let Some(gate) = table.of_schema(schema) else { continue };
                match first {
                    Some((one, other)) if !Arc::ptr_eq(gate, other) => {
                        return Err(apart((one, other), (schema, gate)));
                    }
                    Some(_) => {}
                    None => first = Some((schema, gate)),
                }
            }
            // What a roaming session may name without its being seen has no route.
            let unseen = named.blind.then_some(&table.writer.gate);
            let Some(gate) = first.map(|(_, gate)| gate).or(unseen) else { return Ok(()) };
            if Arc::ptr_eq(gate, &self.lane.gate) {
                return Ok(());
            }
            let gate = Arc::clone(gate);
            // Boxed: rare, and a session has no room for it.
            Box::pin(self.go_to(&gate, named.uses.as_deref(), table.version)).await?;
        }
    }

    /// Of a client that stays on its cluster whatever it uses: refuses schemas that have a route to another.
    fn refuse_routed_away<'a>(
        &self,
        mut schemas: impl Iterator<Item = &'a [u8]>,
        table: &Table,
    ) -> Result<(), Stop> {
        let here = &self.lane.gate;
        let away = schemas.find_map(|schema| {
            let there = table.place_of(schema)?;
            (!there.is_beside(here)).then_some((schema, there))
        });
        let Some((schema, there)) = away else { return Ok(()) };
        let (user, schema) = (String::from_utf8_lossy(&self.identity.user), String::from_utf8_lossy(schema));
        let what = format!(
            "account '{user}' is served by cluster '{}' whatever it uses, and schema '{schema}' is on cluster '{}'",
            here.backend.id, there.backend.id
        );
        Err(across(&what, "use another account for it"))
    }

    /// The schema is where accounts are that this client's is none of.
    fn has_gone(&self, schema: &[u8], there: &Gate) -> Stop {
        let (user, schema) = (String::from_utf8_lossy(&self.identity.user), String::from_utf8_lossy(schema));
        let what = format!(
            "schema '{schema}' is on cluster '{}', where account '{user}' has not gone with it",
            there.backend.id
        );
        across(&what, "use an account that has")
    }

    /// As [`Session::steer`], for a prepared statement: what it meant when it was prepared.
    ///
    /// # Errors
    /// As there.
    pub async fn steer_statement(&mut self, id: u32) -> Result<(), Stop> {
        self.enter().await?;
        let now = (self.routed_as_of, self.lane.gate.index);
        let Some(statement) = self.statements.get(id).filter(|s| s.routed != now) else { return Ok(()) };
        let (text, settings) = (Arc::clone(&statement.text), Arc::clone(&statement.settings));
        let table = self.lanes.table();
        let reading = reading(&settings, self.profile.backslash());
        let mut named = Named::of(&text, reading, |schema| table.place_of(schema).is_some());
        named.uses = None;
        named.schemas.extend(settings.schema.as_deref().map(<[u8]>::to_vec));
        self.steer(&named).await?;
        let now = (self.routed_as_of, self.lane.gate.index);
        if let Some(statement) = self.statements.get(id) {
            statement.routed = now;
        }
        Ok(())
    }

    /// From inside the gate: leaves for another cluster; with a schema that is to be used there, gets a backend that has it.
    async fn go_to(&mut self, gate: &Arc<Gate>, uses: Option<&[u8]>, version: u64) -> Result<(), Stop> {
        if self.link.is_some() && self.profile.unconfirmed && !self.statements.busy() {
            self.confirm().await?;
        }
        if self.link.is_some() && (self.profile.inside() || self.statements.busy()) {
            return Err(self.inside_across(gate));
        }
        if let Some(reason) = self.profile.pin.as_deref() {
            let what = format!(
                "this session cannot leave cluster '{}' for '{}': {reason}",
                self.lane.gate.backend.id, gate.backend.id
            );
            return Err(across(&what, "use another connection"));
        }
        if self.link.is_some() && self.shareable() {
            // What only the backend knows goes along.
            self.unburden().await?;
        }
        self.drop_link();
        self.statements.forget_backend();
        let before = (Rc::clone(&self.lane), Arc::clone(&self.profile.settings));
        self.take_lane(gate, version);
        let Some(schema) = uses else { return Ok(()) };
        // A server answers with an error, not with the end of the session, if the schema cannot be used.
        let settings = Settings { schema: Some(schema.into()), ..(*before.1).clone() };
        self.profile.settings = self.shared.settings.intern(Arc::new(settings));
        match self.begin().await {
            Ok(()) => {
                self.seat.detail().schema = Some(schema.to_vec());
                Ok(())
            }
            Err(stop) => {
                self.stay(before);
                Err(match stop {
                    Stop::End(Some(error)) | Stop::Refuse(error) => Stop::Refuse(error),
                    gone => gone,
                })
            }
        }
    }

    /// The other cluster could not be used: back to where it was.
    fn stay(&mut self, (lane, settings): (Rc<Lane>, Arc<Settings>)) {
        self.drop_link();
        self.pass = None;
        self.profile.settings = settings;
        self.seat.gate.store(lane.gate.index, SeqCst);
        self.lane = lane;
        // What it is there by now, the next command sees.
        self.routed_as_of = 0;
    }

    fn inside_across(&self, gate: &Gate) -> Stop {
        let what = format!(
            "a transaction, lock or cursor is open on cluster '{}', and the statement is for cluster '{}'",
            self.lane.gate.backend.id, gate.backend.id
        );
        across(&what, "end it first")
    }
}

/// Two schemas on two clusters.
fn apart((one, here): (&[u8], &Arc<Gate>), (other, there): (&[u8], &Arc<Gate>)) -> Stop {
    let shown = |schema: &[u8]| String::from_utf8_lossy(schema).into_owned();
    let what = format!(
        "schema '{}' is on cluster '{}' and schema '{}' on cluster '{}', and no statement can use both",
        shown(other),
        there.backend.id,
        shown(one),
        here.backend.id
    );
    across(&what, &format!("USE {} first, or use another connection for it", shown(other)))
}

fn letters(settings: &Settings) -> Letters {
    let set = settings.variables.get(b"character_set_client".as_slice());
    set.map_or(Letters::Unknown, |set| Letters::of(set))
}

/// How a server reads text under these settings; what is not known is as the session is told, or taken for the worst.
pub(crate) fn reading(settings: &Settings, backslash: bool) -> Reading {
    let variable = |name: &[u8]| settings.variables.get(name);
    let mode = |wanted: &[u8]| {
        variable(b"sql_mode").map(|modes| modes.split(|b| *b == b',').any(|mode| mode == wanted))
    };
    Reading {
        backslash: mode(b"NO_BACKSLASH_ESCAPES").map_or(backslash, |no| !no),
        ansi_quotes: mode(b"ANSI_QUOTES").unwrap_or(false),
        letters: letters(settings),
    }
}
