//! Texts that are nasty to read.

use super::*;
use crate::reading::Letters;

const PLAIN: Reading = Reading::plain(true);

/// Schemas named, of which `orders` and `my-shop` have routes.
fn named_as(text: &[u8], reading: Reading) -> Named {
    let routed = |name: &[u8]| {
        name.eq_ignore_ascii_case(b"orders") || name == b"my-shop" || name.eq_ignore_ascii_case(b"catalog")
    };
    Named::of(text, reading, routed)
}

#[track_caller]
fn check(text: &str, schemas: &[&str]) {
    let named = named_as(text.as_bytes(), PLAIN);
    let names: Vec<&str> = named.schemas.iter().map(|n| std::str::from_utf8(n).unwrap()).collect();
    assert_eq!(names, schemas, "{text}");
    assert_eq!(named.uses, None, "{text}");
}

#[test]
fn a_schema_is_found_where_a_table_may_stand() {
    for text in [
        "SELECT * FROM orders.t",
        "select 1 from`orders`.`t`",
        "SELECT * FROM orders . t",
        "SELECT * FROM orders/* x */./* y */t",
        "SELECT * FROM orders -- here\n.t",
        "SELECT * FROM a JOIN orders.t ON a.x = t.x",
        "SELECT * FROM a, orders.t",
        "SELECT * FROM a JOIN b ON a.x = f(b.y, 1), orders.t",
        "SELECT * FROM (a, orders.t)",
        "SELECT * FROM a LEFT JOIN (b, orders.t) ON 1",
        "SELECT * FROM a x USE INDEX (i), orders.t",
        "SELECT * FROM a PARTITION (p), orders.t",
        "SELECT * FROM { OJ orders.t LEFT OUTER JOIN b ON 1 }",
        "SELECT (SELECT MAX(x) FROM orders.t)",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM orders.t)",
        "SELECT EXTRACT(YEAR FROM x.d) FROM orders.t",
        "SELECT a.x UNION SELECT b FROM orders.t",
        "WITH c AS (SELECT * FROM orders.t) SELECT * FROM c",
        "INSERT INTO orders.t (a) VALUES (1)",
        "INSERT orders.t VALUES (1)",
        "INSERT IGNORE INTO orders.t SET a = 1",
        "REPLACE orders.t VALUES (1)",
        "INSERT INTO a SELECT * FROM orders.t",
        "UPDATE orders.t SET a = 1",
        "UPDATE a, orders.t SET a.x = t.x",
        "UPDATE LOW_PRIORITY orders.t SET a = 1",
        "DELETE FROM orders.t",
        "DELETE FROM a USING a, orders.t",
        "DELETE a, orders.t FROM a JOIN b",
        "TRUNCATE orders.t",
        "TRUNCATE TABLE orders.t",
        "LOCK TABLES a READ, orders.t WRITE",
        "DROP TABLE IF EXISTS orders.t",
        "DROP TABLE a, orders.t",
        "RENAME TABLE a TO b, orders.t TO c",
        "RENAME TABLE a TO orders.t",
        "ALTER TABLE orders.t ADD COLUMN x INT",
        "CREATE TABLE x LIKE orders.t",
        "CREATE TABLE x (a INT, FOREIGN KEY (a) REFERENCES orders.t (a))",
        "CREATE TRIGGER tr BEFORE INSERT ON orders.t FOR EACH ROW SET @a = 1",
        "CREATE INDEX i ON orders.t (a)",
        "GRANT SELECT ON orders.* TO x",
        "CALL orders.p()",
        "SELECT orders.f(1)",
        "SELECT a + orders.f (1)",
        "SELECT orders.t.c FROM x",
        "SELECT * FROM a WHERE orders.t.c = 1",
        "HANDLER orders.t OPEN",
        "DESC orders.t",
        "EXPLAIN orders.t",
        "SHOW CREATE TABLE orders.t",
        "SHOW TABLES FROM orders",
        "SHOW FULL TABLES IN `orders` LIKE 'x'",
        "SHOW COLUMNS FROM t FROM orders",
        "LOAD DATA INFILE 'x' INTO TABLE orders.t",
        "DROP DATABASE orders",
        "CREATE SCHEMA IF NOT EXISTS `orders`",
        "ALTER DATABASE orders CHARACTER SET utf8mb4",
        "SELECT 1; USE orders",
        "SELECT 1; SELECT * FROM orders.t",
        "CHECKSUM TABLE orders.t",
        // Neither certain nor ruled out, but there is a route.
        "SELECT SQL_BUFFER_RESULT orders.c FROM x",
    ] {
        check(text, &["orders"]);
    }
    check("SELECT * FROM ORDERS.t JOIN catalog.u", &["ORDERS", "catalog"]);
    check("SELECT * FROM `my-shop`.t", &["my-shop"]);
    check("SELECT * FROM other.t, `o``dd`.t", &["other", "o`dd"]);
}

#[test]
fn columns_and_strings_and_comments_name_no_schema() {
    for text in [
        "SELECT orders.id, orders.x FROM orders",
        "SELECT DISTINCT orders.id FROM x orders WHERE orders.a = orders.b AND orders.c > 1",
        "SELECT a.*, orders.* FROM a JOIN orders ON orders.id = a.id GROUP BY orders.x ORDER BY a.x DESC, orders.y",
        "SELECT COUNT(orders.id), f(1, orders.x), REPLACE(orders.x, orders.y, 'z') FROM orders",
        "SELECT CASE orders.x WHEN orders.a THEN orders.b ELSE orders.c END FROM orders",
        "SELECT TRIM(BOTH 'x' FROM orders.name), EXTRACT(DAY FROM orders.d) FROM orders",
        "SELECT EXISTS (SELECT 1), orders.id FROM orders",
        "SELECT CONVERT(orders.x USING utf8mb4), orders.y FROM orders",
        "SELECT x FROM orders WHERE (orders.a, orders.b) IN ((1, 2))",
        "UPDATE orders JOIN b USING (id) SET orders.x = 1, orders.y = b.y",
        "INSERT INTO t (a, b) VALUES (1, 2) ON DUPLICATE KEY UPDATE t.a = 1, orders.b = 2",
        "INSERT INTO orders (orders.a, orders.b) VALUES (1.5, 2.5)",
        "SELECT 'FROM orders.t', \"FROM orders.t\", 'it''s FROM orders.t', 'it\\'s FROM orders.t'",
        "SELECT 1 -- FROM orders.t\n, 2 # FROM orders.t\n /* FROM orders.t */",
        "SELECT /*+ INDEX(orders.t) */ 1",
        "SELECT `FROM orders.t`, x.orders FROM x",
        "SELECT @orders.t, @@orders.t",
        "GRANT SELECT ON x TO u@orders.example",
        "SHOW COLUMNS FROM orders",
        "SHOW INDEX FROM orders WHERE orders.Key_name = 'x'",
        "SELECT 1.5 FROM orders LIMIT 1",
        "SELECT * FROM orders, catalog",
        "CREATE TABLE orders (orders INT)",
        "SELECT * FROM orders FOR UPDATE",
        "CREATE VIEW v AS SELECT * FROM a JOIN orders ON orders.id = a.id",
    ] {
        let named = named_as(text.as_bytes(), PLAIN);
        assert!(!named.schemas.iter().any(|n| n.eq_ignore_ascii_case(b"orders")), "{text}: {named:?}");
    }
    check("SELECT a.x, b.y FROM a, b WHERE a.z BETWEEN b.x AND b.y", &[]);
    check("SELECT 5--orders.x FROM y", &[]);
}

#[test]
fn use_is_told_apart_by_its_place() {
    for (text, uses) in [
        ("USE orders", "orders"),
        ("use `orders`;", "orders"),
        ("  /* app */ USE other; ", "other"),
        ("-- x\nUSE `a``b`", "a`b"),
    ] {
        let named = named_as(text.as_bytes(), PLAIN);
        assert_eq!(named.uses.as_deref(), Some(uses.as_bytes()), "{text}");
        assert_eq!(named.schemas, Vec::<Vec<u8>>::new(), "{text}");
    }
    let named = named_as(b"USE orders; SELECT * FROM other.t", PLAIN);
    assert_eq!((named.uses, named.schemas), (Some(b"orders".to_vec()), vec![b"other".to_vec()]));
}

#[test]
fn quotes_are_read_as_the_session_s_mode_says() {
    let ansi = Reading { ansi_quotes: true, ..PLAIN };
    let no_backslash = Reading { backslash: false, ..PLAIN };
    let orders = vec![b"orders".to_vec()];
    assert_eq!(named_as(br#"SELECT * FROM "orders"."t""#, ansi).schemas, orders);
    assert!(named_as(br#"SELECT * FROM "orders"."t""#, PLAIN).schemas.is_empty());
    // A quote that one mode ends and the other does not.
    assert_eq!(named_as(br"SELECT '\' FROM orders.t -- '", no_backslash).schemas, orders);
    assert!(named_as(br"SELECT '\' FROM orders.t -- '", PLAIN).schemas.is_empty());
    assert_eq!(named_as(br#"SELECT "\" FROM orders.t -- ""#, ansi).schemas, orders);
}

#[test]
fn what_cannot_be_read_for_sure_hides_nothing() {
    let orders = vec![b"orders".to_vec()];
    let sjis = Reading { letters: Letters::ShiftJis, ..PLAIN };
    // 0x83 0x5C is a letter there, whose second byte is a backslash.
    assert_eq!(named_as(b"SELECT '\x83\x5c' FROM orders.t -- '", sjis).schemas, orders);
    assert_eq!(named_as(b"SELECT '\x83\x5c', 'x orders y'", sjis).schemas, orders);
    assert_eq!(named_as(b"SELECT '\x83\x5c' FROM `my-shop`.t", sjis).schemas, [b"my-shop".to_vec()]);
    assert!(named_as(b"SELECT 'orders.t', '\x83\x5c'", sjis).schemas.is_empty());
    for text in [
        "SELECT 1 /*!99999 it's */ FROM orders.t",
        "/*!50000 SELECT * FROM orders.t */",
        "PREPARE p FROM 'SELECT * FROM orders.t'",
        "SET sql_mode = 'ANSI_QUOTES'; SELECT * FROM \"orders\".\"t\"",
        "CREATE FUNCTION f() RETURNS INT LANGUAGE JAVASCRIPT AS $$ it's $$; SELECT * FROM orders.t",
        "SELECT 1 --\x01'\n FROM orders.t",
        "SELECT \0' FROM orders.t",
        "SELECT * FROM orders./*!1 x */t",
    ] {
        let named = named_as(text.as_bytes(), PLAIN);
        assert_eq!((named.schemas, named.blind || text.contains("--")), (orders.clone(), true), "{text}");
    }
    let deep = format!("SELECT {} * FROM orders.t", "(".repeat(100));
    assert_eq!(named_as(deep.as_bytes(), PLAIN).schemas, orders);
}

#[test]
fn any_bytes_are_read_to_their_end() {
    // A generator of its own, so that a failure can be repeated.
    let mut state = 7_u64;
    let pieces: [&[u8]; 16] = [
        b"'", b"\"", b"`", b"\\", b"/*", b"*/", b"--", b"-- ", b"\n", b".", b"(", b")", b"orders", b" FROM ",
        b"\x83", b";",
    ];
    for _ in 0..5_000 {
        let mut text = Vec::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.extend_from_slice(pieces[(state >> 33) as usize % pieces.len()]);
        }
        for letters in [Letters::Utf8, Letters::Bytes, Letters::Gb18030, Letters::Unknown] {
            named_as(&text, Reading { letters, ..PLAIN });
        }
    }
}
