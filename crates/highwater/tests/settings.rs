//! The settings as a process meets them: real files, real environment, paths relative to the file.
#![allow(clippy::unwrap_used, reason = "a test ends where its own files and processes fail it")]

use std::path::PathBuf;
use std::process::Command;

use highwater::config;

/// A directory of a test's own.
fn fresh_dir(test: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hw-settings-{}-{test}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

const SETTINGS: &str = "
[clusters.old]
host = 'db1'
user = 'hw'
password_file = 'secrets/old'
server_public_key = 'old.pem'
[clusters.new]
host = 'db2'
user = 'hw'
password_file = 'secrets/new'
get_server_public_key = true
[moves.shop]
source = 'old'
target = 'new'
tables = ['shop.*']
";

#[test]
fn files_are_found_beside_the_settings_wherever_the_program_runs() {
    let dir = fresh_dir("beside");
    std::fs::create_dir(dir.join("secrets")).unwrap();
    for (name, text) in [
        ("highwater.toml", SETTINGS),
        ("secrets/old", "pw 1\n"),
        ("secrets/new", "pw2\r\n"),
        ("old.pem", "key"),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let config = config::load(&dir.join("highwater.toml")).unwrap();
    assert_eq!(config.state_dir, dir.join("highwater-state"));
    let old = config.clusters["old"].connect_options();
    assert_eq!(old.password.reveal(), b"pw 1");
    assert_eq!(old.server_key, mysql::ServerKey::Pinned(dir.join("old.pem")));
    let new = config.clusters["new"].connect_options();
    assert_eq!(new.password.reveal(), b"pw2");
    assert_eq!(new.server_key, mysql::ServerKey::Fetch);
    assert!(!format!("{config:?}").contains("pw2"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn missing_files_are_named_with_the_line_that_asks_for_them() {
    let dir = fresh_dir("missing");
    let file = dir.join("highwater.toml");
    std::fs::write(&file, SETTINGS).unwrap();
    let trouble = config::load(&file).unwrap_err();
    let expected =
        format!("{}:10: cannot read the password of cluster 'new' from {}", file.display(), dir.display());
    assert!(trouble.what.starts_with(&expected), "{}", trouble.what);

    std::fs::create_dir(dir.join("secrets")).unwrap();
    std::fs::write(dir.join("secrets/new"), "x").unwrap();
    std::fs::write(dir.join("secrets/old"), "x").unwrap();
    let trouble = config::load(&file).unwrap_err();
    assert!(
        trouble.what.starts_with(&format!("{}:6: cannot read the public key", file.display())),
        "{}",
        trouble.what
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn asking_the_running_process_needs_no_password() {
    let dir = fresh_dir("asking");
    let file = dir.join("highwater.toml");
    std::fs::write(&file, SETTINGS).unwrap();
    let point = config::control_point(&file).unwrap();
    assert_eq!(
        (point.state_dir.as_path(), point.moves.as_slice()),
        (dir.join("highwater-state").as_path(), &["shop".to_owned()][..])
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn misspelt_key_stops_every_command_that_reads_settings() {
    let dir = fresh_dir("misspelt");
    std::fs::write(dir.join("hw.toml"), format!("{SETTINGS}[cutover]\ndrain_dedline = '1s'\n")).unwrap();
    for command in ["check", "status", "cutover"] {
        let output = Command::new(env!("CARGO_BIN_EXE_highwater"))
            .args([command, "--config", "hw.toml"])
            .current_dir(&dir)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "error: hw.toml:17: unknown key `drain_dedline` in [cutover]\n\
             state: nothing was started\n\
             hint:  did you mean `drain_deadline`?\n"
        );
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
