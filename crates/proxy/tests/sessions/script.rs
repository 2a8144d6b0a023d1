//! What a random client does, one thing after another.

use std::collections::{HashSet, VecDeque};

use wire::command::Command;

/// A small generator of random numbers (xorshift): the same everywhere from the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

#[derive(Debug, Clone)]
pub enum Action {
    Query(String),
    Simple(Command, Vec<u8>),
    Prepare(String),
    /// A prepared statement by its number, flags, whether the types are sent, the parameter.
    Execute(usize, u8, bool, u32),
    /// A parameter sent ahead, and the execution that takes it.
    LongData(usize, String),
    ExecuteLong(usize),
    Fetch(usize, u32),
    Reset(usize),
    Close(usize),
    ResetConnection,
    /// The same account, by `COM_CHANGE_USER`.
    ChangeUser,
    /// A new connection in place of this one.
    Reconnect,
    /// `KILL QUERY` of what is running: itself.
    KillOwnQuery,
}

/// What a client does; only to tables of its own, so that it does not matter who is faster.
pub struct Script {
    random: Random,
    client: usize,
    pins: bool,
    prepared: usize,
    /// No driver leaves the types out the first time.
    typed: HashSet<usize>,
    next: VecDeque<Action>,
}

/// What showed a difference once, when the backend was lent or the writer changed at the wrong moment. It comes first.
fn found_before(client: usize) -> VecDeque<Action> {
    let query = |sql: &str| Action::Query(sql.replace("TABLE", &format!("t{client}")));
    let [select, update] = ["SELECT ?, @@time_zone", "UPDATE TABLE SET n = n + 1 WHERE id > ?"];
    let prepare = |sql: &str| Action::Prepare(sql.replace("TABLE", &format!("t{client}")));
    VecDeque::from([
        // A savepoint before its transaction.
        query("SET autocommit = 0"),
        query("SAVEPOINT s"),
        query("SELECT 1"),
        query("INSERT INTO TABLE (name) VALUES ('a')"),
        query("RELEASE SAVEPOINT s"),
        query("COMMIT"),
        query("SET autocommit = 1"),
        query("DO 1"),
        Action::KillOwnQuery,
        // What only the connection knows.
        query("SELECT LAST_INSERT_ID(77)"),
        query("SELECT LAST_INSERT_ID()"),
        // A reset keeps the warnings, and so do those who have nothing to reset.
        prepare(select),
        query("INSERT IGNORE INTO TABLE (id, name) VALUES (9, 'too long for its column, by far')"),
        Action::Reset(0),
        query("SHOW WARNINGS"),
        // A statement that is prepared again and refused, on the way through other settings.
        prepare(update),
        query("SET sql_mode = 'ANSI_QUOTES'"),
        query("START TRANSACTION READ ONLY"),
        Action::Execute(1, 0, true, 7),
        query("SHOW ERRORS"),
        query("ROLLBACK"),
        // An option outlives the user.
        Action::Simple(Command::SET_OPTION, vec![1, 0]),
        Action::ChangeUser,
        query("SELECT 1; SELECT 2"),
        Action::Reconnect,
    ])
}

impl Script {
    pub fn new(random: Random, client: usize, pins: bool) -> Self {
        Self { random, client, pins, prepared: 0, typed: HashSet::new(), next: found_before(client) }
    }

    /// The server forgets the prepared statements.
    fn forget(&mut self, action: Action) -> Action {
        self.prepared = 0;
        self.typed.clear();
        action
    }

    pub fn next(&mut self) -> Action {
        if let Some(action) = self.next.pop_front() {
            return action;
        }
        loop {
            if let Some(action) = self.draw() {
                return action;
            }
        }
    }

    fn draw(&mut self) -> Option<Action> {
        let (client, table) = (self.client, format!("t{}", self.client));
        let random = &mut self.random;
        let (id, small) = (random.below(30), random.below(5));
        let query = |sql: String| Some(Action::Query(sql));
        let one_of = |random: &mut Random, all: &[&str]| Some(Action::Query(random.of(all).into()));
        match random.below(if self.pins { 60 } else { 50 }) {
            0..=3 => query(format!("SELECT * FROM {table} ORDER BY id LIMIT {id}")),
            4 | 5 => query(format!("INSERT INTO {table} (name) VALUES ('é {small}')")),
            6 => query(format!("INSERT INTO {table} (id, name) VALUES ({id}, 'x')")),
            7 => query(format!("INSERT INTO {table} (name) VALUES ('a'), ('b')")),
            8 => query(format!("UPDATE {table} SET name = 'y{small}' WHERE id < {id}")),
            9 => query(format!("DELETE FROM {table} WHERE id = {id}")),
            10 | 11 => query("SELECT LAST_INSERT_ID(), @@identity".into()),
            12 => query(format!("UPDATE {table} SET n = LAST_INSERT_ID(n + 1) WHERE id = {id}")),
            13 => one_of(random, &["SHOW WARNINGS", "SHOW COUNT(*) WARNINGS", "SELECT @@warning_count, @@error_count", "SHOW ERRORS"]),
            14 => one_of(random, &["SELECT 1 / 0", "SELECT CAST('x' AS SIGNED), 'é'", "SELECT nonsense", "DROP TABLE IF EXISTS nosuch", "SELEC"]),
            15 => one_of(random, &["BEGIN", "START TRANSACTION WITH CONSISTENT SNAPSHOT", "BEGIN"]),
            16 | 17 => one_of(random, &["COMMIT", "ROLLBACK", "SAVEPOINT s", "ROLLBACK TO SAVEPOINT s", "RELEASE SAVEPOINT s", "SET autocommit = 1", "COMMIT AND CHAIN", "ROLLBACK"]),
            18 => one_of(random, &["SET autocommit = 0", "SET TRANSACTION READ ONLY", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION READ ONLY"]),
            19 => one_of(random, &["SET NAMES latin1", "SET NAMES utf8mb4", "SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET character_set_results = NULL", "SET character_set_connection = latin1", "SET CHARACTER SET latin1"]),
            20 => one_of(random, &["SET time_zone = '+03:00'", "SET time_zone = DEFAULT", "SET sql_mode = 'ANSI_QUOTES'", "SET sql_mode = DEFAULT", "SET sql_mode = 'NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'"]),
            21 => one_of(random, &["SET optimizer_switch = 'mrr=off'", "SET sql_select_limit = 3", "SET sql_select_limit = DEFAULT", "SET div_precision_increment = 7", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET foreign_key_checks = 0, unique_checks = 0", "SET max_error_count = 0", "SET last_insert_id = 12345"]),
            22..=24 => query("SELECT @@time_zone, @@sql_mode, @@sql_select_limit, @@optimizer_switch, @@div_precision_increment, @@autocommit, \
                              @@transaction_isolation, @@foreign_key_checks, @@character_set_client, @@character_set_results, \
                              @@collation_connection, @@max_error_count, DATABASE(), LAST_INSERT_ID(), 'é', FROM_UNIXTIME(0), 1 / 3".into()),
            25 => one_of(random, &["USE other", "USE shop", "USE nosuch"]),
            26 => Some(Action::Simple(Command::INIT_DB, random.of(&["other", "shop"]).as_bytes().to_vec())),
            27 => Some(Action::Simple(Command::PING, Vec::new())),
            28 => query("SELECT \"a\" || 'b\\'".into()),
            29 => match random.below(16) {
                0..=3 => Some(self.forget(Action::ResetConnection)),
                4 | 5 => Some(self.forget(Action::ChangeUser)),
                6 => Some(self.forget(Action::Reconnect)),
                _ => None,
            },
            30..=32 => Some(self.prepare()),
            33..=36 if self.prepared > 0 => {
                let n = random.below(self.prepared);
                Some(Action::Execute(n, 0, self.typed.insert(n) || random.below(3) > 0, id as u32))
            }
            37 if self.prepared > 0 => Some(self.on_prepared()),
            39 => query(format!("SELECT 1; UPDATE {table} SET n = 0; SELECT ROW_COUNT(); SELECT bad; SELECT 2")),
            // Or a long run would have ever longer tables.
            40 => query(format!("DELETE FROM {table} WHERE id > {}", small * 20)),
            41 => one_of(random, &["SET SESSION wait_timeout = 900", "SET group_concat_max_len = 40", "SET max_execution_time = 90000", "SET character_set_client = utf8mb3", "SET sql_safe_updates = 0", "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SET SESSION sql_mode = ''", "SET time_zone = '-05:30', sql_mode = ''"]),
            42 => query(format!("INSERT INTO {table} (id, name) VALUES ({id}, 'd') ON DUPLICATE KEY UPDATE n = n + 1, name = 'e'")),
            43 => match random.below(4) {
                0 => query(format!("REPLACE INTO {table} (id, name) VALUES ({id}, 'r')")),
                1 => query(format!("INSERT IGNORE INTO {table} (id, name) VALUES ({id}, 'ignored, and too long for its column')")),
                2 => query(format!("SELECT id FROM {table} WHERE id < {id} FOR UPDATE")),
                _ => query(format!("INSERT INTO other.{table} (name) SELECT name FROM shop.{table} WHERE id < {small}")),
            },
            44 => query(format!("SELECT GROUP_CONCAT(name), COUNT(*), @@group_concat_max_len FROM {table}")),
            45 => match random.below(4) {
                0 => query(format!("SELECT REPEAT('x', {}), {id}", small * 9_000)),
                1 => query(format!("SELECT REPEAT('y', {small}), REPEAT('z', 70000) FROM {table} LIMIT 3")),
                2 => query(format!("CREATE TABLE IF NOT EXISTS x{client} (i INT)")),
                _ => query(format!("DROP TABLE IF EXISTS x{client}")),
            },
            46 => one_of(random, &["SELECT LAST_INSERT_ID(77)", "SELECT LAST_INSERT_ID(), 'ü'", "SHOW VARIABLES LIKE 'time_zone'", "SELECT @@session.warning_count", "SELECT 'a' = 'A', 'ß'", "DO 1", "SELECT /* c */ 1 -- c"]),
            47 if random.below(6) == 0 => Some(Action::KillOwnQuery),
            48 if random.below(4) == 0 => Some(Action::Simple(Command::SET_OPTION, vec![random.below(2) as u8, 0])),
            49 if random.below(4) == 0 => one_of(random, &["LOCK TABLES nosuch WRITE", "UNLOCK TABLES", "ANALYZE TABLE nosuch", "SET nonsense = 1", "SET time_zone = 'nowhere'"]),
            50 => one_of(random, &["SELECT ROW_COUNT()", "SELECT FOUND_ROWS()", "SELECT SQL_CALC_FOUND_ROWS 1 UNION SELECT 2 LIMIT 1"]),
            51 => one_of(random, &["SET @a = 5, @b = 'x'", "SET @a = @a + 1", "SELECT 7 INTO @a"]),
            52 => query("SELECT @a, @b".into()),
            53 => one_of(random, &["CREATE TEMPORARY TABLE IF NOT EXISTS tmp (i INT)", "INSERT INTO tmp VALUES (1)", "DROP TEMPORARY TABLE IF EXISTS tmp"]),
            54 => query("SELECT COUNT(*) FROM tmp".into()),
            55 => query(format!("SELECT GET_LOCK('lock {client}', 0), IS_USED_LOCK('lock {client}') = CONNECTION_ID()")),
            56 => query("CALL shop.p()".into()),
            57 => match random.below(4) {
                0 => query(format!("XA START 'x{client}'")),
                1 => query(format!("XA END 'x{client}'")),
                2 => query(format!("XA ROLLBACK 'x{client}'")),
                _ => query(format!("XA COMMIT 'x{client}' ONE PHASE")),
            },
            58 => query(format!("LOCK TABLES {table} WRITE")),
            59 => one_of(random, &["UNLOCK TABLES", "PREPARE p FROM 'SELECT 1, ?'", "EXECUTE p USING @a", "DEALLOCATE PREPARE p", "SELECT RELEASE_ALL_LOCKS()"]),
            _ => query("SELECT 1".into()),
        }
    }

    fn prepare(&mut self) -> Action {
        let table = format!("t{}", self.client);
        self.prepared += 1;
        Action::Prepare(match self.random.below(4) {
            0 => format!("SELECT id, name, n, ? FROM {table} ORDER BY id"),
            1 => format!("INSERT INTO {table} (name) VALUES (CONCAT('p', ?))"),
            // No literal text: the server reads a text again, in the character set of the moment, when the
            // types of its parameters turn out to be others than it had guessed.
            2 => "SELECT ?, @@time_zone, DATABASE()".into(),
            _ => format!("UPDATE {table} SET n = n + 1 WHERE id > ?"),
        })
    }

    fn on_prepared(&mut self) -> Action {
        let n = self.random.below(self.prepared);
        match self.random.below(6) {
            0 => Action::Reset(n),
            1 => Action::Close(n),
            2 => {
                // A statement of its own: what was sent ahead is lost on the server if the parameter had another type before.
                let prepare = self.prepare();
                let n = self.prepared - 1;
                for text in ["long", "", "a longer text than before"] {
                    self.next.push_back(Action::LongData(n, text.into()));
                    self.next.push_back(Action::ExecuteLong(n));
                }
                self.next.push_back(Action::Close(n));
                prepare
            }
            // A cursor, in the old dialect; `fidelity.rs` has the new one.
            _ if self.client % 3 != 1 => Action::Reset(n),
            _ => {
                self.next.push_back(Action::Fetch(n, 2));
                // The server answers oddly when the same statement is executed without a cursor after that.
                self.next.push_back(Action::Close(n));
                Action::Execute(n, 1, true, 3)
            }
        }
    }
}
