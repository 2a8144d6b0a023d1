//! The status, for people.

use super::table::{grouped, lined_up};
use crate::config::memory;
use crate::control::{DoorView, MoveView, PaceView, StatusView, TableView, WatchView};

/// Writes on the target that are shown; `--json` has more.
const WRITES_SHOWN: usize = 5;

/// The status as text, ending in a line break.
pub fn render(status: &StatusView) -> String {
    let mut text = String::new();
    for one in &status.moves {
        text.push_str(&render_move(one));
        text.push('\n');
    }
    match &status.door {
        Some(door) => text.push_str(&render_door(door)),
        None => text.push_str("no front door in this process\n"),
    }
    for one in &status.leaving {
        let clients = grouped(one.clients);
        text.push_str(&format!("process {} has handed over and sees {clients} clients out\n", one.pid));
    }
    text
}

fn render_move(one: &MoveView) -> String {
    let mut text = format!("move {}  {} -> {}  {}\n", one.name, one.source, one.target, one.state);
    let mut field = |name: &str, value: String| text.push_str(&format!("  {name:<8} {value}\n"));
    field("serving", one.serving.clone());
    // Of a move that does not run, nothing is known.
    if !one.tables.is_empty() {
        let eta = one.eta_s.map(|seconds| format!(", {} to go", span(seconds))).unwrap_or_default();
        let copied = share(one.rows_done, one.rows_estimate, one.tables.iter().all(|table| table.done));
        let rows = grouped(one.rows_done);
        field("copied", format!("{rows} rows ({copied}), {}/s{eta}", rate(one.rows_per_s)));
    }
    if let Some(pace) = &one.pace {
        field("pace", render_pace(pace));
    }
    if let Some(lag_ms) = one.lag_ms {
        field("lag", format!("{}.{:03} s", lag_ms / 1000, lag_ms % 1000));
    }
    if !one.applied.is_empty() {
        // A set of many servers has a line each, which breaks the table.
        field("applied", one.applied.split_whitespace().collect());
    }
    if let Some(proof) = &one.proof {
        let proven = match (&proof.proven_as_of, &proof.begun_anew) {
            (Some(_), _) if proof.differences > 0 => "NOT EQUAL".to_owned(),
            (Some(_), _) => "every row proven equal".to_owned(),
            (None, Some(why)) => format!("begun anew: {why}; `highwater verify` proves it"),
            (None, None) => "first pass under way".to_owned(),
        };
        let counts = format!(
            "{} keys in flight, {} differences",
            grouped(proof.keys_in_flight),
            grouped(proof.differences)
        );
        field("proof", format!("{proven}; {counts}"));
    }
    if let Some(watch) = &one.watch {
        field("watch", render_watch(watch));
        for write in watch.writes.iter().take(WRITES_SHOWN) {
            field("", write.to_string());
        }
    }
    if let Some(trouble) = &one.trouble {
        field("error", trouble.what.clone());
        field("state", trouble.state.clone());
        field("hint", trouble.hint.clone());
    }
    text.push_str(&render_tables(&one.tables));
    text
}

fn render_watch(watch: &WatchView) -> String {
    let seen = match watch.foreign_writes {
        0 if watch.watched => "nobody but us writes to the target".to_owned(),
        0 => String::new(),
        1 => "1 WRITE ON THE TARGET IS NOT OURS".to_owned(),
        n => format!("{} WRITES ON THE TARGET ARE NOT OURS", grouped(n)),
    };
    let blind = watch.reason.as_ref().map(|reason| format!("not watched: {reason}"));
    let parts: Vec<String> = Some(seen).filter(|seen| !seen.is_empty()).into_iter().chain(blind).collect();
    parts.join("; ")
}

fn render_pace(pace: &PaceView) -> String {
    let mut text = match pace.share {
        share if share <= 0.0 => "paused".to_owned(),
        share if share >= 1.0 => "full".to_owned(),
        share => format!("{:.0} %", (share * 100.0).max(1.0)),
    };
    if let Some(limit) = pace.rows_per_s_max {
        text.push_str(&format!(", at most {} rows/s", grouped(limit)));
    }
    if let Some(reason) = &pace.reason {
        text.push_str(&format!("; {reason}"));
    }
    if let Some(blind) = &pace.blind {
        text.push_str(&format!("; the source's latency is not looked at: {blind}"));
    }
    text
}

fn render_tables(tables: &[TableView]) -> String {
    let header = ["table", "rows", "estimate", "copied", "rows/s"].map(str::to_owned);
    let rows = tables.iter().map(|table| {
        [
            table.name.clone(),
            grouped(table.rows_done),
            grouped(table.rows_estimate),
            share(table.rows_done, table.rows_estimate, table.done),
            if table.done { String::new() } else { rate(table.rows_per_s) },
        ]
    });
    if tables.is_empty() {
        return String::new();
    }
    lined_up(std::iter::once(header).chain(rows))
}

fn render_door(door: &DoorView) -> String {
    let clients = format!(
        "front door {}  {} clients ({} in a transaction, {} held, {} pinned), {} commands\n",
        door.listen,
        grouped(door.clients),
        grouped(door.in_transaction),
        grouped(door.held),
        grouped(door.pinned),
        grouped(door.commands),
    );
    let backends = if door.backends == 0 { String::new() } else { render_backends(door) };
    let memory = if door.memory == 0 { String::new() } else { render_memory(door) };
    clients + &backends + &memory + &render_routes(door)
}

fn render_memory(door: &DoorView) -> String {
    let shown = |bytes: u64| memory::shown(usize::try_from(bytes).unwrap_or(usize::MAX));
    let bound =
        door.memory_max.map_or_else(|| "no bound".to_owned(), |max| format!("at most {}", shown(max)));
    let mut line = format!("  memory held for clients: {} ({bound})", shown(door.memory));
    if door.memory_refused + door.memory_ended > 0 {
        line.push_str(&format!(
            "; {} clients were refused for want of it, {} ended for holding it",
            grouped(door.memory_refused),
            grouped(door.memory_ended)
        ));
    }
    line + "\n"
}

fn render_routes(door: &DoorView) -> String {
    if door.routes.is_empty() {
        return String::new();
    }
    let head = ["route", "cluster", "clients"].map(str::to_owned);
    let rows = door.routes.iter().map(|r| [r.of.clone(), r.cluster.clone(), grouped(r.clients)]);
    lined_up(std::iter::once(head).chain(rows))
}

fn render_backends(door: &DoorView) -> String {
    let keeping: u64 = door.pins.iter().map(|pin| pin.clients).sum();
    format!(
        "  {} server connections ({} idle), {} statements wait for one ({} so far), {} clients keep one: `highwater proxy pins`\n",
        grouped(door.backends),
        grouped(door.backends_idle),
        grouped(door.waiting),
        grouped(door.waits),
        grouped(keeping),
    )
}

/// Why clients keep a connection to the server to themselves, as a table.
pub fn render_pins(door: &DoorView) -> String {
    if door.pins.is_empty() {
        return "no client keeps a server connection to itself\n".into();
    }
    let head = ["why a client keeps a server connection to itself".to_owned(), "clients".to_owned()];
    let rows = door.pins.iter().map(|pin| [pin.reason.clone(), grouped(pin.clients)]);
    lined_up(std::iter::once(head).chain(rows))
}

/// An estimate may be too low, so only `done` makes it 100 %.
fn share(done_rows: u64, estimate: u64, done: bool) -> String {
    if done {
        return "100 %".to_owned();
    }
    if estimate == 0 {
        return "0 %".to_owned();
    }
    format!("{} %", (u128::from(done_rows) * 100 / u128::from(estimate)).min(99))
}

fn rate(per_s: f64) -> String {
    // The cast saturates, and a rate has no use for decimals.
    grouped(per_s.max(0.0).round() as u64)
}

fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{LeavingView, ProofView, RouteView};

    #[test]
    fn status_reads_as_a_table() {
        let table = |name: &str, rows_done, done| TableView {
            name: name.into(),
            rows_done,
            rows_estimate: 1_000_000,
            done,
            rows_per_s: 12_345.6,
        };
        let status = StatusView {
            version: "0.1.0".into(),
            moves: vec![MoveView {
                name: "shop".into(),
                source: "old".into(),
                target: "new".into(),
                state: "copying".into(),
                serving: "old".into(),
                tables: vec![table("shop.orders", 1_000_400, true), table("shop.items", 50_000, false)],
                rows_done: 1_050_400,
                rows_estimate: 2_000_000,
                rows_per_s: 12_345.6,
                eta_s: Some(75),
                lag_ms: Some(42),
                waiting_for: Vec::new(),
                pace: Some(PaceView {
                    share: 0.25,
                    reason: Some("the source answered 12 % slower than without the copy".into()),
                    rows_per_s_max: Some(50_000),
                    blind: None,
                }),
                applied: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:1"
                    .into(),
                proof: Some(ProofView { keys_in_flight: 7, ..ProofView::default() }),
                watch: Some(WatchView {
                    watched: true,
                    reason: None,
                    foreign_writes: 1_200,
                    writes: vec![migrate::ForeignWrite {
                        table: "shop.orders".into(),
                        deleted: 1,
                        keys: vec!["7".into()],
                        gtid: "4e11fa47-71ca-11e1-9e33-c80aa9429562:9".into(),
                        account: Some("root@localhost".into()),
                        ..migrate::ForeignWrite::default()
                    }],
                }),
                trouble: None,
            }],
            door: Some(DoorView { listen: "127.0.0.1:6033".into(), clients: 18_000, ..DoorView::default() }),
            leaving: vec![LeavingView { pid: 1_234, clients: 1_017 }],
        };
        let expected = "\
move shop  old -> new  copying
  serving  old
  copied   1,050,400 rows (52 %), 12,346/s, 1 min 15 s to go
  pace     25 %, at most 50,000 rows/s; the source answered 12 % slower than without the copy
  lag      0.042 s
  applied  3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,4e11fa47-71ca-11e1-9e33-c80aa9429562:1
  proof    first pass under way; 7 keys in flight, 0 differences
  watch    1,200 WRITES ON THE TARGET ARE NOT OURS
           shop.orders: 1 deleted, key (7), by root@localhost, transaction 4e11fa47-71ca-11e1-9e33-c80aa9429562:9
  table             rows   estimate  copied  rows/s
  shop.orders  1,000,400  1,000,000   100 %
  shop.items      50,000  1,000,000     5 %  12,346

front door 127.0.0.1:6033  18,000 clients (0 in a transaction, 0 held, 0 pinned), 0 commands
process 1234 has handed over and sees 1,017 clients out
";
        assert_eq!(render(&status), expected);
    }

    #[test]
    fn a_proof_that_is_void_says_why() {
        let why = Some("the target has lost transactions that it had then".to_owned());
        let proof = Some(ProofView { begun_anew: why, ..ProofView::default() });
        let text = render_move(&MoveView { proof, ..MoveView::default() });
        let expected = "  proof    begun anew: the target has lost transactions that it had then; `highwater verify` proves \
                        it; 0 keys in flight, 0 differences\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn memory_is_shown_with_its_bound_and_what_it_cost() {
        let mut door = DoorView { memory: 3 << 29, ..DoorView::default() };
        assert_eq!(render_memory(&door), "  memory held for clients: 1.5 GiB (no bound)\n");
        (door.memory_max, door.memory_refused, door.memory_ended) = (Some(2 << 30), 1_200, 3);
        let expected = "  memory held for clients: 1.5 GiB (at most 2.0 GiB); 1,200 clients were refused for want of it, 3 ended \
                        for holding it\n";
        assert_eq!(render_memory(&door), expected);
    }

    #[test]
    fn where_clients_are_sent_is_shown_if_not_all_to_one_cluster() {
        let route =
            |of: &str, cluster: &str, clients| RouteView { of: of.into(), cluster: cluster.into(), clients };
        let routes = vec![route("everything else", "old", 1_200), route("schema orders", "new", 7)];
        let door = DoorView { listen: "127.0.0.1:6033".into(), routes, ..DoorView::default() };
        let expected = "\
front door 127.0.0.1:6033  0 clients (0 in a transaction, 0 held, 0 pinned), 0 commands
  route            cluster  clients
  everything else      old    1,200
  schema orders        new        7
";
        assert_eq!(render_door(&door), expected);
    }

    #[test]
    fn estimate_that_is_too_low_never_reads_as_done() {
        assert_eq!(share(500, 100, false), "99 %");
        assert_eq!(share(0, 0, false), "0 %");
        assert_eq!(share(0, 0, true), "100 %");
    }
}
