//! Commands that ask a running process: what they print, and what a slow or broken conversation does to them.
#![allow(clippy::unwrap_used, reason = "a test ends where its own files and processes fail it")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use highwater::config::TEMPLATE;
use highwater::control::{
    Asker, ControlSocket, Crossing, CrossingMode, DoorView, Host, MoveView, PinView, Progress, Request,
    StatusView,
};
use model::Trouble;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::oneshot;

struct Rehearsal;

impl Host for Rehearsal {
    async fn handle(&self, request: Request, _: Asker, progress: Progress) -> Result<Value, Trouble> {
        match request {
            Request::Status => {
                let shop = MoveView { name: "shop".into(), state: "following".into(), ..MoveView::default() };
                let pin = |reason: &str, clients| PinView { reason: reason.into(), clients };
                let door = DoorView {
                    listen: "127.0.0.1:6033".into(),
                    clients: 1_003,
                    backends: 40,
                    pins: vec![pin("GET_LOCK", 12), pin("a temporary table", 1)],
                    ..DoorView::default()
                };
                let status = StatusView {
                    version: "0".into(),
                    moves: vec![shop],
                    door: Some(door),
                    ..StatusView::default()
                };
                Ok(serde_json::to_value(status).unwrap())
            }
            Request::Cutover { move_name, how: Crossing { mode: CrossingMode::Real, close_pinned, .. } } => {
                progress.step("hold", 1, Some(1), "doors");
                progress.step("drain", 12, Some(12), "clients");
                Ok(json!({"move": move_name, "close_pinned": close_pinned, "longest_hold_ms": 312}))
            }
            _ => Err(Trouble::new("target is 4.2 s behind", "nothing was changed", "wait")),
        }
    }
}

/// A process that answers in a state directory beside its settings.
struct Running {
    dir: PathBuf,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hw-asking-{}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("highwater.toml"), TEMPLATE).unwrap();
        let socket = ControlSocket::bind(&dir.join("highwater-state")).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(socket.serve(Arc::new(Rehearsal), async {
            let _ = stopped.await;
        }));
        Self { dir, stop, task }
    }

    /// Runs a command to its end: exit code, stdout, stderr.
    async fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = highwater(&self.dir, args).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn highwater(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.args(args).current_dir(dir).env_remove("HIGHWATER_LOG").stdin(Stdio::null());
    command
}

#[tokio::test]
async fn who_keeps_a_server_connection_is_told_by_reason() {
    let running = Running::start("pins");
    let (code, stdout, _) = running.run(&["proxy", "pins"]).await;
    let table = "  why a client keeps a server connection to itself  clients\n  \
                 GET_LOCK                                               12\n  \
                 a temporary table                                       1\n";
    assert_eq!((code, stdout.as_str()), (Some(0), table));
    let (code, stdout, _) = running.run(&["proxy", "pins", "--json"]).await;
    let pins: Vec<PinView> = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, pins.len(), pins[0].clients), (Some(0), 2, 12));
    running.end().await;
}

#[tokio::test]
async fn status_is_a_table_for_people_and_json_for_programs() {
    let running = Running::start("status");
    let (code, stdout, _) = running.run(&["status"]).await;
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("following")
            && stdout.contains("front door 127.0.0.1:6033  1,003 clients")
            && stdout.contains("40 server connections (0 idle)")
            && stdout.contains("13 clients keep one"),
        "{stdout}"
    );

    let (code, stdout, _) = running.run(&["status", "--json"]).await;
    assert_eq!(code, Some(0));
    let status: StatusView = serde_json::from_str(&stdout).unwrap();
    assert_eq!(status.moves[0].name, "shop");
    running.end().await;
}

#[tokio::test]
async fn cutover_shows_its_phases_and_prints_its_answer() {
    let running = Running::start("cutover");
    let answer = "close pinned     yes\nlongest hold ms  312\nmove             shop\n".to_owned();
    let phases = "hold: 1 of 1 doors\ndrain: 12 of 12 clients\n".to_owned();
    assert_eq!(running.run(&["cutover", "--close-pinned"]).await, (Some(0), answer.clone(), phases));
    let quiet = running.run(&["cutover", "--close-pinned", "--quiet"]).await;
    assert_eq!(quiet, (Some(0), answer, String::new()));
    running.end().await;
}

#[tokio::test]
async fn refusal_of_the_running_process_is_the_commands_refusal() {
    let running = Running::start("refusal");
    let complaint = "error: target is 4.2 s behind\nstate: nothing was changed\nhint:  wait\n".to_owned();
    let refused = running.run(&["cutover", "--dry-run"]).await;
    assert_eq!(refused, (Some(1), String::new(), complaint));
    running.end().await;
}

#[tokio::test]
async fn watching_ends_well_when_its_reader_goes_away() {
    let running = Running::start("watch");
    let mut child = highwater(&running.dir, &["status", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    running.end().await;
}
