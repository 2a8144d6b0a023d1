//! What the door remembers of accounts: who has proven a password to the server, and how many are here now.
//!
//! Remembered is what the server itself remembers for `caching_sha2_password`, `SHA256(SHA256(password))`, and beside it the
//! password, sealed under `SHA256(password)`. A client's scramble that is right holds that hash, so the next
//! client with the same password opens the seal, and needs no full exchange; without such a client the door itself cannot.
//! The server's word counts all the same: what it refuses is forgotten. (`docs/decisions/0017-passwords.md`)
//!
//! Invariant: nothing is remembered that a server has not accepted, so strangers cannot fill the book or change it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql::Password;
use wire::auth::{CachingSha2Check, CachingSha2Once, SealedPassword};

/// Accounts remembered; the one that was away longest goes first.
const REMEMBERED_MAX: usize = 10_000;
/// How long an account is remembered that nobody logs in to.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The accounts of a door.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    book: Mutex<HashMap<Vec<u8>, Remembered>>,
    here: Mutex<HashMap<Vec<u8>, usize>>,
}

#[derive(Debug)]
struct Remembered {
    check: CachingSha2Check,
    sealed: SealedPassword,
    seen: Instant,
}

/// A client's place among those of its account; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Place {
    accounts: Arc<Accounts>,
    user: Vec<u8>,
}

impl Accounts {
    fn book(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Remembered>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account's password, if it is remembered and this is its scramble over this nonce.
    pub fn recall(&self, user: &[u8], scramble: &[u8], nonce: &[u8]) -> Option<Password> {
        let mut book = self.book();
        let remembered = book.get_mut(user)?;
        if remembered.seen.elapsed() > REMEMBERED_FOR {
            book.remove(user);
            return None;
        }
        let once = remembered.check.open(scramble, nonce)?;
        remembered.sealed.open(&once).map(Password::new)
    }

    /// The server has accepted this password. One that cannot be sealed is not remembered, which costs the next client
    /// the full exchange.
    pub fn remember(&self, user: &[u8], password: &Password) {
        if password.reveal().is_empty() {
            return;
        }
        let once = CachingSha2Once::of(password.reveal());
        let check = once.check();
        let mut book = self.book();
        if let Some(known) = book.get_mut(user).filter(|known| known.check == check) {
            known.seen = Instant::now();
            return;
        }
        let Ok(sealed) = SealedPassword::seal(password.reveal(), &once) else { return };
        if book.len() >= REMEMBERED_MAX && !book.contains_key(user) {
            let oldest = book.iter().min_by_key(|(_, one)| one.seen).map(|(user, _)| user.clone());
            oldest.and_then(|user| book.remove(&user));
        }
        book.insert(user.to_vec(), Remembered { check, sealed, seen: Instant::now() });
    }

    /// The server has refused this password: it is forgotten, if it is the one that was remembered.
    pub fn forget(&self, user: &[u8], password: &Password) {
        let check = CachingSha2Once::of(password.reveal()).check();
        let mut book = self.book();
        if book.get(user).is_some_and(|known| known.check == check) {
            book.remove(user);
        }
    }

    /// A place for one more client of the account; `None` if it has `clients_max` already.
    pub fn enter(self: &Arc<Self>, user: &[u8], clients_max: usize) -> Option<Place> {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let count = here.entry(user.to_vec()).or_default();
        if *count >= clients_max {
            return None;
        }
        *count += 1;
        Some(Place { accounts: Arc::clone(self), user: user.to_vec() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut here = self.accounts.here.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = here.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                here.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::auth::{caching_sha2_scramble, nonce};

    use super::*;

    #[track_caller]
    fn check(accounts: &Accounts, user: &str, password: &str, recalled: bool) {
        let nonce = nonce().unwrap();
        let scramble = caching_sha2_scramble(password.as_bytes(), &nonce);
        let got = accounts.recall(user.as_bytes(), &scramble, &nonce);
        assert_eq!(got.is_some(), recalled, "{user} {password}");
        assert!(got.is_none_or(|p| p.reveal() == password.as_bytes()));
    }

    #[test]
    fn only_the_remembered_password_of_the_same_account_is_recalled() {
        let accounts = Accounts::default();
        accounts.remember(b"shop", &Password::new("secret"));
        check(&accounts, "shop", "secret", true);
        check(&accounts, "shop", "Secret", false);
        check(&accounts, "Shop", "secret", false);
        check(&accounts, "shop", "", false);
        // A wrong guess changes nothing.
        accounts.forget(b"shop", &Password::new("Secret"));
        check(&accounts, "shop", "secret", true);
        accounts.remember(b"shop", &Password::new("new"));
        check(&accounts, "shop", "secret", false);
        check(&accounts, "shop", "new", true);
        // Who was refused with the old one does not undo what a client with the new one has proven.
        accounts.forget(b"shop", &Password::new("secret"));
        check(&accounts, "shop", "new", true);
        accounts.forget(b"shop", &Password::new("new"));
        check(&accounts, "shop", "new", false);
    }

    #[test]
    fn the_book_is_bounded_and_the_account_away_longest_goes_first() {
        let accounts = Accounts::default();
        for i in 0..REMEMBERED_MAX + 2 {
            accounts.remember(format!("user {i}").as_bytes(), &Password::new("x"));
            accounts.remember(b"user 0", &Password::new("x"));
        }
        assert_eq!(accounts.book().len(), REMEMBERED_MAX);
        check(&accounts, "user 0", "x", true);
        check(&accounts, "user 1", "x", false);
        check(&accounts, &format!("user {}", REMEMBERED_MAX + 1), "x", true);
    }

    #[test]
    fn a_place_that_is_left_is_free_again() {
        let accounts = Arc::new(Accounts::default());
        let first = accounts.enter(b"shop", 1).unwrap();
        assert!(accounts.enter(b"shop", 1).is_none() && accounts.enter(b"other", 1).is_some());
        drop(first);
        assert!(accounts.enter(b"shop", 1).is_some());
        assert!(accounts.here.lock().unwrap().is_empty());
    }
}
