//! How long a follower takes to apply a backlog.

use std::time::{Duration, Instant};

use model::GtidSet;
use sandbox::Node;

use crate::cpu::Servers;
use crate::followers::{self, Follower};
use crate::sql::Sql;
use crate::{Result, failed, ground};

/// Between two looks at what is applied.
const POLL: Duration = Duration::from_millis(5);
/// Looks between two questions whether it still runs.
const LOOKS: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(300);

/// What catching up took.
pub struct Figures {
    /// From its start.
    pub wall: f64,
    /// From the moment it was first seen to read the source's binary log.
    pub since_connected: f64,
    pub tool_cpu: f64,
    pub source_cpu: f64,
    pub target_cpu: f64,
}

/// A follower's turn: put back to before the backlog, started, timed until all of `wanted` is applied, stopped.
pub fn turn(follower: &mut dyn Follower, source: &Node, wanted: &GtidSet) -> Result<Figures> {
    follower.put_back(source)?;
    let mut on_source = Sql::on(source)?;
    let mut on_target = Sql::on(follower.node())?;
    ground::flush_disks()?;
    let servers = Servers::before(source, follower.node())?;
    let begun = Instant::now();
    follower.start()?;
    let connected = until_applied(follower, &mut on_source, &mut on_target, wanted)?;
    let wall = begun.elapsed();
    let (source_cpu, target_cpu) = servers.spent()?;
    let tool_cpu = follower.cpu()?;
    follower.stop()?;
    Ok(Figures {
        wall: wall.as_secs_f64(),
        since_connected: wall.saturating_sub(connected - begun).as_secs_f64(),
        tool_cpu,
        source_cpu,
        target_cpu,
    })
}

/// Waits until all of `wanted` is applied; when the follower was first seen connected.
pub fn until_applied(
    follower: &mut dyn Follower,
    source: &mut Sql,
    target: &mut Sql,
    wanted: &GtidSet,
) -> Result<Instant> {
    let begun = Instant::now();
    let mut connected = None;
    for look in 1u32.. {
        if connected.is_none() && reads_log(source)? {
            connected = Some(Instant::now());
        }
        if followers::united(target, follower.applied())?.contains(wanted) {
            break;
        }
        if look % LOOKS == 0 {
            follower.refuse_unless_running(target)?;
        }
        if begun.elapsed() > PATIENCE {
            let why = format!("not everything is applied after {} s", PATIENCE.as_secs());
            return Err(failed(format!("wait for {}", follower.name()), why));
        }
        std::thread::sleep(POLL);
    }
    Ok(connected.unwrap_or(begun))
}

fn reads_log(source: &mut Sql) -> Result<bool> {
    let count = "SELECT COUNT(*) FROM performance_schema.processlist WHERE COMMAND LIKE 'Binlog Dump%'";
    Ok(source.text(count)? != "0")
}
