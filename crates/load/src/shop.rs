//! The shop: a schema with a few hundred thousand rows, the same for the same seed, written in a few seconds.
//!
//! Rows are independent of each other once the `model` is known, so several connections write them in any order.

mod model;
mod rows;
pub mod schema;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mysql::{ConnectOptions, Connection};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{Error, Result};
use model::Model;
pub(crate) use rows::money;

/// Collation `utf8mb4_0900_ai_ci`, as an application would connect.
pub(crate) const UTF8MB4: u8 = 255;

const LOADERS: usize = 6;
/// Rows per `INSERT`: about 100 KB of text, far below any packet limit.
const ROWS_PER_INSERT: u64 = 1_000;

/// How large a shop to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scale {
    /// At least this many rows over all tables, above a floor of about a thousand.
    pub rows: u64,
}

impl Default for Scale {
    fn default() -> Self {
        Self { rows: 300_000 }
    }
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShopSummary {
    /// Rows over all tables.
    pub rows: u64,
    /// Number of tables.
    pub tables: usize,
}

/// The shop in a database.
#[derive(Debug)]
pub struct Shop;

impl Shop {
    /// Builds the shop in the schema the options name (`shop` if none), straight into the server at that address.
    ///
    /// # Errors
    /// [`Error::SchemaExists`] if the schema is there already, [`Error::Mysql`] if the server fails or refuses; then
    /// the schema may be half built.
    pub async fn create(options: &ConnectOptions, scale: Scale, seed: u64) -> Result<ShopSummary> {
        let schema = schema_name(options)?;
        let options = ConnectOptions { schema: None, collation: UTF8MB4, ..options.clone() };
        create_tables(&options, &schema).await?;

        let model = Arc::new(Model::new(scale, seed));
        let tables = rows::tables(&model);
        let summary = ShopSummary { rows: tables.iter().map(|t| t.rows).sum(), tables: schema::TABLES.len() };
        let parts = Arc::new(parts(tables));
        let next = Arc::new(AtomicUsize::new(0));
        let mut loaders = JoinSet::new();
        for _ in 0..LOADERS {
            let options = ConnectOptions { schema: Some(schema.as_bytes().to_vec()), ..options.clone() };
            loaders.spawn(load_parts(options, Arc::clone(&model), Arc::clone(&parts), Arc::clone(&next)));
        }
        while let Some(done) = loaders.join_next().await {
            done??;
        }
        Ok(summary)
    }
}

/// The schema the shop lives in, safe to put between backticks.
pub(crate) fn schema_name(options: &ConnectOptions) -> Result<String> {
    let name = options.schema.as_deref().unwrap_or(schema::DEFAULT.as_bytes());
    let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    match name.iter().all(plain) && !name.is_empty() {
        true => Ok(String::from_utf8_lossy(name).into_owned()),
        false => Err(Error::SchemaName),
    }
}

async fn create_tables(options: &ConnectOptions, schema: &str) -> Result<()> {
    let mut conn = Connection::connect(options).await?;
    let created = conn.execute(format!("CREATE DATABASE `{schema}` DEFAULT CHARACTER SET utf8mb4")).await;
    const DB_CREATE_EXISTS: u16 = 1007;
    if created.as_ref().is_err_and(|e| e.server_code() == Some(DB_CREATE_EXISTS)) {
        return Err(Error::SchemaExists { schema: schema.to_owned(), address: options.address() });
    }
    created?;
    conn.execute(format!("USE `{schema}`")).await?;
    for statement in schema::TABLES {
        conn.execute(statement).await?;
    }
    Ok(())
}

/// One `INSERT`'s worth of a table.
struct Part {
    into: &'static str,
    values: fn(&Model, u64, &mut fastrand::Rng, &mut String),
    first: u64,
    end: u64,
}

fn parts(tables: Vec<rows::Table>) -> Vec<Part> {
    let part = |t: &rows::Table, first: u64| Part {
        into: t.into,
        values: t.values,
        first,
        end: (first + ROWS_PER_INSERT).min(t.rows),
    };
    let starts = |t: &rows::Table| (0..t.rows).step_by(ROWS_PER_INSERT as usize);
    tables.iter().flat_map(|t| starts(t).map(move |first| part(t, first))).collect()
}

async fn load_parts(
    options: ConnectOptions,
    model: Arc<Model>,
    parts: Arc<Vec<Part>>,
    next: Arc<AtomicUsize>,
) -> Result<()> {
    let mut conn = Connection::connect(&options).await?;
    // The rows agree with each other by construction; checking as they arrive would force an order on the loaders.
    // Zero dates and artist 0 are here on purpose: shops of some age have them.
    conn.execute(
        "SET time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0, unique_checks = 0",
    )
    .await?;
    let mut sql = String::new();
    while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
        sql.clear();
        sql.push_str("INSERT INTO ");
        sql.push_str(part.into);
        sql.push_str(" VALUES ");
        for row in part.first..part.end {
            sql.push_str(if row == part.first { "(" } else { "),(" });
            (part.values)(&model, row, &mut model.rng(part.into, row), &mut sql);
        }
        sql.push(')');
        conn.execute(&sql).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_shop_has_at_least_300_000_rows() {
        let model = Model::new(Scale::default(), 1);
        let rows: u64 = rows::tables(&model).iter().map(|t| t.rows).sum();
        assert!((300_000..340_000).contains(&rows), "{rows}");
    }

    #[test]
    fn the_same_seed_gives_the_same_rows_and_another_seed_others() {
        let written = |seed| {
            let model = Model::new(Scale { rows: 3_000 }, seed);
            let mut out = String::new();
            for table in rows::tables(&model) {
                (0..table.rows).for_each(|n| {
                    (table.values)(&model, n, &mut model.rng(table.into, n), &mut out);
                });
            }
            out
        };
        assert_eq!(written(7), written(7));
        assert_ne!(written(7), written(8));
    }

    #[test]
    fn a_schema_name_that_would_need_quoting_is_refused() {
        let mut options = ConnectOptions::new("localhost", 3306, "u", mysql::Password::default());
        assert_eq!(schema_name(&options).unwrap(), "shop");
        options.schema = Some(b"a`b".to_vec());
        assert!(matches!(schema_name(&options), Err(Error::SchemaName)));
    }
}
