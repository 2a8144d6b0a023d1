//! A command's end of the control socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use model::Trouble;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{Offer, Predecessor, ProgressUpdate, REPLY_BYTES_MAX, Reply, Request, TakeOver, socket_path};

/// A connection to the running process; it may be asked several times, one after the other.
#[derive(Debug)]
pub struct Client {
    state_dir: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the process that runs for a state directory.
    ///
    /// # Errors
    /// If none runs, or it is another user's.
    pub async fn connect(state_dir: &Path) -> Result<Self, Trouble> {
        Self::connect_if_running(state_dir).await?.ok_or_else(|| {
            Trouble::new(
                format!("no highwater process is running for {}", state_dir.display()),
                "nothing was changed; a move that was under way resumes when the process starts again",
                "start `highwater serve` with the same settings, and leave it running",
            )
        })
    }

    /// The same, or nothing if none runs.
    ///
    /// # Errors
    /// If it is another user's.
    pub async fn connect_if_running(state_dir: &Path) -> Result<Option<Self>, Trouble> {
        match UnixStream::connect(socket_path(state_dir)).await {
            Ok(stream) => Ok(Some(Self { state_dir: state_dir.to_owned(), stream: BufReader::new(stream) })),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(Trouble::new(
                format!("cannot ask the highwater process of {}: {error}", state_dir.display()),
                "nothing was changed",
                "run this as the user that runs the process",
            )),
        }
    }

    /// Asks, shows the progress, and returns the answer.
    ///
    /// # Errors
    /// What the process refused or failed at, or that it went away before it answered.
    pub async fn ask(
        &mut self,
        request: &Request,
        mut show: impl FnMut(ProgressUpdate),
    ) -> Result<Value, Trouble> {
        let mut line = serde_json::to_vec(request).expect("a request has only string keys");
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await.map_err(|_| self.gone())?;
        loop {
            line.clear();
            let read = (&mut self.stream).take(REPLY_BYTES_MAX).read_until(b'\n', &mut line).await;
            match read {
                Ok(1..) if line.ends_with(b"\n") => {}
                _ => return Err(self.gone()),
            }
            match serde_json::from_slice(&line) {
                Ok(Reply::Progress(update)) => show(update),
                Ok(Reply::Done(value)) => return Ok(value),
                Ok(Reply::Failed(trouble)) => return Err(trouble),
                Err(error) => {
                    return Err(Trouble::new(
                        format!("the answer of the highwater process cannot be read: {error}"),
                        "the request was taken and may still be carried out",
                        "use the same version of highwater for both, and ask with `highwater status`",
                    ));
                }
            }
        }
    }

    /// Asks the process to hand over, and goes on with it as [`Predecessor`] says.
    ///
    /// # Errors
    /// As [`Client::ask`]; then that process goes on.
    pub async fn ask_to_hand_over(mut self, terms: TakeOver) -> Result<(Offer, Predecessor), Trouble> {
        let answer = self.ask(&Request::HandOver(terms), |_| {}).await?;
        let offer = serde_json::from_value(answer).map_err(|error| {
            Trouble::new(
                format!("the offer of the running process cannot be read: {error}"),
                "nothing was started; the other process goes on",
                "use a version of highwater that both know: stop that process, and start this one",
            )
        })?;
        Ok((offer, Predecessor::new(self.stream.into_inner())))
    }

    fn gone(&self) -> Trouble {
        Trouble::new(
            format!("the highwater process of {} went away before it answered", self.state_dir.display()),
            "not known here; the process finds out from its journal and the servers when it starts again",
            "start `highwater serve` again, then ask with `highwater status`",
        )
    }
}
