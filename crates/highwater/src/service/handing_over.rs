//! How this process gives the front door to the one that takes its place, or goes on with everything it had if that one does not come to it.
//!
//! ```text
//! serving --offer--> moves at rest --given--> without the state directory --open--> clients seen out --> end
//!    ^                    |                             |
//!    +---- went away -----+----------- went away -------+      moves up again
//! ```
//! Harm: until "open" clients are served here as before, and in the time between they are served by both. Never two writers: no crossing is
//! under way when the moves come to rest, none begins here afterwards, and none begins in the other process while a client is left here,
//! whose session its gate would not hold (`leavers`).

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use model::Trouble;
use proxy::{Control, DoorOptions, Inherited};

use super::leavers::Leaver;
use super::{Service, routes};
use crate::config::MoveConfig;
use crate::control::{ControlSocket, Offer, PROTOCOL, Successor, TakeOver};
use crate::output;

/// Between two tries to have the state directory again.
const CLAIM_PAUSE: Duration = Duration::from_millis(50);
/// After so many it is said that somebody else has it.
const CLAIMS_UNTIL_SAID: u32 = 100;

/// What a process takes over from the one whose place it takes.
#[derive(Debug)]
pub struct Inheritance {
    /// Of its front door.
    pub door: Inherited,
    /// Its process id.
    pub pid: u32,
    /// Whom it sends to which server.
    pub routes: BTreeMap<String, String>,
}

impl Inheritance {
    /// Refuses a door that would send anybody to another server than the old process does: for a while both have clients.
    pub(super) fn refuse_other_routes(&self, options: &DoorOptions) -> Result<(), Trouble> {
        let new = routes::destinations_of(options);
        let Some((of, there, here)) = routes::difference(&self.routes, &new) else { return Ok(()) };
        Err(Trouble::new(
            format!(
                "process {} sends {of} to {there}, and by the settings of this one it goes to {here}",
                self.pid
            ),
            "nothing was opened; that process goes on, its moves too. Clients of both would have written in two places",
            "leave `front_door.cluster`, the routes and the clusters' addresses as they are to take over, or restart in two steps: `highwater              stop`, then `highwater serve`",
        ))
    }
}

/// What is being handed over.
#[derive(Debug)]
pub(super) struct Handing {
    terms: TakeOver,
    /// The moves that ran.
    moves: Vec<MoveConfig>,
    /// Says that clients are left here, once the moves are at rest.
    leaver: Option<Arc<Leaver>>,
}

/// What became of it.
#[derive(Debug)]
pub enum HandedOver {
    /// The other process serves, and the clients have been seen out.
    Gone,
    /// It went away; this one goes on.
    Stays(ControlSocket),
}

impl Service {
    fn handing(&self) -> MutexGuard<'_, Option<Handing>> {
        self.handing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on other processes may ask for the front door: whoever runs this answers to them with [`Service::hand_over`].
    pub fn may_hand_over(&mut self) {
        self.hands_over = true;
    }

    /// Refuses whoever would have this process change something that the next one is about to have.
    pub(super) fn refuse_while_handing_over(&self) -> Result<(), Trouble> {
        match self.handing().as_ref() {
            None => Ok(()),
            Some(handing) => Err(Trouble::new(
                format!("process {} is about to take over from this one", handing.terms.pid),
                "nothing was changed",
                "ask again in a moment; that process answers then",
            )),
        }
    }

    /// Brings the moves to rest for the process that asks.
    ///
    /// # Errors
    /// If it may not have the front door; then nothing has changed.
    pub(super) async fn offer(&self, terms: TakeOver) -> Result<Offer, Trouble> {
        let control = self.to_be_handed_over(&terms)?;
        self.begin_handing(terms)?;
        match self.rest(&control).await {
            Ok(offer) => Ok(offer),
            Err(trouble) => {
                self.go_on_alone().await;
                Err(trouble)
            }
        }
    }

    /// The front door, if the process that asks may have it.
    fn to_be_handed_over(&self, terms: &TakeOver) -> Result<Control, Trouble> {
        let refused = |what: String, hint: &str| {
            Err(Trouble::new(what, "nothing was stopped; the running process goes on", hint))
        };
        let running = std::process::id();
        if terms.protocol != PROTOCOL {
            let what = format!(
                "process {running} (version {}) hands over by protocol {PROTOCOL}, and this one takes over by {}",
                env!("CARGO_PKG_VERSION"),
                terms.protocol
            );
            return refused(what, "restart in two steps: `highwater stop`, then `highwater serve`");
        }
        let (Some(door), true) = (&self.door, self.hands_over) else {
            let what = format!("process {running} has no front door to hand over");
            return refused(what, "restart in two steps: end that process, then start this one");
        };
        let (listen, threads) = (self.config.front_door.listen, self.config.front_door.threads);
        let differs = if terms.listen != listen {
            format!("listens at {listen}, and the settings of this one say {}", terms.listen)
        } else if terms.threads != threads {
            format!("has {threads} threads, and the settings of this one say {}", terms.threads)
        } else {
            return Ok(door.control());
        };
        refused(
            format!("the front door of process {running} {differs}"),
            "leave `front_door.listen` and `front_door.threads` as they are to take over, or restart in two steps: `highwater stop`, then \
             `highwater serve`",
        )
    }

    fn begin_handing(&self, terms: TakeOver) -> Result<(), Trouble> {
        self.refuse_while_handing_over()?;
        // One that waits for a server is being tried again most of the time, which is stopped without harm.
        for running in self.moves().iter().filter(|running| !running.waits()) {
            running.driver.refuse_halt()?;
        }
        let mut handing = self.handing();
        let moves = self.moves().iter().map(|running| running.config.clone()).collect();
        if handing.is_some() || self.is_stopping() {
            return Err(Trouble::new(
                "the running process is ending, or another one takes over from it already",
                "nothing was stopped by this request",
                "look with `highwater status`, and try again",
            ));
        }
        *handing = Some(Handing { terms, moves, leaver: None });
        Ok(())
    }

    /// Ends what the moves do. A command that has slipped in between is waited for by nobody: it refuses the hand-over.
    async fn rest(&self, control: &Control) -> Result<Offer, Trouble> {
        let mut going_on = std::mem::take(&mut *self.going_on());
        going_on.shutdown().await;
        for running in self.moves() {
            running.driver.halt().await?;
        }
        let sockets = control.sockets().map_err(|error| no_sockets(&error))?.len();
        let clients = control.seated();
        let leaver = Arc::new(Leaver::enter(&self.config.state_dir, clients)?);
        if let Some(handing) = self.handing().as_mut() {
            handing.leaver = Some(leaver);
        }
        Ok(Offer {
            pid: std::process::id(),
            sockets,
            last_id: control.last_id(),
            clients,
            routes: routes::destinations(control),
        })
    }

    /// The process that was made an offer is gone: everything goes on here.
    pub async fn go_on_alone(&self) {
        let handing = self.handing().take();
        let Some(Handing { moves, leaver, terms }) = handing else { return };
        drop(leaver);
        tracing::warn!(target: "highwater::door", pid = terms.pid, "no other process takes over; this one goes on");
        // Journals are read again: another process may have gone on with them for a while.
        self.set_moves(Vec::new());
        for one in &moves {
            match self.opened(one, None) {
                Ok(running) => {
                    running.start_again(&self.config).await;
                    self.add_move(running);
                }
                Err(trouble) => tracing::error!(
                    target: "highwater::move", name = one.spec.name,
                    "the move does not run: {}; {}; {}", trouble.what, trouble.state, trouble.hint
                ),
            }
        }
        self.go_on();
    }

    /// Hands the front door over to the process that was made an offer, and sees the clients out once that one serves.
    pub async fn hand_over(&self, socket: ControlSocket, mut successor: Successor) -> HandedOver {
        let Some(control) = self.door.as_ref().map(proxy::Door::control) else {
            return HandedOver::Stays(socket);
        };
        if successor.takes().await.is_err() {
            self.go_on_alone().await;
            return HandedOver::Stays(socket);
        }
        drop(socket);
        let given = async {
            successor.give(&control.sockets()?).await?;
            successor.opens().await
        };
        if let Err(error) = given.await {
            tracing::warn!(target: "highwater::door", %error, "the process that was to take over went away");
            let socket = self.claim_again().await;
            self.go_on_alone().await;
            return HandedOver::Stays(socket);
        }
        self.see_over(&control).await;
        HandedOver::Gone
    }

    /// Has the state directory again. The process that went away may take a moment to be gone.
    async fn claim_again(&self) -> ControlSocket {
        for tried in 0_u32.. {
            match ControlSocket::bind(&self.config.state_dir) {
                Ok(socket) => return socket,
                Err(trouble) if tried == CLAIMS_UNTIL_SAID => tracing::error!(
                    target: "highwater::door",
                    "this process serves its clients without moves and without a control socket: {}; end one of the two", trouble.what
                ),
                Err(_) => {}
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
        unreachable!("a process does not live for so many tries")
    }

    async fn see_over(&self, control: &Control) {
        let Some((terms, leaver)) = self.handing().as_ref().and_then(|h| Some((h.terms, h.leaver.clone()?)))
        else {
            return;
        };
        // Here nothing asks a server for a move any more.
        self.set_moves(Vec::new());
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let within = Duration::from_millis(terms.within_ms);
        let patience = terms.kill_after_ms.map_or(self.settings().front_door.stop_max, Duration::from_millis);
        output::tell(&format!(
            "process {} serves now; {} clients have {} s to leave\n",
            terms.pid,
            control.seated(),
            within.as_secs_f64()
        ));
        let seen = control.see_over(within, Some(patience), |left| leaver.left(left)).await;
        if seen.remaining > 0 {
            tracing::warn!(target: "highwater::door", clients = seen.remaining, "ended with a transaction or statement open");
        }
        output::tell(&format!(
            "handed over: of {} clients {} left by themselves, {} were ended between transactions, {} within one\n",
            seen.clients, seen.by_themselves, seen.ended, seen.remaining
        ));
    }
}

fn no_sockets(error: &std::io::Error) -> Trouble {
    Trouble::new(
        format!("the front door's sockets cannot be handed over: {error}"),
        "nothing was handed over; this process goes on",
        "raise the limit on open files (`ulimit -n`)",
    )
}
