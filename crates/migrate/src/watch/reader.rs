//! The task that follows the target's log, and connects again when it must.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use model::TableName;
use mysql::{BinlogStream, ConnectOptions, Connection};
use tokio::sync::watch;
use wire::binlog::RawEvent;

use super::gathering::{Gathering, Transaction, Whose};
use super::keys::Touched;
use super::{Reading, WRITES_KEPT, Watched};
use crate::direction::Direction;
use crate::error::{Doing, MoveError, Result, Side};
use crate::mover::variable;
use crate::session;
use crate::stream::{dump_options, gtid_of};

/// How often the server says that it is there: enough to find a dead connection.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Pause before the log is asked for again, the first time and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long naming a write may wait for the name of the account.
const ACCOUNT_PATIENCE: Duration = Duration::from_millis(400);
/// Accounts remembered.
const ACCOUNTS_KEPT: usize = 1000;
/// Beyond those kept, one write of so many is logged.
const LOGGED_ONE_OF: u64 = 1000;

/// Follows the target's log.
pub(super) struct Reader {
    direction: watch::Receiver<Arc<Direction>>,
    watched: Arc<Watched>,
    target: ConnectOptions,
    accounts: Accounts,
    gathering: Gathering,
    /// Whether the target writes all names in lower case.
    lower_case: bool,
}

impl Reader {
    pub fn new(direction: watch::Receiver<Arc<Direction>>, watched: Arc<Watched>) -> Self {
        let target = direction.borrow().options.target.clone();
        let accounts = Accounts { target: target.clone(), asking: None, known: HashMap::new() };
        Self { direction, watched, target, accounts, gathering: Gathering::default(), lower_case: false }
    }

    pub async fn keep_reading(mut self) {
        let mut pause = RETRY.0;
        let mut said = String::new();
        loop {
            let read_before = self.watched.position.borrow().read.clone();
            let error = match self.read().await {
                Err(error) => of_the_target(&error),
                Ok(never) => match never {},
            };
            if error != said {
                tracing::warn!(target: "highwater::watch", %error, "the target is not watched");
                said.clone_from(&error);
            }
            self.watched.set_reading(Reading::No(error));
            pause = match self.watched.position.borrow().read == read_before {
                true => (pause * 2).min(RETRY.1),
                false => RETRY.0,
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn read(&mut self) -> Result<Infallible> {
        let mut asking = session::open(&self.target, Side::Target).await?;
        let lower_case = variable(&mut asking, Side::Target, "@@GLOBAL.lower_case_table_names").await?;
        self.lower_case = lower_case != "0";
        drop(asking);
        let options = dump_options(&self.watched.position.borrow().read, HEARTBEAT)?;
        let reading = "read the binary log";
        let mut stream = BinlogStream::open(&self.target, &options).await.doing(Side::Target, reading)?;
        self.gathering.begin_again();
        let mut ended = Vec::new();
        let mut tables = Moved::of(&self.direction.borrow());
        loop {
            let event = stream.next().await.doing(Side::Target, reading)?;
            // That it cannot be read shows at the first event, not before.
            self.watched.set_reading(Reading::Yes);
            tables.renew(&self.direction);
            self.judge(&event, &tables, &mut ended)?;
            for transaction in ended.drain(..) {
                if transaction.is_foreign() {
                    self.name(&transaction).await;
                }
                if let Some(gtid) = &transaction.gtid {
                    let gtid = gtid_of(gtid)?;
                    self.watched.position.send_modify(|at| at.read.add(gtid));
                }
            }
        }
    }

    fn judge(&mut self, event: &RawEvent, tables: &Moved, ended: &mut Vec<Transaction>) -> Result<()> {
        let whose = Whose {
            moves: &|name| tables.names.contains(name),
            is_ours: &|id| session::is_ours(&self.target, id),
        };
        self.gathering.take(event, &whose, ended)
    }

    /// Says what a foreign transaction did, and has its rows proven again.
    async fn name(&mut self, transaction: &Transaction) {
        let mut touched = self.touched(transaction);
        if touched.writes.is_empty() {
            return;
        }
        let gtid = transaction.gtid.as_ref().and_then(|gtid| gtid_of(gtid).ok());
        let account = match transaction.thread {
            Some(thread) => self.accounts.of(thread).await,
            None => None,
        };
        for write in touched.writes.values_mut() {
            write.gtid = gtid.map(|gtid| gtid.to_string()).unwrap_or_default();
            write.at_micros = transaction.gtid.as_ref().and_then(|gtid| gtid.commit_micros);
            write.thread = transaction.thread;
            write.account.clone_from(&account);
            let Some(before) = self.watched.note(write) else { return };
            if before < WRITES_KEPT as u64 || before.is_multiple_of(LOGGED_ONE_OF) {
                tracing::warn!(
                    target: "highwater::watch", number = before + 1, "a write on the target is not ours: {write}"
                );
            }
        }
    }

    fn touched(&self, transaction: &Transaction) -> Touched {
        loop {
            let direction = Arc::clone(&self.direction.borrow());
            let touched = Touched::of(transaction, &direction, self.lower_case);
            for (table, key) in &touched.dirty {
                direction.dirty.add(*table, key);
            }
            for table in &touched.doubted {
                direction.proof.doubt(&direction.tables[*table].name);
            }
            // Other tables may have taken the place of these meanwhile, without what was just added.
            if Arc::ptr_eq(&direction, &self.direction.borrow()) {
                return touched;
            }
        }
    }
}

/// The error in the words of this log: what decodes events takes them for the source's.
fn of_the_target(error: &MoveError) -> String {
    match error {
        MoveError::Unsupported(what) => format!("the binary log of the target holds {what}"),
        MoveError::Server { error, doing, .. } => format!("cannot {doing} on the target: {error}"),
        other => other.to_string(),
    }
}

/// The names of the tables that move.
struct Moved {
    direction: Arc<Direction>,
    names: HashSet<TableName>,
}

impl Moved {
    fn of(direction: &Arc<Direction>) -> Self {
        let names = direction.tables.iter().map(|table| table.name.clone()).collect();
        Self { direction: Arc::clone(direction), names }
    }

    fn renew(&mut self, now: &watch::Receiver<Arc<Direction>>) {
        let now = now.borrow();
        if !Arc::ptr_eq(&self.direction, &now) {
            *self = Self::of(&now);
        }
    }
}

/// Whose connections those of the target are.
struct Accounts {
    target: ConnectOptions,
    /// Kept once there was something to ask.
    asking: Option<Connection>,
    known: HashMap<u32, String>,
}

impl Accounts {
    /// The account of a connection, if it is still there, and we may know.
    async fn of(&mut self, thread: u32) -> Option<String> {
        if let Some(account) = self.known.get(&thread) {
            return Some(account.clone());
        }
        let asked = tokio::time::timeout(ACCOUNT_PATIENCE, self.ask(thread)).await;
        let Ok(Ok(account)) = asked else {
            // Given up in the middle of an answer, a connection is of no more use.
            self.asking = None;
            return None;
        };
        if let Some(account) = &account {
            if self.known.len() >= ACCOUNTS_KEPT {
                self.known.clear();
            }
            self.known.insert(thread, account.clone());
        }
        account
    }

    async fn ask(&mut self, thread: u32) -> Result<Option<String>> {
        let asking = match &mut self.asking {
            Some(asking) => asking,
            none => none.insert(session::open(&self.target, Side::Target).await?),
        };
        let sql = format!("SELECT USER, HOST FROM performance_schema.processlist WHERE ID = {thread}");
        let row = asking.row(sql).await.doing(Side::Target, "ask whose connection it is")?;
        Ok(row.map(|row| format!("{}@{}", row.text(0), row.text(1))))
    }
}
