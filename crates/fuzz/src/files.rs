//! Files: the operator's, and ours.

use std::path::PathBuf;

use migrate::cutover::Journal;

pub(crate) const SETTINGS_WORDS: &[&[u8]] = &[
    b"[clusters.a]\n",
    b"[moves.m]\n",
    b"[front_door]\n",
    b"[copy]\n",
    b"[throttle]\n",
    b"[cutover]\n",
    b"[cutover.hooks]\n",
    b"address = \"127.0.0.1\"\n",
    b"user = \"u\"\n",
    b"password_env = \"P\"\n",
    b"source = \"a\"\n",
    b"target = \"b\"\n",
    b"tables = [\"shop.*\"]\n",
    b"state_dir = \"s\"\n",
    b"listen = \"127.0.0.1:1\"\n",
    b"\"10s\"",
    b"\"18446744073709551615h\"",
    b"\"1.5s\"",
    b"= 18446744073709551615\n",
    b"= -1\n",
    b"= []\n",
    b"= {}\n",
    b"\"\"\"",
    b"'''",
    b"# ",
    b"10.0.0.0/8",
    b"::/129",
];

pub(crate) const JOURNAL_WORDS: &[&[u8]] = &[
    b"{\"at_ms\":1,\"event\":\"entered\",\"phase\":\"hold\"}\n",
    b"{\"at_ms\":1,\"event\":\"entered\",\"phase\":\"prove\"}\n",
    b"{\"at_ms\":1,\"event\":\"aborted\",\"reason\":\"\xC3\xA9\"}\n",
    b"{\"at_ms\":1,\"event\":\"completed\"}\n",
    b"{\"at_ms\":1,\"event\":\"switched\",\"to\":\"new\",\"position\":\"\",\"epoch\":1}\n",
    b"{\"at_ms\":1,\"event\":\"rehearsing\",\"phase\":\"hold\"}\n",
    b"{\"at_ms\":1,\"event\":\"finished\"}\n",
    b"18446744073709551615",
    b"\\u00e9",
];

pub(crate) const PROOF_WORDS: &[&[u8]] = &[
    b"{\"highwater_proof\":1,\"row_hash\":\"sha2-256, first 64 bits, summed; exact values with lengths, 2\",\"move\":\"m\",\"tables\":[]}",
    b"{\"table\":{\"schema\":\"s\",\"table\":\"t\"},\"rows\":1,\"ranges\":1,\"hash\":", b"\"begun_at\":\"\",\"as_of\":\"\",\"ended_unix_s\":1}",
    b"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", b"18446744073709551615", b"[[[[[[[[", b"\\ud800",
];

pub(crate) const REQUEST_WORDS: &[&[u8]] = &[
    b"{\"request\":\"status\"}",
    b"\"request\":\"",
    b"throttle",
    b"verify",
    b"cutover",
    b"rollback",
    b"finish",
    b"move",
    b"null",
    b"18446744073709551615",
    b"[[[[[[[[",
    b"\\ud800",
];

/// A file of this process alone.
fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("highwater-fuzz-{name}-{}", std::process::id()))
}

pub(crate) fn settings(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        highwater::fuzzing::settings(text);
    }
}

pub(crate) fn proof(input: &[u8]) {
    highwater::fuzzing::proof(input);
}

pub(crate) fn request(input: &[u8]) {
    if let Some(again) = highwater::fuzzing::request(input) {
        assert_eq!(highwater::fuzzing::request(&again).as_deref(), Some(&again[..]));
    }
}

/// A journal; and what a crash would have left of it: whatever was cut short, the whole lines before it count.
pub(crate) fn journal(input: &[u8]) {
    let path = file("journal");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        Journal::open(&path).map(|journal| journal.state().clone()).ok()
    };
    let whole = open(input);
    let end = input.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    assert_eq!(open(&input[..end]), whole, "what was cut short changed what came before it");
    let _ = std::fs::remove_file(&path);
}

pub(crate) fn pem(input: &[u8]) {
    let path = file("pem");
    std::fs::write(&path, input).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    let _ = mysql::tls::private_key(&path);
    let _ = mysql::tls::authorities(&path);
    let _ = proxy::DoorTls::new(&path, &path, Some(&path));
    let _ = std::fs::remove_file(&path);
}
