//! What the two files promise.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use migrate::cutover::{Home, HookRun, Phase, PhaseTime, When};

use super::*;

fn sample(end: End) -> FileOf {
    let hook = HookRun {
        phase: Phase::Hold,
        when: When::Before,
        program: "/usr/local/bin/maintenance".into(),
        ok: true,
        ended: "ended with exit code 0".into(),
        ms: 41.5,
        stdout: "<script>alert('no')</script>\n".into(),
        stderr: String::new(),
    };
    let record = CrossingRecord {
        run: Some(Run::Cutover),
        guardrails: vec![
            migrate::cutover::Guardrail::new("lag", true, "0.0 s behind", "wait").limit("1.0 s"),
        ],
        phases: vec![PhaseTime { phase: Phase::Hold, ms: 0.2 }, PhaseTime { phase: Phase::Drain, ms: 12.0 }],
        held_ms: 12.2,
        hooks: vec![hook],
        source_at: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().ok(),
        ..CrossingRecord::default()
    };
    let step = |up_to_ms, statements| Step { up_to_ms, statements };
    FileOf {
        version: "0".into(),
        move_name: "shop".into(),
        number: 0,
        run: Run::Cutover,
        asked_by: "ada & co".into(),
        closed_pinned: false,
        accepts_unproven: true,
        from: "old (10.0.0.1:3306)".into(),
        to: "new (10.0.0.2:3306)".into(),
        begun_unix_ms: 1_735_689_600_000,
        end,
        stall: Some(Stall {
            statements: 1_007,
            longest_ms: 44.4,
            steps: vec![step(Some(20.0), 0), step(Some(50.0), 1_000), step(None, 7)],
        }),
        record,
    }
}

fn crossed() -> End {
    End::Crossed(CrossingReport {
        ended: Vec::new(),
        home: Home::New,
        epoch: 1,
        phases: Vec::new(),
        held_ms: 44.0,
        keys_proven_at_fence: 3,
        proven_as_of: None,
        accepted_unproven: vec!["not proven: 3 rows differ".into()],
        warnings: Vec::new(),
    })
}

#[test]
fn the_page_needs_nothing_else_and_shows_what_happened() {
    let html = page::page(&sample(crossed()));
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!html.contains(outside), "{outside}");
    }
    for told in [
        "Cutover 0 of move shop",
        "2025-01-01 00:00:00 UTC",
        "new (10.0.0.2:3306) serves since switch 1",
        "ada &amp; co accepted: not proven: 3 rows differ",
        "&lt;script&gt;alert(&#39;no&#39;)",
        "1,007",
        "before.hold",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
        "0.0 s behind",
    ] {
        assert!(html.contains(told), "no {told:?} in {html}");
    }
    assert!(html.ends_with("</html>\n") && !html.contains("NaN"));
    let opened =
        |tag: &str| html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
    for tag in ["table", "tr", "td", "details", "section", "ul", "dl", "main"] {
        assert_eq!(opened(tag), html.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn one_that_was_given_up_says_so_and_nothing_is_made_up() {
    let mut file = sample(End::GivenUp(Trouble::new("cutover was given up: <late>", "put back", "wait")));
    (file.stall, file.record) = (None, CrossingRecord::default());
    let html = page::page(&file);
    assert!(html.contains("cutover was given up: &lt;late&gt;") && html.contains("no front door"));
    assert!(!html.contains("NaN") && !html.contains("Proof") && !html.contains("Positions"));
}

#[test]
fn reports_are_numbered_and_never_written_over() {
    let dir = std::env::temp_dir().join(format!("hw-crossing-report-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    assert_eq!(sample(crossed()).write(&dir).unwrap(), dir.join("shop-cutover-1.html"));
    assert_eq!(sample(crossed()).write(&dir).unwrap(), dir.join("shop-cutover-2.html"));
    for name in ["shop-cutover-1.html", "shop-cutover-1.json"] {
        assert_eq!(fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let read = fs::read(dir.join("shop-cutover-2.json")).unwrap();
    let read: FileOf = serde_json::from_slice(&read).unwrap();
    assert_eq!(read, FileOf { number: 2, ..sample(crossed()) });
    fs::remove_dir_all(&dir).unwrap();
    let unwritten = sample(crossed()).write(&dir).unwrap_err();
    assert!(unwritten.what.contains("cannot be written"), "{unwritten}");
}
