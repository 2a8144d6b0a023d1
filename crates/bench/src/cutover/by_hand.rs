//! The usual procedure with MySQL's own replication, by someone who has it in a script with every connection open: no pause to
//! think, no wait for a DNS record to expire. Clients connect to an address that is moved, and are cut off when it is.

use std::time::Instant;

use sandbox::{Node, Relay};

use super::{Home, Pair, Switch, Switcher};
use crate::ground::trouble;
use crate::sql::Sql;
use crate::{Result, failed, replica};

/// The best a replica has: see `followers/native.rs`.
const WORKERS: &str = "SET GLOBAL replica_parallel_workers=4";
/// Seconds a replica may take to catch up.
const PATIENCE: u32 = 60;

pub(super) struct ByHand {
    pair: Pair,
    address: Relay,
    old: Sql,
    new: Sql,
}

impl ByHand {
    /// The new server replicates from the old one, from its first transaction on.
    pub fn bring(pair: Pair) -> Result<Self> {
        let address = Relay::start(pair.old.port()).map_err(trouble)?;
        let (mut old, mut new) = (Sql::on(&pair.old)?, Sql::on(&pair.new)?);
        for server in [&mut old, &mut new] {
            server.execute(WORKERS)?;
        }
        new.execute("SET GLOBAL super_read_only=ON")?;
        follow(&mut new, &pair.old)?;
        let mut it = Self { pair, address, old, new };
        it.caught_up(Home::New)?;
        Ok(it)
    }

    fn sides(&mut self, to: Home) -> (&mut Sql, &mut Sql) {
        match to {
            Home::New => (&mut self.old, &mut self.new),
            Home::Old => (&mut self.new, &mut self.old),
        }
    }

    /// Waits until the replica has what its source has.
    fn caught_up(&mut self, to: Home) -> Result<()> {
        let (from, onto) = self.sides(to);
        let executed = from.text("SELECT @@GLOBAL.gtid_executed")?;
        let waited = onto.text(&format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', {PATIENCE})"))?;
        if waited != "0" {
            let why = format!("the replica did not catch up within {PATIENCE} s");
            return Err(failed("switch by hand", why));
        }
        Ok(())
    }
}

fn follow(replica: &mut Sql, source: &Node) -> Result<()> {
    replica::point_at(replica, source)?;
    replica.execute("START REPLICA")
}

impl Switcher for ByHand {
    fn name(&self) -> &'static str {
        "by_hand"
    }

    fn settings(&self) -> String {
        "a GTID replica with 4 workers, caught up; super_read_only on the source, WAIT_FOR_EXECUTED_GTID_SET, STOP REPLICA, \
         read_only off on the replica, the clients' address moved and their connections cut; scripted, no wait for a human or DNS"
            .into()
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn pair(&self) -> &Pair {
        &self.pair
    }

    fn switch(&mut self, to: Home) -> Result<Switch> {
        self.caught_up(to)?;
        let (began, mut last, mut phases) = (Instant::now(), Instant::now(), Vec::new());
        let mut done = |phase: &str| {
            phases.push((format!("{phase}, by hand"), last.elapsed().as_secs_f64() * 1e3));
            last = Instant::now();
        };
        self.sides(to).0.execute("SET GLOBAL super_read_only=ON")?;
        done("read_only");
        self.caught_up(to)?;
        done("catch up");
        let onto = self.sides(to).1;
        onto.execute("STOP REPLICA")?;
        done("stop replica");
        onto.execute("SET GLOBAL super_read_only=OFF")?;
        onto.execute("SET GLOBAL read_only=OFF")?;
        self.address.point_to(self.pair.at(to).port());
        self.address.hang_up();
        done("repoint");
        let ended = Instant::now();
        // The way back, which nobody waits for.
        self.sides(to).1.execute("RESET REPLICA ALL")?;
        let replica = match to {
            Home::New => &mut self.old,
            Home::Old => &mut self.new,
        };
        follow(replica, self.pair.at(to))?;
        Ok(Switch { began, ended, phases })
    }
}
