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
    let name = &one.spec.name;
    let mut source = reach(config.source_of(one)).await?;
    let mut target = reach(config.target_of(one)).await?;
    let doing = format!("check move '{name}'");
    let failed = |error| from_mysql(&error, &doing, STATE);
    let options = CheckOptions {
        state: target_state(target.session(), name).await.map_err(failed)?,
        accept: one.accept.iter().chain(accept).cloned().collect(),
        along: one.along.clone(),
        fence: one.fence,
        fence_accounts: one.fence_accounts.clone(),
    };
    migrate::check::check(&mut source, &mut target, &one.spec, options).await.map_err(failed)
}

/// Refuses to begin a move that `check` refuses; `from_backup` says that its tables are on the target already. One that has begun goes on: it has been checked.
///
/// # Errors
/// If a server cannot be asked, or the first refusal with its fix.
pub async fn refuse_unless_checked(
    config: &ResolvedConfig,
    one: &MoveConfig,
    from_backup: bool,
) -> Result<(), Trouble> {
    let mut target = reach(config.target_of(one)).await?;
    let failed = |error| from_mysql(&error, "look for the ledger", STATE);
    if target_state(target.session(), &one.spec.name).await.map_err(failed)? == TargetState::Underway {
        return Ok(());
    }
    let report = check(config, one, &[]).await?;
    // A restored backup brings the tables along; what they must be like is looked at before they are taken over.
    let refusals = || report.with(Outcome::Refused).filter(|c| !(from_backup && c.name == TARGET_TABLES));
    let Some(first) = refusals().next() else { return Ok(()) };
    Err(Trouble::new(
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
    ))
}

async fn reach(cluster: &ClusterConfig) -> Result<Server, Trouble> {
    let doing = format!("reach cluster '{}'", cluster.name);
    Server::connect(&cluster.connect_options()).await.map_err(|error| from_mysql(&error, &doing, STATE))
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
