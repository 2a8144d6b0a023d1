//! `highwater serve` and `highwater proxy`: front door, moves and control socket in one process.

use std::sync::Arc;

use model::Trouble;
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, signals};
use crate::config;
use crate::control::ControlSocket;
use crate::output;
use crate::service::Service;

/// What runs beside the front door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// The moves of the settings: `serve`.
    Moves,
    /// Nothing: `proxy`.
    FrontDoorOnly,
}

/// Runs until it is interrupted, terminated, or asked to stop.
///
/// # Errors
/// If something cannot start; then nothing is left running.
pub async fn run(context: &Context, with: With) -> Result<(), Trouble> {
    let config = config::load(&context.config)?;
    let socket = ControlSocket::bind(&config.state_dir)?;
    let moves = if with == With::Moves { config.moves.clone() } else { Vec::new() };
    let config_has_door = config.front_door.enabled || with == With::FrontDoorOnly;
    let memory = config.front_door.memory_in_words().0;
    let mut service = Service::new(config);
    for one in &moves {
        let stands = match service.start_or_wait(one).await? {
            None => "runs".to_owned(),
            Some(waits) => format!("is {waits}"),
        };
        output::print(&format!("move '{}' {stands}: {} -> {}\n", one.spec.name, one.source, one.target))?;
    }
    // After the moves: their journals know which side serves. That side is enough, whatever else is down.
    if config_has_door {
        service.open_door().await?;
        tracing::info!("front door: {memory}");
    }
    service.go_on();
    if let Some(address) = service.door_address() {
        output::print(&format!("front door open at {address}\n"))?;
    }
    let service = Arc::new(service);
    let ended = signals::heeded(&service)?;
    socket.serve(service, ended).await;
    Ok(())
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
