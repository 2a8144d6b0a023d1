//! `highwater serve` and `highwater proxy`: front door, moves and control socket in one process.

use std::sync::Arc;

use model::Trouble;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, signals, take_over};
use crate::cli::TakeOverArgs;
use crate::config;
use crate::control::ControlSocket;
use crate::output;
use crate::service::{HandedOver, Service};

/// What runs beside the front door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// The moves of the settings: `serve`.
    Moves,
    /// Nothing: `proxy`.
    FrontDoorOnly,
}

/// Runs until it is interrupted, terminated, asked to stop, or another process has taken its place.
///
/// # Errors
/// If something cannot start; then nothing is left running, and a process whose place it was to take goes on.
pub async fn run(context: &Context, with: With, args: &TakeOverArgs) -> Result<(), Trouble> {
    let config = config::load(&context.config)?;
    let has_door = config.front_door.enabled || with == With::FrontDoorOnly;
    let taken = match (args.take_over, has_door) {
        (false, _) => None,
        (true, true) => take_over::take_over(&config, args).await?,
        (true, false) => return Err(no_door()),
    };
    let socket = ControlSocket::bind(&config.state_dir)?;
    let moves = if with == With::Moves { config.moves.clone() } else { Vec::new() };
    let memory = config.front_door.memory_in_words().0;
    let mut service = Service::new(config);
    for one in &moves {
        let stands = match service.start_or_wait(one).await? {
            None => "runs".to_owned(),
            Some(waits) => format!("is {waits}"),
        };
        output::print(&format!("move '{}' {stands}: {} -> {}\n", one.spec.name, one.source, one.target))?;
    }
    let (inheritance, predecessor) = taken.map(|taken| (taken.inheritance, taken.predecessor)).unzip();
    // After the moves: their journals know which side serves. That side is enough, whatever else is down.
    if has_door {
        service.open_door(inheritance).await?;
        tracing::info!("front door: {memory}");
    }
    service.may_hand_over();
    service.go_on();
    if let Some(address) = service.door_address() {
        output::print(&format!("front door open at {address}\n"))?;
    }
    let service = Arc::new(service);
    let mut ended = Box::pin(signals::heeded(&service)?);
    // The last thing that could fail is behind us.
    if let Some(predecessor) = predecessor {
        predecessor.opened().await;
    }
    serve(&service, socket, &mut ended).await;
    Ok(())
}

/// Answers to commands, and to processes that are to take this one's place.
async fn serve(
    service: &Arc<Service>,
    mut socket: ControlSocket,
    ended: &mut (impl Future<Output = ()> + Unpin),
) {
    while let Some(successor) = socket.serve_until_taken(service, ended).await {
        let handed_over = tokio::select! {
            handed_over = service.hand_over(socket, successor) => handed_over,
            () = &mut *ended => return,
        };
        match handed_over {
            HandedOver::Gone => return,
            HandedOver::Stays(again) => socket = again,
        }
    }
}

fn no_door() -> Trouble {
    Trouble::new(
        "by the settings this process has no front door, so there is none to take over",
        "nothing was started or stopped",
        "restart in two steps: end the running process, then start this one; or set `front_door.enabled = true`",
    )
}

/// Resolves at an interrupt, at a request to terminate, or when `stopped` does.
///
/// # Errors
/// If signals cannot be watched.
pub(super) fn ended(stopped: impl Future<Output = ()>) -> Result<impl Future<Output = ()>, Trouble> {
    let refuse = |e: std::io::Error| {
        let what = format!("cannot watch for signals: {e}");
        Trouble::new(what, "nothing was started", "raise the limit on open files")
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(refuse)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refuse)?;
    Ok(async move {
        tokio::select! {
            () = stopped => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
