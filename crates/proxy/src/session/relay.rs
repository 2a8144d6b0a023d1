//! A command out, its answer back: bytes pass as they come, and what they tell of the session is noted on the way.
//!
//! Back-pressure: nothing is read from the backend while the client has not taken what was read before.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use wire::Capabilities;
use wire::capability::Status;
use wire::packet::{HEADER_LEN, Header};
use wire::response::OkPacket;

use crate::backend::Link;
use crate::backend::response::{Expect, Kind, Scan, Step};
use crate::session::buffer::CHUNK;
use crate::session::local_file::{unasked, upload};
use crate::session::overdue::Limit;
use crate::session::stalled::pass_on;
use crate::session::{Kick, Session};
use crate::state::prepared::{Place, Prepared};
use crate::state::profile::Profile;
use crate::state::settings::{Interned, Settings};
use crate::state::statements::Statements;
use crate::text::screen::Screened;
use crate::trouble::{Stop, backend_out_of_step, outcome_unknown};

/// What an answer belongs to.
#[derive(Debug)]
pub(crate) struct Question {
    pub expect: Expect,
    pub screened: Screened,
    /// The text of a statement being prepared.
    pub preparing: Option<Arc<[u8]>>,
    /// The statement being executed or fetched from.
    pub statement: Option<u32>,
}

impl Question {
    /// A question with no statement to it.
    pub fn plain(expect: Expect, screened: Screened) -> Self {
        Self { expect, screened, preparing: None, statement: None }
    }
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
}

impl Session {
    /// Relays the answer to a command that was sent.
    pub async fn relay(&mut self, question: Question) -> Result<Outcome, Stop> {
        let Self {
            client,
            inbound,
            link,
            answers,
            profile,
            statements,
            identity,
            shared,
            seq,
            kick,
            lane,
            observed,
            terms,
            frames,
            ..
        } = self;
        let kick: &Kick = kick;
        let Some(link) = link else { return Err(outcome_unknown()) };
        let Link { stream, prepared, capabilities, awaiting, slot, serial, id, .. } = &mut **link;
        let (serial, backend) = (*serial, *capabilities);
        let max = terms.statement_max;
        let limit = (!max.is_zero()).then(|| {
            let writer = Arc::clone(&lane.gate.backend);
            let limit = Limit { kick, max, writer, identity, connection: *id };
            limit.begin();
            limit
        });
        let prepared_max = slot.as_ref().map(|slot| slot.pool().prepared_max());
        let mut scan = Scan::new(question.expect, backend);
        let mut notes = Notes {
            profile,
            statements,
            prepared,
            serial,
            prepared_max,
            interned: &shared.settings,
            question,
            backend,
            client: identity.capabilities,
            outcome: Outcome::Done,
        };
        let mut first = true;
        let compressed = client.is_compressed();
        while !scan.finished() {
            let filled = match &limit {
                None => answers.fill(stream).await,
                Some(limit) => limit.fill(answers, stream).await,
            };
            match filled {
                Ok(n) if n > 0 => {}
                _ => return Err(outcome_unknown()),
            }
            let data = answers.data_mut();
            if first && data.len() >= HEADER_LEN {
                first = false;
                // An error nobody asked for: the server is closing the connection.
                if data[3] != *seq {
                    return Err(outcome_unknown());
                }
            }
            // Bytes up to `read` were looked at; of them `keep` remain, moved to the front past what was left out.
            let (mut read, mut keep) = (0, 0);
            let mut file_wanted = None;
            while !scan.finished() {
                match scan.next(&data[read..]).map_err(|e| backend_out_of_step(&e))? {
                    Step::More => break,
                    Step::Pass(n) => {
                        if keep != read {
                            data.copy_within(read..read + n, keep);
                        }
                        (read, keep) = (read + n, keep + n);
                    }
                    Step::Packet(packet) => {
                        let n = notes
                            .take(packet.kind, &mut data[read..read + packet.len])
                            .map_err(|e| backend_out_of_step(&e))?;
                        let Some(n) = n else { return Err(unasked()) };
                        if packet.kind == Kind::LocalInfile {
                            file_wanted = data.get(read + HEADER_LEN - 1).copied();
                        }
                        if keep != read {
                            data.copy_within(read..read + n, keep);
                        }
                        (read, keep) = (read + packet.len, keep + n);
                        if compressed && packet.kind.more_follows() {
                            pass_on(client, kick, &data[..keep]).await?;
                            client.begin_result();
                            // The next packet's place in the buffer, as if nothing had gone before it.
                            keep = 0;
                        }
                    }
                }
            }
            pass_on(client, kick, &data[..keep]).await?;
            if let Some(observed) = observed {
                observed.bytes += keep as u64;
            }
            answers.consume(read);
            if let Some(mut last) = file_wanted.filter(|_| answers.len() == 0) {
                let sent = Box::pin(upload(client, inbound, stream, &mut last, (kick, frames))).await;
                *seq = last.wrapping_add(1);
                sent?;
                scan.file_sent();
            }
        }
        if answers.len() > 0 {
            // What is not part of the answer must not become part of the next one's.
            return Err(backend_out_of_step(&wire::WireError::Malformed("bytes after the answer")));
        }
        *awaiting = false;
        let outcome = notes.outcome;
        if outcome == Outcome::Failed {
            shared.registry.backend_errors.fetch_add(1, Relaxed);
            if let Some(observed) = observed {
                observed.failed = true;
            }
        }
        Ok(outcome)
    }
}

/// What an answer's packets change.
struct Notes<'a> {
    profile: &'a mut Profile,
    statements: &'a mut Statements,
    /// Of the backend, which has this serial number, and shares at most so many if it is shared.
    prepared: &'a mut Prepared,
    serial: u64,
    prepared_max: Option<usize>,
    interned: &'a Interned<Settings>,
    question: Question,
    backend: Capabilities,
    client: Capabilities,
    outcome: Outcome,
}

impl Notes<'_> {
    /// Whether a packet ends rows.
    fn rows_end(&mut self, packet: &[u8]) {
        self.profile.own_found |= packet.get(HEADER_LEN) == Some(&wire::response::EOF);
    }

    /// Notes what a packet tells, and rewrites it for the client in place; returns its new length, which is never
    /// larger. `None`: the answer must not go on.
    fn take(&mut self, kind: Kind, packet: &mut [u8]) -> Result<Option<usize>, wire::WireError> {
        self.rows_end(packet);
        match kind {
            Kind::Ok { status, last_insert_id, warnings, plain: true } => {
                self.profile.plain_ok(status, last_insert_id);
                self.warned(warnings);
                self.cursor(status);
            }
            Kind::Ok { status, .. } => {
                let ok = OkPacket::parse(&packet[HEADER_LEN..], self.backend)?;
                self.profile.ok(&ok, self.question.screened)?;
                self.warned(ok.warnings);
                self.cursor(status);
                if !self.client.has(Capabilities::SESSION_TRACK) {
                    return Ok(Some(shorten(packet, &ok, self.client)));
                }
            }
            Kind::Eof { status, warnings } => {
                self.profile.status(status);
                self.warned(warnings);
                // An EOF carries no session changes; the next OK or PING will.
                self.profile.unconfirmed = true;
                self.cursor(status);
            }
            Kind::Err => {
                self.outcome = Outcome::Failed;
                self.profile.failed();
            }
            Kind::Prepared { columns, params, warnings } => {
                self.warned(warnings);
                if let (Some(text), Some(id)) = (self.question.preparing.take(), packet.get(5..9)) {
                    let on_backend = u32::from_le_bytes([id[0], id[1], id[2], id[3]]);
                    let id = self.add(text, on_backend, params, columns);
                    packet[5..9].copy_from_slice(&id.to_le_bytes());
                }
            }
            Kind::LocalInfile => {
                let sends = self.client.has(Capabilities::LOCAL_FILES) && self.question.screened.loads_local;
                if !sends {
                    return Ok(None);
                }
            }
        }
        Ok(Some(packet.len()))
    }

    fn warned(&mut self, warnings: u16) {
        if matches!(self.question.expect, Expect::Results | Expect::Prepared | Expect::Fetched) {
            self.profile.warned(warnings, self.question.screened);
        }
    }

    /// A statement was prepared: shared with equal ones if the backend is shared. Returns the client's id of it.
    fn add(&mut self, text: Arc<[u8]>, on_backend: u32, params: u16, columns: u16) -> u32 {
        let settings = self.interned.intern(self.profile.settings.parsing());
        let place = match self.prepared_max {
            // What a pinned session has set is not known in full, so its statements are only its own. So is a long text: shared, it would
            // be kept after its client has closed it.
            Some(max) if !self.statements.busy() && self.profile.pin.is_none() && text.len() <= CHUNK => {
                self.prepared.add(self.serial, (&text, &settings), (on_backend, params, columns), max)
            }
            _ => Place::private(self.serial, on_backend),
        };
        self.statements.add((text, settings), self.question.screened, place, params, columns)
    }

    fn cursor(&mut self, status: Status) {
        let Some(id) = self.question.statement else { return };
        let open = status.has(Status::CURSOR_EXISTS) && !status.has(Status::LAST_ROW_SENT);
        if open || self.statements.busy() {
            self.statements.set_busy(id, false, open);
        }
    }
}

/// Writes `ok` over `packet` in the client's dialect, which is shorter: it lacks the session changes.
pub(crate) fn shorten(packet: &mut [u8], ok: &OkPacket, client: Capabilities) -> usize {
    let payload = ok.encode(packet[HEADER_LEN], client);
    let header = Header { len: payload.len(), seq: packet[3] };
    packet[..HEADER_LEN].copy_from_slice(&header.encode());
    packet[HEADER_LEN..HEADER_LEN + payload.len()].copy_from_slice(&payload);
    HEADER_LEN + payload.len()
}
