//! `bench drivers`: the suites that drivers' authors publish, run at a server and at a front door before another one.
//!
//! ```text
//! suite --> server, new             suite --> highwater proxy (sharing) --> server, new
//!          '-- test by test: what became of it here and there --'
//! ```
//! Invariant: a difference that is not written down in `scripts/drivers/explained.tsv`, with the reason, fails the run. The two
//! servers have the same options and certificates, and neither has seen the other's run.

mod ground;
mod outcome;
mod suite;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::DriversArgs;
use crate::machine::Machine;
use crate::tools::Tools;
use crate::{Result, failed};

use ground::Pair;
use outcome::{Difference, Explained, Outcomes};
use suite::Suite;

/// What one suite came to.
struct Compared {
    suite: &'static Suite,
    direct: Outcomes,
    door: Outcomes,
    seconds: f64,
    differing: Vec<Difference>,
}

/// Runs the suites, prints what differs and writes it.
///
/// # Errors
/// If a suite cannot be run, or a difference is not explained.
pub fn run(args: &DriversArgs) -> Result<()> {
    let explained = Explained::read()?;
    let wanted = suite::asked_for(&args.only)?;
    let tools = Tools::from_script("scripts/drivers.sh")?;
    let drivers = tools.path("DRIVERS")?;
    let mut pair = Pair::start(&args.place)?;
    let machine = Machine::facts(pair.dir(), pair.version())?;
    say(&head());
    let (mut all, mut absent) = (Vec::new(), Vec::new());
    for suite in wanted {
        if let Some(why) = suite.absent(&drivers) {
            absent.push((suite.name, why));
            continue;
        }
        let began = Instant::now();
        let direct = suite.run(&pair.direct(suite.name)?, &drivers)?;
        let door = suite.run(&pair.through_the_door(suite.name)?, &drivers)?;
        let differing = outcome::compare(suite.name, &direct, &door, &explained);
        let compared = Compared { suite, direct, door, seconds: began.elapsed().as_secs_f64(), differing };
        say(&compared.line());
        all.push(compared);
    }
    let file = write(args, &machine, &all, &absent)?;
    say(&summary(&all, &absent, &file));
    let unexplained = all.iter().flat_map(|c| &c.differing).filter(|d| d.explained.is_none()).count();
    if unexplained > 0 {
        let why = format!(
            "{unexplained} tests came out differently, and nothing explains it; they are named above"
        );
        return Err(failed("find the door to be as the server is", why));
    }
    Ok(())
}

impl Compared {
    fn line(&self) -> String {
        format!(
            "{:<20} {:<34} {:>6} {:>7} {:>7} {:>9} {:>6.0} s{}",
            self.suite.name,
            self.direct.version,
            self.direct.tests.len(),
            self.direct.passed(),
            self.door.passed(),
            self.differing.len(),
            self.seconds,
            if self.cut() { " (cut: only tests that both runs came to are compared)" } else { "" }
        )
    }

    /// Whether either run was ended before its end.
    fn cut(&self) -> bool {
        self.direct.cut || self.door.cut
    }

    fn to_json(&self) -> Value {
        json!({
            "suite": self.suite.name,
            "version": self.direct.version,
            "tests": self.direct.tests.len(),
            "passed_direct": self.direct.passed(),
            "passed_door": self.door.passed(),
            "seconds": self.seconds.round(),
            "cut": self.cut(),
            "differing": self.differing,
        })
    }
}

fn head() -> String {
    let columns = ["suite", "version", "tests", "direct", "door", "differing", "both"];
    let [suite, version, tests, direct, door, differing, both] = columns;
    format!("{suite:<20} {version:<34} {tests:>6} {direct:>7} {door:>7} {differing:>9} {both:>8}")
}

fn summary(all: &[Compared], absent: &[(&str, String)], file: &std::path::Path) -> String {
    let mut text = String::from("\n");
    for difference in all.iter().flat_map(|c| &c.differing) {
        text += &format!("{difference}\n");
    }
    for (name, why) in absent {
        text += &format!("{name} was not run: {why}\n");
    }
    text + &format!("written to {}", file.display())
}

fn say(text: &str) {
    // A reader that closes the pipe has seen enough.
    let _ = writeln!(io::stdout(), "{text}");
}

fn write(
    args: &DriversArgs,
    machine: &Machine,
    all: &[Compared],
    absent: &[(&str, String)],
) -> Result<PathBuf> {
    let file = args.place.json.clone().unwrap_or_else(|| "bench/results/drivers.json".into());
    let absent: serde_json::Map<String, Value> =
        absent.iter().map(|(name, why)| ((*name).to_owned(), json!(why))).collect();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value = json!({
        "bench": "drivers",
        "machine": machine,
        "command": format!("bench {}", words.join(" ")),
        "settings": {"ours": "highwater proxy, sharing on, TLS on both sides; a server of the same kind behind it"},
        "absent": absent,
        "rows": all.iter().map(Compared::to_json).collect::<Vec<_>>(),
    });
    let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
    folder
        .and_then(|()| std::fs::write(&file, format!("{value:#}\n")))
        .map_err(|e| failed(format!("write {}", file.display()), e))?;
    Ok(file)
}
