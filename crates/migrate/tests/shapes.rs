//! Tables and values at the edges of what a server takes, copied and followed.

#![allow(clippy::unwrap_used)]

mod world;

use migrate::{CopyOptions, MoveSpec, Mover, MoverOptions, Start, TablePattern};
use mysql::Connection;
use world::{World, caught_up, copied};

const LENIENT: &str = "SET NAMES utf8mb4; SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', \
     cte_max_recursion_depth = 100000";

async fn run(server: &mut Connection, sql: &str) {
    server.query_all(sql).await.unwrap_or_else(|e| panic!("{e} in {}", &sql[..sql.len().min(300)]));
}

async fn begin(world: &World, sql: &str) -> Connection {
    let mut source = world.on_source().await;
    run(&mut source, &format!("{LENIENT}; CREATE DATABASE zoo; USE zoo; {sql}")).await;
    source
}

async fn start(world: &World) -> Mover {
    let spec = MoveSpec {
        name: "zoo".into(),
        tables: vec![TablePattern { schema: "zoo".into(), table: None }],
        renames: Default::default(),
    };
    let start = Start::Copy(CopyOptions { chunk_rows: 3, ..CopyOptions::default() });
    let mover = Mover::start(MoverOptions { spec, start, ..world.options() }).await.unwrap();
    copied(&mover).await;
    mover
}

async fn equal(world: &World, mover: &Mover, when: &str) {
    caught_up(world, mover).await;
    assert_eq!(world.schema_difference("zoo").await, "", "{when}");
    let verdict = mover.verify(1, &|_| ()).await.unwrap();
    assert_eq!(verdict.different, 0, "{when}: {:?}", verdict.tables);
}

/// Makes a schema, copies it, changes it, and holds the target equal after both.
async fn check(schema: &str, inserts: &[&str], changes: &[&str]) {
    let world = World::new().await;
    let mut source = begin(&world, schema).await;
    for insert in inserts {
        run(&mut source, insert).await;
    }
    let mover = start(&world).await;
    equal(&world, &mover, "as copied").await;
    for change in changes {
        run(&mut source, change).await;
    }
    equal(&world, &mover, "as followed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn geometries_and_vectors_arrive_byte_for_byte() {
    let world = World::new().await;
    let schema = "CREATE TABLE places (id INT PRIMARY KEY, g GEOMETRY, p POINT NOT NULL SRID 4326, l LINESTRING, py POLYGON SRID 3857, \
        mp MULTIPOINT, ml MULTILINESTRING, my MULTIPOLYGON, gc GEOMETRYCOLLECTION, v VECTOR(3), vl VECTOR(16383), \
        lon DOUBLE GENERATED ALWAYS AS (ST_X(p)) STORED, SPATIAL KEY (p))";
    let insert = |id: u32| {
        format!(
            "INSERT INTO places (id, g, p, l, py, mp, ml, my, gc, v, vl) VALUES
             ({id}, ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))'), ST_GeomFromText('POINT(52.5 13.4)', 4326),
              ST_GeomFromText('LINESTRING(0 0,1e300 -1e-300)'), ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 3857),
              ST_GeomFromText('MULTIPOINT(0 0,1 1)'), ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))'),
              ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))'), ST_GeomFromText('GEOMETRYCOLLECTION EMPTY'),
              TO_VECTOR('[1.5,-0.0,3e38]'), TO_VECTOR(CONCAT('[', REPEAT('0.1,', 16382), '7]'))),
             ({id} + 1, NULL, ST_GeomFromText('POINT(-90 180)', 4326), NULL, NULL, NULL, NULL, NULL, NULL, NULL, TO_VECTOR('[39]'))"
        )
    };
    let mut source = begin(&world, schema).await;
    run(&mut source, &insert(1)).await;
    let mover = start(&world).await;
    equal(&world, &mover, "as copied").await;
    run(&mut source, &insert(11)).await;
    run(&mut source, "UPDATE places SET g = ST_SRID(l, 3857), v = TO_VECTOR('[0,0,0]'), p = ST_GeomFromText('POINT(1 2)', 4326)").await;
    equal(&world, &mover, "as followed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_empty_value_of_an_enum_is_carried_though_the_target_is_strict() {
    check(
        "CREATE TABLE kinds (id INT PRIMARY KEY, e ENUM('a','b'), f ENUM('x','') NOT NULL, s SET('p','q'), t VARCHAR(9));
         CREATE TABLE by_kind (e ENUM('a','b') NOT NULL PRIMARY KEY, n INT)",
        &[
            "INSERT INTO kinds VALUES (1, 0, 0, 0, ''), (2, 'nope', 'nope', 'nope', 'x'), (3, 1, '', 'p,q', 'y'), (4, NULL, 2, 'q', 'z')",
            "INSERT INTO kinds WITH RECURSIVE n(i) AS (SELECT 10 UNION ALL SELECT i+1 FROM n WHERE i < 3000) SELECT i, 0, 0, 3, 'm' FROM n",
            "INSERT INTO by_kind VALUES (0, 1), ('a', 2)",
        ],
        &[
            "INSERT INTO kinds VALUES (5, 0, 'x', '', 'new'), (6, 'a', 0, 'p', 'new')",
            "UPDATE kinds SET t = 'longer' WHERE id < 2000",
            "UPDATE kinds SET e = 0 WHERE id IN (3, 4); DELETE FROM kinds WHERE id = 2",
            "UPDATE by_kind SET n = n + 1; UPDATE by_kind SET e = 'b' WHERE e = 0; INSERT INTO by_kind VALUES (0, 9)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_of_every_character_set_keep_their_bytes() {
    let sets = [
        "utf8mb3", "utf8mb4", "latin1", "gbk", "sjis", "cp932", "ucs2", "utf16", "utf16le", "utf32", "big5",
        "gb18030", "euckr", "koi8r", "cp1251", "ascii", "binary",
    ];
    let columns: Vec<String> = sets
        .iter()
        .map(|s| format!("c_{s} VARCHAR(40) CHARACTER SET {s}, t_{s} TEXT CHARACTER SET {s}"))
        .collect();
    let names: Vec<String> = sets.iter().map(|s| format!("c_{s}, t_{s}")).collect();
    let values = |text: &str| vec![format!("'{text}'"); 2 * sets.len()].join(", ");
    let insert = |from: u32| {
        format!(
            "INSERT INTO texts (id, {names}) VALUES ({from}, {}), ({from} + 1, {}), ({from} + 2, {}), ({from} + 3, {})",
            values("caf\u{e9} na\u{ef}ve"),
            values("\u{8868}\u{80fd}\u{30bd} \u{4e5c}\u{5c27}\u{275c} \u{1f3a8}"),
            values("\\\\ '' \\0 \\Z % \\n"),
            values("  padded  "),
            names = names.join(", ")
        )
    };
    check(
        &format!("CREATE TABLE texts (id INT PRIMARY KEY, {})", columns.join(", ")),
        &[&insert(1)],
        &[&insert(11), "UPDATE texts SET c_sjis = CONCAT(c_sjis, c_sjis), t_gbk = REVERSE(t_gbk), c_binary = x'5c275c00ff' WHERE id > 2"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_keys_hidden_columns_and_odd_indexes_are_carried() {
    check(
        "SET SESSION sql_generate_invisible_primary_key = ON, GLOBAL show_gipk_in_create_table_and_information_schema = OFF;
         CREATE TABLE keyless (a INT, b VARCHAR(20));
         SET SESSION sql_generate_invisible_primary_key = OFF;
         CREATE TABLE indexed (id INT PRIMARY KEY, t TEXT, b BLOB, j JSON, d DATE DEFAULT (CURRENT_DATE + INTERVAL 1 DAY),
           u CHAR(36) DEFAULT (UUID()), hidden JSON DEFAULT (JSON_ARRAY(1.5)) INVISIBLE, g JSON GENERATED ALWAYS AS (JSON_ARRAY(id, 1.5)) STORED,
           v VARCHAR(9) GENERATED ALWAYS AS (LEFT(t, 9)) VIRTUAL, KEY (t(7)), KEY (b(3), id), KEY ((LOWER(LEFT(t, 20)))), KEY ((id + 1), (id * 2) DESC),
           KEY many ((CAST(j->'$.n' AS UNSIGNED ARRAY))), UNIQUE KEY (v), CHECK (id > 0), FULLTEXT KEY (t));
         CREATE TABLE filled (n INT(7) UNSIGNED ZEROFILL, d DECIMAL(8,2) UNSIGNED ZEROFILL, y YEAR, f FLOAT(9,4), r DOUBLE(9,4) UNSIGNED ZEROFILL, PRIMARY KEY (n, d))",
        &[
            "INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL), (2, 'y')",
            "INSERT INTO indexed (id, t, b, j) VALUES (1, 'One text', x'00ff', '{\"n\": [1, 2, 3]}'), (2, 'Two texts', NULL, NULL)",
            "INSERT INTO filled VALUES (0, 0, 0, 0.1, 0.1), (5, 1.50, 1901, -1.5, 1.5), (5, 10.05, 2155, 9999.5, 9999), (50, 0.5, 2000, 1, 0)",
        ],
        &[
            "INSERT INTO keyless VALUES (1, 'x'); DELETE FROM keyless WHERE a = 1 LIMIT 1; UPDATE keyless SET b = 'z' WHERE a IS NULL",
            "INSERT INTO indexed (id, t, b, j, hidden) VALUES (3, 'Three', x'5c27', '{\"n\": [9]}', NULL)",
            "UPDATE indexed SET j = JSON_SET(j, '$.n[1]', 77), hidden = JSON_OBJECT('d', d), t = CONCAT('re', t)",
            "UPDATE filled SET r = r / 3, f = f / 3; UPDATE filled SET n = n + 100 WHERE n = 5; INSERT INTO filled VALUES (7, 7, 7, 7, 7)",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_nearly_as_large_as_a_packet_are_carried() {
    let big = "REPEAT(x'00ff5c', 10000000)";
    check(
        "CREATE TABLE bulky (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT, j JSON)",
        &[
            &format!("INSERT INTO bulky VALUES (1, {big}, NULL, NULL), (2, NULL, REPEAT('\u{fc}''', 5000000), NULL), (3, x'00', 'x', '1')"),
            "INSERT INTO bulky VALUES (4, REPEAT(x'00', 50000000), NULL, JSON_OBJECT('k', REPEAT('long', 3000000), 'd', 1.5))",
        ],
        &[
            &format!("UPDATE bulky SET b = CONCAT(x'01', {big}) WHERE id IN (1, 3)"),
            "UPDATE bulky SET j = JSON_SET(j, '$.more', 2.5) WHERE id = 4; DELETE FROM bulky WHERE id = 2",
        ],
    )
    .await;
}
