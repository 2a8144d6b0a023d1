//! `--take-over`: the front door of the running process goes on in this one.

use std::net::TcpListener;

use model::Trouble;
use proxy::Inherited;

use super::ask::milliseconds;
use crate::cli::TakeOverArgs;
use crate::config::ResolvedConfig;
use crate::control::{Client, PROTOCOL, Predecessor, TakeOver};
use crate::output;
use crate::service::Inheritance;

/// How many clients the other process may let in between its offer and its end, so that no two have one id at a time.
const IDS_BETWEEN: u32 = 1 << 20;

/// What the running process has handed over: all but its end.
#[derive(Debug)]
pub struct Taken {
    /// What goes on here.
    pub inheritance: Inheritance,
    /// To be told that it is open.
    pub predecessor: Predecessor,
}

/// Has the running process hand over; nothing if none runs, and then this one is the first.
///
/// # Errors
/// If it refuses, or does not come to it; then it goes on.
pub async fn take_over(config: &ResolvedConfig, args: &TakeOverArgs) -> Result<Option<Taken>, Trouble> {
    let Some(client) = Client::connect_if_running(&config.state_dir).await? else {
        output::tell(&format!(
            "no highwater process is running for {}: nothing to take over\n",
            config.state_dir.display()
        ));
        return Ok(None);
    };
    let terms = TakeOver {
        protocol: PROTOCOL,
        pid: std::process::id(),
        listen: config.front_door.listen,
        threads: config.front_door.threads,
        within_ms: milliseconds(args.within),
        kill_after_ms: args.kill_after.map(milliseconds),
    };
    let (offer, mut predecessor) = client.ask_to_hand_over(terms).await?;
    let sockets = predecessor.take(&offer).await?;
    refuse_others(&sockets, config)?;
    output::tell(&format!("taking over from process {}, which has {} clients\n", offer.pid, offer.clients));
    let door = Inherited { sockets, last_id: offer.last_id.wrapping_add(IDS_BETWEEN) };
    let inheritance = Inheritance { door, pid: offer.pid, routes: offer.routes };
    Ok(Some(Taken { inheritance, predecessor }))
}

/// Sees that the sockets are what was agreed upon.
fn refuse_others(sockets: &[TcpListener], config: &ResolvedConfig) -> Result<(), Trouble> {
    let door = &config.front_door;
    let listens = |socket: &TcpListener| {
        socket.local_addr().is_ok_and(|address| door.listen.port() == 0 || address == door.listen)
    };
    if sockets.len() == door.threads && sockets.iter().all(listens) {
        return Ok(());
    }
    Err(Trouble::new(
        format!("the running process sent sockets that do not listen at {}", door.listen),
        "nothing was started; the running process goes on",
        "restart in two steps: `highwater stop`, then `highwater serve`",
    ))
}
