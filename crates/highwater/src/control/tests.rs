//! What the control socket promises to those who ask and those who answer.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// A host whose every request does something a test needs.
#[derive(Default)]
struct Rehearsal {
    begun: Notify,
    proceed: Notify,
    finished: AtomicUsize,
}

impl Host for Rehearsal {
    async fn handle(&self, request: Request, asker: Asker, progress: Progress) -> Result<Value, Trouble> {
        match request {
            Request::Status => {
                assert!(!asker.user.is_empty());
                Ok(json!({"version": "test"}))
            }
            Request::Verify { move_name, .. } => {
                progress.line(format!("verifying {move_name}"));
                progress.step("verify", 5, Some(10), "rows");
                Ok(json!({"differences": 0}))
            }
            Request::Cutover { .. } => {
                self.begun.notify_one();
                self.proceed.notified().await;
                self.finished.fetch_add(1, Ordering::SeqCst);
                Ok(json!({"serving": "new"}))
            }
            Request::Finish { .. } => panic!("a defect"),
            _ => Err(Trouble::new("refused", "as before", "ask later")),
        }
    }
}

struct Running {
    state_dir: PathBuf,
    host: Arc<Rehearsal>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn fresh_dir(test: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hw-control-{}-{test}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn start(test: &str) -> Running {
    let state_dir = fresh_dir(test);
    let host = Arc::new(Rehearsal::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let socket = ControlSocket::bind(&state_dir).unwrap();
    let task = tokio::spawn(socket.serve(host.clone(), async {
        let _ = stopped.await;
    }));
    Running { state_dir, host, stop, task }
}

impl Running {
    async fn client(&self) -> Client {
        Client::connect(&self.state_dir).await.unwrap()
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        assert!(!socket_path(&self.state_dir).exists());
        std::fs::remove_dir_all(&self.state_dir).unwrap();
    }
}

fn cutover() -> Request {
    Request::Cutover { move_name: "shop".into(), how: Crossing::default() }
}

#[tokio::test]
async fn progress_comes_in_order_and_before_the_answer() {
    let running = start("order");
    let mut client = running.client().await;
    let mut seen = Vec::new();
    let answer = client
        .ask(&Request::Verify { move_name: "shop".into(), newest: None, sums: false }, |update| {
            seen.push(update)
        })
        .await;
    assert_eq!(answer, Ok(json!({"differences": 0})));
    let step = ProgressUpdate::Step { phase: "verify".into(), done: 5, total: Some(10), unit: "rows".into() };
    assert_eq!(seen, [ProgressUpdate::Line("verifying shop".into()), step]);
    // The same connection serves the next request.
    assert_eq!(client.ask(&Request::Status, |_| {}).await, Ok(json!({"version": "test"})));
    drop(client);
    running.end().await;
}

#[tokio::test]
async fn refusal_arrives_with_its_three_parts() {
    let running = start("refusal");
    let refused =
        running.client().await.ask(&Request::Stop { within_ms: 0, kill_after_ms: None }, |_| {}).await;
    assert_eq!(refused, Err(Trouble::new("refused", "as before", "ask later")));
    running.end().await;
}

#[tokio::test]
async fn work_goes_on_when_its_client_goes_away() {
    let running = start("gone");
    let mut stream = UnixStream::connect(socket_path(&running.state_dir)).await.unwrap();
    let mut line = serde_json::to_vec(&cutover()).unwrap();
    line.push(b'\n');
    stream.write_all(&line).await.unwrap();
    running.host.begun.notified().await;
    drop(stream);

    running.host.proceed.notify_one();
    let host = running.host.clone();
    running.end().await;
    assert_eq!(host.finished.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn shutdown_waits_for_the_work_under_way_and_its_answer() {
    let running = start("shutdown");
    let mut client = running.client().await;
    let asking = tokio::spawn(async move { client.ask(&cutover(), |_| {}).await });
    running.host.begun.notified().await;

    running.stop.send(()).unwrap();
    running.host.proceed.notify_one();
    running.task.await.unwrap();
    assert_eq!(asking.await.unwrap(), Ok(json!({"serving": "new"})));
    std::fs::remove_dir_all(&running.state_dir).unwrap();
}

#[tokio::test]
async fn defect_in_the_host_ends_one_request_only() {
    let running = start("defect");
    let mut client = running.client().await;
    let failed = client.ask(&Request::Finish { move_name: "shop".into() }, |_| {}).await.unwrap_err();
    assert_eq!(failed.what, "the request ended in a defect of highwater");
    assert!(client.ask(&Request::Status, |_| {}).await.is_ok());
    drop(client);
    running.end().await;
}

#[tokio::test]
async fn lines_that_are_no_request_are_answered_with_a_trouble() {
    let running = start("malformed");
    let too_long = vec![b'x'; REQUEST_BYTES_MAX as usize + 1];
    let too_deep = b"[".repeat(10_000);
    let unknown: &[u8] =
        br#"{"request":"cutover","move_name":"a","dry_run":false,"close_pinned":false,"force":true}"#;
    for line in
        [b"".as_slice(), b"{", b"\xff\xfe", br#"{"request":"explode"}"#, unknown, &too_deep, &too_long]
    {
        let mut stream = UnixStream::connect(socket_path(&running.state_dir)).await.unwrap();
        // The process may answer and close before it has read a line that is too long.
        let _ = stream.write_all(&[line, b"\n"].concat()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        match serde_json::from_slice(&answer) {
            Ok(Reply::Failed(trouble)) => assert_eq!(trouble.state, "nothing was changed"),
            other => panic!("{:?} was answered with {other:?}", String::from_utf8_lossy(line)),
        }
    }
    running.end().await;
}

#[tokio::test]
async fn second_process_is_refused_while_the_first_one_lives() {
    let running = start("second");
    let refused = ControlSocket::bind(&running.state_dir).unwrap_err();
    assert!(refused.what.starts_with("a highwater process is already running for "), "{}", refused.what);
    assert!(running.client().await.ask(&Request::Status, |_| {}).await.is_ok());
    running.end().await;
}

#[tokio::test]
async fn socket_of_a_process_that_was_killed_is_replaced() {
    let state_dir = fresh_dir("stale");
    std::fs::create_dir_all(&state_dir).unwrap();
    drop(UnixListener::bind(socket_path(&state_dir)).unwrap());
    assert!(socket_path(&state_dir).exists());
    let nobody = Client::connect(&state_dir).await.unwrap_err();
    assert!(nobody.what.starts_with("no highwater process is running for "), "{}", nobody.what);

    let socket = ControlSocket::bind(&state_dir).unwrap();
    assert!(Client::connect(&state_dir).await.is_ok());
    drop(socket);
    std::fs::remove_dir_all(&state_dir).unwrap();
}

#[tokio::test]
async fn only_this_user_can_ask() {
    let state_dir = fresh_dir("modes");
    let socket = ControlSocket::bind(&state_dir).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state_dir), mode(&socket_path(&state_dir))), (0o700, 0o600));
    drop(socket);
    std::fs::remove_dir_all(&state_dir).unwrap();
}

#[tokio::test]
async fn process_that_goes_away_leaves_the_outcome_open() {
    let state_dir = fresh_dir("vanish");
    std::fs::create_dir_all(&state_dir).unwrap();
    let listener = UnixListener::bind(socket_path(&state_dir)).unwrap();
    let mut client = Client::connect(&state_dir).await.unwrap();
    drop(listener.accept().await.unwrap());
    let gone = client.ask(&cutover(), |_| {}).await.unwrap_err();
    assert!(gone.what.ends_with("went away before it answered"), "{}", gone.what);
    assert!(gone.state.starts_with("not known here"), "{}", gone.state);
    std::fs::remove_dir_all(&state_dir).unwrap();
}
