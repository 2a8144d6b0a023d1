//! The running process as outsiders see it.

use std::sync::Arc;

use migrate::cutover::{Home, State};
use migrate::{Mover, MoverState, Reading, Watched};
use proxy::Door;

use super::{RunningMove, pace};
use crate::control::{
    DoorView, LeavingView, MoveView, PinView, ProofView, RouteView, StatusView, TableView, WatchView,
};

pub(super) fn status(
    moves: &[Arc<RunningMove>],
    door: Option<&Door>,
    leaving: Vec<LeavingView>,
) -> StatusView {
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        moves: moves.iter().map(|running| move_view(running)).collect(),
        door: door.map(door_view),
        leaving,
    }
}

fn move_view(running: &RunningMove) -> MoveView {
    let config = &running.config;
    let state = running.driver.state();
    let mut view = MoveView {
        name: config.spec.name.clone(),
        source: config.source.clone(),
        target: config.target.clone(),
        serving: match state.home {
            Home::Old => config.source.clone(),
            Home::New => config.target.clone(),
        },
        state: "stopped".to_owned(),
        ..MoveView::default()
    };
    if running.waits() {
        view.state = "waiting".to_owned();
        view.waiting_for = running.waits_for();
        view.trouble = running.trouble();
    } else if let Some(mover) = running.driver.mover() {
        add_mover(&mut view, &mover, &state);
        // Once everything is copied there is nothing to slow down.
        view.pace = pace::view(running).filter(|_| view.state == "copying");
    } else {
        view.trouble = running.trouble();
    }
    view
}

fn add_mover(view: &mut MoveView, mover: &Mover, state: &State) {
    let progress = mover.progress();
    let copied = progress.all_copied();
    view.state = match (mover.state(), copied, state.home) {
        (MoverState::Failed(trouble), ..) => {
            view.trouble = Some(trouble);
            "stopped"
        }
        (MoverState::Reconnecting(trouble), ..) => {
            view.trouble = Some(trouble);
            "reconnecting"
        }
        (MoverState::Starting, ..) => "starting",
        (MoverState::Running, false, _) => "copying",
        (MoverState::Running, true, Home::Old) => "following",
        (MoverState::Running, true, Home::New) => "switched",
    }
    .to_owned();

    let rate = progress.rows_per_second();
    let table = |t: migrate::TableSnapshot| TableView {
        name: t.name.to_string(),
        rows_done: t.rows_copied,
        rows_estimate: t.rows_estimate.max(t.rows_copied),
        done: t.copied,
        rows_per_s: t.rows_per_second,
    };
    view.tables = progress.tables().into_iter().map(table).collect();
    view.rows_done = view.tables.iter().map(|t| t.rows_done).sum();
    view.rows_estimate = view.tables.iter().map(|t| t.rows_estimate).sum();
    view.rows_per_s = rate;
    let left = view.rows_estimate.saturating_sub(view.rows_done);
    view.eta_s = (!copied && rate >= 1.0).then(|| (left as f64 / rate).ceil() as u64);
    view.lag_ms = Some(u64::try_from(progress.lag().as_millis()).unwrap_or(u64::MAX));
    view.applied = progress.applied_set().borrow().to_string();
    view.proof = Some(ProofView {
        proven_as_of: mover.proof().complete_as_of().map(|set| set.to_string()),
        begun_anew: mover.proof().begun_anew(),
        keys_in_flight: mover.keys_in_flight(),
        differences: mover.proof().different(),
    });
    view.watch = Some(watch_view(mover.watched()));
}

fn watch_view(watched: &Watched) -> WatchView {
    let (is_watched, reason) = match watched.reading() {
        Reading::Yes => (true, None),
        Reading::Starting => (false, Some("its log is not read yet".to_owned())),
        Reading::No(reason) => (false, Some(reason)),
        Reading::Ended => (false, Some("it serves now".to_owned())),
    };
    let (foreign_writes, writes) = (watched.unsettled(), watched.writes());
    WatchView { watched: is_watched, reason, foreign_writes, writes }
}

fn route_view(route: proxy::RouteView) -> RouteView {
    RouteView { of: route.of, cluster: route.cluster, clients: route.clients as u64 }
}

fn door_view(door: &Door) -> DoorView {
    let stats = door.control().stats();
    DoorView {
        listen: door.address().to_string(),
        clients: stats.clients as u64,
        held: stats.held as u64,
        in_transaction: stats.in_transaction as u64,
        pinned: stats.pinned as u64,
        backends: stats.backends as u64,
        backends_idle: stats.backends_idle as u64,
        waiting: stats.waiting as u64,
        waits: stats.waits,
        pins: door
            .control()
            .pins()
            .into_iter()
            .map(|(reason, clients)| PinView { reason, clients: clients as u64 })
            .collect(),
        routes: match door.control().routes() {
            all if all.len() == 1 => Vec::new(),
            all => all.into_iter().map(route_view).collect(),
        },
        commands: stats.commands,
        memory: stats.memory as u64,
        memory_max: (stats.memory_max != usize::MAX).then_some(stats.memory_max as u64),
        memory_refused: stats.memory_refused,
        memory_ended: stats.memory_ended,
    }
}
