//! What happens in the demo, in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use load::{
    CutoverRecord, History, Scale, Shop, ShopperOptions, Shoppers, Verdict, VerifyRecord, VerifyTable,
};
use migrate::check::{CheckReport, Outcome};
use migrate::cutover::{CrossingReport, Home};
use model::Trouble;
use mysql::Connection;

use super::narrator::Narrator;
use super::stage::Stage;
use crate::cli::DemoArgs;
use crate::control::{ControlSocket, Crossing as How, Progress};
use crate::preflight;
use crate::service::Service;
use crate::trouble::from_mysql;

/// The one move.
const MOVE: &str = "shop";
/// How long the shop is left alone between two events, so that the report shows what is normal.
const LULL: Duration = Duration::from_secs(4);
/// Between two looks at what goes on.
const LOOK: Duration = Duration::from_millis(200);

/// Everything that is needed to judge the story.
pub(super) struct Told {
    pub version: String,
    pub shoppers: u32,
    pub rows: u64,
    pub check: CheckReport,
    pub crossings: Vec<(Crossing, CutoverRecord)>,
    pub verifies: Vec<VerifyRecord>,
    pub history: History,
    pub verdict: Verdict,
}

/// A crossing and when it was.
pub(super) struct Crossing {
    pub name: &'static str,
    pub report: CrossingReport,
    begin_ms: f64,
    end_ms: f64,
}

/// Plays the story.
pub(super) async fn tell(stage: &Stage, args: &DemoArgs, seed: u64, say: &Narrator) -> Result<Told, Trouble> {
    say.chapter("A shop on a server it is about to outgrow");
    let begun = Instant::now();
    let shop = Shop::create(&stage.on_old(), Scale { rows: args.rows }, seed).await.map_err(demo_failed)?;
    let took = begun.elapsed().as_secs_f64();
    say.say(&format!("{} rows in {} tables, loaded in {took:.1} s", shop.rows, shop.tables));

    say.chapter("check: what would have gone wrong");
    let check = check_and_mend(stage, say).await?;

    let mut service = Service::new(stage.config().clone());
    service.open_door(None).await?;
    let socket = ControlSocket::bind(&stage.config().state_dir)?;
    let door = service.door_address().ok_or_else(|| demo_failed("the front door has no address"))?;
    say.chapter("The shoppers come in through the front door");
    let mut options = ShopperOptions::new(stage.shopper(door));
    options.shoppers = args.shoppers as usize;
    options.seed = seed;
    let shoppers = Shoppers::start(options).await.map_err(demo_failed)?;
    watch(LULL, &shoppers, None, say).await;

    say.chapter("copy: the tables move while the shop is open");
    let copying = shoppers.begin_mark("copy");
    let move_config = stage.config().move_named(None)?.clone();
    service.start_move(&move_config).await?;
    let service = Arc::new(service);
    // From here on every command can be tried from another terminal.
    let answering = tokio::spawn(socket.serve(Arc::clone(&service), service.stopped()));
    copied(&service, &shoppers, say).await?;
    shoppers.end_mark(copying);

    let mut scenes =
        Scenes { service: &service, shoppers: &shoppers, say, verifies: Vec::new(), crossings: Vec::new() };
    watch(LULL, &shoppers, Some(&service), say).await;
    scenes.verify("before the cutover").await?;
    scenes.cross("cutover", Home::New).await?;
    watch(LULL, &shoppers, Some(&service), say).await;
    scenes.verify("before the rollback").await?;
    scenes.cross("rollback", Home::Old).await?;
    watch(LULL, &shoppers, Some(&service), say).await;
    scenes.verify("at the end").await?;
    let Scenes { verifies, crossings, .. } = scenes;

    say.chapter("The shop closes, and every order is looked for");
    let history = shoppers.stop().await.map_err(demo_failed)?;
    let mut old = connect(&stage.on_old()).await?;
    let verdict = history.check(&mut old).await.map_err(demo_failed)?;
    say.say(&verdict.sentence());
    for finding in &verdict.findings {
        say.quote(&format!("{} {}", if finding.holds { "ok " } else { "NO " }, finding.detail));
    }
    answering.abort();
    let recording = &history.recording;
    let crossings = crossings
        .into_iter()
        .map(|c| {
            let phases = c.report.phases.iter().map(|p| (p.phase.to_string(), p.ms)).collect();
            let record = CutoverRecord::measured(c.name, c.begin_ms, c.end_ms, phases, recording);
            (c, record)
        })
        .collect();
    Ok(Told {
        version: stage.version().to_owned(),
        shoppers: args.shoppers,
        rows: shop.rows,
        check,
        crossings,
        verifies,
        history,
        verdict,
    })
}

/// Shows what `check` refuses, applies the fixes it names for the target, and checks again.
async fn check_and_mend(stage: &Stage, say: &Narrator) -> Result<CheckReport, Trouble> {
    let config = stage.config();
    let one = config.move_named(None)?;
    let first = preflight::check(config, one, &[]).await?;
    let counts =
        |r: &CheckReport| format!("{} passed, {} warned, {} refused", r.passed(), r.warned(), r.refused());
    say.say(&format!("{} checks: {}", first.checks.len(), counts(&first)));
    let mut new = connect(&stage.on_new()).await?;
    for refused in first.with(Outcome::Refused) {
        say.quote(&format!("refused  {}: {}", refused.name, refused.evidence));
        say.quote(&format!("because  {}", refused.why));
        for line in refused.fix.iter().flat_map(|fix| fix.lines()) {
            let statement = line.split(';').next().unwrap_or_default().trim();
            if statement.starts_with("SET PERSIST ") {
                say.quote(&format!("applied  {statement}"));
                let doing = "apply the fix that `check` names";
                new.execute(statement).await.map_err(|e| from_mysql(&e, doing, "the demo ends here"))?;
            }
        }
    }
    let second = preflight::check(config, one, &[]).await?;
    say.say(&format!("checked again: {}", counts(&second)));
    // The report shows what was found, not what was left of it.
    Ok(first)
}

async fn copied(service: &Service, shoppers: &Shoppers, say: &Narrator) -> Result<(), Trouble> {
    loop {
        let status = service.status();
        let Some(one) = status.moves.first() else { return Err(demo_failed("the move is gone")) };
        match one.state.as_str() {
            "copying" | "starting" | "reconnecting" => {
                let live = shoppers.live();
                say.live(&format!(
                    "copying {} of {} rows, {:.0} rows/s | {}",
                    one.rows_done,
                    one.rows_estimate,
                    one.rows_per_s,
                    pulse(&live)
                ));
                tokio::time::sleep(LOOK).await;
            }
            "following" => {
                say.say(&format!(
                    "{} rows copied, {:.0} rows/s, without a lock",
                    one.rows_done, one.rows_per_s
                ));
                return Ok(());
            }
            _ => {
                return Err(one
                    .trouble
                    .clone()
                    .unwrap_or_else(|| demo_failed("the move stopped without a word")));
            }
        }
    }
}

/// The service and the shoppers, and what is remembered of both.
struct Scenes<'a> {
    service: &'a Arc<Service>,
    shoppers: &'a Shoppers,
    say: &'a Narrator,
    verifies: Vec<VerifyRecord>,
    crossings: Vec<Crossing>,
}

impl Scenes<'_> {
    async fn verify(&mut self, when: &str) -> Result<(), Trouble> {
        self.say.chapter("verify: every row, while it is being changed");
        let mark = self.shoppers.begin_mark("verify");
        let begun = Instant::now();
        let verdict = self.service.verify(MOVE, false, &Progress::unwatched()).await;
        self.shoppers.end_mark(mark);
        let verdict = verdict?;
        let took = begun.elapsed();
        self.say.say(&format!(
            "{} rows compared in {:.1} s: {} differ; {} keys in flight are proven again all the time",
            verdict.rows,
            took.as_secs_f64(),
            verdict.different,
            verdict.keys_in_flight
        ));
        let table = |t: &migrate::TableVerdict| VerifyTable {
            table: t.table.to_string(),
            rows: t.rows,
            different: t.different,
        };
        self.verifies.push(VerifyRecord {
            name: when.to_owned(),
            duration_ms: took.as_secs_f64() * 1000.0,
            tables: verdict.tables.iter().map(table).collect(),
        });
        Ok(())
    }

    async fn cross(&mut self, name: &'static str, to: Home) -> Result<(), Trouble> {
        let server = if to == Home::New { "new" } else { "old" };
        self.say.chapter(&format!("{name}: hold, drain, fence, settle, prove, switch, release"));
        let timeline = self.shoppers.timeline();
        let begun = Instant::now();
        let report = self.service.cross(MOVE, to, How::default(), &Progress::unwatched()).await?;
        // What came before the hold (logins on the other side) and after the release (the stream back) held nobody.
        let held = Duration::from_secs_f64(report.held_ms / 1000.0);
        let end = Instant::now();
        timeline.add_mark(name, begun, Some(end));
        self.crossings.push(Crossing {
            name,
            begin_ms: timeline.at_ms(begun),
            end_ms: timeline.at_ms(end),
            report: report.clone(),
        });
        let phases: Vec<String> = report.phases.iter().map(|p| format!("{} {:.1}", p.phase, p.ms)).collect();
        self.say.say(&format!(
            "`{server}` serves; clients were held for {:.0} ms (ms: {}); {} keys were proven behind the fence",
            held.as_secs_f64() * 1000.0,
            phases.join(", "),
            report.keys_proven_at_fence
        ));
        Ok(())
    }
}

async fn watch(how_long: Duration, shoppers: &Shoppers, service: Option<&Service>, say: &Narrator) {
    let until = Instant::now() + how_long;
    while Instant::now() < until {
        let lag = service.and_then(|s| s.status().moves.first().and_then(|m| m.lag_ms));
        let lag = lag.map(|ms| format!("following, {ms} ms behind | ")).unwrap_or_default();
        say.live(&format!("{lag}{}", pulse(&shoppers.live())));
        tokio::time::sleep(LOOK).await;
    }
}

fn pulse(live: &load::Live) -> String {
    format!(
        "{} statements/s, p50 {:.1} ms, p99 {:.1} ms | {} orders, {} failed",
        live.statements_per_second,
        live.p50_ms,
        live.p99_ms,
        live.orders_acknowledged,
        live.failed_statements
    )
}

async fn connect(options: &mysql::ConnectOptions) -> Result<Connection, Trouble> {
    Connection::connect(options)
        .await
        .map_err(|e| from_mysql(&e, "reach a demo server", "the demo ends here"))
}

fn demo_failed(error: impl std::fmt::Display) -> Trouble {
    Trouble::new(
        format!("the demo could not be played: {error}"),
        "its servers are ended; nothing else was touched",
        "run it again with HIGHWATER_LOG=info; `--keep` leaves the servers' files in place",
    )
}
