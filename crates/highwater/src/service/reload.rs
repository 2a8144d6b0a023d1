//! Reading the settings again, without dropping a client or stopping a move.
//!
//! A file that cannot be used changes nothing. What can change at run time does; what cannot is named, and named again at every
//! reading until the process has been started with it.

use std::path::Path;
use std::sync::PoisonError;

use migrate::throttle::Order;
use model::Trouble;
use serde_json::{Value, json};

use super::{Service, pace, slow_log};
use crate::config::{
    self, ClusterConfig, CopyOptions, CutoverOptions, FrontDoorOptions, MoveConfig, ResolvedConfig,
    ThrottleOptions,
};

/// The keys whose values differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Those that are in force now.
    now: Vec<String>,
    /// Those that are not before the process is started again.
    at_restart: Vec<String>,
}

impl Service {
    /// Reads the settings again; answers with the keys that have changed, and which of them are in force.
    ///
    /// # Errors
    /// If they cannot be used; then those read before stay in force, all of them.
    pub fn reload(&self) -> Result<Value, Trouble> {
        let mut settings = self.settings();
        let new = config::load(&self.config.file).map_err(config::still_in_force)?;
        let changed = changed(&settings, &new);
        let opened = match (&self.door, new.front_door.rules.observe.slow) {
            (Some(_), Some(_)) => {
                Some(slow_log::open(&new.front_door.slow_log).map_err(config::still_in_force)?)
            }
            _ => None,
        };
        // From here on nothing fails but remembering an order.
        if let Some(door) = &self.door {
            self.slow_log.set(opened);
            door.control().set_rules(new.front_door.rules.clone());
        }
        let ordered = self.set_throttle(&settings.throttle, &new.throttle);
        for running in self.moves() {
            running.gate.set_hold_max(new.front_door.rules.hold_max);
        }
        settings.take_over(new);
        ordered?;
        Ok(json!({
            "settings": Path::new(&self.config.file),
            "in_force": changed.now,
            "need_a_restart": changed.at_restart,
        }))
    }

    fn set_throttle(&self, old: &ThrottleOptions, new: &ThrottleOptions) -> Result<(), Trouble> {
        for pulse in self.pulses.lock().unwrap_or_else(PoisonError::into_inner).values() {
            pulse.set_limits(new.limits.clone());
        }
        for running in self.moves() {
            running.throttle.set_bounds(Some(new.target_lag_max), new.chunk_time);
            // What was ordered by command holds until the file says something else than before.
            if old.rows_per_second != new.rows_per_second {
                let order = Order { rows_per_second: new.rows_per_second, ..running.throttle.order() };
                running.throttle.give_order(order);
                pace::remember(&pace::file(&self.config.state_dir, &running.config.spec.name), order)?;
            }
        }
        Ok(())
    }
}

impl ResolvedConfig {
    /// Takes what is in force at once from newer settings; the rest stays as the process was started with.
    fn take_over(&mut self, new: Self) {
        self.front_door.rules = new.front_door.rules;
        self.front_door.slow_log = new.front_door.slow_log;
        self.front_door.stop_max = new.front_door.stop_max;
        self.throttle = new.throttle;
        self.cutover.pinned = new.cutover.pinned;
    }
}

/// Compares settings key by key. Every field is named, so that none that is added is forgotten here.
fn changed(old: &ResolvedConfig, new: &ResolvedConfig) -> Changed {
    let mut changed = Changed::default();
    let ResolvedConfig { file: _, state_dir, clusters, moves, front_door, copy, throttle, cutover } = new;
    changed.restart("state_dir", *state_dir == old.state_dir);
    for name in clusters.keys().chain(old.clusters.keys().filter(|name| !clusters.contains_key(*name))) {
        match (old.clusters.get(name), clusters.get(name)) {
            (Some(old), Some(new)) => changed.cluster(old, new),
            _ => changed.restart(&format!("clusters.{name}"), false),
        }
    }
    let find = |moves: &[MoveConfig], name: &str| moves.iter().find(|one| one.spec.name == name).cloned();
    let names = moves.iter().chain(old.moves.iter().filter(|one| find(moves, &one.spec.name).is_none()));
    for name in names.map(|one| &one.spec.name) {
        match (find(&old.moves, name), find(moves, name)) {
            (Some(old), Some(new)) => changed.one_move(&old, &new),
            _ => changed.restart(&format!("moves.{name}"), false),
        }
    }
    changed.front_door(&old.front_door, front_door);
    changed.copy(&old.copy, copy);
    changed.throttle(&old.throttle, throttle);
    changed.cutover(&old.cutover, cutover);
    changed
}

impl Changed {
    fn now(&mut self, key: &str, same: bool) {
        if !same {
            self.now.push(key.to_owned());
        }
    }

    fn restart(&mut self, key: &str, same: bool) {
        if !same {
            self.at_restart.push(key.to_owned());
        }
    }

    fn cluster(&mut self, old: &ClusterConfig, new: &ClusterConfig) {
        let ClusterConfig { name, host, port, user, password, server_key, tls, replicas } = new;
        let mut one = |key: &str, same| self.restart(&format!("clusters.{name}.{key}"), same);
        one("host", *host == old.host);
        one("port", *port == old.port);
        one("user", *user == old.user);
        one("password", *password == old.password);
        one("server_public_key", *server_key == old.server_key);
        one("tls", *tls == old.tls);
        one("replicas", *replicas == old.replicas);
    }

    fn one_move(&mut self, old: &MoveConfig, new: &MoveConfig) {
        let MoveConfig { spec, source, target, accept, along, fence, fence_accounts, users } = new;
        let mut one = |key: &str, same| self.restart(&format!("moves.{}.{key}", spec.name), same);
        one("tables", spec.tables == old.spec.tables);
        one("rename", spec.renames == old.spec.renames);
        one("source", *source == old.source);
        one("target", *target == old.target);
        one("accept", *accept == old.accept);
        one("fence", *fence == old.fence);
        one("fence_accounts", *fence_accounts == old.fence_accounts);
        one("users", *users == old.users);
        one("objects", along.objects == old.along.objects);
        one("accounts", along.accounts == old.along.accounts);
    }

    fn front_door(&mut self, old: &FrontDoorOptions, new: &FrontDoorOptions) {
        let FrontDoorOptions {
            listen,
            enabled,
            threads,
            share,
            cluster,
            schemas,
            users,
            rules,
            slow_log,
            stop_max,
        } = new;
        self.restart("front_door.listen", *listen == old.listen);
        self.restart("front_door.enabled", *enabled == old.enabled);
        self.restart("front_door.threads", *threads == old.threads);
        self.restart("front_door.share", *share == old.share);
        self.restart("front_door.cluster", *cluster == old.cluster);
        self.restart("front_door.schemas", *schemas == old.schemas);
        for name in users.keys().chain(old.users.keys().filter(|name| !users.contains_key(*name))) {
            self.restart(&format!("front_door.users.{name}.cluster"), users.get(name) == old.users.get(name));
        }
        self.rules(&old.rules, rules);
        self.now("front_door.slow_log", *slow_log == old.slow_log);
        self.now("front_door.stop_max", *stop_max == old.stop_max);
    }

    fn rules(&mut self, old: &proxy::Rules, new: &proxy::Rules) {
        let proxy::Rules {
            hold_max,
            clients_max,
            memory_max,
            entrance,
            backends_max,
            queue_max,
            terms,
            observe,
        } = new;
        self.now("front_door.hold_max", *hold_max == old.hold_max);
        self.now("front_door.clients_max", *clients_max == old.clients_max);
        self.now("front_door.memory_max", *memory_max == old.memory_max);
        self.now("front_door.backends_max", *backends_max == old.backends_max);
        self.now("front_door.queue_max", *queue_max == old.queue_max);
        let proxy::Observe { digests, slow, slow_values } = observe;
        self.now("front_door.digests", *digests == old.observe.digests);
        self.now("front_door.slow", *slow == old.observe.slow);
        self.now("front_door.slow_log_values", *slow_values == old.observe.slow_values);
        let proxy::Terms { local_infile, compression, idle_max, transaction_idle_max, statement_max } = terms;
        self.now("front_door.local_infile", *local_infile == old.terms.local_infile);
        self.now("front_door.compression", *compression == old.terms.compression);
        self.now("front_door.idle_max", *idle_max == old.terms.idle_max);
        self.now("front_door.transaction_idle_max", *transaction_idle_max == old.terms.transaction_idle_max);
        self.now("front_door.statement_max", *statement_max == old.terms.statement_max);
        let proxy::Entrance {
            tls,
            tls_required,
            login_max,
            handshakes_max,
            logins_per_second,
            proxy_protocol_from,
            users,
        } = entrance;
        let old = &old.entrance;
        self.now("front_door.tls_cert", *tls == old.tls);
        self.now("front_door.tls_required", *tls_required == old.tls_required);
        self.now("front_door.login_max", *login_max == old.login_max);
        self.now("front_door.handshakes_max", *handshakes_max == old.handshakes_max);
        self.now("front_door.logins_per_second", *logins_per_second == old.logins_per_second);
        self.now("front_door.proxy_protocol_from", *proxy_protocol_from == old.proxy_protocol_from);
        let mut names: Vec<_> = users
            .keys()
            .chain(old.users.keys())
            .filter(|name| users.get(*name) != old.users.get(*name))
            .collect();
        names.sort();
        names.dedup();
        for name in names {
            self.now(&format!("front_door.users.{}", String::from_utf8_lossy(name)), false);
        }
    }

    fn copy(&mut self, old: &CopyOptions, new: &CopyOptions) {
        let CopyOptions { chunk_rows, readers, defer_indexes } = new;
        self.restart("copy.chunk_rows", *chunk_rows == old.chunk_rows);
        self.restart("copy.readers", *readers == old.readers);
        self.restart("copy.defer_indexes", *defer_indexes == old.defer_indexes);
    }

    fn throttle(&mut self, old: &ThrottleOptions, new: &ThrottleOptions) {
        let ThrottleOptions { limits, target_lag_max, chunk_time, rows_per_second } = new;
        self.now("throttle.latency_rise_max", limits.latency_rise == old.limits.latency_rise);
        self.now("throttle.threads_running_max", limits.threads_running == old.limits.threads_running);
        self.now("throttle.replica_lag_max", limits.replica_lag == old.limits.replica_lag);
        self.now("throttle.target_lag_max", *target_lag_max == old.target_lag_max);
        self.now("throttle.chunk_time", *chunk_time == old.chunk_time);
        self.now("throttle.rows_per_second", *rows_per_second == old.rows_per_second);
    }

    fn cutover(&mut self, old: &CutoverOptions, new: &CutoverOptions) {
        let CutoverOptions {
            lag_max,
            drain_deadline,
            fence_deadline,
            settle_deadline,
            prove_deadline,
            prime_deadline,
            pinned,
            hooks,
        } = new;
        self.restart("cutover.lag_max", *lag_max == old.lag_max);
        self.restart("cutover.drain_deadline", *drain_deadline == old.drain_deadline);
        self.restart("cutover.fence_deadline", *fence_deadline == old.fence_deadline);
        self.restart("cutover.settle_deadline", *settle_deadline == old.settle_deadline);
        self.restart("cutover.prove_deadline", *prove_deadline == old.prove_deadline);
        self.restart("cutover.prime_deadline", *prime_deadline == old.prime_deadline);
        self.now("cutover.pinned", *pinned == old.pinned);
        self.restart("cutover.hooks", *hooks == old.hooks);
    }
}
