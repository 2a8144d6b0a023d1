//! Between a client's proof and its session: who it may be from where it is, and what it is told if it may not.
//!
//! Whoever is refused is refused by the same words and after the same work: a login that the server refused. An account
//! that may not come from there gets the answer of one that does not exist, which costs the server as much as a
//! wrong password does.

use mysql::Password;
use wire::WireError;
use wire::auth;
use wire::response::ErrPacket;

use crate::backend::{Identity, Link};
use crate::gate::hold::Gate;
use crate::session::Session;
use crate::trouble::{Stop, cannot_open, malformed};

/// Errors of a login in which a server names the client's address, which to it is ours: access denied, with and
/// without a password; account locked; account locked after too many wrong passwords.
const NAMES_ADDRESS: &[u16] = &[1045, 1698, 3118, 3955];

impl Session {
    /// Sees whether the account may come from where its client is.
    ///
    /// # Errors
    /// As a server refuses an account that does not exist.
    pub async fn admit(&self, gate: &Gate) -> Result<(), Stop> {
        let identity = &self.identity;
        if self.shared.rules.get().entrance.admits(&identity.user, self.peer, self.client.peer_is_certified())
        {
            return Ok(());
        }
        tracing::info!(user = %identity.user.escape_ascii(), from = %self.peer, "the rules of its account keep a client out");
        let password =
            if identity.password.reveal().is_empty() { Password::default() } else { unguessable()? };
        let nobody = Identity {
            user: unguessable()?.reveal().to_vec(),
            password,
            attributes: identity.attributes.clone(),
            ..**identity
        };
        // Whatever the server says: it was asked so that this takes as long.
        drop(Link::open(gate, &nobody, None).await);
        let using = if identity.password.reveal().is_empty() { "NO" } else { "YES" };
        let text = format!(
            "Access denied for user '{}'@'{}' (using password: {using})",
            String::from_utf8_lossy(&identity.user),
            self.peer
        );
        Err(Stop::end(ErrPacket::new(1045, b"28000", text)))
    }

    /// The server has taken the login: its password is remembered, and the client takes a place of its account.
    ///
    /// # Errors
    /// If the account has as many clients as it may.
    pub fn take_place(&mut self) -> Result<(), Stop> {
        let user = &self.identity.user;
        self.shared.accounts.remember(user, &self.identity.password);
        if let Some(max) = self.shared.rules.get().entrance.clients_max(user) {
            self.place = self.shared.accounts.enter(user, max);
            if self.place.is_none() {
                let text = format!(
                    "User {} already has more than 'max_user_connections' active connections",
                    String::from_utf8_lossy(user)
                );
                return Err(Stop::end(ErrPacket::new(1203, b"42000", text)));
            }
        }
        Ok(())
    }

    /// What the client is told when its login was not taken; what the server refused is no longer remembered.
    pub fn turned_away(&self, error: &mysql::Error, gate: &Gate) -> Stop {
        if error.server_code().is_some_and(|code| NAMES_ADDRESS.contains(&code)) {
            self.shared.accounts.forget(&self.identity.user, &self.identity.password);
        }
        let mut told = cannot_open(error, &gate.backend.id);
        if NAMES_ADDRESS.contains(&told.code) {
            told.message = from_there(&told.message, &self.identity.user, &self.peer.to_string());
        }
        Stop::end(told)
    }
}

/// A name or password that nobody has.
///
/// # Errors
/// If the system has no random numbers.
pub(crate) fn unguessable() -> Result<Password, Stop> {
    auth::nonce().map(Password::new).map_err(|e: WireError| malformed(e))
}

/// The server's message with the client's address in place of ours.
fn from_there(message: &str, user: &[u8], address: &str) -> String {
    let head = format!("Access denied for user '{}'@'", String::from_utf8_lossy(user));
    let ours = message.strip_prefix(&head).and_then(|rest| rest.split_once('\''));
    ours.map_or_else(|| message.to_owned(), |(_, tail)| format!("{head}{address}'{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_client_s_address_and_not_the_door_s() {
        let check =
            |message: &str, expected: &str| assert_eq!(from_there(message, b"o'hara", "192.0.2.7"), expected);
        check(
            "Access denied for user 'o'hara'@'localhost' (using password: YES)",
            "Access denied for user 'o'hara'@'192.0.2.7' (using password: YES)",
        );
        check(
            "Access denied for user 'o'hara'@'10.0.0.1'. Account is locked.",
            "Access denied for user 'o'hara'@'192.0.2.7'. Account is locked.",
        );
        for other in
            ["Access denied for user 'x'@'10.0.0.1'", "Access denied for user 'o'hara'@'", "", "Too many"]
        {
            check(other, other);
        }
    }
}
