//! Which accounts could write to a schema, from the grant tables. On the safe side: what is taken back for one schema from a grant on
//! all of them (partial revokes) counts as granted, and so does what comes by a role that is not active.

use std::collections::BTreeMap;

use mysql::Connection;

use super::grants::like;

/// Privileges with which rows or tables are changed, as columns of `mysql.user` and `mysql.db`.
const WRITES: &str = "'Y' IN (Insert_priv, Update_priv, Delete_priv, Create_priv, Drop_priv, Alter_priv)";

/// An account that can log in, and where it may write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Writer {
    /// `user@host`.
    pub account: String,
    everywhere: bool,
    /// Schemas, as patterns of LIKE.
    schemas: Vec<String>,
}

impl Writer {
    /// Whether it could write to one of these schemas.
    pub fn could_write(&self, schemas: &[&str]) -> bool {
        self.everywhere
            || self.schemas.iter().any(|pattern| schemas.iter().any(|schema| like(pattern, schema)))
    }

    /// Where else it could write; empty if nowhere.
    pub fn elsewhere(&self, schemas: &[&str]) -> Vec<String> {
        let others = self.schemas.iter().filter(|pattern| {
            let exact = pattern.replace("\\_", "_").replace("\\%", "%");
            !schemas.contains(&exact.as_str())
        });
        let everywhere = self.everywhere.then(|| "*".to_owned());
        everywhere.into_iter().chain(others.cloned()).map(|place| format!("{place}.*")).collect()
    }
}

/// The accounts of a server that are not locked, but for ours, which may write somewhere.
///
/// # Errors
/// If the server refuses: it takes SELECT on `mysql.*`.
pub(crate) async fn read(conn: &mut Connection) -> mysql::Result<Vec<Writer>> {
    let account = "CONCAT(User, '@', Host)";
    let everywhere = conn.rows(format!("SELECT {account} FROM mysql.user WHERE {WRITES}")).await?;
    let schemas = format!(
        "SELECT {account}, Db FROM mysql.db WHERE {WRITES} UNION SELECT {account}, REPLACE(Db, '_', '\\\\_') \
         FROM mysql.tables_priv WHERE Table_priv REGEXP 'Insert|Update|Delete|Create|Drop|Alter' \
         OR Column_priv REGEXP 'Insert|Update'"
    );
    let schemas = conn.rows(schemas).await?;
    let edges =
        "SELECT CONCAT(FROM_USER, '@', FROM_HOST), CONCAT(TO_USER, '@', TO_HOST) FROM mysql.role_edges";
    let edges: Vec<(String, String)> =
        conn.rows(edges).await?.iter().map(|row| (row.text(0), row.text(1))).collect();
    let usable = format!(
        "SELECT {account} FROM mysql.user WHERE account_locked = 'N' AND {account} <> CURRENT_USER()"
    );
    let usable = conn.rows(usable).await?;

    let mut all: BTreeMap<String, Writer> = BTreeMap::new();
    for row in &everywhere {
        all.entry(row.text(0)).or_default().everywhere = true;
    }
    for row in &schemas {
        all.entry(row.text(0)).or_default().schemas.push(row.text(1));
    }
    let all = with_roles(all, &edges);
    let named = usable.iter().filter_map(|row| {
        let writer = all.get(&row.text(0)).filter(|w| w.everywhere || !w.schemas.is_empty())?;
        Some(Writer { account: row.text(0), ..writer.clone() })
    });
    Ok(named.collect())
}

/// Hands what a role may on to whoever has it, through any number of roles. An edge leads from a role to its holder.
fn with_roles(mut all: BTreeMap<String, Writer>, edges: &[(String, String)]) -> BTreeMap<String, Writer> {
    loop {
        let mut changed = false;
        for (role, holder) in edges {
            let given = all.get(role).cloned().unwrap_or_default();
            let held = all.entry(holder.clone()).or_default();
            changed |= given.everywhere && !held.everywhere;
            held.everywhere |= given.everywhere;
            for pattern in given.schemas {
                if !held.schemas.contains(&pattern) {
                    held.schemas.push(pattern);
                    changed = true;
                }
            }
        }
        if !changed {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write_here_may_write_elsewhere_too_or_not() {
        let of = |everywhere, schemas: &[&str]| Writer {
            everywhere,
            schemas: schemas.iter().map(|s| (*s).to_owned()).collect(),
            ..Writer::default()
        };
        let moved = ["shop_eu"];
        let exact = of(false, &["shop\\_eu"]);
        assert!(exact.could_write(&moved) && exact.elsewhere(&moved).is_empty());
        let pattern = of(false, &["shop%"]);
        assert!(pattern.could_write(&moved) && pattern.elsewhere(&moved) == ["shop%.*"]);
        let other = of(false, &["mail"]);
        assert!(!other.could_write(&moved));
        assert_eq!(of(true, &[]).elsewhere(&moved), ["*.*"]);
        let all = BTreeMap::from([("writers@%".to_owned(), exact)]);
        let edge = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let all = with_roles(all, &[edge("team@%", "ann@%"), edge("writers@%", "team@%")]);
        assert!(all["ann@%"].could_write(&moved));
    }
}
