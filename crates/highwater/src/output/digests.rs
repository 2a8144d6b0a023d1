//! What statements cost, the most expensive first.

use super::table::{grouped, lined_up};
use crate::cli::DigestOrder;
use crate::control::{DigestView, DigestsView};

/// Sorts by what was asked for, most first, and keeps so many.
pub fn top(view: &mut DigestsView, by: DigestOrder, most: usize) {
    let key = |one: &DigestView| match by {
        DigestOrder::Time => one.total_ms,
        DigestOrder::Count => one.count as f64,
        DigestOrder::Errors => one.errors as f64,
        DigestOrder::P99 => one.p99_ms,
    };
    view.digests.sort_by(|a, b| key(b).total_cmp(&key(a)).then_with(|| a.digest.cmp(&b.digest)));
    view.digests.truncate(most);
}

/// The figures as text.
pub fn render(view: &DigestsView) -> String {
    let head = ["count", "errors", "time", "p50", "p95", "p99", "max", "waited", "account"];
    let rows = view.digests.iter().chain(&view.other).map(|one| {
        [
            grouped(one.count),
            grouped(one.errors),
            time(one.total_ms),
            time(one.p50_ms),
            time(one.p95_ms),
            time(one.p99_ms),
            time(one.max_ms),
            time(one.waited_ms),
            shown(&one.user),
        ]
    });
    let table = lined_up(std::iter::once(head.map(str::to_owned)).chain(rows));
    let mut lines = table.lines();
    let mut text = format!("statements of the last {}\n", time(view.since_s * 1000.0));
    text.push_str(&format!("{}\n", lines.next().unwrap_or_default()));
    for (one, line) in view.digests.iter().chain(&view.other).zip(lines) {
        let statement = match one.statement.as_str() {
            "" => "(others, whose places were taken)",
            statement => statement,
        };
        text.push_str(&format!("{line}\n      {} {statement}\n", one.digest));
    }
    if view.evicted > 0 {
        text.push_str(&format!("{} digests had to make room for others\n", grouped(view.evicted)));
    }
    if view.slow_lost > 0 {
        text.push_str(&format!(
            "{} slow statements could not be written down in time\n",
            grouped(view.slow_lost)
        ));
    }
    text
}

fn shown(user: &str) -> String {
    user.chars().filter(|c| !c.is_control()).collect()
}

/// Three digits that count, in a unit that suits them.
fn time(ms: f64) -> String {
    match ms {
        0.0 => "0".to_owned(),
        ms if ms < 1.0 => format!("{:.0} us", ms * 1000.0),
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 100_000.0 => format!("{:.1} s", ms / 1000.0),
        ms => format!("{:.0} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(digest: &str, count: u64, total_ms: f64) -> DigestView {
        DigestView {
            digest: digest.into(),
            user: "shop".into(),
            statement: format!("SELECT {digest}"),
            count,
            total_ms,
            p99_ms: total_ms / count as f64,
            ..DigestView::default()
        }
    }

    #[test]
    fn the_most_expensive_come_first_and_no_more_than_asked_for() {
        let mut view = DigestsView {
            since_s: 90.0,
            digests: vec![one("a", 1_000, 50.0), one("b", 2, 12_345.0), one("c", 3, 0.5)],
            evicted: 4,
            ..DigestsView::default()
        };
        let first = |view: &mut DigestsView, by| {
            top(view, by, 3);
            view.digests[0].digest.clone()
        };
        assert_eq!(first(&mut view, DigestOrder::Count), "a");
        assert_eq!(first(&mut view, DigestOrder::P99), "b");
        top(&mut view, DigestOrder::Time, 2);
        let text = render(&view);
        let expected = "statements of the last 90.0 s\n  \
            count  errors    time  p50  p95    p99  max  waited  account\n  \
            2           0  12.3 s    0    0  6.2 s    0       0     shop\n      b SELECT b\n  \
            1,000       0   50 ms    0    0  50 us    0       0     shop\n      a SELECT a\n\
            4 digests had to make room for others\n";
        assert_eq!(text, expected);
    }
}
