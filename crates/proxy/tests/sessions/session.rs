//! One of the two sessions: what an action is on the wire, and the packets of its answer.

use mysql::{Capabilities, ConnectOptions, Connection, Password};
use sandbox::{SHOP_PASSWORD, SHOP_USER};
use wire::auth;
use wire::command::Command;
use wire::handshake::{AUTH_MORE_DATA, AuthSwitch};

use crate::script::Action;

/// A session, direct or through the door.
pub struct Session {
    port: u16,
    capabilities: Capabilities,
    collation: u8,
    connection: Connection,
    /// Statement ids, by number; `None` once closed.
    prepared: Vec<Option<[u8; 4]>>,
}

async fn connect(port: u16, capabilities: Capabilities, collation: u8) -> Connection {
    let mut options = ConnectOptions::new("127.0.0.1", port, SHOP_USER, Password::new(SHOP_PASSWORD));
    options.schema = Some(b"shop".to_vec());
    options.capabilities = capabilities;
    options.collation = collation;
    Connection::connect(&options).await.unwrap()
}

impl Session {
    pub async fn open(port: u16, capabilities: Capabilities, collation: u8) -> Self {
        let connection = connect(port, capabilities, collation).await;
        Self { port, capabilities, collation, connection, prepared: Vec::new() }
    }

    fn deprecate_eof(&self) -> bool {
        self.capabilities.has(Capabilities::DEPRECATE_EOF)
    }

    async fn packet(&mut self) -> Vec<u8> {
        self.connection.read_packet().await.unwrap().to_vec()
    }

    fn id(&self, n: usize) -> [u8; 4] {
        self.prepared.get(n).copied().flatten().unwrap_or([0xEE; 4])
    }

    fn execute(&self, n: usize, flags: u8, types: &[u8], parameter: &[u8]) -> (Command, Vec<u8>) {
        (Command::STMT_EXECUTE, [&self.id(n)[..], &[flags], b"\x01\0\0\0", types, parameter].concat())
    }

    /// Carries an action out and returns the answer's packets.
    pub async fn act(&mut self, action: &Action) -> Vec<Vec<u8>> {
        let (command, body) = match action {
            Action::Query(sql) => (Command::QUERY, sql.as_bytes().to_vec()),
            Action::KillOwnQuery => {
                (Command::QUERY, format!("KILL QUERY {}", self.connection.id()).into_bytes())
            }
            Action::Simple(command, body) => (*command, body.clone()),
            Action::ResetConnection => (Command::RESET_CONNECTION, Vec::new()),
            Action::ChangeUser => return self.change_user().await,
            Action::Reconnect => {
                self.connection.send_command(Command::QUIT, &[]).await.unwrap();
                *self = Self::open(self.port, self.capabilities, self.collation).await;
                return Vec::new();
            }
            Action::Prepare(text) => (Command::STMT_PREPARE, text.as_bytes().to_vec()),
            Action::Execute(n, flags, true, parameter) => {
                self.execute(*n, *flags, b"\x00\x01\x03\x00", &parameter.to_le_bytes())
            }
            Action::Execute(n, flags, false, parameter) => {
                self.execute(*n, *flags, b"\x00\x00", &parameter.to_le_bytes())
            }
            Action::ExecuteLong(n) => self.execute(*n, 0, b"\x00\x01\xFD\x00", b""),
            Action::LongData(n, text) => {
                (Command::STMT_SEND_LONG_DATA, [&self.id(*n)[..], b"\0\0", text.as_bytes()].concat())
            }
            Action::Fetch(n, rows) => (Command::STMT_FETCH, [self.id(*n), rows.to_le_bytes()].concat()),
            Action::Reset(n) => (Command::STMT_RESET, self.id(*n).to_vec()),
            Action::Close(n) => (Command::STMT_CLOSE, self.id(*n).to_vec()),
        };
        self.connection.send_command(command, &body).await.unwrap();
        match action {
            Action::Close(n) => {
                if let Some(slot) = self.prepared.get_mut(*n) {
                    *slot = None;
                }
                Vec::new()
            }
            Action::LongData(..) => Vec::new(),
            Action::Prepare(_) => self.prepare_answer().await,
            Action::Fetch(..) => self.rows(Vec::new()).await.0,
            Action::ResetConnection => {
                self.prepared.clear();
                vec![self.packet().await]
            }
            Action::Simple(..) | Action::Reset(_) => vec![self.packet().await],
            _ => self.results().await,
        }
    }

    /// Becomes the same account again. How the proof goes is each side's own; how it ends is compared.
    async fn change_user(&mut self) -> Vec<Vec<u8>> {
        self.prepared.clear();
        let collation = [self.collation, 0];
        // With another plugin than the account's, so that either side asks for a proof over a new nonce.
        let mut body = [SHOP_USER.as_bytes(), b"\0\0shop\0", &collation, b"mysql_native_password\0"].concat();
        if self.connection.capabilities().has(Capabilities::CONNECT_ATTRS) {
            body.push(0);
        }
        self.connection.send_command(Command::CHANGE_USER, &body).await.unwrap();
        let mut nonce = Vec::new();
        loop {
            let packet = self.packet().await;
            match packet[..] {
                [0xFE, ..] => {
                    nonce = AuthSwitch::parse(&packet).unwrap().nonce;
                    let scramble = auth::caching_sha2_scramble(SHOP_PASSWORD.as_bytes(), &nonce);
                    self.connection.write_packet(&scramble).await.unwrap();
                }
                [AUTH_MORE_DATA, auth::FAST_AUTH_SUCCESS] => {}
                [AUTH_MORE_DATA, auth::FULL_AUTH] => {
                    self.connection.write_packet(&[auth::REQUEST_PUBLIC_KEY]).await.unwrap();
                    let key = self.packet().await;
                    let sealed = auth::encrypt_password(SHOP_PASSWORD.as_bytes(), &nonce, &key[1..]).unwrap();
                    self.connection.write_packet(&sealed).await.unwrap();
                }
                _ => return vec![packet],
            }
        }
    }

    async fn prepare_answer(&mut self) -> Vec<Vec<u8>> {
        let mut first = self.packet().await;
        if first[0] != 0 {
            self.prepared.push(None);
            return vec![first];
        }
        self.prepared.push(first[1..5].try_into().ok());
        // The id is each side's own.
        first[1..5].fill(0);
        let count = |at: usize| usize::from(u16::from_le_bytes([first[at], first[at + 1]]));
        let groups = [count(5), count(7)].into_iter().filter(|n| *n > 0);
        let more: usize = groups.map(|n| n + usize::from(!self.deprecate_eof())).sum();
        let mut all = vec![first];
        for _ in 0..more {
            all.push(self.packet().await);
        }
        all
    }

    async fn results(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let first = self.packet().await;
            let head = first[0];
            all.push(first.clone());
            let more = match head {
                0xFF => false,
                0 => more_results(ok_status(&first)),
                columns => {
                    for _ in 0..columns {
                        all.push(self.packet().await);
                    }
                    let mut cursor = false;
                    if !self.deprecate_eof() {
                        let eof = self.packet().await;
                        cursor = eof[3] & 0x40 != 0;
                        all.push(eof);
                    }
                    if cursor {
                        false
                    } else {
                        let (rows, more) = self.rows(std::mem::take(&mut all)).await;
                        all = rows;
                        more
                    }
                }
            };
            if !more {
                return all;
            }
        }
    }

    /// Rows to their end, and whether another result follows.
    async fn rows(&mut self, mut all: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, bool) {
        loop {
            let packet = self.packet().await;
            all.push(packet.clone());
            match packet[0] {
                0xFF => return (all, false),
                0xFE if self.deprecate_eof() => return (all, more_results(ok_status(&packet))),
                0xFE if packet.len() < 9 => return (all, packet[3] & 8 != 0),
                _ => {}
            }
        }
    }
}

fn more_results(status: u16) -> bool {
    status & 8 != 0
}

fn ok_status(packet: &[u8]) -> u16 {
    let mut r = wire::Reader::new(packet);
    r.u8("head").unwrap();
    r.lenenc_int("rows").unwrap();
    r.lenenc_int("id").unwrap();
    r.u16("status").unwrap()
}
