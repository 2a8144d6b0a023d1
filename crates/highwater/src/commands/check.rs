//! `highwater check`: finds out whether a move can be exact, before anything is written.

use migrate::check::{CheckOptions, CheckReport, TargetState};
use model::Trouble;
use mysql::Connection;

use super::Context;
use super::ask::told;
use crate::cli::CheckArgs;
use crate::config::{self, ClusterConfig};
use crate::output::{self, Colour};
use crate::trouble::from_mysql;

const STATE: &str = "nothing was changed; a check writes nothing";

/// Checks one move and prints what was found.
///
/// # Errors
/// If a server cannot be asked, or the move is refused.
pub async fn run(context: &Context, args: &CheckArgs) -> Result<(), Trouble> {
    let (name, report) = told(args.json, check(context, args).await)?;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report.render_table())?;
    }
    match report.refused() {
        0 => Ok(()),
        refused => Err(Trouble::new(
            format!("move '{name}' is refused by {refused} of {} checks", report.checks.len()),
            STATE,
            "apply the fixes, or accept what may be accepted with `--accept NAME,...`",
        )),
    }
}

async fn check(context: &Context, args: &CheckArgs) -> Result<(String, CheckReport), Trouble> {
    let config = config::load(&context.config)?;
    let one = config.move_named(args.move_name.as_deref())?;
    let name = one.spec.name.clone();
    let mut source = connect(config.source_of(one)).await?;
    let mut target = connect(config.target_of(one)).await?;
    let doing = format!("check move '{name}'");
    let failed = |error| from_mysql(&error, &doing, STATE);
    let options = CheckOptions {
        state: target_state(&mut target, &name).await.map_err(failed)?,
        accept: one.accept.iter().chain(&args.accept).cloned().collect(),
    };
    let report = migrate::check::check(&mut source, &mut target, &one.spec, options).await.map_err(failed)?;
    Ok((name, report))
}

async fn connect(cluster: &ClusterConfig) -> Result<Connection, Trouble> {
    let doing = format!("reach cluster '{}'", cluster.name);
    Connection::connect(&cluster.connect_options()).await.map_err(|error| from_mysql(&error, &doing, STATE))
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
