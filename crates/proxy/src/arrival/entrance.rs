//! Who may come in, how, and how many at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use mysql::Password;

use crate::arrival::network::Network;
use crate::arrival::tls::DoorTls;

/// The rules of a door's entrance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    /// TLS for clients that ask for it.
    pub tls: Option<DoorTls>,
    /// Whether clients that do not ask for it are refused.
    pub tls_required: bool,
    /// How long a client may take from connecting until it has proven who it is.
    pub login_max: Duration,
    /// Clients that may be about to prove who they are at the same time, on each thread. More wait in the kernel's queue.
    pub handshakes_max: usize,
    /// Clients let in per second, all threads together; 0 is no limit. More wait in the kernel's queue.
    pub logins_per_second: u32,
    /// The load balancers that say whose connection they pass on (PROXY protocol, version 2); they must. Nobody else may.
    pub proxy_protocol_from: Vec<Network>,
    /// Rules for single accounts, by name; whoever is not named is let in with the right password.
    pub users: HashMap<Vec<u8>, UserRule>,
}

/// What holds for one account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserRule {
    /// Clients that may be logged in at the same time, if there is a limit.
    pub clients_max: Option<usize>,
    /// Where it may come from; everywhere if empty.
    pub from: Vec<Network>,
    /// Whether it must show a certificate of the CA that the door believes.
    pub certificate: bool,
    /// Its password, for clients that know `mysql_native_password` only. The server still decides whether it is right.
    pub password: Option<Password>,
}

impl Default for Entrance {
    fn default() -> Self {
        Self {
            tls: None,
            tls_required: false,
            login_max: Duration::from_secs(10),
            handshakes_max: 256,
            logins_per_second: 0,
            proxy_protocol_from: Vec::new(),
            users: HashMap::new(),
        }
    }
}

impl Entrance {
    /// Whether a peer at this address says whose connection it passes on.
    pub(crate) fn is_balancer(&self, peer: IpAddr) -> bool {
        self.proxy_protocol_from.iter().any(|network| network.contains(peer))
    }

    /// Whether the account may come from this address, with or without a certificate.
    pub(crate) fn admits(&self, user: &[u8], from: IpAddr, certified: bool) -> bool {
        let Some(rule) = self.users.get(user) else { return true };
        let place = rule.from.is_empty() || rule.from.iter().any(|network| network.contains(from));
        place && (certified || !rule.certificate)
    }

    /// How many clients of the account there may be.
    pub(crate) fn clients_max(&self, user: &[u8]) -> Option<usize> {
        self.users.get(user)?.clients_max
    }

    /// The password the settings know for the account.
    pub(crate) fn password(&self, user: &[u8]) -> Option<&Password> {
        self.users.get(user)?.password.as_ref()
    }

    /// Whether the settings know any password.
    pub(crate) fn knows_passwords(&self) -> bool {
        self.users.values().any(|rule| rule.password.is_some())
    }
}
