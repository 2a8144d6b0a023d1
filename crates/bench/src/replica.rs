//! MySQL's own replica, as far as its set-up is the same whatever it is for.

use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Node};

use crate::Result;
use crate::sql::Sql;

/// Tells a server whose replica it is, from the transactions on that it does not have yet. It does not begin by itself.
pub fn point_at(replica: &mut Sql, source: &Node) -> Result<()> {
    replica.execute(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='{ADMIN_USER}', \
         SOURCE_PASSWORD='{ADMIN_PASSWORD}', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
        source.port()
    ))
}
