//! What anybody can send before a login: whatever the bytes, the decoders answer with a value or an error.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use wire::Capabilities;
use wire::auth::{self, CachingSha2Check, CachingSha2Once, RsaKey, SealedPassword};
use wire::handshake::{AuthSwitch, Greeting, Login};
use wire::proxy_header::{self, Origin};

/// Whatever it is, it is read as everything a client or a balancer may say, and a server before a login.
fn read_as_everything(bytes: &[u8]) {
    let _ = Login::is_tls_request(bytes);
    let _ = Login::parse(bytes);
    let _ = Greeting::parse(bytes);
    let _ = AuthSwitch::parse(bytes);
    let _ = proxy_header::rest_len(bytes);
    let _ = proxy_header::parse(bytes);
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1u8.., 0..300)
}

fn login() -> impl Strategy<Value = Login> {
    let blob = || prop::collection::vec(any::<u8>(), 0..300);
    (
        any::<u32>(),
        any::<u32>(),
        any::<u8>(),
        name(),
        blob(),
        prop::option::of(name()),
        "[a-z_0-9]{0,40}",
        blob(),
    )
        .prop_map(
            |(flags, packet_max, collation, user, auth_response, schema, auth_plugin, attributes)| Login {
                capabilities: Capabilities(flags),
                packet_max,
                collation,
                user,
                auth_response,
                // A login cannot tell an empty schema from none.
                schema: schema.filter(|s| !s.is_empty()),
                auth_plugin,
                attributes,
            },
        )
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0x11u8), Just(0x21), Just(0), Just(0x12), Just(0x31), any::<u8>()];
    let version = prop_oneof![Just(0x20u8), Just(0x21), any::<u8>()];
    (version, kind, prop::collection::vec(any::<u8>(), 0..80)).prop_map(|(version, kind, rest)| {
        let len = (rest.len() as u16).to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[version, kind][..], &len, &rest].concat()
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn a_login_is_read_as_it_was_written_and_none_of_its_parts_as_more(login in login(), cut in any::<prop::sample::Index>()) {
        let bytes = login.encode();
        let parsed = Login::parse(&bytes).unwrap();
        let flags = parsed.capabilities;
        prop_assert_eq!(&Login { capabilities: login.capabilities, ..parsed }.encode(), &bytes);
        prop_assert!(flags.has(Capabilities::PROTOCOL_41 | Capabilities::PLUGIN_AUTH));
        let request = login.encode_tls_request();
        prop_assert!(Login::is_tls_request(&request).unwrap());
        prop_assert!(Login::parse(&request).is_err(), "a request for TLS names nobody");
        read_as_everything(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn a_login_with_a_byte_changed_is_read_without_a_panic(login in login(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = login.encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        read_as_everything(&bytes);
    }

    #[test]
    fn a_header_is_read_as_long_as_it_says_and_no_part_of_it_passes_for_the_whole(header in header(), more in any::<u8>()) {
        let parsed = proxy_header::parse(&header);
        if let Ok(len) = proxy_header::rest_len(&header) {
            prop_assert_eq!(proxy_header::FIXED_LEN + len, header.len());
        }
        // What follows a header is the client's, and changes nothing.
        prop_assert_eq!(&proxy_header::parse(&[&header[..], &[more]].concat()), &parsed);
        for n in 0..header.len() {
            prop_assert!(proxy_header::parse(&header[..n]).is_err());
        }
        if let Ok(Origin::Client(_)) = parsed {
            prop_assert!(header[12] == 0x21 && matches!(header[13], 0x11 | 0x21));
        }
    }

    #[test]
    fn only_the_right_scramble_opens_what_is_remembered(password in name(), other in name(), noise in prop::collection::vec(any::<u8>(), 0..80)) {
        let once = CachingSha2Once::of(&password);
        let (check, sealed): (CachingSha2Check, _) = (once.check(), SealedPassword::seal(&password, &once).unwrap());
        let nonce = auth::nonce().unwrap();
        let opened = |scramble: &[u8]| check.open(scramble, &nonce).and_then(|once| sealed.open(&once));
        if !password.is_empty() {
            prop_assert_eq!(opened(&auth::caching_sha2_scramble(&password, &nonce)), Some(password.clone()));
        }
        if other != password {
            prop_assert_eq!(opened(&auth::caching_sha2_scramble(&other, &nonce)), None);
        }
        prop_assert_eq!(opened(&noise), None);
    }
}

#[test]
fn any_bytes_in_place_of_an_encrypted_password_are_an_error() {
    let key = RsaKey::generate().unwrap();
    let nonce = auth::nonce().unwrap();
    for len in [0, 1, 255, 256, 257, 5000] {
        for byte in [0, 1, 0x7F, 0xFF] {
            assert!(key.decrypt_password(&vec![byte; len], &nonce).is_err(), "{len} bytes of {byte}");
        }
    }
    assert!(key.decrypt_password(&[0; 256], &[]).is_err());
}
