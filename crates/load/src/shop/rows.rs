//! The rows of each table, as SQL text: one function per table, from a row's number to its values.

use std::fmt::Write;

use fastrand::Rng;

use super::model::{CATEGORIES, Model};
use super::words;

/// One table to fill: its columns, how many rows, and who writes the values of row `n`, counted from 0.
pub struct Table {
    /// `table (columns)`.
    pub into: &'static str,
    /// Rows.
    pub rows: u64,
    /// Appends the values of one row, without the parentheses.
    pub values: fn(&Model, u64, &mut Rng, &mut String),
}

/// All tables, the largest first, so that parallel loaders finish together.
pub fn tables(model: &Model) -> Vec<Table> {
    let lines = model.lines.len() as u64;
    vec![
        Table {
            into: "variants (id, product_id, sku, price, attributes, barcode)",
            rows: model.variants,
            values: variant,
        },
        Table {
            into: "stock_ledger (id, variant_id, order_id, reason, delta, booked_at)",
            rows: model.variants + lines,
            values: ledger,
        },
        Table {
            into: "order_lines (order_id, line_no, variant_id, quantity, unit_price)",
            rows: lines,
            values: line,
        },
        Table { into: "stock (variant_id, quantity, updated_at)", rows: model.variants, values: stock },
        Table {
            into: "orders (id, token, customer_id, address_id, status, total, note, created_at, placed_local)",
            rows: model.orders,
            values: order,
        },
        Table {
            into: "payments (id, order_id, method, amount, reference, paid_at)",
            rows: model.orders,
            values: payment,
        },
        Table {
            into: "product_categories (category_id, product_id, position)",
            rows: model.products * 3 / 2,
            values: listing,
        },
        Table {
            into: "addresses (id, customer_id, street, unit, city, postcode)",
            rows: model.addresses,
            values: address,
        },
        Table {
            into: "customers (id, email, name, password_hash, phone, born_on, last_visit_on, credit, created_at)",
            rows: model.customers,
            values: customer,
        },
        Table {
            into: "products (id, artist_id, category_id, slug, name, base_price, tags, weight_grams, score, published_on, created_at)",
            rows: model.products,
            values: product,
        },
        Table {
            into: "cart_items (cart_id, variant_id, quantity, added_at)",
            rows: model.carts * 2,
            values: cart_item,
        },
        Table { into: "carts (id, customer_id, status, updated_at)", rows: model.carts, values: cart },
        Table {
            into: "sessions (id, customer_id, agent, views, seen_at)",
            rows: model.sessions,
            values: session,
        },
        Table {
            into: "artists (id, name, country, bio, rating, latitude, longitude)",
            rows: model.artists,
            values: artist,
        },
        Table { into: "categories (id, parent_id, name, legacy_label)", rows: CATEGORIES, values: category },
    ]
}

fn category(_: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let parent = if n < 6 { "NULL".to_owned() } else { (n % 6 + 1).to_string() };
    put(out, format_args!("{},{parent},", n + 1));
    text(out, &format!("{} {}", pick(rng, words::LOOKS), pick(rng, words::THINGS)));
    out.push(',');
    text(out, pick(rng, words::LABELS));
}

/// Row 0 has id 0, the unknown artist: an AUTO_INCREMENT column must keep it.
fn artist(_: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    put(out, format_args!("{n},"));
    text(out, &format!("{} {}", pick(rng, words::FIRST), pick(rng, words::LAST)));
    out.push(',');
    nullable(out, *rng.choice(words::COUNTRIES).unwrap_or(&None));
    out.push(',');
    let bio = format!("{} — {} since {}", pick(rng, words::CITIES), pick(rng, words::THINGS), 1990 + n % 35);
    nullable(out, rng.bool().then_some(bio.as_str()));
    // A float with no short decimal form, a zero and a negative zero: text comparisons get these wrong.
    match n % 5 {
        0 => out.push_str(",0,-0.0,0.0"),
        1 => out.push_str(",NULL,NULL,NULL"),
        _ => put(
            out,
            format_args!(",{},{:?},{:?}", rng.f32() * 5.0, rng.f64() * 180.0 - 90.0, rng.f64() / 3.0),
        ),
    }
}

fn product(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let id = n + 1;
    let (artist, category) = (rng.u64(0..model.artists), rng.u64(1..=CATEGORIES));
    put(out, format_args!("{id},{artist},{category},'item-{id:06}',"));
    text(out, &format!("{} {} №{id}", pick(rng, words::LOOKS), pick(rng, words::THINGS)));
    put(out, format_args!(",{},{},", money(rng.u64(95..24_999)), rng.u8(0..64)));
    match rng.u8(0..8) {
        0 => out.push_str("NULL,0,NULL"),
        1 => out.push_str("0,-0.0,'1000-01-01'"),
        _ => put(out, format_args!("{},{:?},'{}'", rng.f32() * 900.0, rng.f64().ln(), date(rng))),
    }
    put(out, format_args!(",{}", moment(rng)));
}

fn listing(model: &Model, n: u64, _: &mut Rng, out: &mut String) {
    // Half the products are listed twice, in another category each time.
    let product = n % model.products + 1;
    let category = (product + n / model.products * 7) % CATEGORIES + 1;
    put(out, format_args!("{category},{product},{}", n % 97));
}

fn variant(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let id = n + 1;
    put(out, format_args!("{id},{},'SKU-{id:07}',{},", model.product_of(id), money(model.price_cents(id))));
    let colour = pick(rng, words::COLOURS);
    let attributes = format!(
        r#"{{"colour": "{colour}", "size": [{}, {}], "foil": {}, "stock_note": null, "depth": {{"mm": {:.3}}}}}"#,
        rng.u8(..),
        rng.u16(..),
        rng.bool(),
        rng.f64() * 9.0
    );
    text(out, &attributes);
    match rng.u8(0..6) {
        0 => out.push_str(",NULL"),
        1 => out.push_str(",''"),
        _ => put(out, format_args!(",x'{:016x}00ff'", rng.u64(..))),
    }
}

fn stock(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let id = n + 1;
    let left = model.received(id) - model.sold[id as usize];
    put(out, format_args!("{id},{left},{}", moment(rng)));
}

/// What came in, a row per variant; then what past orders took, a row per line.
fn ledger(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let id = n + 1;
    match n.checked_sub(model.variants).and_then(|i| model.lines.get(i as usize)) {
        None => put(out, format_args!("{id},{id},NULL,'received',{}", model.received(id))),
        Some(l) => put(out, format_args!("{id},{},{},'sold',-{}", l.variant, l.order, l.quantity)),
    }
    put(out, format_args!(",{}", moment(rng)));
}

fn customer(_: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let id = n + 1;
    put(out, format_args!("{id},'customer{id}@example.com',"));
    text(out, &format!("{} {}", pick(rng, words::FIRST), pick(rng, words::LAST)));
    put(out, format_args!(",x'{:032x}{:032x}',", rng.u128(..), rng.u128(..)));
    match rng.u8(0..3) {
        0 => out.push_str("NULL,NULL,'0000-00-00',0.00"),
        1 => put(out, format_args!("'','{}','{}',0.01", date(rng), date(rng))),
        _ => put(
            out,
            format_args!("'+1 555 {:04}',NULL,'{}',{}", n % 10_000, date(rng), money(rng.u64(0..9_999))),
        ),
    }
    put(out, format_args!(",'{} 12:00:00'", date(rng)));
}

/// Address `id` belongs to customer `id` as far as customers go, so that a shopper knows one without asking.
fn address(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let id = n + 1;
    let customer = if id <= model.customers { id } else { rng.u64(1..=model.customers) };
    put(out, format_args!("{id},{customer},'{} Evergreen Terrace',", rng.u16(1..999)));
    nullable(out, rng.bool().then_some("Apt. ½"));
    out.push(',');
    text(out, pick(rng, words::CITIES));
    put(out, format_args!(",'{:05}'", rng.u32(0..99_999)));
}

fn session(model: &Model, _: u64, rng: &mut Rng, out: &mut String) {
    let id = rng.u128(..);
    put(out, format_args!("x'{id:032x}',"));
    match rng.bool() {
        true => out.push_str("NULL,"),
        false => put(out, format_args!("{},", rng.u64(1..=model.customers))),
    }
    text(out, pick(rng, words::AGENTS));
    put(out, format_args!(",{},{}", rng.u8(0..40), moment(rng)));
}

fn cart(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let status = pick(rng, &["open", "abandoned", "abandoned"]);
    put(out, format_args!("{},{},'{status}',{}", n + 1, rng.u64(1..=model.customers), moment(rng)));
}

fn cart_item(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let half = model.variants / 2;
    let variant = n % 2 * half + rng.u64(1..=half);
    put(out, format_args!("{},{variant},{},{}", n / 2 + 1, rng.u8(1..5), moment(rng)));
}

fn order(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let id = n + 1;
    let customer = rng.u64(1..=model.customers);
    let status = pick(rng, &["placed", "paid", "packed", "shipped", "shipped", "returned"]);
    // A past order's token begins with eight zero bytes; those of shoppers begin with their run, which is not zero.
    put(out, format_args!("{id},x'{id:032x}',{customer},"));
    match rng.u8(0..4) {
        0 => out.push_str("NULL"),
        _ => put(out, format_args!("{customer}")),
    }
    put(out, format_args!(",'{status}',{},", money(model.totals[id as usize])));
    nullable(out, [None, Some(""), Some("Ring twice 🔔")][rng.usize(0..3)]);
    let day = date(rng);
    put(out, format_args!(",'{day} 20:{:02}:07.000001','{day} 12:{:02}:07'", n % 60, n % 60));
}

fn line(model: &Model, n: u64, _: &mut Rng, out: &mut String) {
    let l = &model.lines[n as usize];
    let price = money(model.price_cents(l.variant));
    put(out, format_args!("{},{},{},{},{price}", l.order, l.line_no, l.variant, l.quantity));
}

fn payment(model: &Model, n: u64, rng: &mut Rng, out: &mut String) {
    let id = n + 1;
    let method = pick(rng, &["card", "wallet", "invoice"]);
    put(out, format_args!("{id},{id},'{method}',{},", money(model.totals[id as usize])));
    match rng.bool() {
        true => out.push_str("NULL"),
        false => put(out, format_args!("x'{:024x}'", rng.u64(..))),
    }
    put(out, format_args!(",{}", moment(rng)));
}

fn put(out: &mut String, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).expect("writing to a string cannot fail");
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(0..from.len())]
}

fn text(out: &mut String, s: &str) {
    out.push('\'');
    for c in s.chars() {
        if matches!(c, '\'' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('\'');
}

fn nullable(out: &mut String, s: Option<&str>) {
    match s {
        Some(s) => text(out, s),
        None => out.push_str("NULL"),
    }
}

/// Cents as a DECIMAL literal.
pub fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn date(rng: &mut Rng) -> String {
    format!("{}-{:02}-{:02}", rng.u16(2012..2026), rng.u8(1..=12), rng.u8(1..=28))
}

/// A moment to the microsecond; also inside the hour that clocks in other zones skip or repeat.
fn moment(rng: &mut Rng) -> String {
    let (hour, minute, second, micros) = (rng.u8(0..24), rng.u8(0..60), rng.u8(0..60), rng.u32(0..1_000_000));
    format!("'{} {hour:02}:{minute:02}:{second:02}.{micros:06}'", date(rng))
}
