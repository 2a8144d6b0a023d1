//! `highwater copy`: seeds moves and follows the binary log, without a front door.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use model::{GtidSet, Trouble};

use super::Context;
use super::ask::told;
use super::serve::ended;
use crate::cli::CopyArgs;
use crate::config;
use crate::control::{ControlSocket, MoveView, Progress};
use crate::output::{self, ProgressDisplay};
use crate::service::Service;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(250);

/// Runs until it is interrupted, terminated, asked to stop, or a move stops by itself.
///
/// # Errors
/// If the move cannot start, or why it stopped.
pub async fn run(context: &Context, args: &CopyArgs) -> Result<(), Trouble> {
    told(args.json, copy(context, args).await)
}

async fn copy(context: &Context, args: &CopyArgs) -> Result<(), Trouble> {
    let config = config::load(&context.config)?;
    let moves = match (&args.move_name, config.moves.len()) {
        (None, 2..) => config.moves.clone(),
        (name, _) => vec![config.move_named(name.as_deref())?.clone()],
    };
    let from_backup = args.from_backup.as_deref().map(backup_set).transpose()?;
    if from_backup.is_some() && moves.len() > 1 {
        return Err(Trouble::new(
            "a backup seeds one move, and the settings hold several",
            "nothing was started",
            "name it with `--move NAME`",
        ));
    }
    let socket = ControlSocket::bind(&config.state_dir)?;
    let mut service = Service::new(config);
    for one in &moves {
        match &from_backup {
            Some(set) => service.start_from_backup(one, set.clone()).await?,
            None => service.start_move(one).await?,
        }
    }

    let service = Arc::new(service);
    let ended = ended(service.stopped())?;
    let answering = socket.serve(Arc::clone(&service), ended);
    let watching = watch(&service, context.quiet, args.json);
    tokio::select! {
        () = answering => Ok(()),
        stopped = watching => stopped,
    }
}

fn backup_set(text: &str) -> Result<GtidSet, Trouble> {
    let plain: String = text.split_whitespace().collect();
    plain.parse().map_err(|error| {
        Trouble::new(
            format!("'{text}' is no GTID set: {error}"),
            "nothing was started",
            "give @@GLOBAL.gtid_executed of the restored server, or what xtrabackup_binlog_info says",
        )
    })
}

/// Shows the copy's progress until it is complete, and ends only if a move does.
async fn watch(service: &Service, quiet: bool, json: bool) -> Result<(), Trouble> {
    let (progress, mut updates) = Progress::watched();
    let mut display = ProgressDisplay::new(quiet || json);
    let mut complete = HashSet::new();
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let status = service.status();
        if let Some(ended) = status.moves.iter().find(|one| one.state == "stopped") {
            return Err(ended.trouble.clone().unwrap_or_else(|| {
                Trouble::new(
                    format!("move '{}' has ended", ended.name),
                    "what the ledger says is applied is applied",
                    "see `highwater status`",
                )
            }));
        }
        for one in &status.moves {
            if complete.contains(&one.name) {
                continue;
            }
            tell(&progress, one);
            if one.state == "following" {
                complete.insert(one.name.clone());
                if json {
                    let line =
                        serde_json::json!({ "move": one.name, "rows": one.rows_done, "state": one.state });
                    output::print_json(&line)?;
                }
            }
        }
        while let Ok(update) = updates.try_recv() {
            display.show(&update);
        }
    }
}

fn tell(progress: &Progress, one: &MoveView) {
    let phase = format!("copy {}", one.name);
    progress.step(&phase, one.rows_done, Some(one.rows_estimate.max(one.rows_done)), "rows");
    if one.state == "following" {
        let follows = "every row is copied; following the binary log until interrupted";
        progress.line(format!("{}: {follows}", one.name));
    }
}
