// What applications do with mysql2, whose npm package has no tests: mysql2.js FOLDER PORT OUT. Each check is a test of its own, on a
// connection of its own; OUT is as scripts/drivers/record.py says. DB_USER and DB_PASSWORD are an account that may do anything.
"use strict";
const assert = require("assert");
const fs = require("fs");
const [folder, port, out] = process.argv.slice(2);
const mysql = require(`${folder}/promise`);
const plain = require(folder);

const options = {
  host: "127.0.0.1", port: Number(port), user: process.env.DB_USER, password: process.env.DB_PASSWORD, database: "test",
};
const refused = (promise, code) => assert.rejects(promise, (error) => error.code === code || assert.fail(error));
const table = async (c, columns) => {
  await c.query("DROP TABLE IF EXISTS m2");
  await c.query(`CREATE TABLE m2 (${columns})`);
};

const checks = {
  async "text query gives typed rows"(c) {
    const [rows, fields] = await c.query("SELECT 1 AS i, 'é' AS s, NULL AS n, 1.50 AS d, CAST('2026-01-02' AS DATE) AS t");
    assert.deepStrictEqual(fields.map((f) => f.name), ["i", "s", "n", "d", "t"]);
    assert.deepStrictEqual([rows[0].i, rows[0].s, rows[0].n, rows[0].d], [1, "é", null, "1.50"]);
    assert.ok(rows[0].t instanceof Date);
  },
  async "execute with every kind of parameter"(c) {
    const [[row]] = await c.execute("SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e",
      [1, "x", null, Buffer.from([0, 255]), new Date(0)]);
    assert.strictEqual(row.a, 1);
    assert.strictEqual(row.b, "x");
    assert.strictEqual(row.c, null);
  },
  async "a statement executed again with other types"(c) {
    for (const value of [1, null, 3.5, true, 2]) {
      const [[row]] = await c.execute("SELECT ? AS v", [value]);
      assert.ok(value === null ? row.v === null : row.v == value, `${value} came back as ${row.v}`);
    }
  },
  async "prepare, execute, close"(c) {
    const statement = await c.prepare("SELECT ? + ? AS sum");
    for (let n = 0; n < 50; n++) {
      const [[row]] = await statement.execute([n, 1]);
      assert.strictEqual(Number(row.sum), n + 1);
    }
    await statement.close();
    assert.strictEqual((await c.query("SELECT 2 AS two"))[0][0].two, 2);
  },
  async "unprepare and prepare anew"(c) {
    await c.execute("SELECT ?", [1]);
    c.unprepare("SELECT ?");
    await c.execute("SELECT ?", [2]);
  },
  async "insert ids and affected rows"(c) {
    await table(c, "id INT AUTO_INCREMENT PRIMARY KEY, v INT");
    const [first] = await c.query("INSERT INTO m2 (v) VALUES (1), (2), (3)");
    assert.deepStrictEqual([first.insertId, first.affectedRows], [1, 3]);
    const [again] = await c.execute("INSERT INTO m2 (v) VALUES (?)", [4]);
    assert.strictEqual(again.insertId, 4);
    const [[{ id }]] = await c.query("SELECT LAST_INSERT_ID() AS id");
    assert.strictEqual(id, 4);
    const [same] = await c.query("UPDATE m2 SET v = 1 WHERE id = 1");
    assert.deepStrictEqual([same.affectedRows, same.changedRows], [1, 0]);
  },
  async "a transaction rolled back and one committed"(c) {
    await table(c, "id INT PRIMARY KEY");
    await c.beginTransaction();
    await c.query("INSERT INTO m2 VALUES (1)");
    await c.rollback();
    await c.beginTransaction();
    await c.execute("INSERT INTO m2 VALUES (?)", [2]);
    await c.commit();
    assert.deepStrictEqual((await c.query("SELECT id FROM m2"))[0], [{ id: 2 }]);
  },
  async "errors have their code, number and state"(c) {
    await assert.rejects(c.query("SELECT nothing FROM nowhere"), { code: "ER_NO_SUCH_TABLE", errno: 1146, sqlState: "42S02" });
    await refused(c.query("SELEKT"), "ER_PARSE_ERROR");
    await refused(c.execute("SELECT ? FROM", [1]), "ER_PARSE_ERROR");
    assert.strictEqual((await c.query("SELECT 1 AS x"))[0][0].x, 1);
  },
  async "a duplicate key in a transaction leaves it open"(c) {
    await table(c, "id INT PRIMARY KEY");
    await c.beginTransaction();
    await c.query("INSERT INTO m2 VALUES (1)");
    await refused(c.query("INSERT INTO m2 VALUES (1)"), "ER_DUP_ENTRY");
    await c.query("INSERT INTO m2 VALUES (2)");
    await c.rollback();
    assert.deepStrictEqual((await c.query("SELECT * FROM m2"))[0], []);
  },
  async "warnings after a statement"(c) {
    await c.query("SET sql_mode = ''");
    await table(c, "s VARCHAR(2)");
    const [result] = await c.query("INSERT INTO m2 VALUES ('long')");
    assert.strictEqual(result.warningStatus, 1);
    const [warnings] = await c.query("SHOW WARNINGS");
    assert.strictEqual(warnings[0].Code, 1265);
  },
  async "session variables last"(c) {
    await c.query("SET SESSION sql_mode = 'ANSI_QUOTES', time_zone = '+05:00', group_concat_max_len = 7");
    const [[row]] = await c.query("SELECT @@sql_mode AS m, @@time_zone AS z, @@group_concat_max_len AS g");
    assert.deepStrictEqual([row.m, row.z, row.g], ["ANSI_QUOTES", "+05:00", 7]);
  },
  async "user variables last"(c) {
    await c.query("SET @a := 5");
    await c.query("SELECT 1");
    assert.strictEqual(Number((await c.query("SELECT @a AS a"))[0][0].a), 5);
  },
  async "temporary tables last"(c) {
    await c.query("CREATE TEMPORARY TABLE m2_gone (i INT)");
    await c.query("INSERT INTO m2_gone VALUES (1)");
    assert.strictEqual((await c.query("SELECT COUNT(*) AS n FROM m2_gone"))[0][0].n, 1);
  },
  async "locks by name exclude others"(c, other) {
    assert.strictEqual((await c.query("SELECT GET_LOCK('m2', 0) AS l"))[0][0].l, 1);
    assert.strictEqual((await other.query("SELECT GET_LOCK('m2', 0) AS l"))[0][0].l, 0);
    await c.query("SELECT RELEASE_LOCK('m2')");
    assert.strictEqual((await other.query("SELECT GET_LOCK('m2', 0) AS l"))[0][0].l, 1);
  },
  async "several statements at once"() {
    const c = await mysql.createConnection({ ...options, multipleStatements: true });
    const [results] = await c.query("SELECT 1 AS a; SET @x = 2; SELECT @x AS b");
    assert.strictEqual(results[0][0].a, 1);
    assert.strictEqual(Number(results[2][0].b), 2);
    await refused(c.query("SELECT 1; SELEKT 2; SELECT 3"), "ER_PARSE_ERROR");
    assert.strictEqual((await c.query("SELECT 4 AS d"))[0][0].d, 4);
    await c.end();
  },
  async "several statements are refused where they were not asked for"(c) {
    await refused(c.query("SELECT 1; SELECT 2"), "ER_PARSE_ERROR");
  },
  async "a procedure with several results"(c) {
    await c.query("DROP PROCEDURE IF EXISTS m2_two");
    await c.query("CREATE PROCEDURE m2_two(IN n INT) BEGIN SELECT n AS a; SELECT n + 1 AS b; END");
    const [text] = await c.query("CALL m2_two(1)");
    assert.deepStrictEqual([text[0][0].a, Number(text[1][0].b)], [1, 2]);
    const [binary] = await c.execute("CALL m2_two(?)", [5]);
    assert.deepStrictEqual([binary[0][0].a, Number(binary[1][0].b)], [5, 6]);
  },
  async "another user on the same connection"(c) {
    await c.query("DROP USER IF EXISTS m2_other");
    await c.query("CREATE USER m2_other IDENTIFIED BY 'm2-secret'");
    await c.query("GRANT ALL ON test.* TO m2_other");
    await c.changeUser({ user: "m2_other", password: "m2-secret", database: "test" });
    assert.ok((await c.query("SELECT CURRENT_USER() AS u"))[0][0].u.startsWith("m2_other@"));
    await c.changeUser({ user: options.user, password: options.password, database: "test1" });
    assert.strictEqual((await c.query("SELECT DATABASE() AS d"))[0][0].d, "test1");
  },
  async "another database"(c) {
    await c.query("USE test2");
    assert.strictEqual((await c.execute("SELECT DATABASE() AS d"))[0][0].d, "test2");
    await refused(c.query("USE m2_nowhere"), "ER_BAD_DB_ERROR");
  },
  async "ping"(c) {
    await c.ping();
    await c.ping();
  },
  async "a result streamed row by row"() {
    const c = plain.createConnection(options);
    let rows = 0;
    await new Promise((done, failed) => {
      c.query("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, REPEAT('x', 2000) FROM n")
        .stream().on("data", () => rows++).on("error", failed).on("end", done);
    });
    c.end();
    assert.strictEqual(rows, 900);
  },
  async "a connection destroyed in the middle of a result"(c) {
    const victim = plain.createConnection(options);
    await new Promise((done) => {
      victim.query("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i, REPEAT('x', 20000) FROM n")
        .stream().once("data", () => { victim.destroy(); done(); }).on("error", () => {});
    });
    assert.strictEqual((await c.query("SELECT 1 AS x"))[0][0].x, 1);
  },
  async "a large value there and back"(c) {
    await table(c, "b LONGBLOB");
    const value = Buffer.alloc(20 * 1024 * 1024, "abc");
    await c.query("INSERT INTO m2 VALUES (?)", [value]);
    assert.ok((await c.query("SELECT b FROM m2"))[0][0].b.equals(value));
    await c.execute("UPDATE m2 SET b = ?", [value.subarray(1)]);
    assert.ok((await c.execute("SELECT b FROM m2"))[0][0].b.equals(value.subarray(1)));
  },
  async "named placeholders, rows as arrays, nested tables"() {
    const c = await mysql.createConnection({ ...options, namedPlaceholders: true });
    assert.strictEqual((await c.execute("SELECT :a + :a AS s", { a: 2 }))[0][0].s, 4);
    const [rows] = await c.query({ sql: "SELECT 1, 2", rowsAsArray: true });
    assert.deepStrictEqual(rows, [[1, 2]]);
    const [nested] = await c.query({ sql: "SELECT t.i FROM (SELECT 3 AS i) t", nestTables: true });
    assert.strictEqual(nested[0].t.i, 3);
    await c.end();
  },
  async "big numbers, JSON and bits keep their values"(c) {
    await table(c, "b BIGINT UNSIGNED, j JSON, f BIT(9), t DATETIME(6)");
    await c.query(`INSERT INTO m2 VALUES (18446744073709551615, '{"a": [1, null]}', b'100000001', '2026-01-02 03:04:05.678901')`);
    const big = await mysql.createConnection({ ...options, supportBigNumbers: true, bigNumberStrings: true, dateStrings: true });
    for (const ask of ["query", "execute"]) {
      const [[row]] = await big[ask]("SELECT * FROM m2");
      assert.strictEqual(String(row.b), "18446744073709551615");
      assert.deepStrictEqual(row.j, { a: [1, null] });
      assert.deepStrictEqual([...row.f], [1, 1]);
      assert.strictEqual(row.t, "2026-01-02 03:04:05.678901");
    }
    await big.end();
  },
  async "character sets of the connection"() {
    for (const charset of ["utf8mb4_unicode_ci", "LATIN1_SWEDISH_CI", "UTF8MB4_0900_AI_CI"]) {
      const c = await mysql.createConnection({ ...options, charset });
      assert.strictEqual((await c.query("SELECT 'é' AS s"))[0][0].s, "é");
      const [[row]] = await c.query("SELECT @@collation_connection AS c");
      assert.strictEqual(row.c.toLowerCase(), charset.toLowerCase());
      await c.end();
    }
  },
  async "found rows rather than changed rows"() {
    const c = await mysql.createConnection({ ...options, flags: ["-FOUND_ROWS"] });
    await table(c, "v INT");
    await c.query("INSERT INTO m2 VALUES (1)");
    assert.strictEqual((await c.query("UPDATE m2 SET v = 1"))[0].affectedRows, 0);
    await c.end();
  },
  async "a pool under parallel work"() {
    const pool = mysql.createPool({ ...options, connectionLimit: 8 });
    const sums = await Promise.all(Array.from({ length: 200 }, (_, n) => pool.execute("SELECT ? + 1 AS s", [n])));
    sums.forEach(([[row]], n) => assert.strictEqual(Number(row.s), n + 1));
    const taken = await pool.getConnection();
    await taken.query("SET @mine = 1");
    taken.release();
    await pool.end();
  },
  async "queries queued on one connection come back in order"(c) {
    const answers = await Promise.all(Array.from({ length: 300 }, (_, n) => c.query("SELECT ? AS n", [n])));
    answers.forEach(([[row]], n) => assert.strictEqual(row.n, n));
  },
  async "a wrong password and an unknown database are refused"() {
    await refused(mysql.createConnection({ ...options, password: "wrong" }), "ER_ACCESS_DENIED_ERROR");
    await refused(mysql.createConnection({ ...options, database: "m2_nowhere" }), "ER_BAD_DB_ERROR");
  },
  async "TLS"() {
    const c = await mysql.createConnection({ ...options, ssl: { rejectUnauthorized: false } });
    assert.ok(c.connection.stream.encrypted);
    assert.strictEqual((await c.query("SELECT 1 AS x"))[0][0].x, 1);
    await c.end();
  },
  async "compression is negotiated or left"() {
    const c = await mysql.createConnection({ ...options, compress: true });
    assert.strictEqual((await c.query("SELECT REPEAT('x', 100000) AS x"))[0][0].x.length, 100000);
    await c.end();
  },
  async "attributes of the connection can be seen"() {
    const c = await mysql.createConnection({ ...options, connectAttributes: { program_name: "m2-shop" } });
    const [rows] = await c.query(
      "SELECT attr_value AS v FROM performance_schema.session_connect_attrs WHERE processlist_id = CONNECTION_ID() AND attr_name = 'program_name'");
    assert.strictEqual(rows[0]?.v, "m2-shop");
    await c.end();
  },
  async "a query is killed from another connection"(c, other) {
    const sleeping = c.query("SELECT SLEEP(20) AS s");
    let id;
    do {
      const [rows] = await other.query(
        "SELECT id FROM information_schema.processlist WHERE info = 'SELECT SLEEP(20) AS s'");
      id = rows[0]?.id;
    } while (!id);
    await other.query(`KILL QUERY ${c.threadId}`);
    const outcome = await sleeping.then(([[row]]) => row.s, (error) => error.code);
    assert.ok(outcome === 1 || outcome === "ER_QUERY_INTERRUPTED", String(outcome));
  },
  async "local files"() {
    const c = await mysql.createConnection(options);
    await table(c, "i INT");
    const { Readable } = require("stream");
    await c.query({ sql: "LOAD DATA LOCAL INFILE 'x' INTO TABLE m2", infileStreamFactory: () => Readable.from([Buffer.from("1\n2\n")]) });
    assert.strictEqual((await c.query("SELECT COUNT(*) AS n FROM m2"))[0][0].n, 2);
    await c.end();
  },
};

async function main() {
  const version = `mysql2-${require(`${folder}/package.json`).version}`;
  const lines = [{ version }];
  for (const [test, check] of Object.entries(checks)) {
    const opened = [];
    try {
      for (let n = 0; n < 2; n++) opened.push(await mysql.createConnection(options));
      await check(...opened);
      lines.push({ test, outcome: "passed", why: "" });
    } catch (error) {
      lines.push({ test, outcome: "failed", why: String(error.message ?? error).split("\n")[0].slice(0, 300) });
    } finally {
      opened.forEach((c) => c.destroy());
    }
  }
  fs.writeFileSync(out, lines.map((line) => JSON.stringify(line) + "\n").join(""));
  process.exit(0);
}

main();
