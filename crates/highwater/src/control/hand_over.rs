//! How the front door's sockets go from a running process to the one that takes its place.
//!
//! ```text
//! new process                                   old process, which accepts and serves all the while
//!   HandOver(terms) ------------------------->  refuses, or brings its moves to rest
//!             <-------------------------------  Done(offer)
//!   "take" ---------------------------------->  gives up the control socket and the state directory
//!             <-------------------------------  the sockets
//!   claims the state directory, starts the moves, opens the door on the sockets
//!   "open" ---------------------------------->  stops accepting, sees its clients out, ends
//! ```
//! Whoever loses the other before "open" goes on alone: the old process with everything it had, since its sockets were never closed. The
//! sockets come only after "take", so that no byte of theirs is read by who reads lines.
//!
//! The messages change with [`PROTOCOL`]. A process that knows another one refuses, or is refused, before anything is stopped.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, TcpListener};

use model::Trouble;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::sockets;

/// What both sides must speak.
pub const PROTOCOL: u32 = 1;

const TAKE: &[u8] = b"take\n";
const OPEN: &[u8] = b"open\n";

/// What the new process is, and wants. Fields that are not known are passed over: they come from a later version, which says so in the first
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeOver {
    /// What it speaks.
    pub protocol: u32,
    /// Its process id.
    #[serde(default)]
    pub pid: u32,
    /// Where its door listens.
    pub listen: SocketAddr,
    /// How many threads its door has.
    pub threads: usize,
    /// How long clients of the old process may stay, in milliseconds; then they are ended between transactions.
    #[serde(default)]
    pub within_ms: u64,
    /// How much longer an open transaction may take to end; what the old process's settings say, if nothing.
    #[serde(default)]
    pub kill_after_ms: Option<u64>,
}

/// What the old process hands over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its process id.
    pub pid: u32,
    /// How many sockets will come.
    pub sockets: usize,
    /// Ids of clients up to this one may be in use there.
    pub last_id: u32,
    /// How many clients it has.
    pub clients: usize,
    /// Whom it sends to which server, as host and port; the new process must do the same as long as both have clients.
    pub routes: BTreeMap<String, String>,
}

/// The old process's way to the new one.
#[derive(Debug)]
pub struct Successor(UnixStream);

/// The new process's way to the old one.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Successor {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Waits until it takes what it was offered.
    ///
    /// # Errors
    /// If it went away instead.
    pub async fn takes(&mut self) -> Result<()> {
        expect(&mut self.0, TAKE).await
    }

    /// Gives it the sockets.
    ///
    /// # Errors
    /// If it went away.
    pub async fn give(&self, sockets: &[TcpListener]) -> Result<()> {
        sockets::send(&self.0, sockets).await
    }

    /// Waits until it has opened its door. There is no bound: clients are served here until then, and a process that has come to a stop is
    /// ended by whoever looks after it.
    ///
    /// # Errors
    /// If it went away instead.
    pub async fn opens(&mut self) -> Result<()> {
        expect(&mut self.0, OPEN).await
    }
}

impl Predecessor {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Takes what was offered. When this returns, the state directory is free.
    ///
    /// # Errors
    /// If the old process went away, or sent something else.
    pub async fn take(&mut self, offer: &Offer) -> std::result::Result<Vec<TcpListener>, Trouble> {
        let taken = async {
            self.0.write_all(TAKE).await?;
            sockets::receive(&self.0, offer.sockets).await
        };
        taken.await.map_err(|error| {
            Trouble::new(
                format!("process {} did not hand its sockets over: {error}", offer.pid),
                "nothing was started; that process goes on, if it lives",
                "ask it with `highwater status`; if it is gone, start `highwater serve`",
            )
        })
    }

    /// Says that the door is open, which has the old process stop accepting. If it is gone there is nobody to tell.
    pub async fn opened(mut self) {
        let _ = self.0.write_all(OPEN).await;
        let _ = self.0.shutdown().await;
    }
}

async fn expect(stream: &mut UnixStream, word: &[u8]) -> Result<()> {
    let mut said = [0; 5];
    stream.read_exact(&mut said).await?;
    match said == *word {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::InvalidData, "it said something else")),
    }
}
