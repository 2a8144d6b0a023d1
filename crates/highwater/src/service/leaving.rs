//! How the process ends under clients: the door sees them out first.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proxy::SeenOut;
use serde_json::{Value, json};

use super::Service;
use crate::control::Progress;

impl Service {
    /// Sees the front door's clients out, and then has the process end: nobody comes in from now on, whoever is in has `within` to
    /// leave, then sessions end between transactions, and those that have one open have `patience` more to end it, by default
    /// `front_door.stop_max`.
    pub async fn leave(&self, within: Duration, patience: Option<Duration>, progress: &Progress) -> Value {
        self.stopping.store(true, Ordering::SeqCst);
        let seen = match &self.door {
            None => SeenOut::default(),
            Some(door) => {
                let stop_max = self.settings().front_door.stop_max;
                let control = door.control();
                let all = control.stats().clients as u64;
                let told = |left: usize| {
                    progress.step("leave", all.saturating_sub(left as u64), Some(all), "clients");
                };
                control.see_out(within, Some(patience.unwrap_or(stop_max)), told).await
            }
        };
        if seen.remaining > 0 {
            tracing::warn!(target: "highwater::door", clients = seen.remaining, "ended with a transaction or statement open");
        }
        self.stop.send_replace(true);
        json!({
            "stopping": true,
            "clients": seen.clients,
            "left_by_themselves": seen.by_themselves,
            "ended_between_transactions": seen.ended,
            "ended_within_one": seen.remaining,
        })
    }
}
