//! A command's bytes from the client to the backend, however many packets it has, or to nowhere.
//!
//! Back-pressure: nothing is read from the client while the backend has not taken what was read before.

use tokio::io::AsyncWriteExt;
use wire::packet::{HEADER_LEN, Header, PAYLOAD_MAX};

use crate::session::Session;
use crate::text::screen::Screen;
use crate::trouble::{Stop, outcome_unknown};

impl Session {
    /// Sends the command on, all of its packets, and shows its text to a screen on the way: what follows so many bytes
    /// of the first payload.
    pub async fn send(&mut self, mut screen: Option<(&mut Screen, usize)>) -> Result<(), Stop> {
        let Some(link) = &mut self.link else { return Err(outcome_unknown()) };
        link.awaiting = true;
        loop {
            let mut unseen = HEADER_LEN + screen.as_ref().map_or(0, |(_, text_at)| *text_at);
            while self.left > 0 {
                if self.inbound.len() == 0 {
                    self.take_in(1).await?;
                }
                let Self { inbound, link: Some(link), left, .. } = self else {
                    return Err(outcome_unknown());
                };
                let n = inbound.len().min(*left);
                let bytes = &inbound.data()[..n];
                if let Some((screen, text_at)) = &mut screen {
                    let skip = unseen.min(n);
                    screen.feed(&bytes[skip..]);
                    unseen -= skip;
                    *text_at = 0;
                }
                let written = link.stream.write_all(bytes).await;
                inbound.consume(n);
                *left -= n;
                if written.is_err() {
                    return Err(outcome_unknown());
                }
            }
            if !self.next_packet().await? {
                return Ok(());
            }
        }
    }

    /// Goes on to the next packet of a command in several; `false` if there is none.
    async fn next_packet(&mut self) -> Result<bool, Stop> {
        if !self.continues {
            return Ok(false);
        }
        self.take_in(HEADER_LEN).await?;
        let data = self.inbound.data();
        let header = Header::parse([data[0], data[1], data[2], data[3]]);
        self.left = HEADER_LEN + header.len;
        self.continues = header.len == PAYLOAD_MAX;
        self.seq = header.seq.wrapping_add(1);
        Ok(true)
    }

    /// Sends a command that was rewritten, in place of the client's.
    pub async fn write_backend(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let Some(link) = &mut self.link else { return Err(outcome_unknown()) };
        link.awaiting = true;
        link.stream.write_all(bytes).await.map_err(|_| outcome_unknown())
    }

    /// Takes what is left of a command from the client, and drops it.
    pub async fn skip_command(&mut self) -> Result<(), Stop> {
        loop {
            while self.left > 0 {
                if self.inbound.len() == 0 {
                    self.take_in(1).await?;
                }
                let n = self.inbound.len().min(self.left);
                self.inbound.consume(n);
                self.left -= n;
            }
            if !self.next_packet().await? {
                return Ok(());
            }
        }
    }
}
