//! What ends a command or a session, and the errors a client is told.
//!
//! Error numbers are chosen for what drivers do with them: 1205 (lock wait timeout) is what they retry, rightly, since
//! nothing was sent; 2003 and 2013 are what they take for a lost connection.

use std::io;
use std::time::Duration;

use wire::WireError;
use wire::response::ErrPacket;

/// Why a command was not carried out in full.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The client is told, and may go on: nothing of the command was sent.
    Refuse(ErrPacket),
    /// The session ends; the client is told if it still listens for an answer.
    End(Option<ErrPacket>),
}

impl Stop {
    /// The session ends with this error.
    pub fn end(error: ErrPacket) -> Self {
        Self::End(Some(error))
    }
}

/// The client's own connection failed: nobody is left to be told.
pub(crate) fn client_lost(_: io::Error) -> Stop {
    Stop::End(None)
}

/// The backend's answer to a command that was sent did not come.
pub(crate) fn outcome_unknown() -> Stop {
    Stop::end(ErrPacket::new(
        2013,
        b"HY000",
        "Highwater: the server was lost during the statement; whether it took effect is not known",
    ))
}

/// The backend was lost while a transaction, locks or a cursor were open on it.
pub(crate) fn lost_inside() -> Stop {
    Stop::end(ErrPacket::new(
        2013,
        b"HY000",
        "Highwater: the server was lost with a transaction, lock or cursor open; the transaction was rolled back",
    ))
}

/// A backend was lost before it could serve.
pub(crate) fn new_server_lost() -> ErrPacket {
    ErrPacket::new(
        2013,
        b"HY000",
        "Highwater: the server was lost before the statement; nothing was executed",
    )
}

/// A session began on a server whose connections can be shared, and now they cannot.
pub(crate) fn not_shareable() -> ErrPacket {
    ErrPacket::new(2013, b"HY000", "Highwater: the server no longer reports session state; connect again")
}

/// The session has state that no other backend can be given.
pub(crate) fn pinned(reason: &str) -> Stop {
    let text = format!(
        "Highwater: the server behind this session is gone and the session cannot be moved: {reason}"
    );
    Stop::end(ErrPacket::new(2013, b"HY000", text))
}

/// The session stood in the way of a change of the writer, and was ended for it.
pub(crate) fn ended() -> Stop {
    let text = "Highwater: ended because its transaction or lock stood in the way of a change of the writer; rolled back";
    Stop::end(ErrPacket::new(3169, b"HY000", text))
}

/// The process ends, and the session with it, between transactions.
pub(crate) fn shutting_down() -> Stop {
    Stop::end(ErrPacket::new(1053, b"08S01", "Server shutdown in progress"))
}

/// The hold outlasted the client's patience, as configured.
pub(crate) fn held_too_long(held: Duration) -> Stop {
    let text = format!(
        "Highwater: held for {:.1} s while the writer changes; nothing was executed, try again",
        held.as_secs_f64()
    );
    Stop::Refuse(ErrPacket::new(1205, b"HY000", text))
}

/// What was to be done on another cluster cannot be, while that is held.
pub(crate) fn held_elsewhere(cluster: &str) -> Stop {
    let text =
        format!("Highwater: cluster '{cluster}' is held for a moment; nothing was executed, try again");
    Stop::Refuse(ErrPacket::new(1205, b"HY000", text))
}

/// No backend connection came free in time.
pub(crate) fn no_backend(waited: Duration, backends_max: usize) -> Stop {
    let text = format!(
        "Highwater: all {backends_max} connections to the server were in use for {:.1} s; nothing was executed, try again, or \
         raise `front_door.backends_max`",
        waited.as_secs_f64()
    );
    Stop::Refuse(ErrPacket::new(1203, b"42000", text))
}

/// What the statement before left behind is asked for, and its backend has served another since.
pub(crate) fn no_longer_known(what: &str) -> Stop {
    Stop::Refuse(no_longer_known_error(what))
}

/// The same, as an error.
pub(crate) fn no_longer_known_error(what: &str) -> ErrPacket {
    let text = format!(
        "Highwater: {what} of the statement before cannot be told any more: its connection has served another client since; \
         ask in the same packet or transaction, or set `front_door.share = false`"
    );
    ErrPacket::new(1105, b"HY000", text)
}

/// A statement that would need tables of two clusters, or a change of cluster where none is possible.
pub(crate) fn across(what: &str, hint: &str) -> Stop {
    Stop::Refuse(ErrPacket::new(1235, b"42000", format!("Highwater: {what}; nothing was executed; {hint}")))
}

/// A command the door does not carry.
pub(crate) fn unsupported(what: &str) -> Stop {
    let text = format!("Highwater: {what} is not carried by the front door; connect to the server itself");
    Stop::Refuse(ErrPacket::new(1235, b"42000", text))
}

/// No command of the protocol: what servers answer.
pub(crate) fn unknown_command() -> Stop {
    Stop::Refuse(ErrPacket::new(1047, b"08S01", "Unknown command"))
}

/// A prepared statement that no longer fits its tables.
pub(crate) fn prepare_again() -> Stop {
    Stop::Refuse(ErrPacket::new(1615, b"HY000", "Prepared statement needs to be re-prepared"))
}

/// A statement executed for the first time without the types of its parameters.
pub(crate) fn types_missing() -> Stop {
    Stop::Refuse(ErrPacket::new(1210, b"HY000", "Incorrect arguments to mysqld_stmt_execute"))
}

/// A fetch without a cursor.
pub(crate) fn no_cursor(id: u32) -> Stop {
    Stop::Refuse(ErrPacket::new(1421, b"HY000", format!("The statement ({id}) has no open cursor.")))
}

/// A statement id the client does not have.
pub(crate) fn unknown_statement(id: u32, command: &str) -> Stop {
    let text = format!("Unknown prepared statement handler ({id}) given to {command}");
    Stop::Refuse(ErrPacket::new(1243, b"HY000", text))
}

/// A packet larger than the command may be.
pub(crate) fn too_large() -> Stop {
    Stop::end(ErrPacket::new(1153, b"08S01", "Got a packet bigger than 'max_allowed_packet' bytes"))
}

/// The door is short of memory, and the client holds much of it and does nothing with it. The words are a server's for this number.
pub(crate) fn hoarded() -> ErrPacket {
    let text = "Out of memory: this client held memory that the front door needs for others, and did not get on \
                (front_door.memory_max); its last statement was not executed, an open transaction was rolled back";
    ErrPacket::new(1041, b"HY000", text)
}

/// A statement that does not fit into the door's memory, whoever else is there.
pub(crate) fn too_large_for_memory() -> ErrPacket {
    let text = "Out of memory: the statement needs more than the front door may hold (front_door.memory_max)";
    ErrPacket::new(1041, b"HY000", text)
}

/// The door is short of memory, and cannot keep one more prepared statement.
pub(crate) fn no_room_for_statement() -> Stop {
    let text = "Out of memory: the front door holds as much as it may (front_door.memory_max); nothing was prepared, \
                close prepared statements that are not needed, or try again";
    Stop::Refuse(ErrPacket::new(1041, b"HY000", text))
}

/// One client too many for the door's memory. Number and state are those of too many connections: drivers and load balancers take
/// them for a server that is full, and try another or later.
pub(crate) fn no_room_for_client() -> ErrPacket {
    ErrPacket::new(
        1040,
        b"08004",
        "Too many connections: the front door's memory is used up (front_door.memory_max)",
    )
}

/// The client's bytes are no MySQL packets.
pub(crate) fn malformed(_: WireError) -> Stop {
    Stop::end(ErrPacket::new(1835, b"HY000", "Malformed communication packet"))
}

/// The backend's bytes are no answer to what it was asked.
pub(crate) fn backend_out_of_step(error: &WireError) -> Stop {
    tracing::error!(%error, "a server's answer could not be understood; its connection was closed");
    outcome_unknown()
}

/// What a client is told when its backend connection cannot be opened.
pub(crate) fn cannot_open(error: &mysql::Error, cluster: &str) -> ErrPacket {
    match error {
        mysql::Error::Login { error, .. } | mysql::Error::Server(error) => error.clone(),
        // Lost: it went away while it was being opened, or only what stands before it takes connections.
        mysql::Error::Connect { source, .. } | mysql::Error::Lost(source) => ErrPacket::new(
            2003,
            b"HY000",
            format!("Highwater: the writer of cluster '{cluster}' cannot be reached ({})", source.kind()),
        ),
        mysql::Error::UntrustedKey { .. } => ErrPacket::new(
            1105,
            b"HY000",
            format!("Highwater: the public key of cluster '{cluster}' is not trusted; set `server_key`"),
        ),
        mysql::Error::Tls { reason, .. } => ErrPacket::new(
            2026,
            b"HY000",
            format!("Highwater: no TLS with the writer of cluster '{cluster}': {reason}"),
        ),
        other => ErrPacket::new(1105, b"HY000", format!("Highwater: cluster '{cluster}': {other}")),
    }
}
