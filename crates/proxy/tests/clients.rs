//! Foreign clients work through the door as they do without it.

#![allow(clippy::unwrap_used)]

mod world;

use std::process::Command;

use mysql_async::prelude::Queryable;
use sandbox::{SHOP_PASSWORD, SHOP_USER};
use world::{block_on, door, mysql_client, node, run, sysbench, tools};

#[test]
fn the_mysql_client_works_through_the_door() {
    let node = node("cli", 1, &[]);
    let door = door(&node);
    let client = |password: &str, sql: &str| {
        let mut command = mysql_client(&door, &[], sql);
        command.env("MYSQL_PWD", password);
        command
    };
    let out =
        run(&mut client(SHOP_PASSWORD, "SELECT COUNT(*) FROM item; SELECT 1 UNION SELECT 2; SHOW WARNINGS"));
    assert_eq!(out, "100\n1\n2\n");
    let out = client("wrong", "SELECT 1").output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && said.contains("ERROR 1045 (28000): Access denied for user 'shop'"),
        "{said}"
    );
    let mut unknown = client(SHOP_PASSWORD, "USE nosuch");
    let said = String::from_utf8_lossy(&unknown.output().unwrap().stderr).into_owned();
    assert!(said.contains("ERROR 1044") || said.contains("ERROR 1049"), "{said}");
}

#[test]
fn pymysql_works_through_the_door() {
    let node = node("pymysql", 1, &[]);
    let door = door(&node);
    let tools = tools();
    let script = format!(
        r#"
import pymysql
c = pymysql.connect(host='127.0.0.1', port={port}, user='{SHOP_USER}', password='{SHOP_PASSWORD}', database='shop')
k = c.cursor()
k.execute('SELECT COUNT(*) FROM item'); assert k.fetchone() == (100,)
k.execute('INSERT INTO item (name) VALUES (%s)', ('é',)); assert k.lastrowid == 101, k.lastrowid
c.rollback()
k.execute('SELECT COUNT(*) FROM item'); assert k.fetchone() == (100,)
try:
    k.execute('SELECT nonsense FROM item'); assert False
except pymysql.err.OperationalError as e:
    assert e.args[0] == 1054, e
c.select_db('information_schema')
k.execute('SELECT DATABASE()'); assert k.fetchone() == ('information_schema',)
c.ping(); c.set_charset('latin1')
k.execute('SELECT @@character_set_client'); assert k.fetchone() == ('latin1',)
c.close()
try:
    pymysql.connect(host='127.0.0.1', port={port}, user='{SHOP_USER}', password='wrong'); assert False
except pymysql.err.OperationalError as e:
    assert e.args[0] == 1045, e
print('fine')
"#,
        port = door.address().port()
    );
    let mut python = Command::new(&tools.python);
    python.env("PYTHONPATH", &tools.python_path).args(["-c", &script]);
    assert_eq!(run(&mut python), "fine\n");
}

#[test]
fn sysbench_works_through_the_door() {
    let node = node("sysbench", 1, &[]);
    let door = door(&node);
    let (tools, port) = (tools(), door.address().port());
    run(sysbench(&tools, port, "oltp_read_write", 1).arg("prepare"));
    for mode in ["--db-ps-mode=auto", "--db-ps-mode=disable"] {
        run(sysbench(&tools, port, "oltp_read_write", 8).args([
            mode,
            "--time=2",
            "--mysql-ignore-errors=1213",
            "run",
        ]));
    }
    assert_eq!(door.control().stats().door_errors, 0);
    assert!(door.control().stats().commands > 1000);
}

#[test]
fn mysql_async_works_through_the_door() {
    let node = node("async", 1, &[]);
    let door = door(&node);
    block_on(async {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(door.address().port())
            .user(Some(SHOP_USER))
            .pass(Some(SHOP_PASSWORD))
            .db_name(Some("shop"))
            // Else it asks the server for its socket and goes around the door.
            .prefer_socket(Some(false));
        let mut c = mysql_async::Conn::new(options).await.unwrap();
        let name: Option<String> = c.exec_first("SELECT name FROM item WHERE id = ?", (7,)).await.unwrap();
        assert_eq!(name.as_deref(), Some("item 7"));
        let mut tx = c.start_transaction(mysql_async::TxOpts::default()).await.unwrap();
        tx.exec_drop("UPDATE item SET name = ? WHERE id = ?", ("x", 7)).await.unwrap();
        tx.rollback().await.unwrap();
        let names: Vec<String> =
            c.query("SELECT name FROM item WHERE id IN (7, 8) ORDER BY id").await.unwrap();
        assert_eq!(names, ["item 7", "item 8"]);
        c.reset().await.unwrap();
        c.change_user(mysql_async::ChangeUserOpts::default()).await.unwrap();
        let id: Option<u64> = c.query_first("SELECT CONNECTION_ID()").await.unwrap();
        assert!(id.is_some());
        c.disconnect().await.unwrap();
    });
}
