//! A rehearsal goes as far as the proof and leaves everything as it was; hooks run around the phases.

#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use migrate::CopyOptions;
use migrate::cutover::{
    CrossingLog, CutoverOptions, Home, Hooks, Journal, MoveDriver, Phase, Run, TrafficGate, Unproven, When,
};
use model::Trouble;
use mysql::Connection;
use world::clients::{Clients, LockGate};
use world::{World, admin, spec};

fn journal(world: &World) -> PathBuf {
    world.source.dir().join("app.journal")
}

async fn driver<G: TrafficGate>(world: &World, gate: &Arc<G>, options: CutoverOptions) -> MoveDriver<G> {
    let clusters = (admin(&world.source), admin(&world.target));
    let copy = CopyOptions { readers: 2, chunk_rows: 500, ..CopyOptions::default() };
    MoveDriver::start(spec(), clusters, &journal(world), copy, options, Arc::clone(gate)).await.unwrap()
}

async fn proven<G: TrafficGate>(driver: &MoveDriver<G>) {
    world::copied(&driver.mover().unwrap()).await;
    assert_eq!(driver.verify(2, &|_| ()).await.unwrap().different, 0);
}

async fn orders(connection: &mut Connection) -> Vec<i64> {
    let rows = connection.rows("SELECT id FROM app.empty_one ORDER BY id").await.unwrap();
    rows.iter().map(|r| r.number(0).unwrap()).collect()
}

/// The names of the events in a journal, in order.
fn events(journal: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(journal).unwrap();
    let name = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned()
    };
    text.lines().map(name).collect()
}

async fn fences(server: &mut Connection) -> (String, String) {
    let row = server.row("SELECT @@GLOBAL.read_only, @@GLOBAL.super_read_only").await.unwrap().unwrap();
    (row.text(0), row.text(1))
}

async fn active_objects(server: &mut Connection) -> u64 {
    let sql = "SELECT (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'app') + \
               (SELECT COUNT(*) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'app')";
    server.row(sql).await.unwrap().unwrap().number(0).unwrap()
}

const OBJECTS: &str = "USE app; SET GLOBAL log_bin_trust_function_creators = ON; \
    CREATE TABLE audit (n INT AUTO_INCREMENT PRIMARY KEY, at BIGINT); \
    CREATE TRIGGER audited AFTER UPDATE ON account FOR EACH ROW INSERT INTO audit (at) VALUES (NEW.id); \
    CREATE EVENT tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO audit (at) VALUES (-1)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rehearsals_tell_the_stall_and_leave_the_source_serving() {
    let world = World::new().await;
    world.fill(3_000).await;
    world.on_source().await.query_all(OBJECTS).await.unwrap();
    let gate = LockGate::new();
    let driver = driver(&world, &gate, CutoverOptions::default()).await;
    let clients = Clients::start(&gate, admin(&world.source), admin(&world.target));
    proven(&driver).await;

    let mut target = world.on_target().await;
    for _ in 0..3 {
        let log = CrossingLog::default();
        let report = driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &log).await.unwrap();
        println!("would stall {:.1} ms, held {:.1} ms, {:?}", report.stall_ms, report.held_ms, report.phases);
        let phases: Vec<Phase> = report.phases.iter().map(|p| p.phase).collect();
        use Phase::{Drain, Fence, Hold, Prove, Release, Settle};
        assert_eq!(phases, [Hold, Drain, Fence, Settle, Prove, Release]);
        assert!(report.stall_ms > 0.0 && report.stall_ms < report.held_ms + 1.0, "{report:?}");
        let record = log.record();
        assert_eq!(record.run, Some(Run::Rehearsal));
        assert_eq!(record.source_at, report.proven_as_of, "it was proven as of the fence");
        assert!(record.target_at.is_some() && record.tables.len() == 4, "{record:?}");

        assert_eq!((driver.state().home, driver.state().epoch), (Home::Old, 0));
        assert_eq!(fences(&mut world.on_source().await).await, ("0".into(), "0".into()));
        assert_eq!(fences(&mut target).await, ("1".into(), "0".into()), "the target goes on following");
        assert_eq!(active_objects(&mut target).await, 0, "what was created to rehearse is gone");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let seen = events(&journal(&world));
    assert_eq!(seen.iter().filter(|event| *event == "rehearsed").count(), 3);
    assert!(!seen.iter().any(|event| event == "switched" || event == "entered"), "{seen:?}");

    // The real one comes after all the same.
    let report = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    println!("stalled {:.1} ms, {:?}", report.held_ms, report.phases);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let acknowledged = clients.stop().await;
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    assert_eq!(orders(&mut world.on_target().await).await, acknowledged);
    assert_eq!(active_objects(&mut target).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rehearsal_that_meets_an_obstacle_is_given_up_as_a_cutover_would_be() {
    let world = World::new().await;
    world.fill(500).await;
    let gate = LockGate::new();
    let options = CutoverOptions { drain_deadline: Duration::from_millis(300), ..CutoverOptions::default() };
    let driver = driver(&world, &gate, options).await;
    proven(&driver).await;
    let open = gate.home.read().await;
    let log = CrossingLog::default();
    let given_up = driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &log).await.unwrap_err();
    assert!(given_up.what.starts_with("the rehearsal was given up: a transaction is open"), "{given_up}");
    assert!(given_up.state.contains("everything was put back"), "{given_up:?}");
    assert_eq!(log.record().phases.last().unwrap().phase, Phase::Drain);
    drop(open);
    driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &log).await.unwrap();
    let there = driver.rehearse(Home::Old, Unproven::Refuse, &|_| (), &log).await.unwrap_err();
    assert!(there.what.contains("already"), "{there}");
}

/// A hook that writes where it is, and fails in these places.
fn recording(into: &Path, failing: &str) -> Vec<String> {
    let script = format!(
        "echo \"$HIGHWATER_RUN $HIGHWATER_WHEN $HIGHWATER_PHASE $HIGHWATER_EPOCH\" >> '{}'; \
         case \" {failing} \" in *\" ${{HIGHWATER_WHEN}}_$HIGHWATER_PHASE \"*) echo 'no balancer' >&2; exit 3;; esac",
        into.display()
    );
    vec!["sh".into(), "-c".into(), script]
}

const PHASES: [Phase; 7] =
    [Phase::Hold, Phase::Drain, Phase::Fence, Phase::Settle, Phase::Prove, Phase::Switch, Phase::Release];

fn hooks_everywhere(into: &Path, failing: &str) -> CutoverOptions {
    let all: BTreeMap<Phase, Vec<String>> =
        PHASES.into_iter().map(|phase| (phase, recording(into, failing))).collect();
    let undone = Some(recording(into, failing));
    let hooks = Hooks { before: all.clone(), after: all, undone, ..Hooks::default() };
    CutoverOptions { hooks, ..CutoverOptions::default() }
}

fn taken(into: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(into).unwrap_or_default();
    let _ = std::fs::remove_file(into);
    text.lines().map(str::to_owned).collect()
}

/// Every place of these phases, as the hooks write it.
fn places(run: &str, phases: &[Phase], epoch: u64) -> Vec<String> {
    let both = |phase: &Phase| ["before", "after"].map(|when| format!("{run} {when} {phase} {epoch}"));
    phases.iter().flat_map(both).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_around_every_phase_there_back_and_in_rehearsals() {
    let world = World::new().await;
    world.fill(500).await;
    let (gate, said) = (LockGate::new(), world.source.dir().join("hooks.txt"));
    let driver = driver(&world, &gate, hooks_everywhere(&said, "")).await;
    proven(&driver).await;

    let log = CrossingLog::default();
    driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &log).await.unwrap();
    let mut rehearsed = places("rehearsal", &PHASES[..5], 1);
    rehearsed.push("rehearsal undone release 1".into());
    assert_eq!(taken(&said), rehearsed);

    let log = CrossingLog::default();
    let report = driver.cross_logged(Home::New, Unproven::Refuse.into(), &|_| (), &log).await.unwrap();
    assert_eq!(taken(&said), places("cutover", &PHASES, 1));
    assert_eq!((report.warnings.len(), log.record().hooks.len()), (0, 14));
    driver.cross(Home::Old, Unproven::Refuse, &|_| ()).await.unwrap();
    assert_eq!(taken(&said), places("rollback", &PHASES, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_gives_the_crossing_up_before_the_switch_and_warns_after_it() {
    let world = World::new().await;
    world.fill(500).await;
    let (gate, said) = (LockGate::new(), world.source.dir().join("hooks.txt"));
    for place in ["before_hold", "after_fence", "before_switch"] {
        let driver = driver(&world, &gate, hooks_everywhere(&said, place)).await;
        proven(&driver).await;
        let log = CrossingLog::default();
        let given_up =
            driver.cross_logged(Home::New, Unproven::Refuse.into(), &|_| (), &log).await.unwrap_err();
        let sentence = format!("hook {} (sh) ended with exit code 3: no balancer", place.replace('_', "."));
        assert!(given_up.what.contains(&sentence), "{given_up}");
        assert_eq!(given_up.state, "everything was put back; traffic is where it was");
        let ran = taken(&said);
        let phase = place.split('_').next_back().unwrap();
        assert_eq!(ran.last().unwrap(), &format!("cutover undone {phase} 1"), "{ran:?}");
        let hooks = log.record().hooks;
        assert_eq!(hooks.iter().filter(|h| !h.ok).count(), 1);
        assert_eq!(hooks.last().map(|h| (h.when, h.ok)), Some((When::Undone, true)));
        assert_eq!(fences(&mut world.on_source().await).await, ("0".into(), "0".into()));
        assert_eq!(driver.state().home, Home::Old);
    }
    // Putting back fails as well: it is said that something may be left.
    let options = hooks_everywhere(&said, "after_drain undone_drain");
    let driver_of_both = driver(&world, &gate, options).await;
    proven(&driver_of_both).await;
    let given_up = driver_of_both.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(given_up.state.contains("what your hooks did may not be"), "{given_up:?}");
    assert_eq!(fences(&mut world.on_source().await).await, ("0".into(), "0".into()));
    let rehearsed =
        driver_of_both.rehearse(Home::New, Unproven::Refuse, &|_| (), &CrossingLog::default()).await;
    assert!(rehearsed.unwrap_err().what.contains("after.drain"));
    drop(driver_of_both);
    // A rehearsal after which the clients may be shut out is no success.
    let driver_of_one = driver(&world, &gate, hooks_everywhere(&said, "undone_release")).await;
    proven(&driver_of_one).await;
    let rehearsed =
        driver_of_one.rehearse(Home::New, Unproven::Refuse, &|_| (), &CrossingLog::default()).await;
    let rehearsed = rehearsed.unwrap_err();
    assert!(rehearsed.state.contains("what your hooks did may not be"), "{rehearsed:?}");
    drop(driver_of_one);

    let options = hooks_everywhere(&said, "after_switch before_release");
    let driver = driver(&world, &gate, options).await;
    proven(&driver).await;
    let report = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
    assert!(report.warnings[0].starts_with("hook after.switch (sh) ended with exit code 3"));
    assert_eq!((driver.state().home, driver.state().epoch), (Home::New, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_puts_back_a_rehearsal_that_was_cut_short() {
    let world = World::new().await;
    world.fill(500).await;
    let (gate, said) = (LockGate::new(), world.source.dir().join("hooks.txt"));
    let first = driver(&world, &gate, CutoverOptions::default()).await;
    proven(&first).await;
    drop(first);
    // As a crash behind the fence leaves it.
    let mut journal = Journal::open(&journal(&world)).unwrap();
    for phase in [Phase::Hold, Phase::Drain, Phase::Fence] {
        journal.record(migrate::cutover::Event::Rehearsing { phase }).unwrap();
    }
    drop(journal);
    let mut source = world.on_source().await;
    source.execute("SET PERSIST super_read_only = ON").await.unwrap();

    let second = driver(&world, &gate, hooks_everywhere(&said, "")).await;
    assert_eq!(fences(&mut source).await, ("0".into(), "0".into()));
    assert_eq!(taken(&said), ["rehearsal undone fence 1"]);
    proven(&second).await;
    second.rehearse(Home::New, Unproven::Refuse, &|_| (), &CrossingLog::default()).await.unwrap();
}

/// No door: the hooks hold the clients.
struct HooksOnly;

impl TrafficGate for HooksOnly {
    async fn warm(&self, _to: Home) -> Result<(), Trouble> {
        Ok(())
    }
    fn holds_clients(&self) -> bool {
        false
    }
    fn hold(&self) {}
    async fn drain(&self, _deadline: Duration) -> Result<(), Trouble> {
        Ok(())
    }
    fn switch(&self, _to: Home, _epoch: u64) {}
    fn release(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_door_the_source_is_asked_whether_anyone_is_left() {
    let world = World::new().await;
    world.fill(500).await;
    let options = CutoverOptions { drain_deadline: Duration::from_secs(2), ..CutoverOptions::default() };
    let driver = driver(&world, &Arc::new(HooksOnly), options).await;
    proven(&driver).await;
    let mut client = world.on_source().await;
    client.query_all("START TRANSACTION; UPDATE app.account SET note = 'open' WHERE id = 1").await.unwrap();
    let given_up = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap_err();
    assert!(
        given_up.what.contains("still open on the source")
            && given_up.what.contains(&format!("connection {} of", client.id())),
        "{given_up}"
    );
    // One that ends in time is waited for.
    let draining = tokio::sync::Notify::new();
    let told = |phase| {
        if phase == Phase::Drain {
            draining.notify_one();
        }
    };
    let log = CrossingLog::default();
    let (rehearsed, ()) = tokio::join!(driver.rehearse(Home::New, Unproven::Refuse, &told, &log), async {
        draining.notified().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.execute("COMMIT").await.unwrap();
    });
    let drain = rehearsed.unwrap().phases.into_iter().find(|p| p.phase == Phase::Drain).unwrap();
    assert!(drain.ms >= 500.0, "{drain:?}");
    // One that only reads is in nobody's way.
    client.query_all("START TRANSACTION; SELECT * FROM app.account").await.unwrap();
    driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    assert_eq!(driver.state().home, Home::New);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_anyone_is_held_the_target_gets_statistics_and_what_is_hot() {
    let world = World::new().await;
    let mut target = world.on_target().await;
    target.execute("SET GLOBAL innodb_stats_auto_recalc = OFF").await.unwrap();
    world.fill(4_000).await;
    let gate = LockGate::new();
    let driver = driver(&world, &gate, CutoverOptions::default()).await;
    proven(&driver).await;
    // What the application reads, by an index that nothing of ours uses.
    let mut source = world.on_source().await;
    source.query_all("SELECT COUNT(*) FROM app.pair FORCE INDEX (b) WHERE b > 0").await.unwrap();
    let statistics =
        "SELECT n_rows FROM mysql.innodb_table_stats WHERE database_name = 'app' AND table_name = 'account'";
    let known = target.row(statistics).await.unwrap().map_or(0, |row| row.number::<u64>(0).unwrap());
    assert!(known < 1_000, "the test proves nothing: {known}");
    let read = "SELECT COUNT_FETCH FROM performance_schema.table_io_waits_summary_by_index_usage \
                WHERE OBJECT_SCHEMA = 'app' AND OBJECT_NAME = 'pair' AND INDEX_NAME = 'b'";
    let count = |row: Option<mysql::Row>| row.map_or(0, |row| row.number::<u64>(0).unwrap());
    let before = count(target.row(read).await.unwrap());

    let log = CrossingLog::default();
    driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &log).await.unwrap();
    let primed = log.record().primed.unwrap();
    println!("{primed:?}");
    assert_eq!((primed.analyzed, primed.left_out.len()), (3, 0), "{primed:?}");
    assert!(primed.indexes >= 2 && primed.entries >= 4_000, "{primed:?}");
    assert!(count(target.row(statistics).await.unwrap()) > 3_000);
    assert!(count(target.row(read).await.unwrap()) >= before + 4_000, "the hot index was read");
    // Nothing of that is in the target's log.
    let mut events = Vec::new();
    for log in target.rows("SHOW BINARY LOGS").await.unwrap() {
        events.extend(target.rows(format!("SHOW BINLOG EVENTS IN '{}'", log.text(0))).await.unwrap());
    }
    assert!(events.iter().any(|event| event.text(5).contains("CREATE TABLE")), "the log is read");
    assert!(!events.iter().any(|event| event.text(5).contains("ANALYZE")));

    // No time for it: it goes on without.
    drop(driver);
    let options = CutoverOptions { prime_deadline: Duration::from_nanos(2), ..CutoverOptions::default() };
    let driver = self::driver(&world, &gate, options).await;
    proven(&driver).await;
    let log = CrossingLog::default();
    driver.cross_logged(Home::New, Unproven::Refuse.into(), &|_| (), &log).await.unwrap();
    assert_eq!(log.record().primed.unwrap().left_out.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_when_a_door_has_released_its_clients_holds_nobody() {
    let world = World::new().await;
    world.fill(500).await;
    let slow = || vec!["sleep".to_owned(), "3".to_owned()];
    let hooks =
        Hooks { after: BTreeMap::from([(Phase::Release, slow())]), undone: Some(slow()), ..Hooks::default() };
    let gate = LockGate::new();
    let driver = driver(&world, &gate, CutoverOptions { hooks, ..CutoverOptions::default() }).await;
    proven(&driver).await;
    let log = CrossingLog::default();
    let report = driver.rehearse(Home::New, Unproven::Refuse, &|_| (), &log).await.unwrap();
    let hook = log.record().hooks.remove(0);
    assert!(hook.ms >= 3_000.0 && report.held_ms < 3_000.0, "{report:?} {hook:?}");
    assert_eq!(log.record().held_ms, report.held_ms);
    let report = driver.cross(Home::New, Unproven::Refuse, &|_| ()).await.unwrap();
    let took: f64 = report.phases.iter().map(|p| p.ms).sum();
    assert!(took >= 3_000.0 && report.held_ms < 3_000.0, "{report:?}");
}
