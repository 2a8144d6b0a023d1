//! What is said before anybody is known.

use wire::Capabilities;
use wire::handshake::{AuthSwitch, Greeting, Login};
use wire::proxy_header::{self, FIXED_LEN};

use crate::choice;

pub(crate) const HEADER_WORDS: &[&[u8]] =
    &[b"\r\n\r\n\0\r\nQUIT\n", b"\x21\x11\0\x0C", b"\x21\x21\0\x24", b"\x20\0\0\0", b"PROXY TCP4 "];

pub(crate) const WORDS: &[&[u8]] = &[
    b"caching_sha2_password\0",
    b"mysql_native_password\0",
    b"\x0A8.4.0\0",
    b"\x0a9.7.4-highwater\0",
    b"shop\0",
    b"\x0F\xA6\xFF\x01",
    b"\x08_os\x05Linux",
];

pub(crate) const PEM_WORDS: &[&[u8]] = &[
    b"-----BEGIN PUBLIC KEY-----\n",
    b"-----END PUBLIC KEY-----\n",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----END PRIVATE KEY-----\n",
    b"-----BEGIN RSA PRIVATE KEY-----\n",
    b"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA",
    b"MIIC",
    b"====",
];

pub(crate) fn proxy_header(input: &[u8]) {
    let parsed = proxy_header::parse(input);
    if let Some(rest) = input.get(..FIXED_LEN).and_then(|fixed| proxy_header::rest_len(fixed).ok()) {
        // As the door reads it: so much and no more.
        let Some(whole) = input.get(..FIXED_LEN + rest) else {
            assert!(parsed.is_err(), "a header that ends early was read");
            return;
        };
        assert_eq!(proxy_header::parse(whole), parsed, "what follows the header changed it");
    } else {
        assert!(parsed.is_err(), "a header without a length was read");
    }
}

pub(crate) fn login(input: &[u8]) {
    let _ = Login::is_tls_request(input);
    let Ok(login) = Login::parse(input) else { return };
    let again = Login::parse(&login.encode()).unwrap_or_else(|e| panic!("{e}: written by {login:?}"));
    assert_eq!(again.user, login.user);
    assert_eq!(again.auth_response, login.auth_response);
}

pub(crate) fn greeting(input: &[u8]) {
    let _ = AuthSwitch::parse(input);
    let Ok(greeting) = Greeting::parse(input) else { return };
    let again =
        Greeting::parse(&greeting.encode()).unwrap_or_else(|e| panic!("{e}: written by {greeting:?}"));
    assert_eq!((&again.nonce, again.connection_id), (&greeting.nonce, greeting.connection_id));
}

pub(crate) fn change_user(input: &[u8]) {
    let (flags, payload) = choice(input);
    let attributes = if flags & 1 == 0 { Capabilities(0) } else { Capabilities::CONNECT_ATTRS };
    proxy::fuzzing::change_user(payload, attributes);
}

pub(crate) fn public_key(input: &[u8]) {
    let _ = wire::auth::encrypt_password(b"secret", &[1; 20], input);
}
