//! A client's prepared statements, under ids of the door's own, wherever they are prepared at the moment.
//!
//! A statement outlives the backend it was prepared on: on another one it is prepared again, from its text and under the
//! settings it was first prepared under, when it is next used. Its parameter types are kept too, since a client sends
//! them only with the first execution.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::{Capabilities, Reader, WireError};

use crate::memory::Held;
use crate::session::buffer::CHUNK;
use crate::state::prepared::Place;
use crate::state::settings::Settings;
use crate::text::screen::Screened;

/// In the flags of `COM_STMT_EXECUTE`: there are parameters, though perhaps none of the statement's own.
const PARAMETER_COUNT_AVAILABLE: u8 = 8;
/// Where the parameters of `COM_STMT_EXECUTE` begin in its payload: command, id, flags, iterations.
const PARAMETERS_AT: usize = 1 + 4 + 1 + 4;

/// One prepared statement.
#[derive(Debug)]
pub(crate) struct Statement {
    /// Its text.
    pub text: Arc<[u8]>,
    /// Of the settings it was prepared under, what decides how it is understood.
    pub settings: Arc<Settings>,
    /// What the text says about session state.
    pub screened: Screened,
    /// Its text's digest; 0 until it is wanted.
    pub digest: u64,
    /// Where it was found prepared last.
    pub place: Option<Place>,
    /// As of which version of the routes all that it names was found on one cluster, and on which.
    pub routed: (u64, usize),
    /// Parameters.
    pub params: u16,
    /// Result columns.
    pub columns: u16,
    /// The parameter types bound last, as they were sent, and for how many parameters.
    types: Option<(usize, Box<[u8]>)>,
    /// Whether the backend at its place has been told the types, if no other session uses it there.
    pub types_told: bool,
    /// Whether `COM_STMT_SEND_LONG_DATA` was sent and not used yet.
    pub long_data: bool,
    /// Whether it has a cursor open.
    pub cursor: bool,
    held: Held,
}

/// All of a client's statements.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    by_id: BTreeMap<u32, Statement>,
    last_id: u32,
    /// Statements with long data sent or a cursor open: while there are any, the session cannot change backends.
    busy: usize,
    /// Statements that are perhaps at a private place.
    privates: usize,
    /// All that they hold, in bytes, shared texts included.
    bytes: usize,
}

/// What must be done to a `COM_STMT_EXECUTE` before it is forwarded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Types {
    /// Nothing.
    AsSent,
    /// Set the flag at this offset of the payload to 1 and put these bytes behind it.
    Inject { at: usize, types: Box<[u8]> },
    /// The backend was never told the types, and neither was the door.
    Missing,
}

impl Statements {
    /// Adds a statement; returns its id.
    pub fn add(
        &mut self,
        (text, settings): (Arc<[u8]>, Arc<Settings>),
        screened: Screened,
        place: Place,
        params: u16,
        columns: u16,
    ) -> u32 {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let mut statement = Statement {
            text,
            settings,
            screened,
            digest: 0,
            place: Some(place),
            routed: (0, 0),
            params,
            columns,
            types: None,
            types_told: false,
            long_data: false,
            cursor: false,
            held: Held::default(),
        };
        statement.count();
        self.bytes += statement.bytes();
        self.privates += usize::from(place.is_private());
        self.by_id.insert(self.last_id, statement);
        self.last_id
    }

    /// The statement with this id.
    pub fn get(&mut self, id: u32) -> Option<&mut Statement> {
        self.by_id.get_mut(&id)
    }

    /// Removes a statement.
    pub fn close(&mut self, id: u32) -> Option<Statement> {
        let closed = self.by_id.remove(&id)?;
        self.bytes -= closed.bytes();
        self.busy -= usize::from(closed.long_data || closed.cursor);
        Some(closed)
    }

    /// What all of them hold, in bytes, texts that others use too included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a statement has long data or a cursor, so that the session must stay on its backend.
    pub fn busy(&self) -> bool {
        self.busy > 0
    }

    /// Records whether a statement has long data waiting and a cursor open.
    pub fn set_busy(&mut self, id: u32, long_data: bool, cursor: bool) {
        let Some(statement) = self.by_id.get_mut(&id) else { return };
        self.busy -= usize::from(statement.long_data || statement.cursor);
        (statement.long_data, statement.cursor) = (long_data, cursor);
        self.busy += usize::from(long_data || cursor);
    }

    /// The backend is gone: each statement is to be prepared again when it is next used.
    pub fn forget_backend(&mut self) {
        for statement in self.by_id.values_mut() {
            statement.place = None;
            statement.types_told = false;
            (statement.long_data, statement.cursor) = (false, false);
        }
        (self.busy, self.privates) = (0, 0);
    }

    /// Records that a statement is at a place of its own.
    pub fn set_private(&mut self, id: u32, place: Place) {
        let Some(statement) = self.by_id.get_mut(&id) else { return };
        statement.place = Some(place);
        statement.types_told = false;
        self.privates += 1;
    }

    /// Whether a statement is perhaps at a place of its own.
    pub fn has_private(&self) -> bool {
        self.privates > 0
    }

    /// Gives up the places that no other session may use; returns their ids, which are to be closed there.
    pub fn leave_private(&mut self) -> Vec<u32> {
        if std::mem::take(&mut self.privates) == 0 {
            return Vec::new();
        }
        let private = self.by_id.values_mut().filter(|s| s.place.is_some_and(|p| p.is_private()));
        private.filter_map(|s| s.place.take()).map(|place| place.id).collect()
    }

    /// Forgets every statement: the server has deallocated them. Ids go on, so that an old one is never reused.
    pub fn clear(&mut self) {
        self.by_id.clear();
        (self.busy, self.privates, self.bytes) = (0, 0, 0);
    }
}

impl Statement {
    /// What one takes beside its text, in bytes: itself, and its part of the map.
    pub const SIZE: usize = size_of::<Self>() + 64;

    /// What it holds, in bytes. Types are not among it, so that it is the same when it goes as when it came.
    fn bytes(&self) -> usize {
        Self::SIZE + self.text.len()
    }

    /// Counts what it has to itself: a short text is counted where it is shared.
    fn count(&mut self) {
        let text = if self.text.len() > CHUNK { self.text.len() } else { 0 };
        self.held.set(Self::SIZE + text + self.types.as_ref().map_or(0, |(_, types)| types.len()));
    }

    /// Looks at the parameter types in the payload of a `COM_STMT_EXECUTE`, of which at least the beginning is in
    /// `payload`: remembers them if they are there, and says what to do if they are not. `told`: whether the backend
    /// has them from an execution before.
    pub fn types(
        &mut self,
        payload: &[u8],
        capabilities: Capabilities,
        told: bool,
    ) -> Result<Types, WireError> {
        let attributes = capabilities.has(Capabilities::QUERY_ATTRIBUTES);
        let Some(&flags) = payload.get(5) else {
            return Err(WireError::Truncated("COM_STMT_EXECUTE"));
        };
        if self.params == 0 && !(attributes && flags & PARAMETER_COUNT_AVAILABLE != 0) {
            return Ok(Types::AsSent);
        }
        let mut r = Reader::new(payload);
        r.bytes(PARAMETERS_AT, "COM_STMT_EXECUTE")?;
        // With query attributes the number is there, even where the flag is not set (MySQL's description of the packet; its own
        // C client always sets it, Connector/Python only if there are attributes).
        let count = match attributes {
            true => usize::try_from(r.lenenc_int("parameter count")?)
                .map_err(|_| WireError::Malformed("parameter count"))?,
            false => usize::from(self.params),
        };
        if count == 0 {
            return Ok(Types::AsSent);
        }
        r.bytes(count.div_ceil(8), "NULL bitmap")?;
        let flag_at = payload.len() - r.len();
        if r.u8("new parameters flag")? == 1 {
            let begin = r.remaining();
            for _ in 0..count {
                r.bytes(2, "parameter type")?;
                if attributes {
                    r.lenenc_bytes("parameter name")?;
                }
            }
            let types = &begin[..begin.len() - r.len()];
            if self.types.as_ref().is_none_or(|(n, known)| *n != count || **known != *types) {
                self.types = Some((count, types.into()));
                self.count();
            }
            return Ok(Types::AsSent);
        }
        if told {
            return Ok(Types::AsSent);
        }
        match &self.types {
            Some((n, types)) if *n == count => Ok(Types::Inject { at: flag_at, types: types.clone() }),
            _ => Ok(Types::Missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(params: u16) -> Statements {
        let mut all = Statements::default();
        let text = (b"SELECT ?".as_slice().into(), Arc::new(Settings::of_login(0)));
        assert_eq!(all.add(text, Screened::COMMAND, Place::private(1, 7), params, 1), 1);
        all
    }

    #[test]
    fn types_are_remembered_and_sent_again_to_another_backend() {
        let mut all = statement(2);
        let first = b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x01\x08\x00\xfd\x00values";
        let again = b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x00values";
        let one = all.get(1).unwrap();
        assert_eq!(one.types(first, Capabilities(0), false), Ok(Types::AsSent));
        assert_eq!(one.types(again, Capabilities(0), true), Ok(Types::AsSent));
        all.forget_backend();
        let one = all.get(1).unwrap();
        let types: Box<[u8]> = b"\x08\x00\xfd\x00".as_slice().into();
        assert_eq!(one.types(again, Capabilities(0), false), Ok(Types::Inject { at: 11, types }));
    }

    #[test]
    fn named_parameters_are_part_of_the_types() {
        let mut all = statement(1);
        let first = b"\x17\x01\0\0\0\x08\x01\0\0\0\x02\x00\x01\x08\x00\x00\xfd\x00\x03tagvalues";
        let one = all.get(1).unwrap();
        assert_eq!(one.types(first, Capabilities::QUERY_ATTRIBUTES, false), Ok(Types::AsSent));
        assert_eq!(one.types.as_ref().map(|(n, t)| (*n, t.len())), Some((2, 9)));
    }

    #[test]
    fn the_number_of_parameters_is_there_with_attributes_whatever_the_flags_say() {
        let mut all = statement(1);
        let first = b"\x17\x01\0\0\0\0\x01\0\0\0\x01\x00\x01\xfe\x00\x00\x03ham";
        let again = b"\x17\x01\0\0\0\0\x01\0\0\0\x01\x00\x00\x03ham";
        let one = all.get(1).unwrap();
        assert_eq!(one.types(first, Capabilities::QUERY_ATTRIBUTES, false), Ok(Types::AsSent));
        let types: Box<[u8]> = b"\xfe\x00\x00".as_slice().into();
        let inject = Ok(Types::Inject { at: 12, types });
        assert_eq!(one.types(again, Capabilities::QUERY_ATTRIBUTES, false), inject);
    }

    #[test]
    fn types_never_seen_cannot_be_sent_again() {
        let mut all = statement(1);
        let one = all.get(1).unwrap();
        assert_eq!(
            one.types(b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x00v", Capabilities(0), false),
            Ok(Types::Missing)
        );
        for n in 0..12 {
            assert!(one.types(&b"\x17\x01\0\0\0\0\x01\0\0\0\x00\x00v"[..n], Capabilities(0), false).is_err());
        }
    }

    #[test]
    fn long_data_and_cursors_keep_a_session_busy_until_they_end() {
        let mut all = statement(1);
        all.set_busy(1, true, false);
        all.set_busy(1, true, true);
        assert!(all.busy());
        all.set_busy(1, false, false);
        assert!(!all.busy());
        all.set_busy(1, false, true);
        all.close(1);
        assert!(!all.busy());
    }

    #[test]
    fn private_places_are_left_with_the_backend() {
        let mut all = statement(0);
        assert_eq!(all.leave_private(), [7]);
        assert!(all.leave_private().is_empty() && all.get(1).unwrap().place.is_none());
        all.set_private(1, Place::private(2, 9));
        assert_eq!(all.leave_private(), [9]);
    }
}
