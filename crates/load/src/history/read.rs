//! Reading what a run left in the database: its orders and carts row by row, and the sums of whole tables.

use std::collections::{BTreeMap, HashMap};

use mysql::{Connection, Row};

use super::{Before, History, OrderLine, Token};
use crate::shoppers::cents;
use crate::{Error, Result};

/// An order as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundOrder {
    pub id: u64,
    pub token: Token,
    pub total_cents: u64,
    /// How far its local time is from its UTC time, in minutes.
    pub utc_offset_minutes: i32,
    pub lines: Vec<OrderLine>,
}

/// What is in the database after a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Orders with this run's tokens, in order of token, then id.
    pub orders: Vec<FoundOrder>,
    /// Pieces by variant, by cart, for the carts of this run.
    pub carts: HashMap<u64, BTreeMap<u64, u32>>,
    pub sums: Sums,
}

/// Sums over whole tables, past orders included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub orders: u64,
    pub orders_cents: i64,
    pub payments_cents: i64,
    pub lines_cents: i64,
    /// Orders whose lines or payment do not add up to their total, and lines and payments of no order.
    pub orders_unbalanced: u64,
    pub stock: i64,
    pub ledger: i64,
    /// Pieces in all order lines.
    pub lines_pieces: i64,
    /// Pieces in all ledger rows of sales.
    pub sold_pieces: i64,
    /// Variants whose stock is not the sum of their ledger.
    pub variants_unbalanced: u64,
}

pub(super) async fn before(conn: &mut Connection) -> Result<Before> {
    let stock = number(conn, "stock", "SELECT CAST(SUM(quantity) AS SIGNED) FROM stock").await?;
    let orders: i64 = number(conn, "orders", "SELECT COUNT(*) FROM orders").await?;
    Ok(Before { stock, orders: orders as u64 })
}

pub(super) async fn found(conn: &mut Connection, history: &History) -> Result<Found> {
    conn.execute(format!("USE `{}`", history.schema)).await?;
    conn.execute("SET time_zone = '+00:00', SESSION transaction_isolation = 'REPEATABLE-READ'").await?;
    conn.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
    let orders = orders(conn, history.run).await?;
    let carts = carts(conn, history).await?;
    let sums = sums(conn).await?;
    conn.execute("COMMIT").await?;
    Ok(Found { orders, carts, sums })
}

async fn orders(conn: &mut Connection, run: u64) -> Result<Vec<FoundOrder>> {
    let of_run = format!("token BETWEEN x'{run:016x}0000000000000000' AND x'{run:016x}ffffffffffffffff'");
    let mut orders = Vec::new();
    let sql = format!(
        "SELECT id, token, total, TIMESTAMPDIFF(SECOND, created_at - INTERVAL MICROSECOND(created_at) MICROSECOND, \
         placed_local) FROM orders WHERE {of_run} ORDER BY token, id"
    );
    each_row(conn, &sql, 4, |row| {
        let token = row.bytes(1).and_then(Token::from_bytes);
        let seconds: Option<i32> = row.number(3);
        let (Some(id), Some(token), Some(seconds)) = (row.number(0), token, seconds) else {
            return Err(Error::Unreadable("orders"));
        };
        // A part of a minute is no zone's offset; it must not be rounded into one.
        let utc_offset_minutes = if seconds % 60 == 0 { seconds / 60 } else { i32::MAX };
        orders.push(FoundOrder {
            id,
            token,
            total_cents: cents(&row.text(2)),
            utc_offset_minutes,
            lines: Vec::new(),
        });
        Ok(())
    })
    .await?;

    let mut lines: HashMap<u64, Vec<OrderLine>> = HashMap::new();
    let sql = format!(
        "SELECT l.order_id, l.variant_id, l.quantity, l.unit_price FROM orders o \
         JOIN order_lines l ON l.order_id = o.id WHERE o.{of_run} ORDER BY l.order_id, l.line_no"
    );
    each_row(conn, &sql, 4, |row| {
        let (Some(order), Some(variant), Some(quantity)) = (row.number(0), row.number(1), row.number(2))
        else {
            return Err(Error::Unreadable("order_lines"));
        };
        let line = OrderLine { variant, quantity, unit_price_cents: cents(&row.text(3)) };
        lines.entry(order).or_default().push(line);
        Ok(())
    })
    .await?;
    for order in &mut orders {
        order.lines = lines.remove(&order.id).unwrap_or_default();
    }
    Ok(orders)
}

async fn carts(conn: &mut Connection, history: &History) -> Result<HashMap<u64, BTreeMap<u64, u32>>> {
    let mut carts: HashMap<u64, BTreeMap<u64, u32>> =
        history.carts.iter().map(|cart| (cart.id, BTreeMap::new())).collect();
    let Some(first) = carts.keys().min() else { return Ok(carts) };
    let sql = format!("SELECT cart_id, variant_id, quantity FROM cart_items WHERE cart_id >= {first}");
    each_row(conn, &sql, 3, |row| {
        let (Some(cart), Some(variant), Some(quantity)) = (row.number(0), row.number(1), row.number(2))
        else {
            return Err(Error::Unreadable("cart_items"));
        };
        if let Some(items) = carts.get_mut(&cart) {
            items.insert(variant, quantity);
        }
        Ok(())
    })
    .await?;
    Ok(carts)
}

async fn sums(conn: &mut Connection) -> Result<Sums> {
    const UNBALANCED: &str = "
        SELECT (SELECT COUNT(*) FROM orders o
                LEFT JOIN (SELECT order_id, SUM(quantity * unit_price) AS amount, SUM(amount) AS generated_amount
                           FROM order_lines GROUP BY order_id) l ON l.order_id = o.id
                LEFT JOIN (SELECT order_id, SUM(amount) AS amount FROM payments GROUP BY order_id) p ON p.order_id = o.id
                WHERE NOT (o.total <=> l.amount AND o.total <=> l.generated_amount AND o.total <=> p.amount))
             + (SELECT COUNT(*) FROM order_lines l LEFT JOIN orders o ON o.id = l.order_id WHERE o.id IS NULL)
             + (SELECT COUNT(*) FROM payments p LEFT JOIN orders o ON o.id = p.order_id WHERE o.id IS NULL)";
    const VARIANTS_UNBALANCED: &str = "
        SELECT COUNT(*) FROM variants v
        LEFT JOIN stock s ON s.variant_id = v.id
        LEFT JOIN (SELECT variant_id, SUM(delta) AS pieces FROM stock_ledger GROUP BY variant_id) l ON l.variant_id = v.id
        WHERE NOT (s.quantity <=> l.pieces)";
    let orders_unbalanced: i64 = number(conn, "orders", UNBALANCED).await?;
    let variants_unbalanced: i64 = number(conn, "stock", VARIANTS_UNBALANCED).await?;
    let orders: i64 = number(conn, "orders", "SELECT COUNT(*) FROM orders").await?;
    let mut sum = async |what: &str, table: &'static str| {
        let sql = format!("SELECT CAST(COALESCE(SUM({what}), 0) AS SIGNED) FROM {table}");
        number(conn, table, &sql).await
    };
    Ok(Sums {
        orders: orders as u64,
        orders_cents: sum("total * 100", "orders").await?,
        payments_cents: sum("amount * 100", "payments").await?,
        lines_cents: sum("quantity * unit_price * 100", "order_lines").await?,
        orders_unbalanced: orders_unbalanced as u64,
        stock: sum("quantity", "stock").await?,
        ledger: sum("delta", "stock_ledger").await?,
        lines_pieces: sum("quantity", "order_lines").await?,
        sold_pieces: sum("IF(reason = 'sold', -delta, 0)", "stock_ledger").await?,
        variants_unbalanced: variants_unbalanced as u64,
    })
}

async fn number(conn: &mut Connection, table: &'static str, sql: &str) -> Result<i64> {
    conn.row(sql).await?.and_then(|row| row.number(0)).ok_or(Error::Unreadable(table))
}

async fn each_row(
    conn: &mut Connection,
    sql: &str,
    columns: usize,
    mut take: impl FnMut(Row) -> Result<()>,
) -> Result<()> {
    conn.start_rows(sql).await?;
    while let Some(packet) = conn.next_row().await? {
        take(Row::parse(packet, columns)?)?;
    }
    Ok(())
}
