//! `LOAD DATA LOCAL`: the client's file to the server, between the server's request for it and its answer.
//!
//! ```text
//! server: 0xFB and a name --> client: packets of the file, then an empty one --> server: the answer to the statement
//! ```
//!
//! A server can send that request in answer to any statement, and a client that obeys gives it the file. So a request is passed
//! on only if the client's terms allow it, the client has said that it sends files, and its statement was read as one that loads one.
//!
//! Back-pressure: nothing is read from the client while the server has not taken what was read before. Sequence numbers
//! are counted anew: a compressing client takes its own from its compressed frames.

use std::io;

use mysql::Stream;
use tokio::io::AsyncWriteExt;
use wire::WireError;
use wire::packet::{HEADER_LEN, Header, PAYLOAD_MAX};
use wire::response::ErrPacket;

use crate::memory::Held;
use crate::session::Kick;
use crate::session::buffer::Buffer;
use crate::session::stalled::room_for_frame;
use crate::trouble::{Stop, client_lost, malformed, outcome_unknown};

/// Passes a file on to its end. `seq` is the number of the server's request, then of the last packet that was passed on.
///
/// # Errors
/// If either side is gone, or the client does not follow the protocol. The server must then be left without another
/// byte: it ends such a statement as one whose client is gone.
pub(crate) async fn upload(
    client: &mut Stream,
    inbound: &mut Buffer,
    server: &mut Stream,
    seq: &mut u8,
    (kick, frames): (&Kick, &mut Held),
) -> Result<(), Stop> {
    let numbered = !client.is_compressed();
    let mut continues = false;
    loop {
        while inbound.len() < HEADER_LEN {
            take_more(client, inbound, server, kick, frames).await?;
        }
        let Some(&first) = inbound.data().first_chunk::<HEADER_LEN>() else {
            return Err(malformed(WireError::Truncated("packet of a local file")));
        };
        let header = Header::parse(first);
        *seq = seq.wrapping_add(1);
        if numbered && header.seq != *seq {
            // What it is told is told as an answer to that.
            *seq = header.seq;
            return Err(malformed(WireError::Malformed("packet of a local file out of sequence")));
        }
        inbound.data_mut()[HEADER_LEN - 1] = *seq;
        // The empty packet after one of the largest size is the end of that one, not of the file.
        let ends = header.len == 0 && !continues;
        continues = header.len == PAYLOAD_MAX;
        let mut left = HEADER_LEN + header.len;
        while left > 0 {
            if inbound.len() == 0 {
                take_more(client, inbound, server, kick, frames).await?;
            }
            let n = inbound.len().min(left);
            let written = server.write_all(&inbound.data()[..n]).await;
            inbound.consume(n);
            left -= n;
            if written.is_err() {
                return Err(outcome_unknown());
            }
        }
        if ends {
            return Ok(());
        }
    }
}

/// Reads from the client, unless the server gives up first: it has nothing to say before the file's end, but for a client
/// that takes longer than its `net_read_timeout`.
async fn take_more(
    client: &mut Stream,
    inbound: &mut Buffer,
    server: &mut Stream,
    kick: &Kick,
    frames: &mut Held,
) -> Result<(), Stop> {
    let filled = tokio::select! {
        biased;
        filled = inbound.fill(client) => filled,
        _ = server.peek() => return Err(outcome_unknown()),
    };
    match filled {
        Ok(0) => Err(Stop::End(None)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
            room_for_frame(client, kick, frames).await
        }
        Err(error) => Err(client_lost(error)),
    }
}

/// A server asked for a file of the client's though its statement loads none, or the client sends none.
pub(crate) fn unasked() -> Stop {
    let text = "Highwater: the server asked for a local file that the statement does not load; its connection was closed";
    Stop::end(ErrPacket::new(3948, b"42000", text))
}
