//! MySQL's own replica, over a copy of the source's data folder.

use std::path::PathBuf;

use sandbox::Node;

use super::Follower;
use crate::ground::{Ground, trouble};
use crate::sql::Sql;
use crate::{Result, failed, replica};

const WORKERS: &str = "SET GLOBAL replica_parallel_workers=4";

/// The replica.
pub struct Native {
    node: Node,
    kept: PathBuf,
}

impl Native {
    /// Not seeded yet.
    pub fn new(ground: &Ground) -> Result<Self> {
        Ok(Self { node: ground.node("native", 3)?, kept: PathBuf::new() })
    }
}

impl Follower for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn settings(&self) -> String {
        "replica_parallel_workers=4, replica_preserve_commit_order=ON, SOURCE_AUTO_POSITION=1; from START REPLICA".into()
    }

    fn seed(&mut self, ground: &Ground, source: &mut Node) -> Result<()> {
        // The log goes along with the folder, and nobody needs what lies behind the seeds.
        Sql::on(source)?.execute("FLUSH BINARY LOGS")?;
        Sql::on(source)?.execute("PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")?;
        self.kept = ground.keep_data(source, "kept-native")?;
        source.restart().map_err(trouble)
    }

    fn put_back(&mut self, source: &Node) -> Result<()> {
        Ground::put_back(&mut self.node, &self.kept)?;
        let mut sql = Sql::on(&self.node)?;
        sql.execute(WORKERS)?;
        replica::point_at(&mut sql, source)
    }

    fn start(&mut self) -> Result<()> {
        Sql::on(&self.node)?.execute("START REPLICA")
    }

    fn refuse_unless_running(&mut self, target: &mut Sql) -> Result<()> {
        let errors = "SELECT LAST_ERROR_MESSAGE FROM performance_schema.replication_applier_status_by_worker \
                      WHERE LAST_ERROR_NUMBER<>0 UNION ALL SELECT LAST_ERROR_MESSAGE \
                      FROM performance_schema.replication_connection_status WHERE LAST_ERROR_NUMBER<>0";
        match target.text(errors)? {
            error if error.is_empty() => Ok(()),
            error => Err(failed("replicate", error)),
        }
    }

    fn applied(&self) -> &'static str {
        "SELECT @@GLOBAL.gtid_executed"
    }

    fn cpu(&self) -> Result<f64> {
        Ok(0.0)
    }

    fn node(&self) -> &Node {
        &self.node
    }

    fn stop(&mut self) -> Result<()> {
        Sql::on(&self.node)?.execute("STOP REPLICA")
    }
}
