//! One client's session: login, then command after command, each through the gate.
//!
//! ```text
//! idle --command--> enter the gate --> the right backend? --> send --> relay the answer --> leave, unless inside --> idle
//!                       | held             | no: restore
//!                       wait               |
//! ```
//!
//! `pass` is held from before a command's first byte goes out until its answer is complete, or as long as the
//! session is inside a transaction; see [`crate::gate::hold`] for what rests on that.

pub(crate) mod buffer;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod exit;
pub(crate) mod idle;
mod kick;
pub(crate) mod kill;
pub(crate) mod local_file;
pub(crate) mod overdue;
pub(crate) mod relay;
pub(crate) mod restore;
pub(crate) mod sending;
pub(crate) mod sharing;
pub(crate) mod stalled;
pub(crate) mod steer;
pub(crate) mod terms;

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};
use std::task::Poll;
use std::time::{Duration, Instant};

use mysql::Stream;
use tokio::io::AsyncWriteExt;
use tokio::sync::OwnedSemaphorePermit;
use wire::capability::Status;
use wire::packet::HEADER_LEN;
use wire::response::{ErrPacket, OK, OkPacket};

use crate::Shared;
use crate::arrival::accounts::Place;
use crate::arrival::login::{Dialogue, Guest};
use crate::arrival::proven::Account;
use crate::backend::{Identity, Link};
use crate::figures::observed::Observed;
use crate::figures::registry::{Seat, SessionPhase};
use crate::gate::hold::{Lane, Pass};
use crate::gate::routes::Lanes;
use crate::memory::{CLIENT, Held, UNDER_TLS};
use crate::session::buffer::Buffer;
use crate::session::terms::Terms;
use crate::state::profile::Profile;
use crate::state::statements::Statements;
use crate::trouble::{Stop, client_lost, ended, held_too_long, hoarded};
pub(crate) use kick::Kick;

/// How long a client may take to hear why its session ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A client's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub shared: Arc<Shared>,
    /// The thread's ways to all clusters.
    pub lanes: Rc<Lanes>,
    /// The way to the one that the session is sent to.
    pub lane: Rc<Lane>,
    /// The version of the table that says so; 0: look again.
    pub routed_as_of: u64,
    pub seat: Arc<Seat>,
    pub kick: Arc<Kick>,
    pub client: Stream,
    /// The client's address, as far as a load balancer before the door has told.
    pub peer: IpAddr,
    /// What it may do, and how long it may take.
    pub terms: Terms,
    /// Its place among the clients of its account, if those are counted.
    pub place: Option<Place>,
    /// From the client.
    pub inbound: Buffer,
    /// Sequence number of the client's next packet, or of ours to it.
    pub seq: u8,
    pub identity: Arc<Identity>,
    /// `None` after a switch, and between transactions if backends are shared, until the next command.
    pub link: Option<Box<Link>>,
    /// Whom it shares backends with; `None`: with nobody.
    pub account: Option<Arc<Account>>,
    /// The backend it had last.
    pub last_serial: u64,
    /// Whether the statement before this one was executed by this session on this very link.
    pub own: bool,
    /// The same, counting a statement that was only prepared, for what warnings there are.
    pub own_diagnostics: bool,
    /// What `SHOW WARNINGS` would have answered, if the backend was given away after a statement that left warnings.
    pub told: Option<Told>,
    /// From the backend.
    pub answers: Buffer,
    /// Of the client's compressed frames, beyond what each may have.
    pub frames: Held,
    /// The session itself.
    pub held: Held,
    pub profile: Box<Profile>,
    pub statements: Statements,
    /// The second of its thread's clock in which its last command ended.
    pub idle_since: u32,
    /// Inside the gate.
    pub pass: Option<Pass>,
    /// What is being taken from the client: bytes of the current packet not consumed, and whether more packets follow.
    pub left: usize,
    pub continues: bool,
    /// What is noted of the statement that runs, if anything is.
    pub observed: Option<Observed>,
}

/// An answer to `SHOW WARNINGS`, asked for ahead; `None`: too long to be kept.
pub(crate) type Told = Option<(Box<[u8]>, Held)>;

/// Serves a client until it leaves.
pub(crate) async fn run(
    shared: Arc<Shared>,
    lanes: Rc<Lanes>,
    seat: Arc<Seat>,
    kick: Arc<Kick>,
    client: Stream,
    handshake: OwnedSemaphorePermit,
) {
    let nobody = Identity {
        user: Vec::new(),
        password: mysql::Password::default(),
        capabilities: wire::Capabilities(0),
        collation: 0,
        attributes: Vec::new(),
    };
    // Without an address the connection is gone already.
    let peer = client.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |a| a.ip().to_canonical());
    let lane = lanes.to(&lanes.table().writer.gate);
    let mut session = Session {
        shared,
        lanes,
        lane,
        routed_as_of: 0,
        seat,
        kick,
        client,
        peer,
        terms: Terms::default(),
        place: None,
        inbound: Buffer::default(),
        seq: 0,
        identity: Arc::new(nobody),
        link: None,
        account: None,
        last_serial: 0,
        own: false,
        own_diagnostics: false,
        told: None,
        answers: Buffer::default(),
        frames: Held::default(),
        held: Held::of(CLIENT),
        profile: Box::new(Profile::nobody()),
        statements: Statements::default(),
        idle_since: 0,
        pass: None,
        left: 0,
        continues: false,
        observed: None,
    };
    let (Stop::Refuse(error) | Stop::End(Some(error))) = session.serve(handshake).await else {
        return session.close();
    };
    session.shared.registry.door_errors.fetch_add(1, Relaxed);
    // Nothing more is read, and a client that does not listen must not keep what was.
    (session.inbound, session.answers) = (Buffer::default(), Buffer::default());
    // The client may be gone already; then there is nobody to tell.
    let last_words = Box::pin(async {
        let _ = session.say(&error.encode()).await;
    });
    let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    session.close();
}

impl Session {
    /// Logs the client in and serves its commands; returns what ended that.
    async fn serve(&mut self, handshake: OwnedSemaphorePermit) -> Stop {
        // On the heap, and not for long: a session is idle for most of its life, and has no use for this space.
        if let Err(stop) = Box::pin(self.log_in(handshake)).await {
            return stop;
        }
        loop {
            match self.next().await {
                Ok(()) => {}
                Err(Stop::Refuse(error)) => {
                    self.shared.registry.door_errors.fetch_add(1, Relaxed);
                    if let Err(stop) = self.refuse(&error).await {
                        return stop;
                    }
                }
                Err(end) => return end,
            }
        }
    }

    /// One command, or one look at the gate.
    async fn next(&mut self) -> Result<(), Stop> {
        self.kick.set_due(self.due());
        if !self.command_waits().await? {
            self.look_at_clock().await?;
            return self.look_at_gate().await;
        }
        self.kick.set_due(0);
        self.kick.stop_lingering();
        let done = self.command().await;
        if self.frames.bytes() > 0 {
            self.give_frames_back();
        }
        self.observe_end(done.is_err());
        done?;
        if self.profile.collation_unknown {
            self.ask_collation().await?;
        }
        self.idle_since = clock::now();
        self.settle();
        if self.shared.exit.is_out() {
            return self.see_out().await;
        }
        self.oblige().await
    }

    /// Greets, takes the password, logs in to the backend with it.
    async fn log_in(&mut self, handshake: OwnedSemaphorePermit) -> Result<(), Stop> {
        let (id, shared) = (self.seat.id, Arc::clone(&self.shared));
        let rules = shared.rules.get();
        let mut dialogue = self.dialogue();
        let greeting = async {
            if rules.entrance.is_balancer(dialogue.from) {
                dialogue.origin().await?;
            }
            Ok((dialogue.greet(id, &shared).await?, dialogue.from))
        };
        let greeted = tokio::time::timeout(rules.entrance.login_max, greeting).await;
        let (guest, from) = greeted.map_err(|_| Stop::End(None))??;
        // What comes next waits for the server, not for the client.
        drop(handshake);
        (self.peer, self.terms) = (from, rules.terms);
        if self.client.is_tls() {
            self.held.set(CLIENT + UNDER_TLS);
        }
        let compression = guest.compression;
        self.become_guest(guest).await?;
        self.idle_since = clock::now();
        if let Some(algorithm) = compression {
            self.client.compress(algorithm, self.inbound.data());
            self.client.set_frame_room(0);
            self.inbound.consume(self.inbound.len());
        }
        Ok(())
    }

    /// Makes the session that of who the client has become, once a server has accepted the password, and tells the client.
    pub async fn become_guest(&mut self, guest: Guest) -> Result<(), Stop> {
        // Nothing of who it was before may reach who it is now.
        self.drop_link();
        self.pass = None;
        self.place = None;
        self.statements.clear();
        self.note_what_is_kept();
        let option = self.profile.settings.option;
        *self.profile = Profile::nobody();
        (self.own, self.told, self.account) = (false, None, None);
        self.identity = guest.identity;
        self.route_login(guest.schema.as_deref());
        {
            let mut detail = self.seat.detail();
            detail.identity = Some(Arc::clone(&self.identity));
            detail.schema.clone_from(&guest.schema);
            detail.warm = None;
        }
        let to_end = |stop| match stop {
            Stop::Refuse(error) => Stop::end(error),
            end => end,
        };
        self.enter().await.map_err(to_end)?;
        let status = match self.shared.share {
            true => self.join(guest.schema).await.map_err(to_end)?,
            false => self.open_own(guest.schema).await?,
        };
        if option.is_some() {
            // What `COM_SET_OPTION` said is of the connection, whoever is at its end (seen on 9.7.4).
            self.profile.option(option);
            if let Some(link) = &mut self.link {
                link.fit(&self.profile.settings, 0).await.map_err(Stop::end)?;
            }
        }
        let status = Status(status.0 & !Status::SESSION_STATE_CHANGED.0);
        let ok = OkPacket { status, ..OkPacket::default() };
        self.say(&ok.encode(OK, self.identity.capabilities)).await?;
        self.settle();
        Ok(())
    }

    /// Opens a backend connection of the client's own, with its connection attributes.
    async fn open_own(&mut self, schema: Option<Vec<u8>>) -> Result<Status, Stop> {
        let gate = Arc::clone(&self.lane.gate);
        self.admit(&gate).await?;
        let opened = Link::open(&gate, &self.identity, schema.as_deref()).await;
        let link = opened.map_err(|e| self.turned_away(&e, &gate))?;
        if let Err(stop) = self.take_place() {
            link.quit();
            return Err(stop);
        }
        let status = link.status;
        self.begin_with(link);
        Ok(status)
    }

    /// Begins the session that a login has made on this link.
    pub fn begin_with(&mut self, link: Box<Link>) {
        let settings = self.shared.settings.intern(Arc::clone(&link.settings));
        *self.profile = Profile::new(settings, link.status);
        if !link.tracked {
            self.profile.pin("the server does not report session state");
        }
        self.attach(link, false);
    }

    /// Takes a link into use; `untouched`: it is the one the session had, and has served no other since.
    pub fn attach(&mut self, link: Box<Link>, untouched: bool) {
        self.seat.backend_id.store(link.id, SeqCst);
        self.last_serial = link.serial;
        self.own &= untouched;
        self.own_diagnostics &= untouched;
        self.profile.own_found &= untouched;
        self.link = Some(link);
    }

    /// Sends the client one packet, next in sequence.
    pub async fn say(&mut self, payload: &[u8]) -> Result<(), Stop> {
        self.dialogue().send(payload).await
    }

    /// The client's side, for packets that alternate.
    pub fn dialogue(&mut self) -> Dialogue<'_> {
        let Self { client, inbound, peer, seq, .. } = self;
        Dialogue { client, buffer: inbound, from: *peer, seq }
    }

    /// Waits for a command's first bytes; `false` if something about the gate has changed instead.
    async fn command_waits(&mut self) -> Result<bool, Stop> {
        loop {
            let Self { inbound, client, kick, .. } = self;
            let data = inbound.data();
            if data.len() > HEADER_LEN || data.len() == HEADER_LEN && data[..3] == [0; 3] {
                return Ok(true);
            }
            let filled = poll_fn(|cx| {
                if kick.kicked.load(Relaxed) && kick.kicked.swap(false, SeqCst) {
                    return Poll::Ready(Ok(None));
                }
                kick.register(cx);
                // Whoever kicked before the waker was in place has not woken anybody.
                if kick.kicked.load(SeqCst) {
                    kick.kicked.store(false, SeqCst);
                    return Poll::Ready(Ok(None));
                }
                inbound.poll_fill(cx, client).map_ok(Some)
            });
            match filled.await {
                Ok(None) => return Ok(false),
                Ok(Some(0)) => return Err(Stop::End(None)),
                Ok(Some(_)) => {}
                // A frame that needs more memory than a client has without asking for it.
                Err(error) if error.kind() == std::io::ErrorKind::QuotaExceeded => {
                    self.take_in(self.inbound.len() + 1).await?;
                }
                Err(error) => return Err(client_lost(error)),
            }
        }
    }

    /// After a hold, a switch or a release, with the client idle: confirms the state while the gate is held, and gives
    /// up the old backend once it is sent elsewhere.
    async fn look_at_gate(&mut self) -> Result<(), Stop> {
        if self.seat.ended() {
            self.seq = 0;
            return Err(ended());
        }
        if self.seat.dismissed() {
            return Err(self.part().await);
        }
        if self.kick.is_evicted() {
            // The number of an answer: drivers read it as one, to a statement that was not executed.
            self.seq = 1;
            return Err(Stop::end(hoarded()));
        }
        if self.shared.exit.is_out() {
            return self.see_out().await;
        }
        if self.lane.gate.held() {
            if self.pass.is_some() && self.profile.unconfirmed && !self.statements.busy() {
                self.confirm().await?;
                self.settle();
            }
            return Ok(());
        }
        if self.pass.is_none() && self.routed_as_of != self.lanes.routing.version() {
            // An error that comes of it is no answer.
            let seq = std::mem::replace(&mut self.seq, 0);
            Box::pin(self.aim()).await?;
            self.seq = seq;
        }
        self.oblige().await
    }

    /// Enters the gate of the cluster that the table leads to, or waits before it until it opens, the client leaves, or the
    /// hold has lasted too long.
    pub async fn enter(&mut self) -> Result<(), Stop> {
        if self.pass.is_some() && self.profile.unconfirmed && self.lane.gate.held() && !self.statements.busy()
        {
            self.confirm().await?;
            self.settle();
        }
        if self.pass.is_some() && self.routed_as_of != 0 {
            return Ok(());
        }
        loop {
            if self.pass.is_none() {
                self.pass = self.lane.enter();
            }
            if self.pass.is_none() {
                self.wait_before_gate().await?;
            }
            if self.routed_as_of == self.lanes.routing.version() || !Box::pin(self.aim()).await? {
                return Ok(());
            }
        }
    }

    async fn wait_before_gate(&mut self) -> Result<(), Stop> {
        let registry = &self.shared.registry;
        registry.set_phase(&self.seat, SessionPhase::Held);
        let mut turns = self.lane.gate.turns();
        let (started, hold_max) = (Instant::now(), self.shared.rules.get().hold_max);
        let mut patience = std::pin::pin!(tokio::time::sleep(hold_max));
        let mut watching = true;
        let waited = loop {
            self.pass = self.lane.enter();
            if self.pass.is_some() {
                break Ok(());
            }
            tokio::select! {
                _ = turns.changed() => {}
                () = &mut patience => break Err(held_too_long(hold_max)),
                // A client that has given up must not have its command carried out later.
                peeked = self.client.peek(), if watching => match peeked {
                    Ok(true) => watching = false,
                    _ => break Err(Stop::End(None)),
                },
            }
        };
        registry.held_for(started.elapsed());
        if let Some(observed) = &mut self.observed {
            observed.held += started.elapsed();
        }
        registry.set_phase(&self.seat, SessionPhase::Idle);
        waited
    }

    /// Between commands: leaves the gate unless a transaction, lock, cursor or doubt keeps the session inside.
    pub fn settle(&mut self) {
        // Seen by a drain, so written before leaving lets the drain end.
        if self.profile.pin.is_some() != self.seat.pinned() {
            self.seat.set_pin(self.profile.pin.as_deref());
        }
        if self.profile.keeps.is_some() != self.seat.keeps() {
            self.seat.set_keeps(self.profile.keeps);
        }
        if self.profile.intern(&self.shared.settings) {
            let mut detail = self.seat.detail();
            detail.schema = self.profile.settings.schema.as_deref().map(<[u8]>::to_vec);
            drop(detail);
            self.look_whether_strayed();
        }
        let certain = self.profile.certainly_inside() || self.statements.busy();
        if !certain && !self.profile.unconfirmed {
            // Inside still, so that the writer is the one it belongs to.
            self.part_with_link();
            self.pass = None;
        } else if !certain && self.shareable() {
            self.linger();
        }
        let phase = if certain { SessionPhase::Transaction } else { SessionPhase::Idle };
        if self.seat.phase() != phase {
            self.shared.registry.set_phase(&self.seat, phase);
        }
    }

    /// Ends the session.
    fn close(mut self) {
        self.drop_link();
    }

    /// Closes the link, saying goodbye if that may be said: not while the gate is held and the session outside.
    pub fn drop_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        self.seat.leave_backend();
        if self.pass.is_none() {
            self.pass = self.lane.enter();
        }
        if self.pass.is_some() {
            link.quit();
        }
    }

    /// Answers a command with an error, after what is left of it.
    async fn refuse(&mut self, error: &ErrPacket) -> Result<(), Stop> {
        self.skip_command().await?;
        self.say(&error.encode()).await?;
        self.idle_since = clock::now();
        self.settle();
        Ok(())
    }

    /// Flushes and closes the client's side, for a clean end after `COM_QUIT`.
    pub async fn part(&mut self) -> Stop {
        let _ = self.client.shutdown().await;
        Stop::End(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_size<A, B, C, D, E, F, R>(_: impl Fn(A, B, C, D, E, F) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn an_idle_session_is_small() {
        // Thousands of them are idle: what is rare and large (logins) belongs on the heap for as long as it takes.
        let size = answer_size(run);
        assert!(size <= 2048, "a session's task has {size} bytes");
    }
}
