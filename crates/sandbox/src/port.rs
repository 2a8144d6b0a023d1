//! A TCP port of 127.0.0.1 that stays one node's own for the node's whole life, also while its server is dead.
//!
//! Asking the system for any free port would not do: between `kill_nine` and `restart` another node or one of
//! thousands of outgoing connections could take it. So ports come from below the range that outgoing connections
//! use, and a locked file per port keeps every process that uses this crate off it.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::{SandboxError, launch};

const RANGE: Range<u16> = 13_000..32_000;

/// The port, reserved until this is dropped.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    /// None: the caller chose the port, and answers for it.
    _lock: Option<File>,
}

impl PortLease {
    /// Takes a port by number. Were another server listening there, its greeting would pass for ours.
    pub(crate) fn chosen(port: u16) -> Result<Self, SandboxError> {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => Ok(Self { port, _lock: None }),
            Err(source) => Err(SandboxError::new(
                format!("cannot have port {port} on 127.0.0.1: {source}"),
                "the server was not started",
                "end what listens there, choose another port, or leave the choice to the sandbox",
            )),
        }
    }

    /// Reserves a port that nothing listens on.
    ///
    /// # Errors
    /// If there is none, or its file cannot be locked.
    pub fn free() -> Result<Self, SandboxError> {
        static TRIED: AtomicU16 = AtomicU16::new(0);
        // One folder per user: nobody can lock files in another's.
        let locks = std::env::temp_dir().join(format!("highwater-ports-{}", launch::user_id()));
        let io = |source: std::io::Error| {
            SandboxError::io(format!("reserve a port in {}", locks.display()), &source)
        };
        fs::create_dir_all(&locks).map_err(io)?;
        // Processes start their search apart, so that they seldom meet.
        let start = (std::process::id() as usize).wrapping_mul(101);
        for _ in RANGE {
            let step = usize::from(TRIED.fetch_add(1, Ordering::Relaxed));
            let port = RANGE.start + ((start.wrapping_add(step)) % RANGE.len()) as u16;
            let lock = File::create(locks.join(port.to_string())).map_err(io)?;
            match lock.try_lock() {
                Ok(()) if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() => {
                    return Ok(Self { port, _lock: Some(lock) });
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
        }
        Err(SandboxError::new(
            format!("no free port between {} and {}", RANGE.start, RANGE.end),
            "the server was not started",
            "end servers that are no longer needed, or choose a port",
        ))
    }

    /// Its number.
    pub fn port(&self) -> u16 {
        self.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leases_never_share_a_port() {
        let leases: Vec<PortLease> = (0..20).map(|_| PortLease::free().unwrap()).collect();
        let mut ports: Vec<u16> = leases.iter().map(PortLease::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), leases.len());
    }

    #[test]
    fn a_chosen_port_that_somebody_listens_on_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(PortLease::chosen(port).unwrap_err().what.contains(&port.to_string()));
    }
}
