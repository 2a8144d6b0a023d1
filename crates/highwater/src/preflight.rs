//! The checks of a move, run against the clusters of the settings.

use migrate::check::{CheckOptions, CheckReport, Outcome, Server, TargetState};
use model::Trouble;
use mysql::Connection;

use crate::config::{ClusterConfig, MoveConfig, ResolvedConfig};
use crate::trouble::from_mysql;

/// What state a check leaves things in.
pub const STATE: &str = "nothing was changed; a check writes nothing";

/// The check that refuses tables on the target.
const TARGET_TABLES: &str = "target-tables";

/// Checks a move. Refusals named in the settings or in `accept` become warnings.
///
/// # Errors
/// If a server cannot be asked.
pub async fn check(
    config: &ResolvedConfig,
    one: &MoveConfig,
    accept: &[String],
) -> Result<CheckReport, Trouble> {
    checked(config, one, accept).await.map_err(Unready::into_trouble)
}

async fn checked(
    config: &ResolvedConfig,
    one: &MoveConfig,
    accept: &[String],
) -> Result<CheckReport, Unready> {
    let (from, onto) = (config.source_of(one), config.target_of(one));
    let (mut source, mut target) = (reach(from).await?, reach(onto).await?);
    let doing = format!("check move '{}'", one.spec.name);
    let failed = |error| Unready::of(&error, &[from, onto], &doing);
    let options = CheckOptions {
        state: target_state(target.session(), &one.spec.name).await.map_err(failed)?,
        accept: one.accept.iter().chain(accept).cloned().collect(),
        along: one.along.clone(),
        fence: one.fence,
        fence_accounts: one.fence_accounts.clone(),
        spared: from.replicas.iter().map(|(host, port)| format!("{host}:{port}")).collect(),
    };
    migrate::check::check(&mut source, &mut target, &one.spec, options).await.map_err(failed)
}

async fn reach(cluster: &ClusterConfig) -> Result<Server, Unready> {
    Server::connect(&cluster.connect_options()).await.map_err(|error| Unready::reaching(&error, cluster))
}

/// Why a move cannot start now.
#[derive(Debug, Clone)]
pub enum Unready {
    /// Servers cannot be reached, or do not answer: when they do, it can be tried again.
    Away {
        /// The names of their clusters.
        clusters: Vec<String>,
        /// What was seen.
        why: String,
        /// The same as an operator reads it who has just asked for a start.
        trouble: Trouble,
    },
    /// Something passing is in the way.
    Passing(Trouble),
    /// It is refused, and trying again does not mend that.
    Refused(Trouble),
}

impl Unready {
    /// In one sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Away { clusters, why, .. } => {
                let named: Vec<String> = clusters.iter().map(|name| format!("'{name}'")).collect();
                let noun = if named.len() == 1 { "cluster" } else { "clusters" };
                format!("waiting for {noun} {}: cannot be reached: {why}", named.join(" and "))
            }
            Self::Passing(trouble) | Self::Refused(trouble) => trouble.what.clone(),
        }
    }

    /// As an operator reads it who has just asked for a start.
    pub fn into_trouble(self) -> Trouble {
        match self {
            Self::Away { trouble, .. } | Self::Passing(trouble) | Self::Refused(trouble) => trouble,
        }
    }

    fn reaching(error: &mysql::Error, cluster: &ClusterConfig) -> Self {
        Self::of(error, &[cluster], &format!("reach cluster '{}'", cluster.name))
    }

    fn of(error: &mysql::Error, clusters: &[&ClusterConfig], doing: &str) -> Self {
        let trouble = from_mysql(error, doing, STATE);
        match error.is_connection_lost() {
            true => Self::Away {
                clusters: clusters.iter().map(|cluster| cluster.name.clone()).collect(),
                why: error.to_string(),
                trouble,
            },
            false => Self::Refused(trouble),
        }
    }

    /// Both, if two servers are away; else the one that is refused, which waiting does not mend.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Away { mut clusters, why, trouble },
                Self::Away { clusters: others, why: and_why, .. },
            ) => {
                clusters.extend(others);
                Self::Away { clusters, why: format!("{why}; {and_why}"), trouble }
            }
            (Self::Away { .. }, refused) => refused,
            (refused, _) => refused,
        }
    }
}

/// Connects to both servers of a move at the same time. Answers with the versions of source and target.
///
/// # Errors
/// If one of them is away, or refuses us.
pub async fn reach_both(config: &ResolvedConfig, one: &MoveConfig) -> Result<[String; 2], Unready> {
    let version = async |cluster: &ClusterConfig| match Connection::connect(&cluster.connect_options()).await
    {
        Ok(connection) => Ok(connection.server_version().to_owned()),
        Err(error) => Err(Unready::reaching(&error, cluster)),
    };
    match tokio::join!(version(config.source_of(one)), version(config.target_of(one))) {
        (Ok(source), Ok(target)) => Ok([source, target]),
        (Err(source), Err(target)) => Err(source.and(target)),
        (Err(one), Ok(_)) | (Ok(_), Err(one)) => Err(one),
    }
}

/// Refuses to begin a move that `check` refuses; `from_backup` says that its tables are on the target already. One that has
/// begun goes on: it has been checked. Answers how far it has come.
///
/// # Errors
/// If a server cannot be asked, or the first refusal with its fix.
pub async fn refuse_unless_checked(
    config: &ResolvedConfig,
    one: &MoveConfig,
    from_backup: bool,
) -> Result<TargetState, Unready> {
    let target = config.target_of(one);
    let state = target_state(reach(target).await?.session(), &one.spec.name)
        .await
        .map_err(|error| Unready::of(&error, &[target], "look for the ledger"))?;
    if state == TargetState::Underway {
        return Ok(state);
    }
    let report = checked(config, one, &[]).await?;
    // A restored backup brings the tables along; what they must be like is looked at before they are taken over.
    let refusals = || report.with(Outcome::Refused).filter(|c| !(from_backup && c.name == TARGET_TABLES));
    let Some(first) = refusals().next() else { return Ok(state) };
    Err(Unready::Refused(Trouble::new(
        format!(
            "move '{}' is refused by {} of {} checks; the first is {}: {}",
            one.spec.name,
            refusals().count(),
            report.checks.len(),
            first.name,
            first.evidence.replace('\n', "; ")
        ),
        STATE,
        match &first.fix {
            Some(fix) => format!("{} (`highwater check` shows all of them)", fix.trim_end_matches(';')),
            None => "`highwater check` shows all of them".to_owned(),
        },
    )))
}

/// Whether the tables on the target are this move's own. Without a ledger that can be read they are not: of the two
/// states, the stricter.
async fn target_state(target: &mut Connection, move_name: &str) -> mysql::Result<TargetState> {
    // The settings allow no quotes in a move's name.
    let begun = format!("SELECT 1 FROM highwater.ledger WHERE move_name='{move_name}' LIMIT 1");
    match target.row(begun).await {
        Ok(Some(_)) => Ok(TargetState::Underway),
        Ok(None) | Err(mysql::Error::Server(_)) => Ok(TargetState::Fresh),
        Err(error) => Err(error),
    }
}
