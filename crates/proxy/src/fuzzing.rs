//! The decoders of this crate that nobody else may call, for the fuzz targets of `crates/fuzz`.
//!
//! Not behind a feature: that would build the crate, and all that depends on it, once more for the tests. Nothing here
//! does anything of its own.

use std::sync::Arc;

use wire::capability::Status;
use wire::packet::HEADER_LEN;
use wire::response::OkPacket;
use wire::{Capabilities, WireError};

use crate::arrival::login::ChangeUser;
use crate::backend::response::{Expect, Kind, Scan, Step};
use crate::session::command::text_after_attributes;
use crate::session::relay::shorten;
use crate::state::prepared::Place;
use crate::state::profile::Profile;
use crate::state::settings::Settings;
use crate::state::statements::Statements;
use crate::text::screen::Screened;

/// Where the text of a `COM_QUERY` begins behind its attributes.
pub fn query_text(payload: &[u8]) -> Option<usize> {
    text_after_attributes(payload)
}

/// The types in the payload of a `COM_STMT_EXECUTE`, and those that an execution without types after it would be given.
pub fn parameter_types(params: u16, capabilities: Capabilities, payload: &[u8], next: &[u8]) -> [String; 2] {
    let mut statements = Statements::default();
    let settings = Arc::new(Settings::of_login(45));
    let text: Arc<[u8]> = b"".as_slice().into();
    let id = statements.add((text, settings), Screened::COMMAND, Place::private(1, 1), params, 0);
    let Some(statement) = statements.get(id) else { return Default::default() };
    [payload, next].map(|payload| format!("{:?}", statement.types(payload, capabilities, false)))
}

/// What a `COM_CHANGE_USER` says; nothing if it cannot be read.
pub fn change_user(payload: &[u8], capabilities: Capabilities) -> Option<String> {
    ChangeUser::parse(payload, capabilities, 45).ok().map(|it| format!("{it:?}"))
}

/// The cells of a one-row text result.
pub fn cells(answer: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    crate::session::restore::cells(answer)
}

/// A server's answer that arrives `piece` bytes at a time: what the client is sent of it, what was noted on the way, and
/// whether it came to its end.
///
/// # Errors
/// If it is no answer to such a command.
pub fn relayed(
    expect: u8,
    backend: Capabilities,
    client: Capabilities,
    piece: usize,
    answer: &[u8],
) -> Result<(Vec<u8>, String, bool), WireError> {
    let expects =
        [Expect::Results, Expect::Prepared, Expect::Fetched, Expect::Fields, Expect::Single, Expect::Text];
    let mut scan = Scan::new(expects[usize::from(expect) % expects.len()], backend);
    let mut profile = Profile::new(Arc::new(Settings::of_login(45)), Status::AUTOCOMMIT);
    let (mut sent, mut noted) = (Vec::new(), String::new());
    let (mut read, mut arrived) = (0, 0);
    while !scan.finished() && arrived < answer.len() {
        arrived = (arrived + piece.max(1)).min(answer.len());
        while !scan.finished() {
            match scan.next(&answer[read..arrived])? {
                Step::More => break,
                Step::Pass(n) => {
                    sent.extend_from_slice(&answer[read..read + n]);
                    read += n;
                }
                Step::Packet(packet) => {
                    let mut bytes = answer[read..read + packet.len].to_vec();
                    read += packet.len;
                    noted.push_str(&format!("{:?}\n", packet.kind));
                    if let Kind::Ok { plain: false, .. } = packet.kind {
                        let ok = OkPacket::parse(&bytes[HEADER_LEN..], backend)?;
                        profile.ok(&ok, Screened::COMMAND)?;
                        if !client.has(Capabilities::SESSION_TRACK) {
                            let len = shorten(&mut bytes, &ok, client);
                            bytes.truncate(len);
                        }
                    }
                    sent.extend_from_slice(&bytes);
                }
            }
        }
    }
    let steps = Settings::of_login(45).steps_to(&profile.settings);
    noted.push_str(&format!("{:?} {:?} {steps:?}", profile.pin, profile.last_insert_id));
    Ok((sent, noted, scan.finished()))
}
