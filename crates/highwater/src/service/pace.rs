//! What operators have said about each move's readers, kept in `state_dir/NAME.throttle`: a restart at the peak must not
//! go on with a copy that someone paused because of the peak.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use migrate::throttle::Order;
use model::Trouble;

use super::RunningMove;
use crate::config::ThrottleOptions;
use crate::control::{PaceView, ThrottleChange};

/// Where a move's order is kept.
pub(super) fn file(state_dir: &Path, move_name: &str) -> PathBuf {
    state_dir.join(format!("{move_name}.throttle"))
}

/// The last order given, or what the settings say where none was.
///
/// # Errors
/// If there is one that cannot be read: guessing could start a copy that was paused.
pub(super) fn remembered(file: &Path, settings: &ThrottleOptions) -> Result<Order, Trouble> {
    let unreadable = |why: String| {
        Trouble::new(
            format!("cannot read {}: {why}", file.display()),
            "nothing was started",
            "mend or remove the file; without it the settings apply",
        )
    };
    match std::fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(Order { paused: false, rows_per_second: settings.rows_per_second })
        }
        Err(error) => Err(unreadable(error.to_string())),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string())),
    }
}

/// Remembers an order, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub(super) fn remember(file: &Path, order: Order) -> Result<(), Trouble> {
    let aside = file.with_extension("throttle.new");
    let written = std::fs::File::create(&aside).and_then(|mut new| {
        new.write_all(&serde_json::to_vec(&order).expect("an order has only string keys"))?;
        new.sync_all()?;
        std::fs::rename(&aside, file)
    });
    written.map_err(|error| {
        Trouble::new(
            format!("cannot remember the order in {}: {error}", file.display()),
            "the order is in force now; a restart of the process would not know it",
            "make room in `state_dir`, or make it writable, and give the order again",
        )
    })
}

/// The order after a change.
pub(super) fn changed(order: Order, change: ThrottleChange) -> Order {
    match change {
        ThrottleChange::Pause => Order { paused: true, ..order },
        ThrottleChange::Resume => Order { paused: false, ..order },
        ThrottleChange::Limit(rows) => Order { rows_per_second: (rows > 0).then_some(rows), ..order },
    }
}

/// How fast a move's readers may go now; nothing where its stream does not run.
pub(super) fn view(running: &RunningMove) -> Option<PaceView> {
    let mover = running.driver.mover()?;
    let pace = running.throttle.pace(mover.progress());
    Some(PaceView {
        share: pace.share,
        reason: pace.reason,
        rows_per_s_max: running.throttle.order().rows_per_second,
        blind: running.throttle.blind(),
    })
}

#[cfg(test)]
mod tests {
    use migrate::throttle::PaceLimits;

    use super::*;

    #[test]
    fn orders_outlive_the_process_and_settings_apply_where_none_was_given() {
        let dir = std::env::temp_dir().join(format!("hw-orders-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let settings = ThrottleOptions {
            limits: PaceLimits::default(),
            target_lag_max: std::time::Duration::from_secs(1),
            chunk_time: std::time::Duration::from_secs(1),
            rows_per_second: Some(7),
        };
        let file = file(&dir, "shop");
        let first = remembered(&file, &settings).unwrap();
        assert_eq!(first, Order { paused: false, rows_per_second: Some(7) });
        let paused = changed(changed(first, ThrottleChange::Pause), ThrottleChange::Limit(0));
        remember(&file, paused).unwrap();
        let again = remembered(&file, &settings).unwrap();
        assert_eq!(again, Order { paused: true, rows_per_second: None });
        assert!(!changed(again, ThrottleChange::Resume).paused);
        std::fs::write(&file, "{").unwrap();
        assert_eq!(remembered(&file, &settings).unwrap_err().state, "nothing was started");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
