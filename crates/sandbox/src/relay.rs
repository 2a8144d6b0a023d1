//! A network between a client and a server that can be broken: an address whose connections are carried to a port of this
//! machine, or to nobody.
//!
//! ```text
//! client -> Relay -> port         silence: nothing arrives, nothing is closed, as when a cable is cut; mend goes on
//!                                 point_to, hang_up: as when an address moves to another server
//! ```

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::SandboxError;
use crate::port::PortLease;

/// Read at once, in bytes.
const PIECE: usize = 16 << 10;

/// A relay; dropping it closes its connections.
#[derive(Debug)]
pub struct Relay {
    lease: PortLease,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wire: Mutex<Wire>,
    /// The wire was mended, or is gone.
    mended: Condvar,
    /// To tell connections apart.
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Wire {
    to: u16,
    silent: bool,
    gone: bool,
    /// Both ends of each connection, to close them.
    open: Vec<(u64, TcpStream)>,
}

impl Relay {
    /// Listens on a port of its own of 127.0.0.1, and carries connections to the port `to`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(to: u16) -> Result<Self, SandboxError> {
        let lease = PortLease::free()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, lease.port()));
        let listener = TcpListener::bind(address)
            .map_err(|source| SandboxError::io(format!("listen on {address}"), &source))?;
        let wire = Wire { to, silent: false, gone: false, open: Vec::new() };
        let shared =
            Arc::new(Shared { wire: Mutex::new(wire), mended: Condvar::new(), numbers: AtomicU64::new(0) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { lease, shared })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// Carries connections that are made from now on to another port.
    pub fn point_to(&self, to: u16) {
        self.shared.wire().to = to;
    }

    /// Closes every connection.
    pub fn hang_up(&self) {
        for (_, stream) in self.shared.wire().open.drain(..) {
            // Whoever closed it himself is as far.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on nothing arrives, on either side, and nobody is told.
    pub fn silence(&self) {
        self.shared.wire().silent = true;
    }

    /// What was on its way arrives, and all that follows.
    pub fn mend(&self) {
        self.shared.wire().silent = false;
        self.shared.mended.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.wire().gone = true;
        self.shared.mended.notify_all();
        self.hang_up();
        // Wakes the thread that accepts; it sees that we are gone.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()));
    }
}

impl Shared {
    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the wire is silent; where connections go, or nothing if the relay is gone.
    fn carries(&self) -> Option<u16> {
        let mut wire = self.wire();
        while wire.silent && !wire.gone {
            wire = self.mended.wait(wire).unwrap_or_else(PoisonError::into_inner);
        }
        (!wire.gone).then_some(wire.to)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.wire().gone {
            return;
        }
        let Ok(client) = stream else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A connection that cannot be made is closed, as by a server that is not there.
            let _ = carry(client, &shared);
        });
    }
}

fn carry(client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    shared.wire().open.push((number, client.try_clone()?));
    let carried = shared.carries().ok_or(io::ErrorKind::NotConnected.into());
    let connected = carried.and_then(|to| TcpStream::connect((Ipv4Addr::LOCALHOST, to)));
    let outcome = connected.and_then(|server| {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        shared.wire().open.push((number, server.try_clone()?));
        let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
        let there = Arc::clone(shared);
        let thread = thread::spawn(move || pump(from_client, to_server, &there));
        pump(server, client, shared);
        let _ = thread.join();
        Ok(())
    });
    shared.wire().open.retain(|(of, stream)| {
        if *of == number {
            let _ = stream.shutdown(Shutdown::Both);
        }
        *of != number
    });
    outcome
}

/// Carries bytes one way until either end closes, then closes both.
fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut piece = vec![0; PIECE];
    while let Ok(read) = from.read(&mut piece) {
        if shared.carries().is_none() || read == 0 || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A server that says its letter to whoever connects, then echoes.
    fn server(letter: u8) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut byte = [letter];
                    while stream.write_all(&byte).is_ok() && stream.read_exact(&mut byte).is_ok() {}
                });
            }
        });
        port
    }

    fn connect(relay: &Relay) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn heard(stream: &mut TcpStream) -> Option<u8> {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    #[test]
    fn what_was_sent_into_the_silence_arrives_when_it_ends() {
        let relay = Relay::start(server(b'a')).unwrap();
        let mut stream = connect(&relay);
        assert_eq!(heard(&mut stream), Some(b'a'));
        relay.silence();
        stream.write_all(b"x").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert_eq!(heard(&mut stream), None);
        let mut another = connect(&relay);
        relay.mend();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(heard(&mut stream), Some(b'x'));
        assert_eq!(heard(&mut another), Some(b'a'));
    }

    #[test]
    fn an_address_that_moves_leaves_old_connections_until_they_are_hung_up() {
        let relay = Relay::start(server(b'a')).unwrap();
        let mut old = connect(&relay);
        assert_eq!(heard(&mut old), Some(b'a'));
        relay.point_to(server(b'b'));
        assert_eq!(heard(&mut connect(&relay)), Some(b'b'));
        old.write_all(b"x").unwrap();
        assert_eq!(heard(&mut old), Some(b'x'));
        relay.hang_up();
        assert_eq!(heard(&mut old), None);
    }
}
