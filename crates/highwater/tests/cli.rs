//! The program as an operator meets it: help, exit codes, and errors in three parts.
#![allow(clippy::unwrap_used, reason = "a test ends where its own files and processes fail it")]

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

struct Desk(PathBuf);

/// A directory of a test's own, removed at the end.
impl Desk {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hw-cli-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
        command.args(args).current_dir(&self.0).env_remove("HIGHWATER_LOG").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_failed(output: &Output, expected: &str) {
    assert_eq!((stderr(output).as_str(), stdout(output).as_str()), (expected, ""));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn help_lists_the_commands_in_the_order_of_a_moves_life() {
    let output = Desk::new("help").run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = stdout(&output);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "init", "check", "copy", "status", "throttle", "verify", "cutover", "rollback", "finish", "serve",
        "proxy", "digests", "reload", "stop", "demo",
    ];
    assert_eq!(commands, expected);
    assert!(help.contains("A move, from beginning to end:"));
}

#[test]
fn bad_usage_exits_with_two() {
    let desk = Desk::new("usage");
    for args in [&["explode"][..], &["cutover", "--now"], &[], &["demo", "--shoppers", "0"]] {
        let output = desk.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(stdout(&output), "", "{args:?}");
    }
    let output = desk.command(&["init"]).env("HIGHWATER_LOG", "loud").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn missing_settings_are_an_error_in_three_parts() {
    assert_failed(
        &Desk::new("missing").run(&["check"]),
        "error: cannot read the settings highwater.toml: No such file or directory (os error 2)\n\
         state: nothing was started\n\
         hint:  write one with `highwater init`, or name it with `--config FILE`\n",
    );
}

#[test]
fn init_writes_settings_that_parse_and_never_overwrites_unasked() {
    let desk = Desk::new("init");
    let output = desk.run(&["init"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // Everything in them is right except that the variable with the password is not there yet.
    let output = desk.command(&["check"]).env_remove("HIGHWATER_NEW_PASSWORD").output().unwrap();
    assert!(
        stderr(&output).contains("the environment variable HIGHWATER_NEW_PASSWORD"),
        "{}",
        stderr(&output)
    );

    desk.write("highwater.toml", "mine");
    assert_failed(
        &desk.run(&["init"]),
        "error: highwater.toml exists already\n\
         state: nothing was written\n\
         hint:  add `--force` to overwrite it, or name another file\n",
    );
    assert_eq!(std::fs::read_to_string(desk.0.join("highwater.toml")).unwrap(), "mine");
    assert_eq!(desk.run(&["init", "--force"]).status.code(), Some(0));
    assert_eq!(desk.run(&["init", "other.toml"]).status.code(), Some(0));
}

/// What `check` of the template says when the source is at a port of this machine.
fn check_against(test: &str, port: u16) -> Output {
    let desk = Desk::new(test);
    desk.write(
        "highwater.toml",
        &highwater::config::TEMPLATE.replace("# port = 3306", &format!("port = {port}")),
    );
    let mut command = desk.command(&["check"]);
    command
        .env("HIGHWATER_OLD_PASSWORD", "hunter2")
        .env("HIGHWATER_NEW_PASSWORD", "hunter2")
        .output()
        .unwrap()
}

#[test]
fn server_that_is_not_there_is_named_with_its_cluster() {
    // Bound and closed again: a port that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_failed(
        &check_against("unreachable", port),
        &format!(
            "error: cannot reach cluster 'old': cannot connect to 127.0.0.1:{port}: Connection refused (os error 111)\n\
             state: nothing was changed; a check writes nothing\n\
             hint:  start the server there, or correct `host` and `port`\n"
        ),
    );
}

#[test]
fn server_that_does_not_admit_this_machine_is_quoted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let error = mysql::ErrPacket::new(1130, b"HY000", "Host 'app7' is not allowed to connect").encode();
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(&[&[error.len() as u8, 0, 0, 0], error.as_slice()].concat()).unwrap();
    });
    assert_failed(
        &check_against("refused", port),
        &format!(
            "error: cannot reach cluster 'old': 127.0.0.1:{port} refuses account 'highwater': \
             server error 1130: Host 'app7' is not allowed to connect\n\
             state: nothing was changed; a check writes nothing\n\
             hint:  create the account for the address of this machine\n"
        ),
    );
    server.join().unwrap();
}

#[test]
fn commands_that_ask_say_when_nobody_is_there() {
    let desk = Desk::new("nobody");
    desk.run(&["init"]);
    for args in [
        &["status"][..],
        &["verify"],
        &["cutover", "--dry-run"],
        &["rollback"],
        &["finish", "--move", "shop"],
    ] {
        assert_failed(
            &desk.run(args),
            "error: no highwater process is running for highwater-state\n\
             state: nothing was changed; a move that was under way resumes when the process starts again\n\
             hint:  start `highwater serve` with the same settings, and leave it running\n",
        );
    }
}

#[test]
fn program_that_asks_for_json_gets_the_error_as_json_too() {
    let desk = Desk::new("json");
    desk.run(&["init"]);
    let output = desk.run(&["cutover", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["what"], "no highwater process is running for highwater-state");
    assert!(stderr(&output).starts_with("error: no highwater process"));
}

#[test]
fn pipe_that_its_reader_closed_is_no_failure() {
    let desk = Desk::new("pipe");
    for args in [&["--help"][..], &["init"]] {
        let mut child = desk.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{args:?}");
    }
}
