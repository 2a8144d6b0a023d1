//! Hooks: commands of the site's own that a crossing runs around its phases.
//!
//! A command is a program and its arguments, started as they are: there is no shell unless the operator names one, so nothing that
//! a server or a name says is ever taken for a command. It learns what it is about by environment variables and by a line of
//! JSON on its standard input. Its environment is not ours, in which passwords may be, but a few harmless variables of it.
//!
//! Before the switch a hook that fails ends the crossing, which is put back; after it there is no way back, and it is only
//! said. After a crash a hook may run a second time: each phase is in the journal before its hooks run.

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::Trouble;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{Phase, Run};

/// What is kept of each of a hook's two outputs, in bytes from the beginning.
const OUTPUT_KEPT: usize = 16 * 1024;

/// How long a hook's output is waited for when the hook itself has ended: a program it has left behind may hold it open.
const OUTPUT_WAIT: Duration = Duration::from_millis(200);

/// The variables of our environment that a hook gets.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// The commands around the phases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// By phase, what runs when it begins.
    pub before: BTreeMap<Phase, Vec<String>>,
    /// By phase, what runs when it has ended well.
    pub after: BTreeMap<Phase, Vec<String>>,
    /// What runs when a crossing has been given up, or a rehearsal is over, and traffic is where it was.
    pub undone: Option<Vec<String>>,
    /// How long each may take.
    pub deadline: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            undone: None,
            deadline: Duration::from_secs(5),
        }
    }
}

impl Hooks {
    /// Every command there is, with its key in the settings.
    pub fn named(&self) -> impl Iterator<Item = (String, &[String])> {
        let of = |when: &'static str, phases: &'_ BTreeMap<Phase, Vec<String>>| {
            let keys = phases.keys().map(move |phase| format!("{when}.{phase}"));
            keys.collect::<Vec<_>>()
        };
        let before = of("before", &self.before).into_iter().zip(self.before.values());
        let after = of("after", &self.after).into_iter().zip(self.after.values());
        let undone = self.undone.iter().map(|command| ("undone".to_owned(), command));
        before.chain(after).chain(undone).map(|(name, command)| (name, command.as_slice()))
    }

    fn command(&self, phase: Phase, when: When) -> Option<&[String]> {
        match when {
            When::Before => self.before.get(&phase).map(Vec::as_slice),
            When::After => self.after.get(&phase).map(Vec::as_slice),
            When::Undone => self.undone.as_deref(),
        }
    }
}

/// Where in a phase a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// When it begins.
    Before,
    /// When it has ended well.
    After,
    /// When everything has been put back; the phase is the last that was entered.
    Undone,
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Undone => "undone",
        })
    }
}

/// What a hook is told of the crossing.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The move's name.
    pub move_name: String,
    pub run: Run,
    /// `host:port` of the side that serves when it begins.
    pub from: String,
    /// `host:port` of the other.
    pub to: String,
    /// The switch's number, if it comes to that.
    pub epoch: u64,
}

/// What became of one hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// The phase.
    pub phase: Phase,
    /// Where in it.
    pub when: When,
    /// The program; its arguments are in the settings, and may be nobody else's business.
    pub program: String,
    /// Whether it ended with exit code 0 in time.
    pub ok: bool,
    /// How it ended.
    pub ended: String,
    /// Milliseconds it took.
    pub ms: f64,
    /// What it wrote to its standard output, from the beginning.
    pub stdout: String,
    /// What it wrote to its standard error, from the beginning.
    pub stderr: String,
}

impl HookRun {
    /// Its key in the settings.
    pub fn key(&self) -> String {
        match self.when {
            When::Undone => "undone".to_owned(),
            when => format!("{when}.{}", self.phase),
        }
    }

    /// As a sentence.
    pub fn sentence(&self) -> String {
        let said = self.stderr.lines().chain(self.stdout.lines()).find(|line| !line.trim().is_empty());
        let said = said.map(|line| format!(": {}", shown(line))).unwrap_or_default();
        format!("hook {} ({}) {}{said}", self.key(), self.program, self.ended)
    }

    /// As an error; what state things are in is the caller's to say.
    pub(super) fn trouble(&self) -> Trouble {
        Trouble::new(
            self.sentence(),
            "",
            format!("see why it fails, or take `cutover.hooks.{}` out of the settings", self.key()),
        )
    }
}

/// A line that a terminal can be shown.
fn shown(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Runs the hook there, if there is one.
pub(super) async fn run(hooks: &Hooks, facts: &Facts, phase: Phase, when: When) -> Option<HookRun> {
    let command = hooks.command(phase, when)?;
    let (program, arguments) = command.split_first()?;
    let begun = Instant::now();
    let (outputs, ended) = match start(program, arguments, facts, (phase, when)) {
        Ok(mut child) => {
            let outputs = [Output::of(child.stdout.take()), Output::of(child.stderr.take())];
            let input = told(facts, phase, when).to_string() + "\n";
            let ended = end(&mut child, input, hooks.deadline).await;
            (outputs, ended)
        }
        Err(error) => (Default::default(), Err(format!("could not be started: {error}"))),
    };
    let ended = ended.map(|status| (status.success(), spoken(status)));
    let (ok, ended) = ended.unwrap_or_else(|why| (false, why));
    let [stdout, stderr] = outputs;
    let run = HookRun {
        phase,
        when,
        program: program.clone(),
        ok,
        ended,
        ms: begun.elapsed().as_secs_f64() * 1000.0,
        stdout: stdout.text().await,
        stderr: stderr.text().await,
    };
    match run.ok {
        true => tracing::info!(target: "highwater::move", %phase, %when, ms = run.ms, "a hook has run"),
        false => tracing::warn!(target: "highwater::move", "{}", run.sentence()),
    }
    Some(run)
}

fn start(
    program: &str,
    arguments: &[String],
    facts: &Facts,
    (phase, when): (Phase, When),
) -> std::io::Result<Child> {
    let inherited = INHERITED.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(inherited)
        .env("HIGHWATER_MOVE", &facts.move_name)
        .env("HIGHWATER_RUN", facts.run.to_string())
        .env("HIGHWATER_PHASE", phase.to_string())
        .env("HIGHWATER_WHEN", when.to_string())
        .env("HIGHWATER_FROM", &facts.from)
        .env("HIGHWATER_TO", &facts.to)
        .env("HIGHWATER_EPOCH", facts.epoch.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that what it starts can be ended with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn told(facts: &Facts, phase: Phase, when: When) -> serde_json::Value {
    serde_json::json!({
        "move": facts.move_name,
        "run": facts.run,
        "phase": phase,
        "when": when,
        "from": facts.from,
        "to": facts.to,
        "epoch": facts.epoch,
    })
}

/// Waits for the hook, and ends it with all it has started when its time is up.
async fn end(child: &mut Child, input: String, deadline: Duration) -> Result<ExitStatus, String> {
    let stdin = child.stdin.take();
    let group = child.id();
    let telling = async {
        if let Some(mut stdin) = stdin {
            // It need not read it.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ending = async {
        let ((), status) = tokio::join!(telling, child.wait());
        status
    };
    match tokio::time::timeout(deadline, ending).await {
        Ok(status) => status.map_err(|error| format!("could not be waited for: {error}")),
        Err(_) => {
            if let Some(group) = group {
                end_group(group).await;
            }
            // Where there is no such program, at least the hook itself.
            let _ = child.kill().await;
            Err(format!("was not done within {deadline:?}, and was killed"))
        }
    }
}

/// A signal to a group takes either unsafe code or the program that is made for it.
async fn end_group(group: u32) {
    let kill = Command::new("kill")
        .args(["-KILL", "--", &format!("-{group}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    if !matches!(tokio::time::timeout(Duration::from_secs(1), kill).await, Ok(Ok(status)) if status.success())
    {
        tracing::warn!(target: "highwater::move", group, "what a hook had started could not be ended");
    }
}

fn spoken(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => format!("was ended by a {status}"),
    }
}

/// One of a hook's outputs, read while it runs so that it never waits for us.
#[derive(Default)]
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    reading: Option<tokio::task::JoinHandle<()>>,
}

impl Output {
    fn of(pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&kept);
        let reading = pipe.map(|mut pipe| {
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                while let Ok(read @ 1..) = pipe.read(&mut piece).await {
                    let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                    let room = OUTPUT_KEPT.saturating_sub(kept.len()).min(read);
                    kept.extend_from_slice(piece.get(..room).unwrap_or_default());
                }
            })
        });
        Self { kept, reading }
    }

    async fn text(self) -> String {
        if let Some(mut reading) = self.reading
            && tokio::time::timeout(OUTPUT_WAIT, &mut reading).await.is_err()
        {
            reading.abort();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            move_name: "shop".into(),
            run: Run::Cutover,
            from: "10.0.0.1:3306".into(),
            to: "$(touch /tmp/never); db2:3306".into(),
            epoch: 3,
        }
    }

    fn hooks(command: &[&str]) -> Hooks {
        let command = command.iter().map(|&part| part.to_owned()).collect();
        Hooks { before: BTreeMap::from([(Phase::Hold, command)]), ..Hooks::default() }
    }

    async fn check(command: &[&str]) -> HookRun {
        run(&hooks(command), &facts(), Phase::Hold, When::Before).await.unwrap()
    }

    #[tokio::test]
    async fn a_hook_gets_the_facts_as_they_are_and_little_else() {
        // Cargo sets it for every test.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let ran = check(&["sh", "-c", "env; cat; echo said >&2"]).await;
        assert!(ran.ok && ran.stderr == "said\n", "{ran:?}");
        for line in [
            "HIGHWATER_MOVE=shop",
            "HIGHWATER_RUN=cutover",
            "HIGHWATER_PHASE=hold",
            "HIGHWATER_WHEN=before",
            "HIGHWATER_FROM=10.0.0.1:3306",
            "HIGHWATER_TO=$(touch /tmp/never); db2:3306",
            "HIGHWATER_EPOCH=3",
        ] {
            assert!(ran.stdout.lines().any(|l| l == line), "no {line} in {}", ran.stdout);
        }
        assert!(!ran.stdout.contains("CARGO_MANIFEST_DIR"), "our environment is not theirs");
        let json = ran.stdout.lines().find(|l| l.starts_with('{')).unwrap();
        let told: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&told["to"], &told["epoch"]), (&facts().to.into(), &3.into()));
    }

    #[tokio::test]
    async fn no_shell_reads_the_arguments() {
        let ran = check(&["echo", "$HOME", ";", "false"]).await;
        assert_eq!((ran.ok, ran.stdout.as_str()), (true, "$HOME ; false\n"));
    }

    #[tokio::test]
    async fn a_hook_that_fails_says_how() {
        let ran = check(&["sh", "-c", "echo no such balancer >&2; exit 7"]).await;
        assert!(!ran.ok);
        assert_eq!(ran.sentence(), "hook before.hold (sh) ended with exit code 7: no such balancer");
        let ran = check(&["/nowhere/at/all"]).await;
        assert!(!ran.ok && ran.ended.starts_with("could not be started"), "{ran:?}");
    }

    #[tokio::test]
    async fn past_its_deadline_a_hook_is_killed_with_what_it_has_started() {
        let mut hooks = hooks(&["sh", "-c", "sleep 600 & echo $!; wait"]);
        hooks.deadline = Duration::from_millis(300);
        let ran = run(&hooks, &facts(), Phase::Hold, When::Before).await.unwrap();
        assert!(!ran.ok && ran.ended.contains("300ms"), "{ran:?}");
        assert!(ran.ms < 5_000.0, "{ran:?}");
        let started: u32 = ran.stdout.trim().parse().unwrap();
        let gone = async {
            // A process that nobody has waited for yet has an empty command line.
            while std::fs::read(format!("/proc/{started}/cmdline")).is_ok_and(|line| !line.is_empty()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await.expect("it is gone as well");
    }

    #[tokio::test]
    async fn much_output_is_cut_and_waits_for_nobody() {
        let ran = check(&["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"]).await;
        assert_eq!((ran.ok, ran.stdout.len()), (true, OUTPUT_KEPT));
        // What is left behind holds the output open.
        let ran = check(&["sh", "-c", "echo begun; sleep 3 &"]).await;
        assert!(ran.ok && ran.stdout == "begun\n" && ran.ms < 2_000.0, "{ran:?}");
    }
}
