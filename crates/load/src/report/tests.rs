//! The report of an invented run: complete, offline, and honest about what went wrong.

use super::*;
use crate::timeline::{FINE, Failure, Kind, KindLatency, Mark, Slot};

/// A minute of shopping with a cutover at 30 s and a rollback at 48 s. Set HIGHWATER_SAMPLE_REPORT to keep the page.
fn sample() -> ReportData {
    let mut rng = fastrand::Rng::with_seed(4);
    let mark = |label: &str, begin_ms: f64, end_ms: f64| Mark {
        label: label.to_owned(),
        begin_ms,
        end_ms: Some(end_ms),
    };
    let marks = vec![
        mark("check", 3_000.0, 3_400.0),
        mark("copy", 3_500.0, 15_000.0),
        mark("verify", 15_200.0, 21_000.0),
        mark("cutover", 30_000.0, 30_212.0),
        mark("verify back", 30_300.0, 36_000.0),
        mark("rollback", 48_000.0, 48_148.0),
    ];
    let slot = |rng: &mut fastrand::Rng, n: u64| {
        let at = n as f64 * 20.0;
        let hold =
            [(30_020.0, 30_212.0), (48_010.0, 48_148.0)].into_iter().find(|h| h.0 <= at && at < h.1 + 20.0);
        match hold {
            Some((_, end)) if at < end => Slot::default(),
            Some((begin, end)) => Slot {
                statements: 400,
                p50_us: 90_000,
                p99_us: ((end - begin) * 980.0) as u64,
                max_us: ((end - begin) * 1_000.0) as u64,
                ..Slot::default()
            },
            None => {
                let busy = if (3_500.0..15_000.0).contains(&at) { 1.3 } else { 1.0 };
                let p50 = (700.0 * busy + rng.f64() * 150.0) as u64;
                let p99 = p50 * 6 + rng.u64(0..2_000);
                Slot {
                    statements: (240.0 / busy + rng.f64() * 40.0) as u32,
                    p50_us: p50,
                    p99_us: p99,
                    max_us: p99 + rng.u64(0..9_000),
                    orders: rng.u32(4..8),
                    ..Slot::default()
                }
            }
        }
    };
    let fine: Vec<Slot> = (0..3_000).map(|n| slot(&mut rng, n)).collect();
    let coarse = fine
        .chunks(5)
        .map(|five| Slot {
            statements: five.iter().map(|s| s.statements).sum(),
            p50_us: five.iter().map(|s| s.p50_us).max().unwrap(),
            p99_us: five.iter().map(|s| s.p99_us).max().unwrap(),
            max_us: five.iter().map(|s| s.max_us).max().unwrap(),
            ..Slot::default()
        })
        .collect();
    let kinds = Kind::ALL
        .map(|kind| KindLatency { kind, count: 53_412, p50_us: 812, p99_us: 6_400, max_us: 192_000 })
        .to_vec();
    let recording = Recording {
        started_at_unix_ms: 1_764_000_000_000,
        duration_ms: fine.len() as f64 * FINE.as_millis() as f64,
        fine,
        coarse,
        marks,
        kinds,
        failures: Vec::new(),
    };
    let phases = |ms: [f64; 7]| {
        let names = ["hold", "drain", "fence", "settle", "prove", "switch", "release"];
        names.iter().zip(ms).map(|(name, ms)| ((*name).to_owned(), ms)).collect()
    };
    let cutovers = vec![
        CutoverRecord::measured(
            "cutover",
            30_000.0,
            30_212.0,
            phases([0.8, 61.0, 22.4, 38.7, 47.2, 40.1, 1.8]),
            &recording,
        ),
        CutoverRecord::measured(
            "rollback",
            48_000.0,
            48_148.0,
            phases([0.6, 35.0, 18.9, 21.5, 40.2, 31.0, 0.8]),
            &recording,
        ),
    ];
    let tables = [("order_lines", 84_120), ("orders", 41_310), ("stock", 38_000), ("variants", 38_000)];
    let verify = |name: &str| VerifyRecord {
        name: name.to_owned(),
        duration_ms: 5_804.0,
        tables: tables
            .map(|(t, rows)| VerifyTable { table: format!("shop.{t}"), rows, different: 0 })
            .to_vec(),
    };
    let finding =
        |what: &str, detail: &str| Finding { what: what.to_owned(), holds: true, detail: detail.to_owned() };
    let figure = |label: &str, value: &str, note: &str, good| Figure {
        label: label.to_owned(),
        value: value.to_owned(),
        note: note.to_owned(),
        good,
    };
    ReportData {
        title: "Highwater demo: a shop moves".to_owned(),
        headline:
            "53,412 orders acknowledged, none lost, none doubled; no failed statements; longest stall 192 ms"
                .to_owned(),
        good: true,
        setting: vec![
            ("source".to_owned(), "MySQL 9.7.4".to_owned()),
            ("target".to_owned(), "MySQL 9.7.4".to_owned()),
            ("machine".to_owned(), "2 cores".to_owned()),
        ],
        figures: vec![
            figure("orders acknowledged", "53,412", "", None),
            figure("lost or doubled", "0", "0 outcomes unknown", Some(true)),
            figure("longest stall", "192 ms", "of any one statement", None),
            figure("failed statements", "0", "", Some(true)),
            figure("statements", "801,204", "13,353 per second", None),
            figure("rows verified", "315,220", "0 different", Some(true)),
        ],
        promises: vec![
            (
                "No acknowledged order is lost or doubled".to_owned(),
                true,
                "53,412 compared one by one".to_owned(),
            ),
            (
                "The switch happens only on proof of every row".to_owned(),
                true,
                "315,220 rows, none different".to_owned(),
            ),
            ("No client sees an error".to_owned(), true, "0 of 801,204 statements failed".to_owned()),
        ],
        recording,
        cutovers,
        verifies: vec![verify("before the cutover"), verify("before the rollback")],
        checks: vec![
            (true, "binary log is row-based with full images".to_owned()),
            (true, "GTIDs are on, binlog_order_commits is on".to_owned()),
            (true, "time zones of both servers agree".to_owned()),
        ],
        findings: vec![
            finding("every acknowledged order exists", "0 missing"),
            finding("no order exists twice", "0 duplicated"),
            finding(
                "orders, order lines and payments add up to the same money",
                "orders 12,974,902.90, lines 12,974,902.90, payments 12,974,902.90; 0 orders unbalanced",
            ),
        ],
    }
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let html = page::page(&sample());
    if let Some(path) = std::env::var_os("HIGHWATER_SAMPLE_REPORT") {
        std::fs::write(path, &html).unwrap();
    }
    for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("53,412 orders acknowledged") && html.contains("settle"));
    assert!(!html.contains("NaN") && !html.contains("inf"), "a figure that is none");
}

#[test]
fn a_name_with_markup_cannot_become_part_of_the_page() {
    let mut data = sample();
    data.title = "<script>alert(1)</script>".to_owned();
    data.recording.marks[0].label.clone_from(&data.title);
    data.cutovers[0].name.clone_from(&data.title);
    data.recording.failures.push(Failure {
        at_ms: 1.0,
        statement: data.title.clone(),
        how: data.title.clone(),
    });
    assert!(!page::page(&data).contains("<script>alert"));
}

#[test]
fn an_empty_run_still_makes_a_page() {
    let mut data = sample();
    data.recording = crate::Timeline::default().recording();
    data.recording.coarse.clear();
    data.recording.fine.clear();
    let html = page::page(&data);
    assert!(html.ends_with("</html>\n") && !html.contains("NaN"));
}

#[test]
fn durations_read_well() {
    let read = [0.043, 4.26, 211.7, 1_234.0, 61_000.0].map(milliseconds);
    assert_eq!(read, ["0.04 ms", "4.3 ms", "212 ms", "1.23 s", "1 min 1 s"]);
}
