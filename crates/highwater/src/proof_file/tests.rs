//! Proof files: what is written is read again, and what a later pass says of it.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use super::*;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn up_to(number: u64) -> GtidSet {
    match number {
        0 => GtidSet::default(),
        _ => format!("{UUID}:1-{number}").parse().unwrap(),
    }
}

fn table(name: &str, rows: u64, hash: u64, begun_at: u64, last_change: u64) -> TableVerdict {
    let mut verdict = TableVerdict::summing(TableName::new("shop", name));
    (verdict.rows, verdict.ranges) = (rows, 1);
    verdict.hash = RowSum::of_answer(hash.to_string().as_bytes());
    (verdict.begun_at, verdict.as_of) = (up_to(begun_at), up_to(begun_at));
    verdict.last_change = match last_change {
        0 => GtidSet::default(),
        number => format!("{UUID}:{number}").parse().unwrap(),
    };
    verdict
}

fn pass(watched_since: u64, as_of: u64, tables: Vec<TableVerdict>) -> Verification {
    Verification {
        rows: tables.iter().map(|t| t.rows).sum(),
        different: 0,
        as_of: up_to(as_of),
        keys_in_flight: 0,
        seconds: 1.0,
        watched_since: up_to(watched_since),
        newest: None,
        left_out: Vec::new(),
        tables,
    }
}

/// What a pass says of the table of a proof that began at position 10, with 5 rows and hash 77.
#[track_caller]
fn check(watched_since: u64, now: TableVerdict, expected: Since) {
    let proof = ProofFile::of("shop", &Renames::default(), &pass(0, 10, vec![table("orders", 5, 77, 10, 0)]))
        .unwrap();
    let compared = proof.compared_with(&Renames::default(), &pass(watched_since, 20, vec![now]));
    assert_eq!(compared.tables[0].verdict, expected);
    assert!(compared.same_stream);
}

#[test]
fn rows_that_are_the_same_are_so_whatever_has_passed() {
    check(0, table("orders", 5, 77, 20, 0), Since::Same);
    check(15, table("orders", 5, 77, 20, 18), Since::Same);
}

#[test]
fn other_rows_are_an_accusation_only_if_every_change_was_seen_and_there_was_none() {
    check(10, table("orders", 5, 78, 20, 0), Since::Different);
    check(3, table("orders", 6, 77, 20, 10), Since::Different);
    check(3, table("orders", 5, 78, 20, 11), Since::MayHaveChanged);
    let mut not_summed = table("orders", 5, 78, 20, 0);
    not_summed.hash = None;
    check(10, not_summed, Since::MayHaveChanged);
    // Between 10 and 12 nobody watched.
    check(12, table("orders", 5, 78, 20, 0), Since::MayHaveChanged);
}

#[test]
fn a_table_is_the_same_whatever_its_schema_is_called_on_the_side_that_follows() {
    let renames = Renames::new([("shop".into(), "store".into())]);
    let mut there = table("orders", 5, 77, 10, 0);
    there.table.schema = "store".into();
    let proof = ProofFile::of("shop", &renames, &pass(0, 10, vec![there])).unwrap();
    // After a cutover the rows flow the other way.
    let compared = proof.compared_with(&renames, &pass(0, 20, vec![table("orders", 5, 77, 20, 0)]));
    assert_eq!(compared.tables.len(), 1);
    assert_eq!(
        (&compared.tables[0].table, compared.tables[0].verdict),
        (&TableName::new("shop", "orders"), Since::Same)
    );
}

#[test]
fn tables_that_only_one_has_are_named_and_another_stream_is_told() {
    let proof =
        ProofFile::of("shop", &Renames::default(), &pass(0, 10, vec![table("old", 5, 77, 10, 0)])).unwrap();
    let compared = proof.compared_with(&Renames::default(), &pass(0, 9, vec![table("new", 1, 2, 9, 0)]));
    let verdicts: Vec<_> = compared.tables.iter().map(|t| (t.table.table.as_str(), t.verdict)).collect();
    assert_eq!(verdicts, [("new", Since::New), ("old", Since::Gone)]);
    assert!(!compared.same_stream);
}

#[test]
fn nothing_is_proven_by_a_spot_check_or_by_rows_that_differ() {
    let whole = pass(0, 10, Vec::new());
    assert!(
        ProofFile::of("shop", &Renames::default(), &Verification { newest: Some(9), ..whole.clone() })
            .is_none()
    );
    assert!(ProofFile::of("shop", &Renames::default(), &Verification { different: 1, ..whole }).is_none());
}

struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hw-proof-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_proof_that_is_written_is_read_again() {
    let folder = Folder::new("again");
    let path = folder.0.join("proof.json");
    let proof =
        ProofFile::of("shop", &Renames::default(), &pass(0, 10, vec![table("orders", 5, u64::MAX, 10, 0)]))
            .unwrap();
    fs::write(&path, "an earlier one").unwrap();
    drop(Unwritten::begin(&path).unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "an earlier one", "a pass that failed leaves it alone");
    Unwritten::begin(&path).unwrap().write(&proof).unwrap();
    assert_eq!(ProofFile::read(&path, "shop").unwrap(), proof);
    assert_eq!(folder.files(), ["proof.json"]);
    assert!(Unwritten::begin(&folder.0).unwrap_err().what.contains("not a regular file"));
    assert!(Unwritten::begin(&folder.0.join("no/proof.json")).is_err());
}

#[test]
fn what_is_no_proof_of_this_move_is_refused_with_the_reason() {
    let folder = Folder::new("foreign");
    let path = folder.0.join("proof.json");
    let proof = ProofFile::of("shop", &Renames::default(), &pass(0, 10, vec![table("orders", 5, 77, 10, 0)]))
        .unwrap();
    let good = serde_json::to_value(&proof).unwrap();
    let check = |text: &str, expected: &str| {
        fs::write(&path, text).unwrap();
        let trouble = ProofFile::read(&path, "shop").unwrap_err();
        assert!(trouble.what.contains(expected), "{trouble:?}");
        assert!(trouble.state == "nothing was compared" && !trouble.hint.is_empty(), "{trouble:?}");
    };
    let with = |at: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(at).unwrap() = value;
        changed.to_string()
    };
    check("", "is no proof: EOF");
    check("{\"highwater_proof\": 1", "is no proof: EOF");
    check("[1, 2]", "is no proof of highwater");
    check("{\"highwater_proof\": 2}", "form 2, not 1");
    check("{\"highwater_proof\": 1}", "cannot be understood: missing field");
    check(&with("/row_hash", "crc32".into()), "hashes made another way: crc32");
    check(&with("/move", "blog".into()), "a proof of move 'blog', not of 'shop'");
    check(&with("/tables/0/hash", 77.into()), "cannot be understood");
    check(&with("/tables/0/hash", "77".into()), "32 hexadecimal digits");
    check(&with("/tables/0/begun_at", "x".into()), "not a GTID set");
    fs::write(&path, good.to_string()).unwrap();
    assert_eq!(ProofFile::read(&path, "shop").unwrap(), proof);
}
