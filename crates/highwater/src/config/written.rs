//! The settings as an operator writes them: types and defaults, nothing checked across tables yet.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use migrate::TablePattern;
use migrate::cutover::{Hooks, Phase};
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::duration;
use super::memory;
use super::resolved::Pinned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenConfig {
    #[serde(default = "state_dir")]
    pub state_dir: PathBuf,
    #[serde(default)]
    pub clusters: BTreeMap<String, Spanned<WrittenCluster>>,
    #[serde(default)]
    pub moves: BTreeMap<String, Spanned<WrittenMove>>,
    #[serde(default)]
    pub front_door: WrittenFrontDoor,
    #[serde(default)]
    pub copy: WrittenCopy,
    #[serde(default)]
    pub throttle: WrittenThrottle,
    #[serde(default)]
    pub cutover: WrittenCutover,
}

/// `[clusters.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenCluster {
    pub host: Spanned<String>,
    #[serde(default = "mysql_port")]
    pub port: Spanned<u16>,
    pub user: String,
    pub password_env: Option<Spanned<String>>,
    pub password_file: Option<Spanned<PathBuf>>,
    pub server_public_key: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub get_server_public_key: bool,
    #[serde(default)]
    pub tls: WrittenTlsMode,
    pub tls_ca: Option<Spanned<PathBuf>>,
    pub tls_cert: Option<Spanned<PathBuf>>,
    pub tls_key: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub replicas: Vec<Spanned<String>>,
}

/// The words of MySQL's `--ssl-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WrittenTlsMode {
    #[default]
    Off,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

/// `[moves.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenMove {
    pub source: Spanned<String>,
    pub target: Spanned<String>,
    pub tables: Spanned<Vec<WrittenTables>>,
    #[serde(default)]
    pub rename: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    pub accept: Vec<String>,
    #[serde(default = "yes")]
    pub objects: bool,
    #[serde(default)]
    pub accounts: WrittenAccounts,
    #[serde(default)]
    pub fence: migrate::Fence,
    pub fence_accounts: Option<Spanned<Vec<String>>>,
    pub users: Option<Spanned<Vec<String>>>,
}

/// `false`, `true`, or a list of `user@host`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "`true`, `false`, or a list of accounts as `user@host`")]
pub enum WrittenAccounts {
    All(bool),
    Named(Vec<String>),
}

impl Default for WrittenAccounts {
    fn default() -> Self {
        Self::All(false)
    }
}

/// `schema.*` or `schema.table`
#[derive(Debug)]
pub struct WrittenTables(pub TablePattern);

/// `[front_door]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenFrontDoor {
    pub listen: SocketAddr,
    pub enabled: bool,
    pub threads: Spanned<usize>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub hold_max: Duration,
    pub clients_max: Spanned<usize>,
    #[serde(deserialize_with = "memory::deserialize_some")]
    pub memory_max: Option<Spanned<usize>>,
    pub share: bool,
    pub backends_max: Spanned<usize>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub queue_max: Duration,
    pub local_infile: bool,
    pub compression: bool,
    #[serde(deserialize_with = "duration::deserialize_limit")]
    pub idle_max: Duration,
    #[serde(deserialize_with = "duration::deserialize_limit")]
    pub transaction_idle_max: Duration,
    #[serde(deserialize_with = "duration::deserialize_limit")]
    pub statement_max: Duration,
    pub cluster: Option<Spanned<String>>,
    pub tls_cert: Option<Spanned<PathBuf>>,
    pub tls_key: Option<Spanned<PathBuf>>,
    pub tls_client_ca: Option<Spanned<PathBuf>>,
    pub tls_required: Spanned<bool>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub login_max: Duration,
    pub handshakes_max: Spanned<usize>,
    pub logins_per_second: u32,
    pub proxy_protocol_from: Vec<Spanned<String>>,
    pub schemas: BTreeMap<Spanned<String>, Spanned<String>>,
    pub users: BTreeMap<String, Spanned<WrittenUser>>,
    pub digests: bool,
    #[serde(deserialize_with = "duration::deserialize_some")]
    pub slow: Option<Duration>,
    pub slow_log: PathBuf,
    pub slow_log_values: bool,
    #[serde(deserialize_with = "duration::deserialize")]
    pub stop_max: Duration,
}

/// `[front_door.users.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenUser {
    pub cluster: Option<Spanned<String>>,
    pub clients_max: Option<Spanned<usize>>,
    #[serde(default)]
    pub from: Vec<Spanned<String>>,
    pub certificate: Option<Spanned<bool>>,
    pub password_env: Option<Spanned<String>>,
    pub password_file: Option<Spanned<PathBuf>>,
}

/// `[copy]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenCopy {
    pub chunk_rows: Spanned<u32>,
    pub readers: Spanned<usize>,
    pub defer_indexes: bool,
}

/// `[throttle]`; a number of 0 means that there is no such limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenThrottle {
    pub latency_rise_max: Spanned<u32>,
    pub threads_running_max: u64,
    #[serde(deserialize_with = "duration::deserialize")]
    pub replica_lag_max: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub target_lag_max: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub chunk_time: Duration,
    pub rows_per_second: u64,
}

/// `[cutover]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenCutover {
    #[serde(deserialize_with = "duration::deserialize")]
    pub lag_max: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub drain_deadline: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub fence_deadline: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub settle_deadline: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub prove_deadline: Duration,
    #[serde(deserialize_with = "duration::deserialize")]
    pub prime_deadline: Duration,
    pub pinned: Pinned,
    pub hooks: WrittenHooks,
}

/// `[cutover.hooks]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WrittenHooks {
    pub before: BTreeMap<Phase, Spanned<Vec<String>>>,
    pub after: BTreeMap<Phase, Spanned<Vec<String>>>,
    pub undone: Option<Spanned<Vec<String>>>,
    #[serde(deserialize_with = "duration::deserialize")]
    pub deadline: Duration,
}

fn state_dir() -> PathBuf {
    "highwater-state".into()
}

fn yes() -> bool {
    true
}

fn mysql_port() -> Spanned<u16> {
    defaulted(3306)
}

/// A default is right by construction, so its place in the file is never asked for.
fn defaulted<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

impl Default for WrittenFrontDoor {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 6033).into(),
            enabled: true,
            threads: defaulted(0),
            hold_max: Duration::from_secs(10),
            clients_max: defaulted(20_000),
            memory_max: None,
            share: true,
            backends_max: defaulted(200),
            queue_max: Duration::from_secs(10),
            local_infile: false,
            compression: true,
            idle_max: Duration::ZERO,
            transaction_idle_max: Duration::ZERO,
            statement_max: Duration::ZERO,
            cluster: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            tls_required: defaulted(false),
            login_max: Duration::from_secs(10),
            handshakes_max: defaulted(256),
            logins_per_second: 0,
            proxy_protocol_from: Vec::new(),
            schemas: BTreeMap::new(),
            users: BTreeMap::new(),
            digests: false,
            slow: None,
            slow_log: "slow.log".into(),
            slow_log_values: false,
            stop_max: Duration::from_secs(5),
        }
    }
}

impl Default for WrittenCopy {
    fn default() -> Self {
        Self { chunk_rows: defaulted(2_000), readers: defaulted(4), defer_indexes: true }
    }
}

impl Default for WrittenThrottle {
    fn default() -> Self {
        Self {
            latency_rise_max: defaulted(10),
            threads_running_max: 0,
            replica_lag_max: Duration::from_secs(2),
            target_lag_max: Duration::from_secs(10),
            chunk_time: Duration::from_millis(200),
            rows_per_second: 0,
        }
    }
}

impl Default for WrittenCutover {
    fn default() -> Self {
        Self {
            lag_max: Duration::from_secs(1),
            drain_deadline: Duration::from_secs(5),
            fence_deadline: Duration::from_secs(2),
            settle_deadline: Duration::from_secs(5),
            prove_deadline: Duration::from_secs(2),
            prime_deadline: Duration::from_secs(10),
            pinned: Pinned::Refuse,
            hooks: WrittenHooks::default(),
        }
    }
}

impl Default for WrittenHooks {
    fn default() -> Self {
        let deadline = Hooks::default().deadline;
        Self { before: BTreeMap::new(), after: BTreeMap::new(), undone: None, deadline }
    }
}

impl<'de> Deserialize<'de> for WrittenTables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            || de::Error::custom(format!("'{text}' selects no tables; write `schema.*` or `schema.table`"));
        let (schema, table) = text.split_once('.').ok_or_else(wrong)?;
        if schema.is_empty()
            || table.is_empty()
            || schema.contains('*')
            || (table != "*" && table.contains('*'))
        {
            return Err(wrong());
        }
        let lower = schema.to_lowercase();
        if ["mysql", "sys", "information_schema", "performance_schema", "highwater"].contains(&lower.as_str())
        {
            return Err(de::Error::custom(format!(
                "schema '{schema}' belongs to the server or to highwater and cannot move"
            )));
        }
        let table = (table != "*").then(|| table.to_owned());
        Ok(Self(TablePattern { schema: schema.to_owned(), table }))
    }
}
