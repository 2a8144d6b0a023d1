//! What a crossing asks of whatever stands between the clients and the servers.

use std::future::Future;
use std::time::Duration;

use model::Trouble;

use super::{Guardrail, Home};

/// Holds, drains, redirects and releases the application's traffic.
///
/// Many doors may stand behind one gate; each method then speaks for all of them.
pub trait TrafficGate: Send + Sync + 'static {
    /// Prepares for serving from `to`, so that the switch itself costs no logins. Changes nothing for clients.
    fn warm(&self, to: Home) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Whether this gate holds the clients itself. If not, the site's hooks do, and the source is asked whether any is left.
    fn holds_clients(&self) -> bool {
        true
    }

    /// What this gate knows that must hold before it is asked to move its clients to `to`.
    fn guardrails(&self, _to: Home) -> Vec<Guardrail> {
        Vec::new()
    }

    /// How long it holds a client at most, if there is a limit.
    fn hold_max(&self) -> Option<Duration> {
        None
    }

    /// From now on no client starts a transaction; those that try wait.
    fn hold(&self);

    /// Waits until no client is in a statement or a transaction.
    ///
    /// On success nothing reaches a server until [`TrafficGate::release`]. On failure clients are still held.
    fn drain(&self, deadline: Duration) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// The connections, by the serving server's numbers, of those who keep a drain from succeeding; of whoever is known.
    fn open_connections(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Ends the clients of these connections, which have been killed on the server.
    fn end(&self, connections: &[u64]) {
        let _ = connections;
    }

    /// What clients send after the release goes to `to`. Only between a successful drain and a release.
    fn switch(&self, to: Home, epoch: u64);

    /// Clients go on.
    fn release(&self);
}
