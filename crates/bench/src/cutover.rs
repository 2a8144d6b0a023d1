//! `bench cutover`: a busy shop moves to another server and back, and what its shoppers notice.
//!
//! ```text
//! probe ----\
//! shoppers --+--> front door (ours) or address (by hand) --> the server that serves
//! ```
//! Each contestant has a pair of servers of its own with the same shop. In a round each in turn has the load, switches there
//! and back several times in a row under it, and then every order the shoppers were told of is looked for: one that is
//! missing or doubled ends the benchmark.

mod by_hand;
mod ours;
mod pace;
mod probe;

use std::time::{Duration, Instant};

use load::{History, ShopperOptions, Shoppers};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::{Node, SHOP_PASSWORD, SHOP_USER};
use tokio::runtime::{Builder, Runtime};

use crate::cli::CutoverArgs;
use crate::ground::{self, Ground};
use crate::lag::percentile;
use crate::machine::Machine;
use crate::report::{OURS, Report};
use crate::source::{SHOP, open_shop};
use crate::sql::{Sql, admin};
use crate::{Result, failed, table};

use by_hand::ByHand;
use ours::Ours;
use pace::Pace;
use probe::Probe;

/// What the longest stalls of the shop may be, in milliseconds: the median of all switches, and each of them.
const BAR_MS: (f64, f64) = (100.0, 250.0);
/// How long after a switch what it did to a client may end.
const AFTERMATH: Duration = Duration::from_millis(200);
/// The load's first moments count for nothing.
const WARM_UP: Duration = Duration::from_secs(1);

/// The servers of one contestant.
pub(crate) struct Pair {
    pub old: Node,
    pub new: Node,
}

impl Pair {
    fn start(ground: &Ground, name: &str, ids: (u32, u32), rows: u64) -> Result<Self> {
        let old = ground.node(&format!("{name}-old"), ids.0)?;
        let new = ground.node(&format!("{name}-new"), ids.1)?;
        open_shop(&old, rows)?;
        Sql::on(&old)?
            .execute(&format!("CREATE TABLE {SHOP}.probe (id INT PRIMARY KEY, n BIGINT NOT NULL)"))?;
        Sql::on(&old)?.execute(&format!("INSERT INTO {SHOP}.probe VALUES (1, 0)"))?;
        Ok(Self { old, new })
    }

    fn at(&self, home: Home) -> &Node {
        match home {
            Home::Old => &self.old,
            Home::New => &self.new,
        }
    }
}

/// Which server of a pair serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    Old,
    New,
}

impl Home {
    fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// One switch.
pub(crate) struct Switch {
    pub began: Instant,
    pub ended: Instant,
    /// What it was made of, in milliseconds.
    pub phases: Vec<(String, f64)>,
}

/// Someone who moves clients to another server.
trait Switcher {
    /// As results name it.
    fn name(&self) -> &'static str;

    /// How it is done, in words that can be repeated.
    fn settings(&self) -> String;

    /// The port clients connect to, wherever they are served.
    fn port(&self) -> u16;

    /// Its servers.
    fn pair(&self) -> &Pair;

    /// Moves the clients.
    fn switch(&mut self, to: Home) -> Result<Switch>;
}

/// Runs the benchmark.
///
/// # Errors
/// If the servers cannot be run, a switch fails, or an acknowledged order is not there exactly once.
pub fn run(args: &CutoverArgs) -> Result<()> {
    let ground = Ground::prepare(&args.common.place.dir)?;
    let machine = Machine::facts(ground.dir(), ground.version())?;
    eprintln!("{}", machine.line());
    let mut report = Report::new("cutover", machine);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| failed("start a runtime", e))?;

    let pair = Pair::start(&ground, OURS, (1, 2), args.shop_rows)?;
    let capacity = pace::capacity(&runtime, &pair.old)?;
    let mut everyone: Vec<Box<dyn Switcher>> = Vec::new();
    if args.common.wants(OURS) {
        everyone.push(Box::new(Ours::bring(args.common.place.program.as_deref(), &ground, pair)?));
    }
    if args.common.wants("by_hand") {
        everyone.push(Box::new(ByHand::bring(Pair::start(&ground, "by_hand", (3, 4), args.shop_rows)?)?));
    }
    for name in [OURS, "by_hand"].into_iter().filter(|name| !args.common.wants(name)) {
        report.absent.insert(name.to_owned(), "left out by --only".to_owned());
    }
    let Some(first) = everyone.first() else { return Err(failed("compare", "--only names nobody")) };
    let wanted = capacity * args.load;
    let pace = pace::find(&runtime, first.port(), &first.pair().old, wanted, args.shoppers)?;
    let told = format!(
        "{} shoppers who look at a page for {:?}; the source alone takes {capacity:.0} transactions/s of them at most, \
         it is to be kept at {wanted:.0}",
        pace.shoppers, pace.think
    );
    eprintln!("{told}");
    report.settings.insert("load".to_owned(), told);
    for switcher in &everyone {
        report.settings.insert(switcher.name().to_owned(), switcher.settings());
    }

    let mut all: Vec<Figures> = everyone.iter().map(|_| Figures::default()).collect();
    for round in 0..args.common.rounds {
        // Whoever comes first in one round comes later in the next.
        let count = everyone.len();
        for i in 0..count {
            let at = (round + i) % count;
            turn(&runtime, everyone[at].as_mut(), (args, pace), &mut all[at])?;
        }
    }
    for (switcher, figures) in everyone.iter().zip(&all) {
        figures.add_to(&mut report, switcher.name());
    }
    say_whether_missed(&mut report, &all, &everyone);
    let file = report.write(args.common.place.json.as_deref())?;
    table::print(&report, &file);
    Ok(())
}

/// What was seen of a contestant, one figure a switch but for the last three: a round each.
#[derive(Default)]
struct Figures {
    shop: Vec<f64>,
    probe: Vec<f64>,
    phases: Vec<(String, Vec<f64>)>,
    failed: Vec<f64>,
    statements: Vec<f64>,
    rate: Vec<f64>,
}

impl Figures {
    fn add_to(&self, report: &mut Report, name: &str) {
        let mut add = |case: &str, unit, figures: &[f64]| {
            figures.iter().for_each(|figure| report.add(case, unit, name, *figure));
        };
        add(
            "stall, a client that writes all the time and tries again at once, each switch",
            "ms",
            &self.probe,
        );
        // A statement that is refused at once has not stalled; its client is worse off all the same.
        if name == OURS {
            add("stall, shop load, each switch", "ms", &self.shop);
        }
        for (case, figures) in [("shop load", &self.shop), ("a client that tries again", &self.probe)] {
            let mut sorted = figures.clone();
            sorted.sort_by(f64::total_cmp);
            if name == OURS || case != "shop load" {
                add(&format!("stall p99 over all switches, {case}"), "ms", &[percentile(&sorted, 0.99)]);
            }
        }
        add("failed statements of the shop, each round", "statements", &self.failed);
        for (phase, figures) in &self.phases {
            add(&format!("phase {phase}"), "ms", figures);
        }
        self.statements
            .iter()
            .for_each(|n| report.add_rate("statements of the shop, each round", "statements", name, *n));
        self.rate
            .iter()
            .for_each(|r| report.add_rate("write rate between switches", "transactions/s", name, *r));
    }

    fn phase(&mut self, name: &str, ms: f64) {
        match self.phases.iter_mut().find(|(n, _)| n == name) {
            Some((_, figures)) => figures.push(ms),
            None => self.phases.push((name.to_owned(), vec![ms])),
        }
    }
}

/// A round of one contestant: load, switches, and the look for every order.
fn turn(
    runtime: &Runtime,
    switcher: &mut dyn Switcher,
    (args, pace): (&CutoverArgs, Pace),
    figures: &mut Figures,
) -> Result<()> {
    ground::flush_disks()?;
    let name = switcher.name();
    let shoppers = shoppers(runtime, switcher.port(), pace)?;
    let probe = runtime.block_on(Probe::start(shop_at(switcher.port())));
    std::thread::sleep(WARM_UP);
    let (mut switches, mut written, mut lasted) = (Vec::new(), 0.0, 0.0);
    for to in [Home::New, Home::Old].into_iter().cycle().take(args.switches * 2) {
        // On the side that serves: the other one may have put many transactions into one.
        let serving = switcher.pair().at(to.other());
        let (begun, before) = (Instant::now(), pace::written(serving)?);
        std::thread::sleep(Duration::from_millis(args.pause));
        written += pace::written(serving)? - before;
        lasted += begun.elapsed().as_secs_f64();
        switches.push(switcher.switch(to)?);
    }
    std::thread::sleep(Duration::from_millis(args.pause) + AFTERMATH);
    let stalls: Vec<_> = switches
        .iter()
        .map(|s| shoppers.stall_between(s.began, s.ended + AFTERMATH).as_secs_f64() * 1e3)
        .collect();
    let writes = runtime.block_on(probe.stop())?;
    let history = runtime.block_on(shoppers.stop()).map_err(|e| failed("stop the shoppers", e))?;
    check(runtime, name, &history, switcher.pair().at(Home::Old))?;

    for (switch, stall) in switches.iter().zip(stalls) {
        let probed = probe::longest(&writes, switch.began, switch.ended + AFTERMATH) * 1e3;
        let phases: Vec<String> = switch.phases.iter().map(|(name, ms)| format!("{name} {ms:.1}")).collect();
        eprintln!("{name}: stall {stall:.0} ms, probe {probed:.0} ms ({})", phases.join(", "));
        figures.shop.push(stall);
        figures.probe.push(probed);
        switch.phases.iter().for_each(|(name, ms)| figures.phase(name, *ms));
    }
    figures.failed.push(history.counts.failed_statements as f64);
    figures.statements.push(history.counts.statements as f64);
    figures.rate.push(written / lasted);
    Ok(())
}

/// Ends the benchmark unless every acknowledged order is there exactly once, and, of ours, unless no statement failed.
fn check(runtime: &Runtime, name: &str, history: &History, node: &Node) -> Result<()> {
    let verdict = runtime.block_on(async {
        let mut connection = Connection::connect(&admin(node.port())).await?;
        history.check(&mut connection).await
    });
    let verdict = verdict.map_err(|e| failed("look for the orders", e))?;
    let broken = history.counts.failed_statements;
    eprintln!("{name}: {}; {broken} of {} statements failed", verdict.sentence(), history.counts.statements);
    if !verdict.holds() {
        return Err(failed(format!("keep every order ({name})"), verdict.sentence()));
    }
    if name == OURS && broken > 0 {
        let first = history.recording.failures.first();
        return Err(failed("switch without a failed statement", format!("{broken} failed, first {first:?}")));
    }
    Ok(())
}

fn say_whether_missed(report: &mut Report, all: &[Figures], everyone: &[Box<dyn Switcher>]) {
    let ours = everyone.iter().zip(all).find(|(s, _)| s.name() == OURS);
    let Some((_, figures)) = ours else { return };
    let spread = crate::report::Spread::of(&figures.shop);
    if spread.median > BAR_MS.0 || spread.max > BAR_MS.1 {
        let missed = format!(
            "the bar is missed: median {:.0} of {} ms, most {:.0} of {} ms",
            spread.median, BAR_MS.0, spread.max, BAR_MS.1
        );
        report.flaws.insert(OURS.to_owned(), missed);
    }
}

fn shop_at(port: u16) -> ConnectOptions {
    let mut options = ConnectOptions::new("127.0.0.1", port, SHOP_USER, Password::new(SHOP_PASSWORD));
    options.schema = Some(SHOP.as_bytes().to_vec());
    options
}

fn shoppers(runtime: &Runtime, port: u16, pace: Pace) -> Result<Shoppers> {
    let mut options = ShopperOptions::new(shop_at(port));
    options.shoppers = pace.shoppers;
    options.think = Duration::ZERO..pace.think;
    runtime.block_on(Shoppers::start(options)).map_err(|e| failed("send the shoppers in", e))
}
