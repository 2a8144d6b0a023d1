//! A statement that runs for longer than its terms allow is ended as its client would end it: by `KILL QUERY`, over another
//! connection of the same account. The server answers the statement with its own error, 1317, and the session goes on.
//!
//! The session itself sends the kill, while it waits for the answer, and looks at the answer only after the server has confirmed the
//! kill. So it can hit no other statement: a `KILL QUERY` that comes too late finds the connection idle, where it does nothing.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mysql::{ConnectOptions, Connection, Stream};
use wire::command::Command;

use crate::Backend;
use crate::backend::Identity;
use crate::session::Kick;
use crate::session::buffer::Buffer;
use crate::session::clock;

/// How long the kill may take; the statement's answer waits for it.
const KILL_MAX: Duration = Duration::from_secs(3);

/// The limit of one statement.
pub(crate) struct Limit<'a> {
    pub kick: &'a Kick,
    pub max: Duration,
    /// Where it runs, as whom, and on which connection.
    pub writer: Arc<Backend>,
    pub identity: &'a Identity,
    pub connection: u32,
}

impl Limit<'_> {
    /// The statement has been sent.
    pub fn begin(&self) {
        self.kick.set_due(clock::after(clock::now(), self.max));
    }

    /// As [`Buffer::fill`], for the statement's answer; kills the statement if it is due meanwhile.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn fill(&self, answers: &mut Buffer, server: &mut Stream) -> io::Result<usize> {
        loop {
            let filled = poll_fn(|cx| {
                if let Poll::Ready(filled) = answers.poll_fill(cx, server) {
                    return Poll::Ready(Some(filled));
                }
                if self.kick.is_due(clock::now()) {
                    return Poll::Ready(None);
                }
                self.kick.register(cx);
                Poll::Pending
            });
            match filled.await {
                Some(filled) => return filled,
                None => Box::pin(self.kill()).await,
            }
        }
    }

    async fn kill(&self) {
        self.kick.set_due(0);
        let Backend { host, port, server_key, tls, .. } = &*self.writer;
        let options = ConnectOptions {
            server_key: server_key.clone(),
            tls: tls.clone(),
            timeout: KILL_MAX,
            user: self.identity.user.clone(),
            ..ConnectOptions::new(host, *port, "", self.identity.password.clone())
        };
        let killing = async {
            let mut connection = Connection::connect(&options).await?;
            connection.execute(format!("KILL QUERY {}", self.connection)).await?;
            // So that the server counts no aborted connection; the statement is dead already.
            let _ = connection.send_command(Command::QUIT, b"").await;
            Ok::<_, mysql::Error>(())
        };
        let failed = match tokio::time::timeout(KILL_MAX, killing).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the server took too long".to_owned(),
        };
        tracing::warn!(
            connection = self.connection,
            error = failed,
            "a statement is over `statement_max` and could not be ended; it will be tried again"
        );
        self.begin();
    }
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        self.kick.set_due(0);
    }
}
