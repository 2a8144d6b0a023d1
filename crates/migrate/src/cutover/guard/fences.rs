//! What must hold of the two sides where the fence is around schemas or tables, and who the first does not keep out of the side that follows.

use super::Guardrail;
use super::servers::{Look, listed, plain, told};
use crate::check::writers;
use crate::cutover::fence;
use crate::error::{Doing, MoveError, Result, Side};
use crate::plan::Fence;
use crate::schema::foreign_keys;
use crate::session;

impl Look<'_> {
    /// Before a crossing nothing may be closed that its end would not open: neither a schema, nor a server as a whole.
    pub(super) async fn schemas_open(&self) -> Result<Guardrail> {
        let mut closed = Vec::new();
        for (options, side) in [(self.source, Side::Source), (self.target, Side::Target)] {
            let schemas = self.spec.on(side).schemas();
            let mut server = session::open(options, side).await?;
            let row = server.row("SELECT @@GLOBAL.read_only").await.doing(side, "look at the fence")?;
            if row.is_some_and(|row| row.text(0) == "1") {
                closed.push(format!("the {side} is read_only as a whole"));
            }
            let there = fence::closed(&mut server, side, &schemas).await?;
            closed.extend(
                there.iter().map(|schema| format!("schema {} of the {side} is READ ONLY", plain(schema))),
            );
        }
        let parted = self.spec.on(Side::Source).parted_schemas();
        closed.extend(parted.iter().map(|schema| format!("only some tables of {} move", plain(schema))));
        let seen = match closed.is_empty() {
            true => "off on both, no schema is read-only".to_owned(),
            false => listed(closed.iter()),
        };
        Ok(Guardrail::new(
            "read_only",
            closed.is_empty(),
            seen,
            "ALTER SCHEMA ... READ ONLY = 0, or SET PERSIST read_only = OFF there, after finding out who changed it; with \
             `fence = \"schemas\"` only whole schemas (schema.*) can cross",
        )
        .limit("off on both, and no schema is read-only")
        .why("the fence is around the schemas that move, and opens nothing else"))
    }

    /// The same where single tables are fenced; and no foreign key may change them past the fence.
    pub(super) async fn tables_open(&self) -> Result<Guardrail> {
        let mut closed = Vec::new();
        for (options, side) in [(self.source, Side::Source), (self.target, Side::Target)] {
            let mut server = session::open(options, side).await?;
            let row = server.row("SELECT @@GLOBAL.read_only").await.doing(side, "look at the fence")?;
            if row.is_some_and(|row| row.text(0) == "1") {
                closed.push(format!("the {side} is read_only as a whole"));
            }
            if side == Side::Source {
                let there = fence::closed_tables(&mut server, side, self.spec).await?;
                closed.extend(
                    there.iter().map(|table| format!("table {} is fenced", plain(&table.to_string()))),
                );
                let keys = foreign_keys::acting_from_outside(&mut server, &self.tables).await?;
                closed.extend(keys.iter().map(|key| {
                    let (name, parent) = (plain(&key.name), plain(&key.parent.to_string()));
                    format!("foreign key {name} of {} lets {parent}, which stays, change it", key.child)
                }));
            }
        }
        let moved = self.spec.on(Side::Source);
        let whole = moved.whole_schemas();
        closed.extend(whole.iter().map(|schema| format!("all tables of {} move", plain(schema))));
        let seen = match closed.is_empty() {
            true => "off on both, no moved table of the source is fenced".to_owned(),
            false => listed(closed.iter()),
        };
        Ok(Guardrail::new(
            "read_only",
            closed.is_empty(),
            seen,
            "SET PERSIST read_only = OFF there, DROP TRIGGER for those named highwater_fence_..., after finding out who changed it; drop the \
             key, or let its other end move as well; schema.* needs `fence = \"schemas\"`",
        )
        .limit("off on both, and no moved table of the source is fenced")
        .why("the fence is triggers on the tables that move: it opens nothing else, and what a foreign key does fires none"))
    }

    /// Accounts that could write to the moved schemas of the target, past the application's way.
    pub(super) async fn direct_writers(&self) -> Option<Guardrail> {
        if self.fence != Fence::Schemas {
            return None;
        }
        let asking = async {
            let mut target = session::open(self.target, Side::Target).await?;
            let all = writers::read(&mut target).await.map_err(|error| MoveError::Server {
                side: Side::Target,
                doing: "read what accounts may do".into(),
                error,
            })?;
            let schemas = self.spec.on(Side::Target).schemas();
            let open = all.iter().filter(|w| w.could_write(&schemas)).map(|w| plain(&w.account));
            let open: Vec<String> = open.collect();
            let seen = match open.is_empty() {
                true => "none".to_owned(),
                false => listed(open.iter()),
            };
            Ok(Guardrail::new(
                "direct writers",
                open.is_empty(),
                seen,
                "name them in the move's `fence_accounts` if they write to nothing else there, or lock them yourself",
            )
            .limit("none")
            .why("nothing keeps them from writing to the side that follows; if they do, it is named, and the crossing refuses")
            .only_warns())
        };
        Some(told("direct writers", asking).await)
    }
}
