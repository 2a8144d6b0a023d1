//! The running process's end of the control socket.
//!
//! Invariant: one process per state directory. A file lock decides who it is, because the system drops it with the
//! process however that ends; the socket file of a killed process only looks alive.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::future::Future;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::Trouble;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Asker, Progress, REQUEST_BYTES_MAX, Reply, Request, Successor, socket_path};

/// A client that does not take a reply for this long is taken for gone.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// What carries requests out.
pub trait Host: Send + Sync + 'static {
    /// Carries out what someone asks, telling `progress` on the way. Requests may arrive while others are carried out.
    ///
    /// # Errors
    /// What the client is told; the process goes on.
    fn handle(
        &self,
        request: Request,
        asker: Asker,
        progress: Progress,
    ) -> impl Future<Output = Result<Value, Trouble>> + Send;

    /// The process that was made an offer (the answer to [`Request::HandOver`]) did not live to hear it.
    fn withdraw(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// The bound control socket of this process; dropping it removes the file.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Locked as long as it is open.
    _lock: File,
}

impl ControlSocket {
    /// Claims the state directory, creating it if need be, and binds the socket in it, both for this user only.
    ///
    /// # Errors
    /// If another process has claimed it, or it cannot be written.
    pub fn bind(state_dir: &Path) -> Result<Self, Trouble> {
        let refused = |doing: &str, error: std::io::Error| {
            Trouble::new(
                format!("cannot {doing} in {}: {error}", state_dir.display()),
                "nothing was started",
                "make `state_dir` a directory this user can write, with a path of less than 90 bytes",
            )
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(|error| refused("keep the state", error))?;
        let lock = File::create(state_dir.join("highwater.lock"))
            .map_err(|error| refused("create the lock", error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Trouble::new(
                    format!("a highwater process is already running for {}", state_dir.display()),
                    "nothing was started; the other process goes on",
                    "ask it with `highwater status`, or give this one its own `state_dir`",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(refused("take the lock", error)),
        }
        let path = socket_path(state_dir);
        // We hold the lock, so whoever bound this file is gone.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(refused("remove the socket of a process that ended", error));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(&path).map_err(|error| refused("create the control socket", error))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))
            .map_err(|error| refused("protect the control socket", error))?;
        Ok(Self { path, listener, _lock: lock })
    }

    /// Answers requests until `shutdown` completes, and then returns when the requests already read are carried out.
    pub async fn serve<H: Host>(self, host: Arc<H>, shutdown: impl Future<Output = ()>) {
        self.serve_until_taken(&host, &mut std::pin::pin!(shutdown)).await;
    }

    /// The same, or until a process that asked for a hand-over was made an offer.
    pub async fn serve_until_taken<H: Host>(
        &self,
        host: &Arc<H>,
        shutdown: &mut (impl Future<Output = ()> + Unpin),
    ) -> Option<Successor> {
        let (closing, closed) = watch::channel(false);
        let mut clients = JoinSet::new();
        let successor = loop {
            tokio::select! {
                () = &mut *shutdown => break None,
                Some(ended) = clients.join_next() => {
                    if let Ok(Some(successor)) = ended {
                        break Some(successor);
                    }
                }
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        clients.spawn(serve_client(stream, host.clone(), closed.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a control connection");
                        // Out of file descriptors, as a rule; without a pause this would be a busy loop.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        };
        closing.send_replace(true);
        while clients.join_next().await.is_some() {}
        successor
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Best effort: the next process removes it too.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves a client until it leaves; one that was made an offer is returned.
async fn serve_client<H: Host>(
    stream: UnixStream,
    host: Arc<H>,
    mut closed: watch::Receiver<bool>,
) -> Option<Successor> {
    let asker = asker(&stream);
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut replies = Replies { writer: Some(writer) };
    loop {
        let line = tokio::select! {
            line = read_line(&mut reader) => line,
            _ = closed.wait_for(|closed| *closed) => return None,
        };
        match serde_json::from_slice(&line?) {
            Ok(request) => {
                let hands_over = matches!(request, Request::HandOver(_));
                let done = carry_out(request, asker.clone(), host.clone(), &mut replies).await;
                if hands_over && done {
                    return successor(reader, replies, host.as_ref()).await;
                }
            }
            Err(error) => {
                replies.send(&Reply::Failed(not_a_request(&error))).await;
                return None;
            }
        }
    }
}

/// The other end of a connection over which an offer was made, if it is still there and has said nothing before its turn.
async fn successor<H: Host>(
    reader: BufReader<OwnedReadHalf>,
    replies: Replies,
    host: &H,
) -> Option<Successor> {
    let whole = match (reader.buffer().is_empty(), replies.writer) {
        (true, Some(writer)) => reader.into_inner().reunite(writer).ok(),
        _ => None,
    };
    if whole.is_none() {
        host.withdraw().await;
    }
    whole.map(Successor::new)
}

/// One line without its end; `None` at the end of the stream. A line over the limit comes back cut, and is then not
/// a request.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let read = reader.take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).await;
    (read.ok()? > 0).then_some(line)
}

/// The user at the other end, by name where the system's list of users has it.
fn asker(stream: &UnixStream) -> Asker {
    let Ok(peer) = stream.peer_cred() else { return Asker { user: "unknown".to_owned() } };
    let id = peer.uid().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    });
    Asker { user: named.unwrap_or_else(|| format!("user {id}")) }
}

/// Whether it was done, rather than refused or failed.
async fn carry_out<H: Host>(request: Request, asker: Asker, host: Arc<H>, replies: &mut Replies) -> bool {
    tracing::info!(?request, asker = asker.user, "asked");
    let (progress, mut updates) = Progress::watched();
    // In a task of its own: a panic in it must end this request, not the answer to it.
    let mut work = tokio::spawn(async move { host.handle(request, asker, progress).await });
    let outcome = loop {
        tokio::select! {
            // What was told before the end is shown before the end.
            biased;
            Some(update) = updates.recv() => replies.send(&Reply::Progress(update)).await,
            outcome = &mut work => break outcome,
        }
    };
    while let Ok(update) = updates.try_recv() {
        replies.send(&Reply::Progress(update)).await;
    }
    let reply = match outcome {
        Ok(Ok(value)) => Reply::Done(value),
        Ok(Err(trouble)) => Reply::Failed(trouble),
        Err(_) => Reply::Failed(Trouble::new(
            "the request ended in a defect of highwater",
            "what it had done so far is in the journal; ask with `highwater status`",
            "report this with the process's log",
        )),
    };
    replies.send(&reply).await;
    matches!(reply, Reply::Done(_))
}

fn not_a_request(error: &serde_json::Error) -> Trouble {
    Trouble::new(
        format!("the line is not a request: {error}"),
        "nothing was changed",
        "ask with a `highwater` command of the same version as the running process",
    )
}

/// The way back to a client, as long as there is one.
struct Replies {
    writer: Option<OwnedWriteHalf>,
}

impl Replies {
    async fn send(&mut self, reply: &Reply) {
        let Some(writer) = &mut self.writer else { return };
        let mut line = serde_json::to_vec(reply).expect("a reply has only string keys");
        line.push(b'\n');
        // A client that goes away, or that stops reading, does not stop the work it asked for.
        if !matches!(tokio::time::timeout(REPLY_TIMEOUT, writer.write_all(&line)).await, Ok(Ok(()))) {
            self.writer = None;
        }
    }
}
