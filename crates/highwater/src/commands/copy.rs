//! `highwater copy`: seeds a move and follows the binary log, without a front door.

use std::sync::Arc;
use std::time::Duration;

use model::Trouble;

use super::Context;
use super::ask::told;
use super::serve::ended;
use crate::cli::CopyArgs;
use crate::config;
use crate::control::{ControlSocket, Progress, StatusView};
use crate::output::{self, ProgressDisplay};
use crate::service::Service;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(250);

/// Runs until it is interrupted, terminated, asked to stop, or the move stops by itself.
///
/// # Errors
/// If the move cannot start, or why it stopped.
pub async fn run(context: &Context, args: &CopyArgs) -> Result<(), Trouble> {
    told(args.json, copy(context, args).await)
}

async fn copy(context: &Context, args: &CopyArgs) -> Result<(), Trouble> {
    let config = config::load(&context.config)?;
    let one = config.move_named(args.move_name.as_deref())?.clone();
    let socket = ControlSocket::bind(&config.state_dir)?;
    let mut service = Service::new(config);
    service.start_move(&one).await?;

    let service = Arc::new(service);
    let ended = ended(service.stopped())?;
    let answering = socket.serve(Arc::clone(&service), ended);
    let watching = watch(&service, context.quiet, args.json);
    tokio::select! {
        () = answering => Ok(()),
        stopped = watching => stopped,
    }
}

/// Shows the copy's progress until it is complete, and ends only if the move does.
async fn watch(service: &Service, quiet: bool, json: bool) -> Result<(), Trouble> {
    let (progress, mut updates) = Progress::watched();
    let mut display = ProgressDisplay::new(quiet || json);
    let mut complete = false;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let status = service.status();
        let Some(one) = status.moves.first() else { return Ok(()) };
        if one.state == "stopped" {
            return Err(one.trouble.clone().unwrap_or_else(|| {
                Trouble::new(
                    "the move has ended",
                    "what the ledger says is applied is applied",
                    "see `highwater status`",
                )
            }));
        }
        if !complete {
            tell(&progress, &status);
            complete = one.state == "following";
            while let Ok(update) = updates.try_recv() {
                display.show(&update);
            }
            if complete && json {
                output::print_json(
                    &serde_json::json!({ "move": one.name, "rows": one.rows_done, "state": one.state }),
                )?;
            }
        }
    }
}

fn tell(progress: &Progress, status: &StatusView) {
    for one in &status.moves {
        progress.step("copy", one.rows_done, Some(one.rows_estimate.max(one.rows_done)), "rows");
        if one.state == "following" {
            let follows = "every row is copied; following the binary log until interrupted";
            progress.line(format!("{}: {follows}", one.name));
        }
    }
}
