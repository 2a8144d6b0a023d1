//! A move between servers that take no plain connections: every connection of ours is under TLS and verified, and
//! the shop comes under TLS, too.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

mod site;

use std::path::Path;
use std::time::Duration;

use mysql::{ConnectOptions, Connection, Tls, TlsFiles, TlsMode};
use sandbox::Node;
use site::Site;

/// Adds lines to each cluster of the settings.
fn add_to_clusters(site: &Site, lines: impl Fn(&Node) -> String) {
    let file = site.dir.join("highwater.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let [before, old, new] = settings.splitn(3, "password_file = 'password'\n").collect::<Vec<_>>()[..]
    else {
        panic!("not the settings of two clusters: {settings}")
    };
    let key = "password_file = 'password'\n";
    let settings = format!("{before}{key}{}{old}{key}{}{new}", lines(&site.old), lines(&site.new));
    std::fs::write(file, settings).unwrap();
}

fn verified(site: &Site, node: &Node) -> ConnectOptions {
    let files = TlsFiles { ca: Some(node.data().join("ca.pem")), own: None };
    ConnectOptions { tls: Tls::new(TlsMode::VerifyCa, files).unwrap(), ..site.admin(node) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_runs_under_verified_tls_on_both_sides() {
    let site = Site::new("").with_shop().await;
    for node in [&site.old, &site.new] {
        site.on(node).await.execute("SET PERSIST require_secure_transport = ON").await.unwrap();
        let plain = Connection::connect(&site.admin(node)).await.unwrap_err();
        assert_eq!(plain.server_code(), Some(3159), "{plain}");
    }
    let refused = site.refused(&["check"]);
    assert!(refused.contains("set `tls` of this cluster"), "{refused}");

    let wrong = site.dir.join("wrong.pem");
    std::fs::copy(site.old.data().join("client-cert.pem"), &wrong).unwrap();
    let lines = |ca: &Path| format!("tls = 'verify_ca'\ntls_ca = '{}'\n", ca.display());
    let settings = std::fs::read(site.dir.join("highwater.toml")).unwrap();
    add_to_clusters(&site, |_| lines(&wrong));
    let refused = site.refused(&["check"]);
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    std::fs::write(site.dir.join("highwater.toml"), settings).unwrap();

    add_to_clusters(&site, |node| lines(&node.data().join("ca.pem")));
    let file = site.dir.join("highwater.toml");
    let pem = |name: &str| site.old.data().join(name).display().to_string();
    let door = format!(
        "tls_cert = '{}'\ntls_key = '{}'\ntls_required = true\n[cutover]",
        pem("server-cert.pem"),
        pem("server-key.pem")
    );
    let settings = std::fs::read_to_string(&file).unwrap().replace("[cutover]", &door);
    std::fs::write(file, settings).unwrap();
    let _serve = site.start("serve");
    site.wait_for(&["following"]);
    site.done(&["verify"]);
    let plain = Connection::connect(&site.through_door()).await.unwrap_err();
    assert_eq!(plain.server_code(), Some(3159), "{plain}");
    let through_door = ConnectOptions { tls: verified(&site, &site.old).tls, ..site.through_door() };
    let shoppers = site.shoppers(through_door, 8).await;
    for (command, state) in [("cutover", "switched"), ("rollback", "following"), ("cutover", "switched")] {
        let begun = shoppers.live().orders_acknowledged;
        let wait = async {
            while shoppers.live().orders_acknowledged < begun + 30 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("the shop is served");
        site.done(&[command]);
        assert_eq!(site.state(), state);
    }
    let history = shoppers.stop().await.unwrap();
    assert_eq!(history.counts.failed_statements, 0, "{:?}", history.recording.failures);
    let mut on_new = Connection::connect(&verified(&site, &site.new)).await.unwrap();
    let verdict = history.check(&mut on_new).await.unwrap();
    assert!(verdict.holds(), "{}", verdict.sentence());
}
