//! What was read from the servers, before anyone judges it.

use std::collections::{BTreeMap, BTreeSet};

use model::TableName;

use super::TargetState;
use super::grants::Grants;
use super::probe::Behaviour;
use super::report::Side;
use super::rule::{Fact, Unread};
use super::writers::Writer;
use crate::plan::{Along, Fence, MoveSpec, Selection};
use crate::schema::placement::Placement;

/// Everything the rules may look at.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub spec: MoveSpec,
    pub state: TargetState,
    /// What moves along with the tables.
    pub along: Along,
    /// What is to keep a side from taking writes.
    pub fence: Fence,
    /// Accounts that are to be locked on the side that follows, as `user@host`.
    pub fence_accounts: Vec<String>,
    /// Replicas of the source that the copy is told to spare, as `host:port`.
    pub spared: Vec<String>,
    pub source: ServerFacts,
    pub target: ServerFacts,
    /// The moved tables and what hangs on them, on the source.
    pub schema: SchemaFacts,
    /// What the target has of them.
    pub there: TargetFacts,
}

/// One server.
#[derive(Debug, Clone)]
pub(super) struct ServerFacts {
    pub side: Side,
    pub variables: Variables,
    /// Our account there, as `user@host`.
    pub account: String,
    /// Our active roles, as CURRENT_ROLE() lists them.
    pub active_roles: String,
    pub gtids: Fact<Gtids>,
    pub clock: Fact<Clock>,
    pub grants: Fact<Grants>,
    pub accounts: Fact<Vec<Account>>,
    /// Accounts that could write somewhere; read where the fence is around schemas.
    pub writers: Fact<Vec<Writer>>,
    /// Plugins that accounts may log in with; read where accounts move along.
    pub login_plugins: Fact<BTreeSet<String>>,
    pub log_filters: Fact<LogFilters>,
    pub channels: Fact<Vec<Channel>>,
    /// Replicas that follow it, as `host:port`; the host is empty where a replica does not report one.
    pub replicas: Fact<Vec<String>>,
    /// Transactions in XA PREPARED state.
    pub xa_prepared: Fact<usize>,
    /// Open transactions other than our own.
    pub open_transactions: Fact<Vec<OpenTransaction>>,
    /// The most connections there ever were at once.
    pub connections_max_used: Fact<u64>,
    /// What it does in a session such as the application gets.
    pub behaviour: Fact<Behaviour>,
}

/// Global variables, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(pub BTreeMap<String, String>);

impl Variables {
    /// A variable's value, if the server has it.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A variable that a rule cannot do without.
    pub fn get(&self, name: &str) -> Result<&str, Unread> {
        self.find(name).ok_or_else(|| Unread {
            error: format!("the server has no variable {name}"),
            fix: "move between MySQL servers of version 8.0 or later".into(),
        })
    }

    /// A variable that is a number.
    pub fn number(&self, name: &str) -> Result<u64, Unread> {
        let text = self.get(name)?;
        text.parse().map_err(|_| Unread {
            error: format!("{name} is '{text}', not a number"),
            fix: format!("SET PERSIST {name} = DEFAULT;"),
        })
    }

    /// Whether a variable is set to ON.
    pub fn is_on(&self, name: &str) -> bool {
        matches!(self.find(name), Some("ON" | "1"))
    }
}

/// A server's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub u16, pub u16, pub u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Facts {
    /// What moves, in the names of one of the servers.
    pub fn moved(&self, side: Side) -> Selection<'_> {
        self.spec.on(match side {
            Side::Target => model::Side::Target,
            _ => model::Side::Source,
        })
    }

    /// What was read from one of the servers.
    pub fn server(&self, side: Side) -> &ServerFacts {
        match side {
            Side::Target => &self.target,
            _ => &self.source,
        }
    }
}

impl ServerFacts {
    /// The leading numbers of the version text; what is missing counts as 0.
    pub fn version(&self) -> Version {
        let text = self.variables.find("version").unwrap_or_default();
        let digits = text.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let mut numbers = digits.split('.').map(|n| n.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Version(next(), next(), next())
    }

    /// Our account, quoted for a GRANT.
    pub fn quoted_account(&self) -> String {
        quoted_account(&self.account)
    }
}

/// `user@host` as `'user'@'host'`.
pub(super) fn quoted_account(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    let quote = |s: &str| format!("'{}'", s.replace('\'', "''"));
    format!("{}@{}", quote(user), quote(host))
}

/// GTID sets, as the server writes them: they may hold what we cannot parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gtids {
    pub executed: String,
    pub purged: String,
}

/// What a session with the server's default time zone reads, as seconds east of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub now: i64,
    pub january: i64,
    pub july: i64,
    /// Whether time zones have names here, that is: whether mysql.time_zone_name has rows.
    pub names_loaded: bool,
}

/// An account that can log in, or a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    /// `user@host`.
    pub name: String,
    pub locked: bool,
    /// What it logs in with.
    pub plugin: String,
    /// Whether a second password is kept beside the current one.
    pub second_password: bool,
    /// Of the privileges that reach through a read-only fence, those it has, by itself or through roles.
    pub powers: BTreeSet<String>,
}

/// What the server leaves out of its binary log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LogFilters {
    pub only: String,
    pub ignored: String,
}

/// A replication channel into a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Channel {
    pub from: String,
    /// Whether its applier runs.
    pub applying: bool,
}

/// A transaction that has been open for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenTransaction {
    /// Its connection, as KILL takes it; 0 for a recovered XA transaction.
    pub connection: u64,
    pub open_s: i64,
}

/// The moved tables and what hangs on them, on the source.
#[derive(Debug, Clone)]
pub(super) struct SchemaFacts {
    pub tables: Fact<Vec<TableFacts>>,
    /// Patterns of the move that select nothing.
    pub unmatched: Vec<Unmatched>,
    /// Every foreign key that starts or ends at a moved table.
    pub foreign_keys: Fact<Vec<ForeignKey>>,
    /// On moved tables.
    pub triggers: Fact<Vec<Object>>,
    /// In the schemas of the move.
    pub events: Fact<Vec<Object>>,
    /// In the schemas of the move.
    pub views: Fact<Vec<Object>>,
    /// Procedures and functions in the schemas of the move.
    pub routines: Fact<Vec<Object>>,
    /// What names a schema that has another name on the target, and cannot be written anew for it: each with what it holds. Nothing
    /// is read where every schema keeps its name.
    pub bound_to_names: Fact<Vec<String>>,
}

impl SchemaFacts {
    /// The moved tables.
    pub fn tables(&self) -> Result<&[TableFacts], Unread> {
        self.tables.as_deref().map_err(Clone::clone)
    }
}

/// A pattern that selects no table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unmatched {
    /// `schema.table` or `schema.*`.
    pub pattern: String,
    /// What may have been meant.
    pub nearest: Option<String>,
    /// Whether the name is that of a view.
    pub is_view: bool,
}

/// One moved table.
#[derive(Debug, Clone)]
pub(super) struct TableFacts {
    pub name: TableName,
    pub engine: String,
    pub collation: String,
    pub partitioned: bool,
    /// Data and indexes, in bytes, as InnoDB estimates them.
    pub bytes: u64,
    pub columns: Vec<ColumnFacts>,
    /// Primary and unique keys.
    pub keys: Vec<Vec<KeyPart>>,
    /// Where its statement says it lies.
    pub placement: Placement,
}

/// One column.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnFacts {
    pub name: String,
    /// `bigint`, `varchar`, ...
    pub data_type: String,
    pub collation: Option<String>,
    pub generated: bool,
    pub auto_increment: bool,
}

/// One part of a primary or unique key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPart {
    /// `None` for an expression.
    pub column: Option<String>,
    /// Whether it covers the column's first bytes only.
    pub prefix: bool,
    pub nullable: bool,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForeignKey {
    pub name: String,
    pub child: TableName,
    pub parent: TableName,
    pub on_update: String,
    pub on_delete: String,
}

/// A trigger, event, view or routine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// `schema.name`.
    pub name: String,
    /// `user@host`; empty where the server tells none.
    pub definer: String,
    /// For events: their status. For functions: `FUNCTION`, or `CARELESS` if a server that logs may refuse them.
    pub status: String,
}

impl Object {
    /// For events: whether it would run here.
    pub fn enabled(&self) -> bool {
        self.status == "ENABLED"
    }

    /// Its name without the schema's, if there is no dot in it.
    pub fn own_name(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(_, name)| name)
    }

    /// Its schema.
    pub fn schema(&self) -> &str {
        self.name.split_once('.').map_or("", |(schema, _)| schema)
    }
}

/// What the target has of the move.
#[derive(Debug, Clone)]
pub(super) struct TargetFacts {
    /// Tables and views there that have the name of a moved table, by their names there.
    pub tables: Fact<BTreeSet<TableName>>,
    pub collations: Fact<BTreeSet<String>>,
    /// Its tablespaces.
    pub tablespaces: Fact<BTreeSet<String>>,
    /// Whether it has a keyring that works; read where a table needs one.
    pub keyring: Fact<bool>,
    /// Triggers on those tables.
    pub triggers: Fact<Vec<Object>>,
    /// Events of any schema.
    pub events: Fact<Vec<Object>>,
    /// The GTID set our ledger says is applied; `None` before the copy began.
    pub applied: Fact<Option<String>>,
}
