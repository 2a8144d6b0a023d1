//! The settings after every check: defaulted, cross-checked, secrets in hand; each part of the program receives its
//! own small options from here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use migrate::cutover::Hooks;
use migrate::throttle::PaceLimits;
use migrate::{Along, Fence, MoveSpec};
use model::Trouble;
use mysql::{ConnectOptions, Password, ServerKey, Tls};
use serde::Deserialize;

use super::choose_move;
use super::memory;
use super::routes;
use super::source_text::STATE;
use crate::output::grouped;

/// Everything the program runs on.
#[derive(Debug, Clone)]
pub struct ResolvedConfig {
    /// The settings file, for messages.
    pub file: PathBuf,
    /// The directory of the journal and the control socket.
    pub state_dir: PathBuf,
    /// Clusters by name.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// The moves, by name.
    pub moves: Vec<MoveConfig>,
    /// How clients are served.
    pub front_door: FrontDoorOptions,
    /// How rows are read.
    pub copy: CopyOptions,
    /// What the readers spare.
    pub throttle: ThrottleOptions,
    /// The bounds of a cutover.
    pub cutover: CutoverOptions,
}

/// One cluster's writer, and the account Highwater uses there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// The cluster's name in the settings.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account name.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// Whose public key the password may be encrypted with.
    pub server_key: ServerKey,
    /// How TLS is used with it.
    pub tls: Tls,
    /// Addresses of its replicas, reached with the same account; the copy spares them.
    pub replicas: Vec<(String, u16)>,
}

/// One move and the clusters it joins.
#[derive(Debug, Clone)]
pub struct MoveConfig {
    /// The name, and which tables go.
    pub spec: MoveSpec,
    /// The cluster that has the data.
    pub source: String,
    /// The cluster that gets it.
    pub target: String,
    /// Refusals of `check` that the operator accepts.
    pub accept: Vec<String>,
    /// What moves along with the tables.
    pub along: Along,
    /// What keeps a side from taking writes.
    pub fence: Fence,
    /// With a fence around schemas, the accounts that are locked on the side that follows, as `user@host`.
    pub fence_accounts: Vec<String>,
    /// The accounts whose clients the front door takes along, whatever they use, and nobody else's; none: whose clients go is said by
    /// the schemas.
    pub users: Vec<String>,
}

/// Whose clients a move takes along in the front door, where that is not everybody on its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveRoute {
    /// Those of these schemas.
    Schemas(Vec<String>),
    /// Those of these accounts.
    Users {
        /// The accounts' names.
        users: Vec<String>,
        /// The schemas of which everything moves, which are on the other side for nobody else.
        schemas: Vec<String>,
    },
}

/// The front door's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoorOptions {
    /// The address clients connect to.
    pub listen: SocketAddr,
    /// Whether there is one. Without, the hooks of a cutover keep the clients away.
    pub enabled: bool,
    /// Threads; never zero.
    pub threads: usize,
    /// Schemas on clusters of their own, and those clusters' names.
    pub schemas: BTreeMap<String, String>,
    /// Accounts that are sent to a cluster whatever they use, and that cluster's name.
    pub users: BTreeMap<String, String>,
    /// Whether clients share connections to the server.
    pub share: bool,
    /// What the door can be told while it is open.
    pub rules: proxy::Rules,
    /// Where slow statements are written down.
    pub slow_log: PathBuf,
    /// How long open transactions may take to end when the process does.
    pub stop_max: Duration,
    /// The cluster that is the writer before any cutover, as far as the settings tell; see
    /// [`ResolvedConfig::first_writer`].
    pub cluster: Option<String>,
}

/// The copy's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// Rows per chunk.
    pub chunk_rows: u32,
    /// Chunks read at the same time.
    pub readers: usize,
    /// Whether indexes are added to a table when its rows are there.
    pub defer_indexes: bool,
}

/// What readers of a source spare.
#[derive(Debug, Clone, PartialEq)]
pub struct ThrottleOptions {
    /// What must not be passed on the source and its replicas.
    pub limits: PaceLimits,
    /// How far the target may be behind.
    pub target_lag_max: Duration,
    /// How long reading one chunk may take.
    pub chunk_time: Duration,
    /// Rows a move reads in a second at most, until an operator says otherwise.
    pub rows_per_second: Option<u64>,
}

/// The bounds of a cutover; passing one before the switch puts everything back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutoverOptions {
    /// How far the target may be behind for a cutover to start.
    pub lag_max: Duration,
    /// How long open transactions may take to end.
    pub drain_deadline: Duration,
    /// How long the source may take to become read-only.
    pub fence_deadline: Duration,
    /// How long applying the last transactions may take.
    pub settle_deadline: Duration,
    /// How long the last proof may take.
    pub prove_deadline: Duration,
    /// How long priming the target may take, before anyone is held.
    pub prime_deadline: Duration,
    /// What to do about clients that are pinned to their backend.
    pub pinned: Pinned,
    /// What the site runs around the phases.
    pub hooks: Hooks,
}

/// What a cutover does about clients whose session cannot be taken to another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pinned {
    /// The cutover is refused while there are any.
    Refuse,
    /// Their connections are closed, and they reconnect to the new writer.
    Close,
}

impl FrontDoorOptions {
    /// What the door holds at most for its clients, and what they take while idle, in a sentence; and whether `clients_max` of
    /// them have room.
    pub fn memory_in_words(&self) -> (String, bool) {
        let idle = proxy::idle_clients(self.rules.clients_max);
        let least =
            format!("{} idle ones count as {}", grouped(self.rules.clients_max as u64), memory::shown(idle));
        if self.rules.memory_max == usize::MAX {
            return (format!("memory for clients is not bounded; {least}"), true);
        }
        let fit = idle <= self.rules.memory_max / 8 * 7;
        let most =
            format!("at most {} of memory for clients (memory_max)", memory::shown(self.rules.memory_max));
        let then = if fit { "" } else { ", which is too much: clients_max cannot be reached" };
        (format!("{most}; {least}{then}"), fit)
    }
}

impl ResolvedConfig {
    /// The move an operator means; without a name, the only one there is.
    ///
    /// # Errors
    /// If there is no such move, or several and none was named.
    pub fn move_named(&self, wanted: Option<&str>) -> Result<&MoveConfig, Trouble> {
        let names: Vec<&str> = self.moves.iter().map(|m| m.spec.name.as_str()).collect();
        let name = choose_move(&names, wanted)?;
        Ok(self.moves.iter().find(|m| m.spec.name == name).expect("the name was chosen from these moves"))
    }

    /// The route of its own that a move has in the front door, so that its crossings move these clients alone: one that names
    /// accounts, or takes whole schemas, if its fence leaves the rest of the server open. Any other move takes along all that its
    /// source serves. It does not depend on the other moves: one that is finished and gone from the settings must not send its
    /// schemas after those of another.
    pub fn route_of(&self, one: &MoveConfig) -> Option<MoveRoute> {
        if one.fence == Fence::Server {
            return None;
        }
        if !one.users.is_empty() {
            let schemas = one
                .spec
                .on(model::Side::Source)
                .whole_schemas()
                .into_iter()
                .filter(|schema| routes::is_plain(schema));
            let schemas = schemas.map(str::to_owned).collect();
            return Some(MoveRoute::Users { users: one.users.clone(), schemas });
        }
        let whole = one.spec.tables.iter().all(|t| t.table.is_none() && routes::is_plain(&t.schema));
        whole.then(|| MoveRoute::Schemas(one.spec.tables.iter().map(|t| t.schema.clone()).collect()))
    }

    /// The cluster a move takes its tables from.
    pub fn source_of(&self, one: &MoveConfig) -> &ClusterConfig {
        &self.clusters[&one.source]
    }

    /// The cluster a move takes its tables to.
    pub fn target_of(&self, one: &MoveConfig) -> &ClusterConfig {
        &self.clusters[&one.target]
    }

    /// The cluster that takes the application's writes before any cutover.
    ///
    /// # Errors
    /// If the settings leave open which one it is.
    pub fn first_writer(&self) -> Result<&ClusterConfig, Trouble> {
        self.front_door.cluster.as_ref().map(|name| &self.clusters[name]).ok_or_else(|| {
            Trouble::new(
                format!("{} leaves open which cluster the front door serves", self.file.display()),
                STATE,
                "set `front_door.cluster` to the cluster that takes the application's writes today",
            )
        })
    }
}

impl ClusterConfig {
    /// How to connect to the cluster's writer for statements of our own.
    pub fn connect_options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new(&self.host, self.port, &self.user, self.password.clone());
        options.server_key = self.server_key.clone();
        options.tls = self.tls.clone();
        options
    }

    /// How to connect to its replicas.
    pub fn replica_options(&self) -> Vec<ConnectOptions> {
        let one = |(host, port): &(String, u16)| {
            let mut options = self.connect_options();
            options.host.clone_from(host);
            options.port = *port;
            options
        };
        self.replicas.iter().map(one).collect()
    }
}
