//! Accounts that clients have proven to be, so that thousands of them need not log in to the server one by one.
//!
//! A client proves who it is by the account's password. The server is the judge: a login of ours with that password. Another
//! client with the same account, password and dialect is believed without asking again, for two seconds at most; so a password
//! that was changed on the server still opens the door for so long, and a crowd that connects at once costs the server few logins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql::Password;
use wire::Capabilities;

use crate::backend::Identity;

/// How long a server's verdict on a password is believed.
const BELIEVED: Duration = Duration::from_secs(2);

/// Capabilities that change what a connection does after its login. Only sessions that agree in them share connections.
const DIALECT: Capabilities = Capabilities(
    Capabilities::FOUND_ROWS.0
        | Capabilities::LONG_FLAG.0
        | Capabilities::NO_SCHEMA.0
        | Capabilities::ODBC.0
        | Capabilities::LOCAL_FILES.0
        | Capabilities::IGNORE_SPACE.0
        | Capabilities::INTERACTIVE.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::MULTI_STATEMENTS.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::PS_MULTI_RESULTS.0
        | Capabilities::DEPRECATE_EOF.0
        | Capabilities::QUERY_ATTRIBUTES.0,
);

/// An account with its password, and a dialect of the protocol.
#[derive(Debug)]
pub(crate) struct Account {
    user: Vec<u8>,
    password: Password,
    dialect: Capabilities,
    /// On which server, by its pool's serial number, and when a login succeeded last.
    proven: Mutex<Option<(u64, Instant)>>,
    /// Its clients, as far as they differ.
    clients: Mutex<Vec<Arc<Identity>>>,
    /// Held by who asks the server, so that a crowd asks once.
    pub proving: tokio::sync::Mutex<()>,
}

impl Account {
    /// Its name.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// Whether a login of this account to the pool's server has succeeded of late.
    pub fn is_proven(&self, pool: u64) -> bool {
        let proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        proven.is_some_and(|(on, when)| on == pool && when.elapsed() < BELIEVED)
    }

    /// A login to the pool's server succeeded, or was refused.
    pub fn prove(&self, pool: u64, succeeded: bool) {
        let proof = succeeded.then(|| (pool, Instant::now()));
        *self.proven.lock().unwrap_or_else(PoisonError::into_inner) = proof;
    }

    /// A client's identity: one copy for all that are alike, without the connection attributes, which go nowhere.
    pub fn client(&self, identity: &Identity) -> Arc<Identity> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let like =
            |c: &&Arc<Identity>| c.capabilities == identity.capabilities && c.collation == identity.collation;
        if let Some(known) = clients.iter().find(like) {
            return Arc::clone(known);
        }
        clients.retain(|client| Arc::strong_count(client) > 1);
        let capabilities = identity.capabilities;
        let new = Arc::new(Identity { capabilities, ..self.identity(identity.collation) });
        clients.push(Arc::clone(&new));
        new
    }

    /// Whom a shared connection logs in as. It carries no client's connection attributes, since it serves many.
    pub fn identity(&self, collation: u8) -> Identity {
        Identity {
            user: self.user.clone(),
            password: self.password.clone(),
            capabilities: self.dialect,
            collation,
            attributes: Vec::new(),
        }
    }
}

/// All accounts in use.
#[derive(Debug, Default)]
pub(crate) struct ProvenAccounts {
    by_user: Mutex<HashMap<Vec<u8>, Vec<Arc<Account>>>>,
}

impl ProvenAccounts {
    /// The account of a client; a new one if nobody has come with this password yet. It is forgotten with its last client.
    pub fn of(&self, identity: &Identity) -> Arc<Account> {
        let dialect = identity.capabilities & DIALECT;
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let accounts = by_user.entry(identity.user.clone()).or_default();
        let same = |one: &&Arc<Account>| one.dialect == dialect && equal(&one.password, &identity.password);
        if let Some(known) = accounts.iter().find(same) {
            return Arc::clone(known);
        }
        accounts.retain(|one| Arc::strong_count(one) > 1);
        let new = Arc::new(Account {
            user: identity.user.clone(),
            password: identity.password.clone(),
            dialect,
            proven: Mutex::default(),
            clients: Mutex::default(),
            proving: tokio::sync::Mutex::default(),
        });
        accounts.push(Arc::clone(&new));
        if by_user.len() > 64 && by_user.len().is_power_of_two() {
            by_user.retain(|_, accounts| {
                accounts.retain(|one| Arc::strong_count(one) > 1);
                !accounts.is_empty()
            });
        }
        new
    }
}

/// Compares passwords in a time that depends on their lengths alone.
fn equal(a: &Password, b: &Password) -> bool {
    let (a, b) = (a.reveal(), b.reveal());
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(password: &str, capabilities: Capabilities, attributes: &[u8]) -> Identity {
        Identity {
            user: b"shop".to_vec(),
            password: Password::new(password.as_bytes()),
            capabilities,
            collation: 45,
            attributes: attributes.to_vec(),
        }
    }

    #[test]
    fn clients_are_one_account_by_name_password_and_dialect() {
        let accounts = ProvenAccounts::default();
        let plain = accounts.of(&identity("a", Capabilities::DEPRECATE_EOF, b"\x01x\x01y"));
        let again = Capabilities::DEPRECATE_EOF | Capabilities::CONNECT_ATTRS | Capabilities::CONNECT_WITH_DB;
        assert!(Arc::ptr_eq(&plain, &accounts.of(&identity("a", again, b""))));
        let others = [
            accounts.of(&identity("b", Capabilities::DEPRECATE_EOF, b"")),
            accounts.of(&identity("", Capabilities::DEPRECATE_EOF, b"")),
            accounts.of(&identity("a", Capabilities::FOUND_ROWS, b"")),
        ];
        assert!(others.iter().all(|other| !Arc::ptr_eq(&plain, other)));
    }

    #[test]
    fn a_proof_holds_for_the_server_that_gave_it() {
        let account = ProvenAccounts::default().of(&identity("a", Capabilities(0), b""));
        assert!(!account.is_proven(1));
        account.prove(1, true);
        assert!(account.is_proven(1) && !account.is_proven(2));
        account.prove(1, false);
        assert!(!account.is_proven(1));
    }
}
