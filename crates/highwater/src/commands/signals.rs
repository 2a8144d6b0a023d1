//! The signals a serving process heeds.
//!
//! | signal | what it does |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | sees the clients out, as `highwater stop` does, and ends; the second one ends at once |
//! | `SIGHUP` | reads the settings again, as `highwater reload` does |

use std::sync::Arc;
use std::time::Duration;

use model::Trouble;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::Progress;
use crate::output;
use crate::service::Service;

/// Watches for signals. Resolves when the process is to end.
///
/// # Errors
/// If signals cannot be watched.
pub(super) fn heeded(service: &Arc<Service>) -> Result<impl Future<Output = ()> + use<>, Trouble> {
    let (mut terminate, mut interrupt) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    let mut hang_up = watch(SignalKind::hangup())?;
    let service = Arc::clone(service);
    let stopped = service.stopped();
    Ok(async move {
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => return,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => reload(&service),
            }
        }
        let progress = Progress::unwatched();
        tokio::select! {
            _ = service.leave(Duration::ZERO, None, &progress) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn reload(service: &Service) {
    match service.reload() {
        Ok(answer) => output::tell(&format!("settings read again\n{}", output::render_answer(&answer))),
        Err(trouble) => output::complain(&trouble),
    }
}

fn watch(kind: SignalKind) -> Result<Signal, Trouble> {
    signal(kind).map_err(|error| {
        let what = format!("cannot watch for signals: {error}");
        Trouble::new(what, "nothing was started", "raise the limit on open files")
    })
}
