//! The running process: the moves, the front door, and the answers to whoever asks.
//!
//! This is the only place where moves and front door meet: [`gate::DoorGate`] is the gate a crossing asks for,
//! carried out by the door's control.

mod crossing;
mod digests;
mod gate;
mod greeting;
mod handing_over;
mod leavers;
mod leaving;
mod pace;
mod reload;
mod routes;
mod slow_log;
mod view;
mod waiting;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use migrate::Fence;
use migrate::cutover::{Home, Hooks, MoveDriver, TrafficGate};
use migrate::throttle::{Pulse, PulseOptions, Throttle};
use model::{GtidSet, Trouble};
use proxy::{Backend, Control, Door, DoorOptions};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{ClusterConfig, MoveConfig, MoveRoute, ResolvedConfig};
use crate::control::{Asker, Host, Progress, Request, StatusView, ThrottleChange};
use gate::DoorGate;
use handing_over::Handing;
use slow_log::SlowLog;
use waiting::RunningMove;

pub use handing_over::{HandedOver, Inheritance};

/// Tables compared at the same time.
const VERIFY_LANES: usize = 4;

/// What state the front door is in while it cannot be opened.
const STATE_OF_THE_DOOR: &str = "the front door is not open";

/// What runs in this process.
pub struct Service {
    /// What it was started with.
    config: ResolvedConfig,
    /// The same with what was changed since.
    settings: Mutex<ResolvedConfig>,
    moves: RwLock<Vec<Arc<RunningMove>>>,
    /// What goes on with the moves that wait.
    going_on: Mutex<JoinSet<()>>,
    /// One for each cluster that rows are read from, shared by all moves from there.
    pulses: Mutex<BTreeMap<String, Arc<Pulse>>>,
    door: Option<Door>,
    slow_log: SlowLog,
    stop: watch::Sender<bool>,
    /// Whether clients are being seen out.
    stopping: AtomicBool,
    /// Whether whoever runs this answers to processes that ask for the front door.
    hands_over: bool,
    /// What is being handed over to the process that takes this one's place. After the door: it says that clients are left here.
    handing: Mutex<Option<Handing>>,
}

impl Service {
    /// Nothing runs yet.
    pub fn new(config: ResolvedConfig) -> Self {
        Self {
            settings: Mutex::new(config.clone()),
            config,
            moves: RwLock::default(),
            going_on: Mutex::default(),
            pulses: Mutex::default(),
            door: None,
            slow_log: SlowLog::default(),
            stop: watch::Sender::new(false),
            stopping: AtomicBool::new(false),
            hands_over: false,
            handing: Mutex::default(),
        }
    }

    /// The moves of this process.
    fn moves(&self) -> Vec<Arc<RunningMove>> {
        self.moves.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_moves(&self, moves: Vec<Arc<RunningMove>>) {
        *self.moves.write().unwrap_or_else(PoisonError::into_inner) = moves;
    }

    fn add_move(&self, running: RunningMove) {
        self.moves.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(running));
    }

    fn going_on(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.going_on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether clients are being seen out, or it is about to end.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Starts a move, or goes on with it where its journal and its ledger say it is.
    ///
    /// # Errors
    /// If `check` refuses it, a server cannot be reached, or its journal cannot be used.
    pub async fn start_move(&mut self, one: &MoveConfig) -> Result<(), Trouble> {
        self.start(one, None).await?.map_or(Ok(()), Err)
    }

    /// Starts a move whose target was restored from a backup as of a GTID set of the source, or goes on with it.
    ///
    /// # Errors
    /// As [`Service::start_move`], and if the target is not what such a backup would be.
    pub async fn start_from_backup(&mut self, one: &MoveConfig, set: GtidSet) -> Result<(), Trouble> {
        self.start(one, Some(set)).await?.map_or(Ok(()), Err)
    }

    /// Starts a move, or goes on with it; where a server of it cannot be reached, it waits for [`Service::go_on`]. Answers what
    /// it waits for.
    ///
    /// # Errors
    /// As [`Service::start_move`], but for servers that cannot be reached.
    pub async fn start_or_wait(&mut self, one: &MoveConfig) -> Result<Option<String>, Trouble> {
        let waits = self.start(one, None).await?;
        Ok(waits.map(|trouble| self.waiting(one).unwrap_or(trouble).what))
    }

    fn waiting(&self, one: &MoveConfig) -> Option<Trouble> {
        self.found(&one.spec.name)?.trouble()
    }

    /// From now on the moves that wait are tried again, until they run. After the front door has been opened: it holds its
    /// clients for those that must be mended first.
    pub fn go_on(&self) {
        for running in self.moves().into_iter().filter(|running| running.waits()) {
            self.going_on().spawn(running.go_on_when_it_can(self.config.clone()));
        }
    }

    /// Answers why it waits, if it does.
    async fn start(
        &mut self,
        one: &MoveConfig,
        from_backup: Option<GtidSet>,
    ) -> Result<Option<Trouble>, Trouble> {
        let seeded = from_backup.is_some();
        let running = self.opened(one, from_backup)?;
        let waits = running.first_try(&self.config, seeded).await?;
        self.add_move(running);
        Ok(waits)
    }

    /// A move whose journal is open, and of which nothing runs.
    fn opened(&self, one: &MoveConfig, from_backup: Option<GtidSet>) -> Result<RunningMove, Trouble> {
        let throttle = self.throttle(one)?;
        let (old, new) = (self.config.source_of(one), self.config.target_of(one));
        let others =
            self.config.moves.iter().filter(|m| m.source == one.source && m.spec.name != one.spec.name);
        let others = others.map(|m| m.spec.name.clone()).collect();
        let gate = Arc::new(DoorGate::new(
            (backend(old), backend(new)),
            gate::Fenced {
                by: one.fence,
                accounts: one.fence_accounts.clone(),
                others,
                route: self.config.route_of(one),
                leaves_tables: !one.spec.on(model::Side::Source).parted_schemas().is_empty(),
            },
            self.without_door(),
            self.config.front_door.rules.hold_max,
            self.config.state_dir.clone(),
        ));
        if let Some(door) = &self.door {
            gate.connect(door.control());
        }
        let options = &self.config.cutover;
        let driver = MoveDriver::open(
            one.spec.clone(),
            (old.connect_options(), new.connect_options()),
            &self.config.state_dir.join(format!("{}.journal", one.spec.name)),
            migrate::CopyOptions {
                readers: self.config.copy.readers,
                chunk_rows: u64::from(self.config.copy.chunk_rows),
                defer_indexes: self.config.copy.defer_indexes,
                along: one.along.clone(),
                throttle: Arc::clone(&throttle),
                from_backup,
            },
            migrate::cutover::CutoverOptions {
                lag_max: options.lag_max,
                drain_deadline: options.drain_deadline,
                fence_deadline: options.fence_deadline,
                settle_deadline: options.settle_deadline,
                prove_deadline: options.prove_deadline,
                prime_deadline: options.prime_deadline,
                hooks: options.hooks.clone(),
                replicas: [old.replica_options(), new.replica_options()],
                fence: one.fence,
                fence_accounts: one.fence_accounts.clone(),
            },
            Arc::clone(&gate),
        )?;
        Ok(RunningMove::new(one.clone(), driver, gate, throttle))
    }

    /// A move's throttle, with what operators have said before.
    fn throttle(&self, one: &MoveConfig) -> Result<Arc<Throttle>, Trouble> {
        let settings = &self.config.throttle;
        let order = pace::remembered(&pace::file(&self.config.state_dir, &one.spec.name), settings)?;
        let source = self.config.source_of(one);
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let pulse = pulses.entry(source.name.clone()).or_insert_with(|| {
            Pulse::start(PulseOptions {
                source: source.connect_options(),
                replicas: source.replica_options(),
                limits: settings.limits.clone(),
            })
        });
        let throttle = Throttle::new(
            Some(Arc::clone(pulse)),
            self.config.copy.readers,
            Some(settings.target_lag_max),
            settings.chunk_time,
        );
        throttle.give_order(order);
        Ok(Arc::new(throttle))
    }

    /// Tells the readers of a move, or of all moves, what an operator says, at once and for later starts; answers with
    /// the pace of each.
    fn throttle_moves(&self, name: Option<&str>, change: Option<ThrottleChange>) -> Result<Value, Trouble> {
        let chosen: Vec<Arc<RunningMove>> = match name {
            Some(name) => vec![self.running(name)?],
            // All or none of them: an order that half of them have heard is none.
            None => self
                .moves()
                .iter()
                .map(|one| self.running(&one.config.spec.name))
                .collect::<Result<_, _>>()?,
        };
        let mut answer = serde_json::Map::new();
        for running in chosen {
            let name = &running.config.spec.name;
            if let Some(change) = change {
                let order = pace::changed(running.throttle.order(), change);
                running.throttle.give_order(order);
                pace::remember(&pace::file(&self.config.state_dir, name), order)?;
            }
            let view = pace::view(&running);
            answer.insert(name.clone(), serde_json::to_value(view).expect("a view has only string keys"));
        }
        Ok(Value::Object(answer))
    }

    /// The settings that are in force.
    fn settings(&self) -> MutexGuard<'_, ResolvedConfig> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without a front door, the hooks that keep the clients away instead.
    fn without_door(&self) -> Option<Hooks> {
        (!self.config.front_door.enabled).then(|| self.config.cutover.hooks.clone())
    }

    /// Opens the front door to the side that serves: what the moves' journals say, else the settings. Where that side must be
    /// mended first, clients are held until it is, or for as long as a crossing may hold them. It opens on what it inherits from another
    /// process, if that is anything.
    ///
    /// # Errors
    /// If the address cannot be listened on, the old process sends clients elsewhere, the settings leave open who the writer is, or it refuses us, or has never been
    /// reached from this state directory.
    pub async fn open_door(&mut self, inheritance: Option<Inheritance>) -> Result<Control, Trouble> {
        let first = self.config.first_writer()?;
        let home_of = |one: &MoveConfig| self.home_of(one);
        let cluster = routes::serving(&self.config, &home_of, first);
        let options = &self.config.front_door;
        let made = DoorOptions {
            listen: options.listen,
            threads: options.threads,
            writer: backend(cluster),
            server_version: greeting::of(cluster, &self.config.state_dir).await?,
            routes: routes::at_first(&self.config, &home_of),
            share: options.share,
            rules: options.rules.clone(),
        };
        if let Some(inheritance) = &inheritance {
            inheritance.refuse_other_routes(&made)?;
        }
        // Before the first client can come.
        let connect = |control: &Control| {
            for running in self.moves() {
                running.gate.connect(control.clone());
                let one = &running.config;
                let served_here = one.source == first.name || self.config.route_of(one).is_some();
                if served_here && running.driver.is_half_way() {
                    running.gate.hold();
                }
            }
        };
        let door = match inheritance {
            None => Door::start_with(made, connect),
            Some(inheritance) => Door::start_on(made, inheritance.door, connect),
        };
        let door = door.map_err(|e| three_parts(&e.to_string()))?;
        if options.rules.observe.slow.is_some() {
            self.slow_log.set(Some(slow_log::open(&options.slow_log)?));
        }
        if let Some(statements) = door.slow_statements() {
            self.slow_log.write_down(statements)?;
        }
        let control = door.control();
        self.door = Some(door);
        Ok(control)
    }

    /// The side of a move that serves; the old one if it does not run.
    fn home_of(&self, one: &MoveConfig) -> Home {
        self.found(&one.spec.name).map_or(Home::Old, |m| m.driver.state().home)
    }

    /// Where clients connect, if the door is open.
    pub fn door_address(&self) -> Option<std::net::SocketAddr> {
        self.door.as_ref().map(Door::address)
    }

    /// Resolves when someone asked the process to end.
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            // An error means that the service is gone, which is as good.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// The state of everything.
    pub fn status(&self) -> StatusView {
        view::status(&self.moves(), self.door.as_ref(), leavers::all(&self.config.state_dir))
    }

    fn found(&self, name: &str) -> Option<Arc<RunningMove>> {
        self.moves().into_iter().find(|m| m.config.spec.name == name)
    }

    /// A move that commands can be given to.
    fn running(&self, name: &str) -> Result<Arc<RunningMove>, Trouble> {
        let found = self.found(name).ok_or_else(|| {
            Trouble::new(
                format!("move '{name}' does not run in this process"),
                "nothing was changed",
                "start it with `highwater serve`, or see `highwater status` for the moves that run",
            )
        })?;
        match found.trouble() {
            Some(trouble) if found.waits() => {
                let what = format!("move '{name}' takes no command now: it is {}", trouble.what);
                let state = format!("nothing was changed; {}", trouble.state);
                Err(Trouble::new(what, state, trouble.hint))
            }
            _ => Ok(found),
        }
    }

    /// Compares every row of a move, and sums them up if that is asked for.
    ///
    /// # Errors
    /// If that cannot be done.
    pub async fn verify(
        &self,
        name: &str,
        sums: bool,
        progress: &Progress,
    ) -> Result<migrate::Verification, Trouble> {
        let running = self.running(name)?;
        let driver = &running.driver;
        let seen = counted(progress, "verify", driver.mover().map(|m| m.progress().rows_copied()));
        match sums {
            true => driver.verify_summing(VERIFY_LANES, &seen).await,
            false => driver.verify(VERIFY_LANES, &seen).await,
        }
    }

    /// Compares the newest rows of each table of a move.
    ///
    /// # Errors
    /// If that cannot be done.
    pub async fn verify_newest(
        &self,
        name: &str,
        newest: u64,
        progress: &Progress,
    ) -> Result<migrate::Verification, Trouble> {
        self.running(name)?
            .driver
            .verify_newest(newest, VERIFY_LANES, &counted(progress, "verify", None))
            .await
    }

    async fn finish(&self, name: &str) -> Result<Value, Trouble> {
        let running = self.running(name)?;
        let home = running.driver.finish().await?;
        let (serving, other) = match home {
            Home::Old => (&running.config.source, &running.config.target),
            Home::New => (&running.config.target, &running.config.source),
        };
        let left = match home {
            Home::Old => format!("cluster '{other}' takes writes again; the copied tables are still there"),
            Home::New if running.config.fence == Fence::Schemas => {
                let closed = format!(
                    "the schemas that have moved stay READ ONLY on cluster '{other}', so that nobody writes there by mistake"
                );
                match self.settings_without(&running.config, serving) {
                    Some(settings) => format!("{closed}; {settings}"),
                    None => closed,
                }
            }
            Home::New if running.config.fence == Fence::Tables => format!(
                "triggers named highwater_fence_... keep the tables that have moved closed on cluster '{other}', so that nobody writes there \
                 by mistake; they go with the tables"
            ),
            Home::New => format!("cluster '{other}' stays read-only, so that nobody writes there by mistake"),
        };
        Ok(json!({ "move": name, "serving": serving, "left": left }))
    }

    /// What the settings must say in place of a move that has a route of its own, which goes with its section: after a restart
    /// without it clients would be sent to the old rows.
    fn settings_without(&self, one: &MoveConfig, serving: &str) -> Option<String> {
        self.door.as_ref()?;
        let needed = match self.config.route_of(one)? {
            MoveRoute::Schemas(schemas) => {
                let routes: Vec<String> =
                    schemas.iter().map(|schema| format!("{schema} = \"{serving}\"")).collect();
                format!("`schemas = {{ {} }}` in [front_door]", routes.join(", "))
            }
            MoveRoute::Users { users, .. } => {
                let tables: Vec<String> =
                    users.iter().map(|user| format!("[front_door.users.{user}]")).collect();
                format!("`cluster = \"{serving}\"` in {}", tables.join(", "))
            }
        };
        Some(format!("in place of [moves.{}] the settings need {needed}", one.spec.name))
    }
}

impl Host for Service {
    async fn withdraw(&self) {
        self.go_on_alone().await;
    }

    async fn handle(&self, request: Request, asker: Asker, progress: Progress) -> Result<Value, Trouble> {
        if request != Request::Status {
            self.refuse_while_handing_over()?;
        }
        let answer = match request {
            Request::Status => serde_json::to_value(self.status()),
            Request::Throttle { move_name, change } => Ok(self.throttle_moves(move_name.as_deref(), change)?),
            Request::Verify { move_name, newest: None, sums } => {
                serde_json::to_value(self.verify(&move_name, sums, &progress).await?)
            }
            // Of a few rows there is no proof to keep.
            Request::Verify { move_name, newest: Some(newest), sums: _ } => {
                serde_json::to_value(self.verify_newest(&move_name, newest, &progress).await?)
            }
            Request::Repair { move_name, plan: None } => {
                serde_json::to_value(self.running(&move_name)?.driver.plan_repair().await?)
            }
            Request::Repair { move_name, plan: Some(plan) } => {
                let written = counted(&progress, "repair", None);
                serde_json::to_value(self.running(&move_name)?.driver.repair(plan, &written).await?)
            }
            Request::Cutover { move_name, how } => {
                Ok(self.crossing(&move_name, Home::New, how, &asker, &progress).await?)
            }
            Request::Rollback { move_name, how } => {
                Ok(self.crossing(&move_name, Home::Old, how, &asker, &progress).await?)
            }
            Request::Finish { move_name } => Ok(self.finish(&move_name).await?),
            Request::Digests { anew } => serde_json::to_value(self.digests(anew)?),
            Request::Reload => Ok(self.reload()?),
            Request::HandOver(terms) => serde_json::to_value(self.offer(terms).await?),
            Request::Stop { within_ms, kill_after_ms } => {
                let patience = kill_after_ms.map(Duration::from_millis);
                Ok(self.leave(Duration::from_millis(within_ms), patience, &progress).await)
            }
        };
        Ok(answer.expect("answers have only string keys"))
    }
}

/// Tells how many rows a phase has done.
fn counted(progress: &Progress, phase: &'static str, total: Option<u64>) -> impl Fn(u64) + Sync {
    let seen = AtomicU64::new(0);
    move |rows| {
        let seen = seen.fetch_add(rows, Ordering::Relaxed) + rows;
        progress.step(phase, seen, total.map(|t| t.max(seen)), "rows");
    }
}

fn backend(cluster: &ClusterConfig) -> Backend {
    Backend {
        id: cluster.name.clone(),
        host: cluster.host.clone(),
        port: cluster.port,
        server_key: cluster.server_key.clone(),
        tls: cluster.tls.clone(),
    }
}

/// Takes a message in three lines apart.
fn three_parts(text: &str) -> Trouble {
    let part = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        line.map(|l| l.trim().to_owned()).unwrap_or_default()
    };
    match part("error:") {
        what if what.is_empty() => Trouble::new(text, "", ""),
        what => Trouble::new(what, part("state:"), part("hint:")),
    }
}
