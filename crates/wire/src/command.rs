//! The commands a client can send: the first byte of a packet with sequence number 0.

/// A `COM_*` byte. Unknown bytes stay representable, so that they can be refused by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Command(pub u8);

#[allow(missing_docs)]
impl Command {
    pub const QUIT: Self = Self(0x01);
    pub const INIT_DB: Self = Self(0x02);
    pub const QUERY: Self = Self(0x03);
    pub const FIELD_LIST: Self = Self(0x04);
    pub const REFRESH: Self = Self(0x07);
    pub const SHUTDOWN: Self = Self(0x08);
    pub const STATISTICS: Self = Self(0x09);
    pub const PROCESS_INFO: Self = Self(0x0A);
    pub const PROCESS_KILL: Self = Self(0x0C);
    pub const DEBUG: Self = Self(0x0D);
    pub const PING: Self = Self(0x0E);
    pub const CHANGE_USER: Self = Self(0x11);
    pub const BINLOG_DUMP: Self = Self(0x12);
    pub const REGISTER_REPLICA: Self = Self(0x15);
    pub const STMT_PREPARE: Self = Self(0x16);
    pub const STMT_EXECUTE: Self = Self(0x17);
    pub const STMT_SEND_LONG_DATA: Self = Self(0x18);
    pub const STMT_CLOSE: Self = Self(0x19);
    pub const STMT_RESET: Self = Self(0x1A);
    pub const SET_OPTION: Self = Self(0x1B);
    pub const STMT_FETCH: Self = Self(0x1C);
    pub const BINLOG_DUMP_GTID: Self = Self(0x1E);
    pub const RESET_CONNECTION: Self = Self(0x1F);
    pub const CLONE: Self = Self(0x20);
}
