//! What a shopper does: look around, fill a cart, check out in one transaction, and remember what the shop promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;

use super::session::{Answer, Broken, Session, utc_offset_minutes};
use super::{Bounds, Shared};
use crate::history::{Cart, Order, OrderLine, Token};
use crate::shop::money;

/// What one shopper takes home.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub orders: Vec<Order>,
    pub unknown: Vec<Order>,
    pub carts: Vec<Cart>,
}

pub(super) struct Shopper {
    number: usize,
    rng: Rng,
    shared: Arc<Shared>,
    memory: Memory,
    orders_tried: u32,
    cart: Option<OpenCart>,
    /// How many web sessions were begun; the last one is the current one.
    web_sessions: u32,
}

struct OpenCart {
    cart: Cart,
    customer: u64,
}

impl Shopper {
    pub(super) fn new(number: usize, seed: u64, shared: Arc<Shared>) -> Self {
        let rng = Rng::with_seed(seed.wrapping_add(number as u64 * 7_919));
        let memory = Memory::default();
        Self { number, rng, shared, memory, orders_tried: 0, cart: None, web_sessions: 0 }
    }

    /// Shops until told to stop; then leaves between two transactions.
    pub(super) async fn shop(mut self) -> Memory {
        let shared = Arc::clone(&self.shared);
        while !shared.stopping() {
            let Ok(mut session) = Session::open(&shared, self.number).await else {
                shared.think(&mut self.rng).await;
                continue;
            };
            shared.active.fetch_add(1, Ordering::Relaxed);
            while !shared.stopping() {
                if let Err(Broken) = self.visit(&mut session).await {
                    break;
                }
            }
            shared.active.fetch_sub(1, Ordering::Relaxed);
            self.put_cart_away();
            // Also after a failure: a fleet that reconnects at once would be a load of its own.
            shared.think(&mut self.rng).await;
        }
        self.memory
    }

    async fn visit(&mut self, session: &mut Session<'_>) -> Answer<()> {
        self.be_seen(session).await?;
        let bounds = self.shared.bounds;
        let category = self.rng.u64(1..=bounds.categories);
        self.browse(session, category).await?;
        for _ in 0..self.rng.u8(3..=6) {
            if self.shared.stopping() {
                return Ok(());
            }
            let product = self.rng.u64(1..=bounds.products);
            let variants = self.look_at(session, product).await?;
            if !variants.is_empty() && self.rng.u8(..) < 40 {
                let variant = variants[self.rng.usize(0..variants.len())];
                self.add_to_cart(session, variant, bounds).await?;
            }
            self.shared.think(&mut self.rng).await;
        }
        if self.rng.u8(..) < 12 {
            self.take_out_of_cart(session).await?;
        }
        let ready = self.cart.as_ref().is_some_and(|c| !c.cart.items.is_empty());
        if ready && self.rng.u8(..) < 80 && !self.shared.stopping() {
            self.check_out(session).await?;
        }
        Ok(())
    }

    /// Keeps the web session's row fresh, as a site does on every few pages.
    async fn be_seen(&mut self, session: &mut Session<'_>) -> Answer<()> {
        if self.web_sessions == 0 || self.rng.u8(..) < 6 {
            self.web_sessions += 1;
            let id = self.web_session();
            let sql = format!("INSERT INTO sessions (id, agent) VALUES (x'{id}', 'Mozilla/5.0 (X11)')");
            session.write("new session", &sql).await?;
        } else if self.rng.u8(..) < 64 {
            let id = self.web_session();
            let sql = format!("UPDATE sessions SET views = views + 1, seen_at = NOW(6) WHERE id = x'{id}'");
            session.write("update session", &sql).await?;
        }
        Ok(())
    }

    /// A key that no other run, shopper or session has.
    fn web_session(&self) -> String {
        Token { run: self.shared.run, shopper: self.number as u32, number: self.web_sessions }.hex()
    }

    async fn browse(&mut self, session: &mut Session<'_>, category: u64) -> Answer<()> {
        let sql = format!(
            "SELECT category_id, id, name, base_price FROM products WHERE category_id = {category} ORDER BY id LIMIT 12"
        );
        let rows = session.read("browse category", &sql).await?;
        self.expect_answer(rows.iter().all(|row| row.number(0) == Some(category)));
        Ok(())
    }

    /// The product page; the answer is the variants on offer.
    async fn look_at(&mut self, session: &mut Session<'_>, product: u64) -> Answer<Vec<u64>> {
        let found = session.product_page(product).await?;
        self.expect_answer(found == Some(product));
        let sql = format!(
            "SELECT id, product_id, sku, price, attributes FROM variants WHERE product_id = {product}"
        );
        let rows = session.read("product variants", &sql).await?;
        self.expect_answer(rows.iter().all(|row| row.number(1) == Some(product)));
        Ok(rows.iter().filter_map(|row| row.number(0)).collect())
    }

    async fn add_to_cart(&mut self, session: &mut Session<'_>, variant: u64, bounds: Bounds) -> Answer<()> {
        if self.cart.is_none() {
            let customer = self.rng.u64(1..=bounds.customers);
            let sql = format!("INSERT INTO carts (customer_id) VALUES ({customer})");
            let id = session.write("new cart", &sql).await?;
            self.cart = Some(OpenCart { cart: Cart { id, items: BTreeMap::new(), certain: true }, customer });
        }
        let Some(open) = &mut self.cart else { return Ok(()) };
        let (cart, before) = (open.cart.id, open.cart.items.get(&variant).copied());
        let sql = match before {
            None => format!(
                "INSERT INTO cart_items (cart_id, variant_id, quantity) VALUES ({cart}, {variant}, 1)"
            ),
            Some(_) => format!(
                "UPDATE cart_items SET quantity = quantity + 1 WHERE cart_id = {cart} AND variant_id = {variant}"
            ),
        };
        open.cart.certain = false;
        session.write("cart add", &sql).await?;
        open.cart.certain = true;
        open.cart.items.insert(variant, before.unwrap_or(0) + 1);
        Ok(())
    }

    async fn take_out_of_cart(&mut self, session: &mut Session<'_>) -> Answer<()> {
        let Some(open) = &mut self.cart else { return Ok(()) };
        let Some((&variant, _)) = open.cart.items.first_key_value() else { return Ok(()) };
        let cart = open.cart.id;
        open.cart.certain = false;
        let sql = format!("DELETE FROM cart_items WHERE cart_id = {cart} AND variant_id = {variant}");
        session.write("cart remove", &sql).await?;
        open.cart.certain = true;
        open.cart.items.remove(&variant);
        Ok(())
    }

    /// Buys what is in the cart, in one transaction. Stock rows are locked in order of variant, so that two shoppers
    /// never wait for each other in a circle.
    async fn check_out(&mut self, session: &mut Session<'_>) -> Answer<()> {
        let Some(open) = self.cart.take() else { return Ok(()) };
        let (cart, customer) = (open.cart.id, open.customer);
        let wanted = open.cart.items.clone();
        self.memory.carts.push(open.cart);
        let variants = comma(wanted.keys().map(u64::to_string));

        session.write("begin", "BEGIN").await?;
        let sql = format!("SELECT id, price FROM variants WHERE id IN ({variants}) ORDER BY id");
        let prices = session.read("prices", &sql).await?;
        let sql = format!(
            "SELECT variant_id, quantity FROM stock WHERE variant_id IN ({variants}) ORDER BY variant_id FOR UPDATE"
        );
        let stock = session.read("lock stock", &sql).await?;
        let same_variants =
            |rows: &[mysql::Row]| rows.iter().filter_map(|r| r.number::<u64>(0)).eq(wanted.keys().copied());
        let answered = same_variants(&prices) && same_variants(&stock);
        self.expect_answer(answered);
        let enough =
            stock.iter().zip(wanted.values()).all(|(row, &n)| row.number::<i64>(1) >= Some(i64::from(n)));
        if !answered || !enough {
            self.shared.sold_out.fetch_add(1, Ordering::Relaxed);
            session.write("rollback", "ROLLBACK").await?;
            return Ok(());
        }

        let order = self.fill_in(&wanted, &prices);
        for line in &order.lines {
            let (variant, quantity) = (line.variant, line.quantity);
            let sql =
                format!("UPDATE stock SET quantity = quantity - {quantity} WHERE variant_id = {variant}");
            session.write("take stock", &sql).await?;
        }
        let (token, total) = (order.token.hex(), money(order.total_cents));
        let sql = format!(
            "INSERT INTO orders (token, customer_id, address_id, status, total, placed_local) \
             VALUES (x'{token}', {customer}, {customer}, 'paid', {total}, NOW())"
        );
        let id = session.write("insert order", &sql).await?;
        let lines = comma(order.lines.iter().enumerate().map(|(i, l)| {
            format!("({id}, {}, {}, {}, {})", i + 1, l.variant, l.quantity, money(l.unit_price_cents))
        }));
        let sql = format!(
            "INSERT INTO order_lines (order_id, line_no, variant_id, quantity, unit_price) VALUES {lines}"
        );
        session.write("insert lines", &sql).await?;
        let sql = format!("INSERT INTO payments (order_id, method, amount) VALUES ({id}, 'card', {total})");
        session.write("insert payment", &sql).await?;
        let booked =
            comma(order.lines.iter().map(|l| format!("({}, {id}, 'sold', -{})", l.variant, l.quantity)));
        let sql = format!("INSERT INTO stock_ledger (variant_id, order_id, reason, delta) VALUES {booked}");
        session.write("book stock", &sql).await?;
        session
            .write("close cart", &format!("UPDATE carts SET status = 'ordered' WHERE id = {cart}"))
            .await?;

        match session.commit().await {
            Ok(()) => {
                self.shared.orders.fetch_add(1, Ordering::Relaxed);
                self.memory.orders.push(order);
                Ok(())
            }
            Err(Broken) => {
                self.shared.unknown.fetch_add(1, Ordering::Relaxed);
                self.memory.unknown.push(order);
                Err(Broken)
            }
        }
    }

    fn fill_in(&mut self, wanted: &BTreeMap<u64, u32>, prices: &[mysql::Row]) -> Order {
        let number = self.orders_tried;
        self.orders_tried += 1;
        let lines: Vec<_> = prices
            .iter()
            .zip(wanted)
            .map(|(row, (&variant, &quantity))| OrderLine {
                variant,
                quantity,
                unit_price_cents: cents(&row.text(1)),
            })
            .collect();
        Order {
            token: Token { run: self.shared.run, shopper: self.number as u32, number },
            total_cents: lines.iter().map(|l| l.unit_price_cents * u64::from(l.quantity)).sum(),
            lines,
            utc_offset_minutes: utc_offset_minutes(self.number),
        }
    }

    fn put_cart_away(&mut self) {
        self.memory.carts.extend(self.cart.take().map(|open| open.cart));
    }

    fn expect_answer(&self, right: bool) {
        self.shared.wrong_answers.fetch_add(u64::from(!right), Ordering::Relaxed);
    }
}

fn comma(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// A DECIMAL with two places, as cents.
pub(crate) fn cents(decimal: &str) -> u64 {
    decimal.bytes().filter(u8::is_ascii_digit).fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_survives_the_way_to_cents_and_back() {
        for price in ["0.00", "0.07", "12.30", "24998.99"] {
            assert_eq!(money(cents(price)), price);
        }
    }
}
