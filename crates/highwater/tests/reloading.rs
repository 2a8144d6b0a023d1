//! Settings and certificates read again while a copy runs and clients are in.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends where it fails")]

#[path = "../../proxy/tests/world/certificates.rs"]
#[allow(dead_code, reason = "others ask more of it")]
mod certificates;
mod site;

use std::time::{Duration, Instant};

use certificates::Certificates;
use mysql::{ConnectOptions, Connection, Tls, TlsFiles, TlsMode};
use serde_json::{Value, json};
use site::Site;

/// Writes the settings with these lines of the section `throttle`; the door's certificate is `door.pem`.
fn write(site: &Site, throttle: &str) {
    let more = format!("[throttle]\n{throttle}");
    site.write_settings(sandbox::ADMIN_USER, site.old.port(), "shop.*", &more);
    let file = site.dir.join("highwater.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let door = "tls_cert = 'door.pem'\ntls_key = 'door-key.pem'\n[cutover]";
    std::fs::write(&file, settings.replace("[cutover]", door)).unwrap();
}

/// From now on the files of the door's certificate hold this one.
fn certify_as(site: &Site, certificates: &Certificates, name: &str) {
    std::fs::copy(certificates.cert(name), site.dir.join("door.pem")).unwrap();
    std::fs::copy(certificates.key(name), site.dir.join("door-key.pem")).unwrap();
}

/// A client that comes in by the door, and believes this CA alone.
async fn client(site: &Site, certificates: &Certificates, ca: &str) -> mysql::Result<Connection> {
    let files = TlsFiles { ca: Some(certificates.cert(ca)), own: None };
    let tls = Tls::new(TlsMode::VerifyCa, files).unwrap();
    Connection::connect(&ConnectOptions { tls, ..site.through_door() }).await
}

/// A client that does not believe this CA.
async fn not_believed(site: &Site, certificates: &Certificates, ca: &str) {
    let refused = client(site, certificates, ca).await.unwrap_err().to_string();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

fn reload(site: &Site) -> Value {
    serde_json::from_str(&site.done(&["reload", "--json"])).unwrap()
}

fn pace(site: &Site) -> Value {
    serde_json::from_str(&site.done(&["throttle", "--json"])).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_throttle_and_certificates_are_read_again_under_a_copy_and_its_clients() {
    let certificates = Certificates::make("reloading");
    let site = Site::new("");
    let mut old = site.on(&site.old).await;
    old.query_all(
        "CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY); SET cte_max_recursion_depth = 100000; \
         INSERT INTO shop.item WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 20000) SELECT i FROM n",
    )
    .await
    .unwrap();
    certify_as(&site, &certificates, "server");
    // So slow that it does not end by itself.
    write(&site, "rows_per_second = 100");
    let mut running = site.start("serve");
    site.wait_for(&["copying"]);
    let mut first = client(&site, &certificates, "ca").await.unwrap();
    not_believed(&site, &certificates, "other-ca").await;

    // Every key of the throttle is in force at once; what a command has ordered since, until the file says something else of it.
    let lines = |rows: u32, threads: u32| {
        format!(
            "rows_per_second = {rows}\nlatency_rise_max = 0\nthreads_running_max = {threads}\nreplica_lag_max = '9s'\n\
             target_lag_max = '20s'\nchunk_time = '100ms'"
        )
    };
    write(&site, &lines(200, 1000));
    let answer = reload(&site);
    let in_force = [
        "throttle.latency_rise_max",
        "throttle.threads_running_max",
        "throttle.replica_lag_max",
        "throttle.target_lag_max",
        "throttle.chunk_time",
        "throttle.rows_per_second",
    ];
    assert_eq!((&answer["in_force"], &answer["need_a_restart"]), (&json!(in_force), &json!([])));
    assert_eq!(pace(&site)["shop"]["rows_per_s_max"], 200);
    site.done(&["throttle", "--limit", "150"]);
    // A server has two running at least: who asks, and whoever sleeps here.
    write(&site, &lines(200, 1));
    assert_eq!(reload(&site)["in_force"], json!(["throttle.threads_running_max"]));
    let sleeper = tokio::spawn(async move { old.query("DO SLEEP(60)").await.is_ok() });
    let until = Instant::now() + Duration::from_secs(20);
    while !pace(&site)["shop"]["reason"].as_str().unwrap_or_default().ends_with("the limit is 1") {
        assert!(Instant::now() < until, "{}", pace(&site));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(pace(&site)["shop"]["rows_per_s_max"], 150);
    sleeper.abort();

    // The certificate's files change, and nothing of the settings.
    certify_as(&site, &certificates, "stranger");
    client(&site, &certificates, "ca").await.expect("nothing is read before it is said");
    let unchanged = json!({ "in_force": [], "need_a_restart": [] });
    let mut answer = reload(&site);
    answer.as_object_mut().unwrap().remove("settings");
    assert_eq!(answer, unchanged);
    first.query("SELECT 1").await.unwrap();
    let mut second = client(&site, &certificates, "other-ca").await.unwrap();
    not_believed(&site, &certificates, "ca").await;
    // A key that is another certificate's changes nothing.
    std::fs::copy(certificates.key("server"), site.dir.join("door-key.pem")).unwrap();
    let refused = site.refused(&["reload"]);
    assert!(refused.contains("door-key.pem") && refused.contains("stay in force"), "{refused}");
    second.query("SELECT 1").await.unwrap();
    client(&site, &certificates, "other-ca").await.unwrap();
    certify_as(&site, &certificates, "stranger");

    // Without limits the copy ends, while all clients are in.
    assert_eq!(site.state(), "copying");
    write(&site, "");
    assert!(reload(&site)["in_force"].as_array().unwrap().contains(&json!("throttle.rows_per_second")));
    assert_eq!(pace(&site)["shop"]["rows_per_s_max"], Value::Null);
    site.wait_for(&["following"]);
    first.query("SELECT 1").await.unwrap();
    second.query("SELECT 1").await.unwrap();
    assert!(running.is_alive());
}
