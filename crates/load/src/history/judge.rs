//! The judgement: a pure function from what shoppers remember and what the database holds to a verdict.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::read::{Found, FoundOrder};
use super::{Cart, History, Order, Token};

const EXAMPLES: usize = 5;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What should be so.
    pub what: String,
    /// Whether it is.
    pub holds: bool,
    /// The figures behind it.
    pub detail: String,
}

/// What the check established.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Orders the shoppers were told exist.
    pub orders_acknowledged: u64,
    /// Acknowledged orders that do not exist.
    pub missing: u64,
    /// Orders that exist more than once; each extra one counts.
    pub duplicated: u64,
    /// Orders of this run that exist though nobody was told so, and no COMMIT was left unanswered.
    pub unexpected: u64,
    /// Orders that exist with another total or other lines.
    pub altered: u64,
    /// Orders whose local time is off by something else than their session's time zone.
    pub time_shifted: u64,
    /// Orders whose key is not above that of the same shopper's order before.
    pub out_of_order: u64,
    /// Orders whose COMMIT was not answered with success.
    pub orders_unknown: u64,
    /// Those of them that exist.
    pub unknown_present: u64,
    /// Carts whose every change was acknowledged.
    pub carts_checked: u64,
    /// Those of them that hold something else.
    pub carts_altered: u64,
    /// Statements answered with rows other than those asked for.
    pub wrong_answers: u64,
    /// Everything that was checked, in sentences; empty only if nothing was.
    pub findings: Vec<Finding>,
    /// The first orders that something is wrong with, named by shopper and number.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|finding| finding.holds)
    }

    /// The verdict in one sentence.
    pub fn sentence(&self) -> String {
        if self.holds() {
            return format!(
                "{} orders acknowledged, none lost, none doubled",
                grouped(self.orders_acknowledged)
            );
        }
        let broken: Vec<_> = self.findings.iter().filter(|f| !f.holds).map(|f| f.detail.as_str()).collect();
        format!("{} orders acknowledged; {}", grouped(self.orders_acknowledged), broken.join("; "))
    }
}

/// A number with a comma between thousands.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

pub(super) fn judge(history: &History, found: &Found) -> Verdict {
    let mut verdict = Verdict {
        orders_acknowledged: history.orders.len() as u64,
        orders_unknown: history.unknown.len() as u64,
        wrong_answers: history.counts.wrong_answers,
        ..Verdict::default()
    };
    judge_orders(history, found, &mut verdict);
    judge_carts(&history.carts, found, &mut verdict);
    verdict.findings = findings(history, found, &verdict);
    verdict
}

fn judge_orders(history: &History, found: &Found, verdict: &mut Verdict) {
    let acknowledged: HashMap<Token, &Order> = history.orders.iter().map(|o| (o.token, o)).collect();
    let unknown: HashMap<Token, &Order> = history.unknown.iter().map(|o| (o.token, o)).collect();
    let mut seen = BTreeSet::new();
    let mut before: Option<&FoundOrder> = None;
    for order in &found.orders {
        let first = seen.insert(order.token);
        let placed = acknowledged.get(&order.token).or_else(|| unknown.get(&order.token));
        verdict.duplicated += u64::from(!first);
        verdict.unknown_present += u64::from(first && unknown.contains_key(&order.token));
        verdict.unexpected += u64::from(placed.is_none());
        let altered = placed.is_some_and(|p| p.total_cents != order.total_cents || p.lines != order.lines);
        verdict.altered += u64::from(altered);
        let shifted = placed.is_some_and(|p| p.utc_offset_minutes != order.utc_offset_minutes);
        verdict.time_shifted += u64::from(shifted);
        let behind =
            first && before.is_some_and(|b| b.token.shopper == order.token.shopper && b.id >= order.id);
        verdict.out_of_order += u64::from(behind);
        if !first || placed.is_none() || altered || shifted || behind {
            verdict.example(order.token);
        }
        before = Some(order);
    }
    for order in history.orders.iter().filter(|o| !seen.contains(&o.token)) {
        verdict.missing += 1;
        verdict.example(order.token);
    }
}

fn judge_carts(carts: &[Cart], found: &Found, verdict: &mut Verdict) {
    for cart in carts.iter().filter(|cart| cart.certain) {
        verdict.carts_checked += 1;
        verdict.carts_altered += u64::from(found.carts.get(&cart.id) != Some(&cart.items));
    }
}

fn findings(history: &History, found: &Found, v: &Verdict) -> Vec<Finding> {
    let sums = &found.sums;
    let finding = |what: &str, holds: bool, detail: String| Finding { what: what.to_owned(), holds, detail };
    let none = |what: &str, n: u64, broken: &str| finding(what, n == 0, format!("{} {broken}", grouped(n)));
    let pieces = |order: &FoundOrder| order.lines.iter().map(|l| i64::from(l.quantity)).sum::<i64>();
    let taken: i64 = found.orders.iter().map(pieces).sum();
    let stock_due = history.before.stock - taken;
    let orders_due = history.before.orders + found.orders.len() as u64;
    vec![
        none("every acknowledged order exists", v.missing, "missing"),
        none("no order exists twice", v.duplicated, "duplicated"),
        none("no order exists that was refused", v.unexpected, "unexpected"),
        none("every order has its total and its lines", v.altered, "altered"),
        none("every order kept its local time and its UTC time", v.time_shifted, "with a shifted time"),
        none("each shopper's orders are in order", v.out_of_order, "out of order"),
        none("every acknowledged cart change is there", v.carts_altered, "carts altered"),
        none("every answer held the rows asked for", v.wrong_answers, "wrong answers"),
        finding(
            "orders of the past are all there",
            sums.orders == orders_due,
            format!("{} orders, {} due", grouped(sums.orders), grouped(orders_due)),
        ),
        finding(
            "orders, order lines and payments add up to the same money",
            sums.orders_cents == sums.payments_cents
                && sums.orders_cents == sums.lines_cents
                && sums.orders_unbalanced == 0,
            format!(
                "orders {}, lines {}, payments {}; {} orders unbalanced",
                amount(sums.orders_cents),
                amount(sums.lines_cents),
                amount(sums.payments_cents),
                grouped(sums.orders_unbalanced)
            ),
        ),
        finding(
            "stock is what it was less what was sold",
            sums.stock == stock_due,
            format!("{} pieces, {} due", signed(sums.stock), signed(stock_due)),
        ),
        finding(
            "the stock ledger explains every piece",
            sums.ledger == sums.stock
                && sums.sold_pieces == sums.lines_pieces
                && sums.variants_unbalanced == 0,
            format!(
                "ledger {}, stock {}; sold {}, in order lines {}; {} variants unbalanced",
                signed(sums.ledger),
                signed(sums.stock),
                signed(sums.sold_pieces),
                signed(sums.lines_pieces),
                grouped(sums.variants_unbalanced)
            ),
        ),
    ]
}

fn signed(n: i64) -> String {
    format!("{}{}", if n < 0 { "-" } else { "" }, grouped(n.unsigned_abs()))
}

fn amount(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", grouped(cents.unsigned_abs() / 100), cents.unsigned_abs() % 100)
}

impl Verdict {
    fn example(&mut self, token: Token) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(format!("shopper {}, order {}", token.shopper, token.number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Before, Counts, OrderLine};
    use super::*;
    use crate::history::read::Sums;
    use crate::timeline::Timeline;

    fn order(number: u32) -> Order {
        let lines = vec![OrderLine { variant: u64::from(number) + 1, quantity: 2, unit_price_cents: 250 }];
        let token = Token { run: 9, shopper: 3, number };
        Order { token, total_cents: 500, lines, utc_offset_minutes: -480 }
    }

    fn kept(order: &Order) -> FoundOrder {
        FoundOrder {
            id: 100 + u64::from(order.token.number),
            token: order.token,
            total_cents: order.total_cents,
            utc_offset_minutes: order.utc_offset_minutes,
            lines: order.lines.clone(),
        }
    }

    /// Three acknowledged orders, one unknown that exists, one unknown that does not; all kept.
    fn good() -> (History, Found) {
        let history = History {
            run: 9,
            schema: "shop".to_owned(),
            before: Before { stock: 1_000, orders: 10 },
            orders: vec![order(0), order(1), order(2)],
            unknown: vec![order(3), order(4)],
            carts: vec![
                Cart { id: 1, items: BTreeMap::from([(5, 2)]), certain: true },
                Cart { id: 2, items: BTreeMap::new(), certain: false },
            ],
            counts: Counts::default(),
            recording: Timeline::default().recording(),
        };
        let sums = Sums {
            orders: 14,
            orders_cents: 7_000,
            payments_cents: 7_000,
            lines_cents: 7_000,
            orders_unbalanced: 0,
            stock: 992,
            ledger: 992,
            lines_pieces: 28,
            sold_pieces: 28,
            variants_unbalanced: 0,
        };
        let found = Found {
            orders: (0..4).map(|n| kept(&order(n))).collect(),
            carts: HashMap::from([(1, BTreeMap::from([(5, 2)])), (2, BTreeMap::from([(7, 1)]))]),
            sums,
        };
        (history, found)
    }

    /// Breaks one thing, and expects exactly one sentence not to hold; sums follow from rows only where `break_it` says so.
    fn check(break_it: impl FnOnce(&mut History, &mut Found), broken: &str) -> Verdict {
        let (mut history, mut found) = good();
        break_it(&mut history, &mut found);
        let verdict = judge(&history, &found);
        let names: Vec<_> = verdict.findings.iter().filter(|f| !f.holds).map(|f| f.what.as_str()).collect();
        assert_eq!(names, [broken]);
        assert!(!verdict.holds());
        verdict
    }

    #[test]
    fn a_history_kept_to_the_letter_holds() {
        let (history, found) = good();
        let verdict = judge(&history, &found);
        assert!(verdict.holds(), "{verdict:?}");
        assert_eq!((verdict.orders_unknown, verdict.unknown_present, verdict.carts_checked), (2, 1, 1));
        assert_eq!(verdict.sentence(), "3 orders acknowledged, none lost, none doubled");
    }

    #[test]
    fn a_missing_order_is_found_even_if_all_sums_agree_with_the_loss() {
        let lose = |_: &mut History, f: &mut Found| {
            f.orders.remove(1);
            (f.sums.orders, f.sums.stock, f.sums.ledger) = (13, 994, 994);
        };
        let verdict = check(lose, "every acknowledged order exists");
        assert_eq!(
            (verdict.missing, verdict.examples.as_slice()),
            (1, &["shopper 3, order 1".to_owned()][..])
        );
        assert!(verdict.sentence().contains("1 missing"), "{}", verdict.sentence());
    }

    #[test]
    fn a_doubled_order_is_found() {
        let double = |_: &mut History, f: &mut Found| {
            let twin = FoundOrder { id: 900, ..f.orders[2].clone() };
            f.orders.insert(3, twin);
            f.orders[4].id = 901;
            (f.sums.orders, f.sums.stock, f.sums.ledger) = (15, 990, 990);
        };
        assert_eq!(check(double, "no order exists twice").duplicated, 1);
    }

    #[test]
    fn an_order_nobody_was_told_about_is_found() {
        let invent = |h: &mut History, _: &mut Found| h.unknown.clear();
        assert_eq!(check(invent, "no order exists that was refused").unexpected, 1);
    }

    #[test]
    fn another_total_and_other_lines_are_found() {
        let total = |_: &mut History, f: &mut Found| f.orders[0].total_cents += 1;
        assert_eq!(check(total, "every order has its total and its lines").altered, 1);
        let lines = |_: &mut History, f: &mut Found| f.orders[3].lines[0].variant = 77;
        assert_eq!(check(lines, "every order has its total and its lines").altered, 1);
    }

    #[test]
    fn a_timestamp_moved_by_a_time_zone_is_found() {
        let shift = |_: &mut History, f: &mut Found| f.orders[1].utc_offset_minutes = 0;
        assert_eq!(check(shift, "every order kept its local time and its UTC time").time_shifted, 1);
    }

    #[test]
    fn a_key_given_out_again_is_found() {
        let reuse = |_: &mut History, f: &mut Found| f.orders[2].id = 50;
        assert_eq!(check(reuse, "each shopper's orders are in order").out_of_order, 1);
    }

    #[test]
    fn a_lost_cart_change_is_found_but_not_in_an_uncertain_cart() {
        let lose = |_: &mut History, f: &mut Found| {
            f.carts.insert(1, BTreeMap::from([(5, 1)]));
            f.carts.remove(&2);
        };
        assert_eq!(check(lose, "every acknowledged cart change is there").carts_altered, 1);
    }

    #[test]
    fn rows_of_somebody_else_are_found() {
        let mix = |h: &mut History, _: &mut Found| h.counts.wrong_answers = 1;
        check(mix, "every answer held the rows asked for");
    }

    #[test]
    fn whole_tables_must_add_up() {
        check(|_, f| f.sums.orders -= 1, "orders of the past are all there");
        check(|_, f| f.sums.payments_cents -= 1, "orders, order lines and payments add up to the same money");
        check(
            |_, f| f.sums.orders_unbalanced = 2,
            "orders, order lines and payments add up to the same money",
        );
        check(|_, f| (f.sums.stock, f.sums.ledger) = (991, 991), "stock is what it was less what was sold");
        check(|_, f| f.sums.ledger += 1, "the stock ledger explains every piece");
        check(|_, f| f.sums.variants_unbalanced = 2, "the stock ledger explains every piece");
        check(|_, f| f.sums.sold_pieces += 1, "the stock ledger explains every piece");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 999, 1_000, 53_412, 1_234_567].map(grouped),
            ["0", "999", "1,000", "53,412", "1,234,567"]
        );
        assert_eq!(amount(-1_234_505), "-12,345.05");
    }
}
