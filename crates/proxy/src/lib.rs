//! The front door: a MySQL proxy whose clients are held, not failed, while the writer behind it changes.
//!
//! ```text
//! client --> listener --> login --> session --- command ---> gate --> backend
//!            one per core           |   ^                    ^          |
//!                                   |   +--- relay <--- scan -- answer -+
//!                                   +-- profile, statements  |
//!                                                            |
//! Control: warm -> hold -> drain -> switch -> release -------+
//! ```
//!
//! Each thread has a listener of its own on the one address, and a session stays on its thread. Backend connections
//! are opened with the clients' own accounts and passwords: the door has no list of passwords. A session has one for
//! the length of a transaction, or, without sharing, for itself (`session/sharing.rs` says how). Rows pass unread; what the server
//! reports beside them is what the door knows of a session.
//!
//! What goes to which cluster is said by a table (`gate/routes.rs`); each cluster has a gate of its own. A statement goes to one
//! cluster or, if it would need two, nowhere (`session/steer.rs`).
//!
//! Connection ids: the greeting tells a client an id of the door's own (above 2^31). `KILL` takes that, and also the
//! server's id as `CONNECTION_ID()` told it (`session/kill.rs`).
//!
//! Invariant: a command is sent to a backend once, or not at all. One whose answer was lost is reported as of unknown
//! outcome; nothing here sends it again.

mod arrival;
mod backend;
mod figures;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod memory;
mod session;
mod state;
mod trouble;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use mysql::{ServerKey, Tls};
// How this crate speaks of it: what a statement's text says.
use sql as text;
use tokio::sync::{mpsc, watch};

pub use arrival::entrance::{Entrance, UserRule};
pub use arrival::network::Network;
pub use arrival::tls::DoorTls;
pub use figures::digests::{DigestFigures, Digests};
pub use figures::held::Held;
pub use figures::observed::{Observe, SlowStatement};
pub use figures::registry::{OpenSession, SessionPhase, SessionView, Stats};
pub use gate::control::{Control, DrainError, PinnedPolicy, RouteView, WarmReport};
pub use gate::routes::{Party, Routes};
pub use gate::rules::Rules;
pub use memory::idle_clients;
pub use session::exit::SeenOut;
pub use session::terms::Terms;

use arrival::accounts::Accounts;
use arrival::proven::ProvenAccounts;
use figures::observed::Observing;
use figures::registry::{FIRST_ID, Registry};
use gate::routes::{Routing, Scope};
use memory::Memory;
use session::exit::Exit;
use state::settings::{Interned, Settings};
use state::texts::Texts;

/// A server that sessions may be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The cluster's name, for messages.
    pub id: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Trust in the server's public key.
    pub server_key: ServerKey,
    /// How TLS is used with it.
    pub tls: Tls,
}

/// How a door is opened.
#[derive(Debug, Clone)]
pub struct DoorOptions {
    /// Where clients connect; port 0 chooses a free one, see [`Door::address`].
    pub listen: SocketAddr,
    /// Threads; 0 is one per core.
    pub threads: usize,
    /// Where commands go at first.
    pub writer: Backend,
    /// What goes to other clusters.
    pub routes: Routes,
    /// The version text that clients are greeted with.
    pub server_version: String,
    /// Whether clients of one account share backend connections between their transactions.
    pub share: bool,
    /// What can be changed later, by [`Control::set_rules`].
    pub rules: Rules,
}

/// Why the door could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The address cannot be listened on.
    #[error(
        "error: cannot listen on {address}: {source}\nstate: no client was accepted\nhint:  choose a free address in `proxy.listen`"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A thread, a runtime or the RSA key could not be made.
    #[error(
        "error: cannot start the front door: {0}\nstate: no client was accepted\nhint:  check the limits on threads, memory and open files"
    )]
    Start(String),
    /// A switch was asked for while commands may be running.
    #[error(
        "error: cannot switch to {next} at epoch {epoch}\nstate: traffic is on {writer} at epoch {current}; nothing was changed\nhint:  hold, then drain, then switch to a later epoch"
    )]
    NotDrained {
        /// The cluster asked for.
        next: String,
        /// The epoch asked for.
        epoch: u64,
        /// Where commands go.
        writer: String,
        /// The epoch they go there in.
        current: u64,
    },
}

/// What a door takes over from that of another process, which may still accept from the same sockets.
#[derive(Debug)]
pub struct Inherited {
    /// The sockets to accept from, one for each thread.
    pub sockets: Vec<TcpListener>,
    /// Ids up to this one may be those of the other door's clients.
    pub last_id: u32,
}

/// An open front door. Dropping it closes every connection.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// What all threads of a door share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub routing: Arc<Routing>,
    pub registry: Registry,
    pub key: Arc<arrival::login::DoorKey>,
    pub server_version: String,
    pub rules: gate::rules::Current,
    pub accounts: Arc<Accounts>,
    pub share: bool,
    pub exit: Exit,
    pub observing: Observing,
    pub proven: ProvenAccounts,
    pub settings: Interned<Settings>,
    pub texts: Texts,
    pub memory: Arc<Memory>,
}

impl Door {
    /// Opens the door: listens, and serves clients on threads of its own.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the threads cannot be made.
    pub fn start(options: DoorOptions) -> Result<Self, DoorError> {
        Self::start_with(options, |_| {})
    }

    /// Opens the door, and does something with its control before the first client can come, such as to hold those whose
    /// writer may not be sent anything yet.
    ///
    /// # Errors
    /// As [`Door::start`].
    pub fn start_with(options: DoorOptions, first: impl FnOnce(&Control)) -> Result<Self, DoorError> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let sockets = arrival::listener::bind(options.listen, threads)
            .map_err(|source| DoorError::Listen { address: options.listen, source })?;
        Self::start_on(options, Inherited { sockets, last_id: FIRST_ID }, first)
    }

    /// Opens the door on sockets that are listened on already; those, and not the options, say how many threads there are.
    ///
    /// # Errors
    /// As [`Door::start`].
    pub fn start_on(
        options: DoorOptions,
        inherited: Inherited,
        first: impl FnOnce(&Control),
    ) -> Result<Self, DoorError> {
        let Inherited { sockets: listeners, last_id } = inherited;
        let listen = options.listen;
        let unusable = |source| DoorError::Listen { address: listen, source };
        let threads = listeners.len();
        let address = match listeners.first() {
            Some(first) => first.local_addr().map_err(unusable)?,
            None => return Err(unusable(std::io::ErrorKind::InvalidInput.into())),
        };
        let also: Vec<TcpListener> =
            listeners.iter().map(TcpListener::try_clone).collect::<Result<_, _>>().map_err(unusable)?;
        let Rules { backends_max, memory_max, observe, .. } = options.rules;
        let shared = Arc::new(Shared {
            routing: Arc::new(Routing::new(options.writer, options.routes, threads, backends_max.max(1))),
            registry: Registry::default(),
            rules: gate::rules::Current::new(options.rules),
            key: Arc::new(arrival::login::DoorKey::generate().map_err(|e| DoorError::Start(e.to_string()))?),
            server_version: options.server_version,
            accounts: Arc::default(),
            share: options.share,
            exit: Exit::default(),
            observing: Observing::new(observe, threads),
            proven: ProvenAccounts::default(),
            settings: Interned::default(),
            texts: Texts::default(),
            memory: Arc::new(Memory::new(memory_max, threads)),
        });
        shared.registry.go_on_after(last_id);
        shared.exit.listening_on(also);
        let stop = watch::Sender::new(false);
        let mut door = Self { address, shared, stop, threads: Vec::new() };
        first(&door.control());
        for (shard, socket) in listeners.into_iter().enumerate() {
            let thread = arrival::listener::spawn(
                (shard, threads),
                socket,
                Arc::clone(&door.shared),
                door.stop.subscribe(),
            )
            .map_err(|e| DoorError::Start(e.to_string()))?;
            door.threads.push(thread);
        }
        Ok(door)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The statements that are slow, as they end; once. While nobody reads them they are forgotten, and counted.
    pub fn slow_statements(&self) -> Option<mpsc::Receiver<SlowStatement>> {
        self.shared.observing.slow_statements()
    }

    /// What changes the writer, and says what the door is doing.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared), Scope::Everything)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // A control may live on, and with it the sockets.
        self.shared.exit.close();
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the front door had panicked");
            }
        }
    }
}
