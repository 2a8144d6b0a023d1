//! Clients of the door under TLS: foreign ones, what is believed, and what passes unchanged.

#![allow(clippy::unwrap_used)]

mod world;

use std::process::Command;
use std::time::Duration;

use mysql::{Capabilities, ConnectOptions, Connection, Error, Password, Tls, TlsFiles, TlsMode};
use proxy::{Backend, Door, DoorOptions, DoorTls, Entrance, PinnedPolicy, Rules, UserRule};
use sandbox::{Node, SHOP_PASSWORD, SHOP_USER};
use tokio::io::AsyncReadExt;
use wire::auth::CACHING_SHA2;
use world::certificates::Certificates;
use world::raw::{self, Client};
use world::{
    admin, backend, block_on, cell, door_with, mysql_client, node, options, rules, run, tools, until,
};

fn with_tls(certificates: &Certificates) -> Entrance {
    let client_ca = certificates.cert("ca");
    let tls = DoorTls::new(&certificates.cert("server"), &certificates.key("server"), Some(&client_ca));
    Entrance { tls: Some(tls.unwrap()), ..Entrance::default() }
}

/// Options of ours for the door.
fn to(
    door: &Door,
    mode: TlsMode,
    ca: Option<&str>,
    own: Option<&str>,
    from: &Certificates,
) -> ConnectOptions {
    let port = door.address().port();
    let mut options = ConnectOptions::new("127.0.0.1", port, SHOP_USER, Password::new(SHOP_PASSWORD));
    let own = own.map(|name| (from.cert(name), from.key(name)));
    options.tls = Tls::new(mode, TlsFiles { ca: ca.map(|name| from.cert(name)), own }).unwrap();
    options
}

/// A backend to which the door goes under TLS.
fn verified(node: &Node) -> Backend {
    let files = TlsFiles { ca: Some(node.data().join("ca.pem")), own: None };
    Backend { tls: Tls::new(TlsMode::VerifyCa, files).unwrap(), ..backend(node) }
}

#[test]
fn the_mysql_client_verifies_the_door_and_is_refused_without_tls_where_it_is_required() {
    let certificates = Certificates::make("cli");
    let node = node("cli", 1, &[]);
    let optional = door_with(&node, with_tls(&certificates));
    let required = door_with(&node, Entrance { tls_required: true, ..with_tls(&certificates) });
    let client = |door: &Door, args: &[&str]| mysql_client(door, args, "SELECT COUNT(*) FROM item");
    let ca = |name: &str| format!("--ssl-ca={}", certificates.cert(name).display());
    // Each twice: the second login is the fast one, and resumes nothing.
    for door in [&optional, &required, &optional] {
        for args in [
            &["--ssl-mode=REQUIRED"][..],
            &["--ssl-mode=PREFERRED"],
            &["--ssl-mode=VERIFY_IDENTITY", &ca("ca")],
            &["--ssl-mode=REQUIRED", "--tls-version=TLSv1.2"],
            &["--ssl-mode=REQUIRED", "--tls-version=TLSv1.3"],
        ] {
            assert_eq!(run(&mut client(door, args)), "100\n", "{args:?}");
        }
        let said = client(door, &["--ssl-mode=VERIFY_CA", &ca("other-ca")]).output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("ERROR 2026") && said.contains("certificate verify failed"), "{said}");
    }
    assert_eq!(run(&mut client(&optional, &["--ssl-mode=DISABLED"])), "100\n");
    let said = client(&required, &["--ssl-mode=DISABLED"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("ERROR 3159"), "{said}");
}

#[test]
fn pymysql_verifies_the_door_and_works_under_tls() {
    let certificates = Certificates::make("pymysql");
    let node = node("pymysql", 1, &[]);
    let door = door_with(&node, Entrance { tls_required: true, ..with_tls(&certificates) });
    let tools = tools();
    let script = format!(
        r#"
import pymysql, ssl
def connect(**more):
    return pymysql.connect(host='127.0.0.1', port={port}, user='{SHOP_USER}', database='shop',
                           **{{'password': '{SHOP_PASSWORD}', **more}})
for _ in range(3):
    c = connect(ssl_ca='{ca}', ssl_verify_cert=True, ssl_verify_identity=True)
    k = c.cursor()
    k.execute('SELECT COUNT(*) FROM item'); assert k.fetchone() == (100,)
    k.execute('SELECT REPEAT(%s, 3000000)', ('é',)); assert k.fetchone() == ('é' * 3000000,)
    c.close()
for refused, code in [(dict(ssl_ca='{ca}', password='wrong'), 1045), (dict(ssl_disabled=True), 3159), (dict(ssl_ca='{other}', ssl_verify_cert=True), 2003)]:
    try:
        connect(**refused); assert False, refused
    except pymysql.err.OperationalError as e:
        assert e.args[0] == code, e
print('fine')
"#,
        port = door.address().port(),
        ca = certificates.cert("ca").display(),
        other = certificates.cert("other-ca").display(),
    );
    let mut python = Command::new(&tools.python);
    python.env("PYTHONPATH", &tools.python_path).args(["-c", &script]);
    assert_eq!(run(&mut python), "fine\n");
}

#[test]
fn a_client_s_certificate_is_verified_if_it_shows_one_and_required_of_accounts_that_need_it() {
    let certificates = Certificates::make("client");
    let node = node("client", 1, &[]);
    let door = door_with(&node, with_tls(&certificates));
    let needs = UserRule { certificate: true, ..UserRule::default() };
    let users = [(SHOP_USER.as_bytes().to_vec(), needs)].into();
    let strict = door_with(&node, Entrance { users, ..with_tls(&certificates) });
    let log_in = |door: &Door, mode, own: Option<&str>| {
        let ca = (mode != TlsMode::Off).then_some("ca");
        block_on(Connection::connect(&to(door, mode, ca, own, &certificates))).map(drop)
    };
    for own in [None, Some("client")] {
        log_in(&door, TlsMode::VerifyIdentity, own).unwrap();
    }
    // A TLS 1.3 client learns only when it next reads that its certificate was refused.
    for own in ["stranger", "expired"] {
        let refused = log_in(&door, TlsMode::VerifyIdentity, Some(own)).unwrap_err();
        assert!(matches!(refused, Error::Lost(_) | Error::Tls { .. }), "{own}: {refused:?}");
    }
    log_in(&strict, TlsMode::VerifyIdentity, Some("client")).unwrap();
    for mode in [TlsMode::Off, TlsMode::VerifyIdentity] {
        assert_eq!(log_in(&strict, mode, None).unwrap_err().server_code(), Some(1045));
    }
}

#[test]
fn what_is_slipped_in_before_tls_is_never_read_as_said_under_tls() {
    let certificates = Certificates::make("injected");
    let node = node("injected", 1, &[]);
    let door = door_with(&node, with_tls(&certificates));
    block_on(async {
        for injected in [
            // A login in plain text, a command, and bytes of neither, behind the request and in one segment with it.
            raw_login().await,
            [&[9, 0, 0, 0, 3], &b"SELECT 1"[..]].concat(),
            vec![0; 100],
            vec![0x16, 3, 1, 0xFF, 0xFF],
        ] {
            let mut client = Client::connect(door.address().port()).await;
            let request = client.login(b"", CACHING_SHA2, b"").encode_tls_request();
            let (mut out, mut seq) = (Vec::new(), 1);
            wire::packet::frame(&mut out, &mut seq, &request);
            out.extend_from_slice(&injected);
            client.stream.send_now(&out);
            // Nothing but what TLS itself says (an alert) may come back, and then the end.
            let mut got = Vec::new();
            let closed = client.stream.read_to_end(&mut got);
            let closed = tokio::time::timeout(Duration::from_secs(15), closed).await;
            closed.expect("closed within the time of a login").ok();
            assert!(got.is_empty() || got[0] == 0x15, "{got:?}");
        }
        // The login under TLS counts, not what the request said.
        let mut client = Client::connect(door.address().port()).await;
        client.begin_tls(&certificates.cert("ca")).await;
        assert_eq!(client.log_in(SHOP_USER, SHOP_PASSWORD).await.error, None);
        // TLS within TLS.
        let mut client = Client::connect(door.address().port()).await;
        client.begin_tls(&certificates.cert("ca")).await;
        let again = client.login(b"", CACHING_SHA2, b"").encode_tls_request();
        client.prove(&again, "").await.refused(1835);
    });
    // A door without a certificate says so.
    let plain = world::door(&node);
    block_on(async {
        let mut client = Client::connect(plain.address().port()).await;
        assert!(!client.greeting.capabilities.has(Capabilities::SSL));
        let request = client.login(b"", CACHING_SHA2, b"").encode_tls_request();
        client.prove(&request, "").await.refused(1043);
    });
}

async fn raw_login() -> Vec<u8> {
    let login = wire::handshake::Login {
        capabilities: Capabilities::MULTI_RESULTS,
        packet_max: 1 << 24,
        collation: 45,
        user: SHOP_USER.into(),
        auth_response: Vec::new(),
        schema: None,
        auth_plugin: CACHING_SHA2.into(),
        attributes: Vec::new(),
    };
    let (mut out, mut seq) = (Vec::new(), 2);
    wire::packet::frame(&mut out, &mut seq, &login.encode());
    out
}

#[test]
fn a_client_that_stops_in_the_middle_of_the_handshake_is_closed_in_time() {
    let certificates = Certificates::make("stops");
    let node = node("stops", 1, &[]);
    let entrance = Entrance { login_max: Duration::from_millis(300), ..with_tls(&certificates) };
    let door = door_with(&node, entrance);
    block_on(async {
        let mut client = Client::connect(door.address().port()).await;
        let request = client.login(b"", CACHING_SHA2, b"").encode_tls_request();
        client.send(&request).await;
        assert_eq!(client.read().await, None);
        until("nobody is left", || door.control().stats().clients == 0).await;
    });
}

#[test]
fn large_and_many_packets_pass_through_tls_on_both_hops_and_a_switch_takes_clients_along() {
    let certificates = Certificates::make("both");
    let (a, b) = (node("a", 1, &[]), node("b", 2, &[]));
    block_on(async {
        for node in [&a, &b] {
            let mut admin = admin(node).await;
            admin.execute("SET GLOBAL max_allowed_packet = 64 << 20").await.unwrap();
            admin.execute("SET GLOBAL require_secure_transport = ON").await.unwrap();
        }
    });
    let door = Door::start(DoorOptions {
        writer: verified(&a),
        rules: Rules { entrance: with_tls(&certificates), ..rules() },
        ..options(&a)
    })
    .unwrap();
    let control = door.control();
    block_on(async {
        let options = to(&door, TlsMode::VerifyIdentity, Some("ca"), None, &certificates);
        let mut c = Connection::connect(&options).await.unwrap();
        let mut idle = Connection::connect(&options).await.unwrap();
        assert_ne!(cell(&mut c, "SELECT VARIABLE_VALUE FROM performance_schema.session_status WHERE VARIABLE_NAME = 'Ssl_cipher'").await, "");
        let text = "x".repeat(17 << 20);
        assert_eq!(
            cell(&mut c, &format!("SELECT SHA2('{text}', 256) = SHA2(REPEAT('x', 17 << 20), 256)")).await,
            "1"
        );
        assert!(cell(&mut c, "SELECT REPEAT('y', 17 << 20)").await == "y".repeat(17 << 20));
        let many = "SELECT a.id FROM shop.item a, shop.item b, shop.item c LIMIT 200000";
        assert_eq!(c.rows(many).await.unwrap().len(), 200_000);
        c.execute("SET time_zone = '+05:30'").await.unwrap();

        let report = control.warm(verified(&b)).await.unwrap();
        assert_eq!((report.opened, report.failed.len()), (2, 0), "{report:?}");
        control.hold();
        let held = tokio::spawn(async move {
            let server = cell(&mut c, "SELECT CONCAT(@@server_id, @@time_zone)").await;
            (c, server)
        });
        until("held", || control.stats().held == 1).await;
        control.drain(Duration::from_secs(10), PinnedPolicy::Refuse).await.unwrap();
        control.switch(verified(&b), 1).unwrap();
        control.release();
        let (mut c, server) = held.await.unwrap();
        assert_eq!(server, "2+05:30");
        assert_eq!(cell(&mut idle, "SELECT @@server_id").await, "2");
        assert!(cell(&mut c, "SELECT REPEAT('z', 17 << 20)").await == "z".repeat(17 << 20));
        assert_eq!(control.stats().door_errors, 0);
    });
}

#[test]
fn a_client_that_left_while_held_under_tls_is_noticed() {
    let certificates = Certificates::make("left");
    let node = node("left", 1, &[]);
    let door = door_with(&node, with_tls(&certificates));
    let control = door.control();
    block_on(async {
        let options = to(&door, TlsMode::Required, None, None, &certificates);
        let mut c = Connection::connect(&options).await.unwrap();
        control.hold();
        let query = c.query("UPDATE shop.item SET name = 'late'");
        assert!(tokio::time::timeout(Duration::from_millis(200), query).await.is_err(), "it is held");
        drop(c);
        until("it is gone", || control.stats().clients == 0).await;
        control.release();
        let mut admin = admin(&node).await;
        assert_eq!(cell(&mut admin, "SELECT COUNT(*) FROM shop.item WHERE name = 'late'").await, "0");
    });
}

#[test]
fn an_account_of_which_the_server_requires_a_certificate_comes_through_with_the_door_s() {
    let certificates = Certificates::make("x509");
    let args = certificates.server_args("server");
    let node = node("x509", 1, &args.each_ref().map(String::as_str));
    let door = |own| {
        let tls = Tls::new(TlsMode::VerifyIdentity, TlsFiles { ca: Some(certificates.cert("ca")), own });
        let writer = Backend { tls: tls.unwrap(), ..backend(&node) };
        Door::start(DoorOptions { writer, ..options(&node) }).unwrap()
    };
    block_on(async {
        admin(&node).await.execute("CREATE USER certified IDENTIFIED BY 'pw' REQUIRE X509").await.unwrap();
        let own = (certificates.cert("client"), certificates.key("client"));
        for (door, error) in [(door(Some(own)), None), (door(None), Some(1045))] {
            let ended = Client::connect(door.address().port()).await.log_in("certified", "pw").await;
            assert_eq!(ended.error.map(|(code, _)| code), error);
        }
    });
}

#[test]
fn a_server_whose_certificate_is_not_believed_is_not_logged_in_to() {
    let node = node("unbelieved", 1, &[]);
    let certificates = Certificates::make("unbelieved");
    let files = TlsFiles { ca: Some(certificates.cert("other-ca")), own: None };
    let tls = Tls::new(TlsMode::VerifyCa, files).unwrap();
    let door =
        Door::start(DoorOptions { writer: Backend { tls, ..backend(&node) }, ..options(&node) }).unwrap();
    block_on(async {
        let mut client = Client::over(raw::connect_saying(door.address().port(), &[]).await).await.unwrap();
        let told = client.log_in(SHOP_USER, SHOP_PASSWORD).await.refused(2026);
        assert!(told.contains("UnknownIssuer"), "{told}");
    });
}
