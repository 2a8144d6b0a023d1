//! Password proofs of `caching_sha2_password` and `mysql_native_password`, and the RSA exchange for plain connections.
//!
//! Source: MySQL source, `sql/auth/sha2_password.cc` and `sql-common/client_authentication.cc`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::handshake::NONCE_LEN;
use crate::{Result, WireError};

/// Name of the SHA-256 plugin, the default since MySQL 8.0.
pub const CACHING_SHA2: &str = "caching_sha2_password";
/// Name of the SHA-1 plugin, gone since MySQL 9.0.
pub const NATIVE: &str = "mysql_native_password";

/// Name of the SHA-256 plugin without a memory. Servers also ask for it when an account does not exist, so as not to
/// tell.
pub const SHA256_PASSWORD: &str = "sha256_password";

/// In AuthMoreData: the scramble was right, an OK packet follows.
pub const FAST_AUTH_SUCCESS: u8 = 3;
/// In AuthMoreData: the server does not remember this account's hash and needs the password itself.
pub const FULL_AUTH: u8 = 4;
/// Sent by the client over a plain connection: send me your RSA public key.
pub const REQUEST_PUBLIC_KEY: u8 = 2;
/// The same for `sha256_password`.
pub const REQUEST_PUBLIC_KEY_SHA256: u8 = 1;

/// A fresh nonce: 20 random bytes from 1 to 127, since clients read it as NUL-terminated text.
///
/// # Errors
/// If the system has no random numbers.
pub fn nonce() -> Result<Vec<u8>> {
    let mut bytes = vec![0u8; NONCE_LEN];
    SystemRandom::new().fill(&mut bytes).map_err(|_| WireError::Crypto("random numbers"))?;
    for b in &mut bytes {
        *b = (*b & 0x7F).max(1);
    }
    Ok(bytes)
}

/// The scramble of `caching_sha2_password`: `SHA256(pw) XOR SHA256(SHA256(SHA256(pw)), nonce)`; empty for no password.
pub fn caching_sha2_scramble(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = digest(&SHA256, password);
    let twice = digest(&SHA256, once.as_ref());
    let mask = digest(&SHA256, &[twice.as_ref(), nonce].concat());
    once.as_ref().iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect()
}

/// What `caching_sha2_password` checks scrambles against: `SHA256(SHA256(password))`.
#[derive(Clone, Copy)]
pub struct CachingSha2Check([u8; HASH_LEN]);

/// `SHA256(password)`: as good as the password where this plugin's fast path is taken, and what a right scramble holds.
pub struct CachingSha2Once([u8; HASH_LEN]);

const HASH_LEN: usize = 32;

fn sha256(bytes: &[u8]) -> [u8; HASH_LEN] {
    let mut hash = [0; HASH_LEN];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

impl CachingSha2Once {
    /// The hash of a password.
    pub fn of(password: &[u8]) -> Self {
        Self(sha256(password))
    }

    /// What scrambles of the same password are checked against.
    pub fn check(&self) -> CachingSha2Check {
        CachingSha2Check(sha256(&self.0))
    }

    /// A key that only they have who have this hash; not the hash itself, which is used for other things too.
    fn key(&self) -> Result<RandomizedNonceKey> {
        let key = sha256(&[b"highwater sealed password", &self.0[..]].concat());
        RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| WireError::Crypto("make a key"))
    }
}

impl CachingSha2Check {
    /// The hash within a scramble over `nonce`, if the scramble is right.
    pub fn open(&self, scramble: &[u8], nonce: &[u8]) -> Option<CachingSha2Once> {
        let mask = sha256(&[&self.0[..], nonce].concat());
        let mut once = <[u8; HASH_LEN]>::try_from(scramble).ok()?;
        once.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        let once = CachingSha2Once(once);
        (once.check() == *self).then_some(once)
    }
}

/// In a time that does not tell where they differ.
impl PartialEq for CachingSha2Check {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl std::fmt::Debug for CachingSha2Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CachingSha2Check(…)")
    }
}

/// A password that only its own hash opens: whoever keeps it and a [`CachingSha2Check`] knows no password until a
/// client proves that it does.
pub struct SealedPassword {
    nonce: Nonce,
    sealed: Vec<u8>,
}

impl SealedPassword {
    /// Seals a password under its hash.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn seal(password: &[u8], once: &CachingSha2Once) -> Result<Self> {
        let mut sealed = password.to_vec();
        let nonce = once
            .key()?
            .seal_in_place_append_tag(Aad::empty(), &mut sealed)
            .map_err(|_| WireError::Crypto("seal a password"))?;
        Ok(Self { nonce, sealed })
    }

    /// The password; `None` if the hash is not its own.
    pub fn open(&self, once: &CachingSha2Once) -> Option<Vec<u8>> {
        let mut password = self.sealed.clone();
        let nonce = Nonce::from(self.nonce.as_ref());
        let len = once.key().ok()?.open_in_place(nonce, Aad::empty(), &mut password).ok()?.len();
        password.truncate(len);
        Some(password)
    }
}

impl std::fmt::Debug for SealedPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedPassword(…)")
    }
}

/// Whether two proofs are equal, in a time that does not tell where they differ.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

/// The scramble of `mysql_native_password`; empty for no password.
pub fn native_scramble(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
    let twice = digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref());
    let mask = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[nonce, twice.as_ref()].concat());
    once.as_ref().iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect()
}

/// The password with its NUL, masked by the nonce: what RSA carries.
fn masked(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let key = nonce.iter().cycle();
    password.iter().chain(&[0]).zip(key).map(|(a, b)| a ^ b).collect()
}

/// Encrypts the password for the server whose PEM public key this is.
///
/// # Errors
/// If the key cannot be read or the password is too long for it.
pub fn encrypt_password(password: &[u8], nonce: &[u8], public_key_pem: &[u8]) -> Result<Vec<u8>> {
    if nonce.is_empty() {
        return Err(WireError::Malformed("empty nonce"));
    }
    let der = pem_body(public_key_pem)?;
    let key =
        PublicEncryptingKey::from_der(&der).map_err(|_| WireError::Crypto("read the server's public key"))?;
    let key =
        OaepPublicEncryptingKey::new(key).map_err(|_| WireError::Crypto("use the server's public key"))?;
    let mut out = vec![0; key.ciphertext_size()];
    let n = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &masked(password, nonce), &mut out, None)
        .map_err(|_| WireError::Crypto("encrypt the password"))?
        .len();
    out.truncate(n);
    Ok(out)
}

fn pem_body(pem: &[u8]) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(pem).map_err(|_| WireError::Malformed("public key is not PEM"))?;
    let body: String = text.lines().map(str::trim).filter(|l| !l.starts_with("-----")).collect();
    BASE64.decode(body.trim_end_matches('\0')).map_err(|_| WireError::Malformed("public key is not PEM"))
}

/// The key with which clients on plain connections hide their password on its way to the front door.
pub struct RsaKey {
    private: OaepPrivateDecryptingKey,
    public_pem: Vec<u8>,
}

impl RsaKey {
    /// Makes a new 2048-bit key.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn generate() -> Result<Self> {
        use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048)
            .map_err(|_| WireError::Crypto("make an RSA key"))?;
        let public: PublicKeyX509Der<'_> =
            key.public_key().as_der().map_err(|_| WireError::Crypto("encode the public key"))?;
        let body = BASE64.encode(public.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in body.as_bytes().chunks(64) {
            pem.extend(line.iter().map(|&b| char::from(b)));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        let private = OaepPrivateDecryptingKey::new(key).map_err(|_| WireError::Crypto("use the RSA key"))?;
        Ok(Self { private, public_pem: pem.into_bytes() })
    }

    /// The public half, as clients expect it.
    pub fn public_pem(&self) -> &[u8] {
        &self.public_pem
    }

    /// The password a client encrypted over `nonce`.
    ///
    /// # Errors
    /// If it was not encrypted for this key, or holds no terminating NUL.
    pub fn decrypt_password(&self, ciphertext: &[u8], nonce: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; self.private.key_size_bytes()];
        let plain = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, ciphertext, &mut out, None)
            .map_err(|_| WireError::Crypto("decrypt the password"))?;
        let mut password: Vec<u8> = plain.iter().zip(nonce.iter().cycle()).map(|(a, b)| a ^ b).collect();
        match password.pop() {
            Some(0) => Ok(password),
            _ => Err(WireError::Malformed("encrypted password")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_right_scramble_over_its_own_nonce_opens_what_is_remembered() {
        let once = CachingSha2Once::of(b"secret");
        let (check, sealed) = (once.check(), SealedPassword::seal(b"secret", &once).unwrap());
        let (a, b) = (nonce().unwrap(), nonce().unwrap());
        let opened = check.open(&caching_sha2_scramble(b"secret", &a), &a).unwrap();
        assert_eq!(sealed.open(&opened), Some(b"secret".to_vec()));
        assert!(check.open(&caching_sha2_scramble(b"secret", &a), &b).is_none());
        assert!(check.open(&caching_sha2_scramble(b"Secret", &a), &a).is_none());
        assert!(check.open(b"", &a).is_none() && check.open(&[0; 32], &a).is_none());
        assert_eq!(sealed.open(&CachingSha2Once::of(b"Secret")), None);
        assert!(!sealed.sealed.windows(6).any(|w| w == b"secret"));
    }

    #[test]
    fn a_password_survives_the_rsa_exchange_only_with_its_own_nonce() {
        let key = RsaKey::generate().unwrap();
        let (a, b) = (nonce().unwrap(), nonce().unwrap());
        let sealed = encrypt_password(b"tr\xC3\xA9s secret", &a, key.public_pem()).unwrap();
        assert_eq!(key.decrypt_password(&sealed, &a).unwrap(), b"tr\xC3\xA9s secret");
        assert_ne!(key.decrypt_password(&sealed, &b).ok(), Some(b"tr\xC3\xA9s secret".to_vec()));
        assert!(key.decrypt_password(b"short", &a).is_err());
        assert!(encrypt_password(b"x", &a, b"not a key").is_err());
    }
}
