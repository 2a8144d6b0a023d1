//! Our own program, run as its users run it: a process of its own, with a settings file, asked over its control socket.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::{ADMIN_PASSWORD, ADMIN_USER};
use serde_json::{Value, json};

use crate::tools::last_lines;
use crate::{Result, failed};

/// Between two questions. The answer costs the program far less than a thousandth of that.
const POLL: Duration = Duration::from_millis(10);
/// How long it may take to end when it is asked to.
const ENDING: Duration = Duration::from_secs(20);

/// Our program at `told`, else the one beside this one.
pub fn find(told: Option<&Path>) -> Result<PathBuf> {
    let beside = || std::env::current_exe().map(|exe| exe.with_file_name("highwater"));
    let program = told.map_or_else(beside, |path| path.canonicalize());
    let program = program.map_err(|e| failed("find the program", e))?;
    if !program.is_file() {
        let why = format!("{} is not there; build it with `make build`", program.display());
        return Err(failed("find the program", why));
    }
    Ok(program)
}

/// A command for a program that must not stay and look for servers that are gone, should this process be killed.
pub fn dying_with_us(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The program and the folder of its settings and state.
pub struct Program {
    program: PathBuf,
    dir: PathBuf,
    process: Option<Child>,
}

impl Program {
    /// The program at `told`, else the one beside this one.
    pub fn find(told: Option<&Path>, dir: PathBuf) -> Result<Self> {
        Ok(Self { program: find(told)?, dir, process: None })
    }

    /// Writes the settings of a move of these schemas, and forgets any earlier one.
    pub fn set_up(&self, source: u16, target: u16, schemas: &[&str]) -> Result<()> {
        self.set_up_with(source, target, schemas, "")
    }

    /// The same with more sections.
    pub fn set_up_with(&self, source: u16, target: u16, schemas: &[&str], more: &str) -> Result<()> {
        let cluster = |name: &str, port: u16| {
            format!(
                "[clusters.{name}]\nhost = '127.0.0.1'\nport = {port}\nuser = '{ADMIN_USER}'\n\
                 password_file = 'password'\n"
            )
        };
        let tables: Vec<String> = schemas.iter().map(|s| format!("'{s}.*'")).collect();
        let settings = format!(
            "state_dir = 'state'\n{}{}[moves.bench]\nsource = 'old'\ntarget = 'new'\ntables = [{}]\n{more}",
            cluster("old", source),
            cluster("new", target),
            tables.join(", ")
        );
        self.write(&settings).map_err(|e| failed(format!("write in {}", self.dir.display()), e))
    }

    fn write(&self, settings: &str) -> std::io::Result<()> {
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        fs::create_dir_all(&self.dir)?;
        fs::write(self.dir.join("password"), ADMIN_PASSWORD)?;
        fs::write(self.dir.join("highwater.toml"), settings)
    }

    /// Starts `highwater copy`.
    pub fn start(&mut self) -> Result<()> {
        self.start_as(&["copy", "--json"])
    }

    /// Starts `highwater serve`: moves and front door.
    pub fn serve(&mut self) -> Result<()> {
        self.start_as(&["serve"])
    }

    fn start_as(&mut self, args: &[&str]) -> Result<()> {
        let log = fs::File::create(self.dir.join("said")).map_err(|e| failed("write its log", e))?;
        let child = dying_with_us(&self.program)
            .args(args)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| failed(format!("start {}", self.program.display()), e))?;
        self.process = Some(child);
        Ok(())
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Waits until its status says that every row is copied and the binary log is followed.
    pub fn following(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        let mut state = "not answering".to_owned();
        while Instant::now() < deadline {
            self.refuse_unless_running()?;
            if let Some(status) = self.ask("status") {
                state = status["moves"][0]["state"].as_str().unwrap_or_default().to_owned();
            }
            match state.as_str() {
                "following" => return Ok(()),
                "stopped" => break,
                _ => std::thread::sleep(POLL),
            }
        }
        Err(failed("wait for the copy", format!("the move is {state}; {}", self.said())))
    }

    /// Fails if it has ended by itself.
    pub fn refuse_unless_running(&mut self) -> Result<()> {
        let ended = self.process.as_mut().map(Child::try_wait).transpose();
        match ended.map_err(|e| failed("look at the program", e))? {
            Some(None) => Ok(()),
            Some(Some(status)) => Err(failed("run highwater", format!("{status}; {}", self.said()))),
            None => Err(failed("run highwater", "it was not started")),
        }
    }

    /// Asks it to end and waits until it has.
    pub fn stop(&mut self) -> Result<()> {
        if self.process.is_none() {
            return Ok(());
        }
        self.ask("stop");
        let deadline = Instant::now() + ENDING;
        while let Some(process) = self.process.as_mut() {
            if process.try_wait().map_err(|e| failed("end highwater", e))?.is_some() {
                self.process = None;
            } else if Instant::now() > deadline {
                return Err(failed("end highwater", "it does not stop when asked"));
            } else {
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    /// One request on the control socket; nothing while it does not answer.
    fn ask(&self, request: &str) -> Option<Value> {
        self.demand(&json!({"request": request})).ok()
    }

    /// One request on the control socket, and its answer.
    pub fn demand(&self, request: &Value) -> Result<Value> {
        let asking = |why: &dyn std::fmt::Display| failed(format!("ask highwater {request}"), why);
        let mut socket =
            UnixStream::connect(self.dir.join("state/highwater.sock")).map_err(|e| asking(&e))?;
        socket.write_all(format!("{request}\n").as_bytes()).map_err(|e| asking(&e))?;
        for line in BufReader::new(socket).lines() {
            let line = line.map_err(|e| asking(&e))?;
            let mut reply: Value = serde_json::from_str(&line).map_err(|e| asking(&e))?;
            if let Some(done) = reply.get_mut("done") {
                return Ok(done.take());
            }
            if reply.get("progress").is_none() {
                return Err(asking(&reply));
            }
        }
        Err(asking(&"it hung up"))
    }

    fn said(&self) -> String {
        last_lines("", &fs::read_to_string(self.dir.join("said")).unwrap_or_default())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Nobody is left to tell.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
