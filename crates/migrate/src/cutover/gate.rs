//! What a crossing asks of whatever stands between the clients and the servers.

use std::future::Future;
use std::time::Duration;

use model::Trouble;

use super::Home;

/// Holds, drains, redirects and releases the application's traffic.
///
/// Many doors may stand behind one gate; each method then speaks for all of them.
pub trait TrafficGate: Send + Sync + 'static {
    /// Prepares for serving from `to`, so that the switch itself costs no logins. Changes nothing for clients.
    fn warm(&self, to: Home) -> impl Future<Output = Result<(), Trouble>> + Send;

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
