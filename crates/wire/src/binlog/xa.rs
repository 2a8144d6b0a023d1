//! XA transactions: how one ends in the log before its coordinator has decided.
//!
//! Source: `XA_prepare_event` in `libs/mysql/binlog/event/control_events.h`; the text is that of `XID` and
//! `serialize_xid` in `sql/xa.h`, which `XA COMMIT` and `XA ROLLBACK` in the log use as well.

use std::fmt::Write;

use crate::{Reader, Result, WireError};

/// Longest of the two parts of a name: `MAXGTRIDSIZE`, `MAXBQUALSIZE`.
const PART_MAX: u32 = 64;

/// `XA_PREPARE_LOG_EVENT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XaPrepareEvent {
    /// `XA COMMIT ... ONE PHASE`: the changes are committed with this event.
    pub one_phase: bool,
    /// The transaction's name, as statements in the log spell it: `X'61',X'62',1`.
    pub xid: String,
}

impl XaPrepareEvent {
    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self> {
        const WHAT: &str = "XA PREPARE event";
        let one_phase = r.u8(WHAT)? != 0;
        let format = r.u32(WHAT)?;
        let (global, branch) = (r.u32(WHAT)?, r.u32(WHAT)?);
        if global > PART_MAX || branch > PART_MAX {
            return Err(WireError::Malformed(WHAT));
        }
        let (global, branch) = (r.bytes(global as usize, WHAT)?, r.bytes(branch as usize, WHAT)?);
        let xid = format!("X'{}',X'{}',{format}", hex(global), hex(branch));
        Ok(Self { one_phase, xid })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{b:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_spelt_as_the_statements_in_the_log_spell_it() {
        let body = [0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'a', 0xFF];
        let event = XaPrepareEvent::parse(&mut Reader::new(&body)).unwrap();
        assert_eq!(event, XaPrepareEvent { one_phase: false, xid: "X'61',X'ff',7".into() });
        for n in 0..body.len() {
            assert!(XaPrepareEvent::parse(&mut Reader::new(&body[..n])).is_err());
        }
        let mut long = body;
        long[5] = 65;
        assert!(XaPrepareEvent::parse(&mut Reader::new(&long)).is_err());
    }
}
