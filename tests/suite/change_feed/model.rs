//! Random histories of transactions, reads and pruning on a real Postgres server. No reader misses
//! a change. If one rule for reading or pruning is broken, some reader misses a change.

use std::collections::BTreeSet;

use diesel::{Connection as _, PgConnection, connection::SimpleConnection as _};

use super::{Reader, Seen, insert, postgres::change};
use crate::support::{Database, OwnServer, random::Random};

const WRITERS: usize = 4;
const READERS: usize = 3;
/// Enough steps to find a counterexample to every wrong rule.
const STEPS: usize = 1500;

/// A connection that changes its own key, so that writers do not wait for each other.
struct Writer {
    connection: PgConnection,
    digest: String,
    is_open: bool,
    has_written: bool,
}

/// A reader, and the changes committed since its last read.
struct Observed {
    reader: Reader,
    unread: BTreeSet<String>,
}

struct World<'a> {
    database: &'a Database,
    operator: PgConnection,
    writers: Vec<Writer>,
    readers: Vec<Observed>,
    random: Random,
    /// The number of reads that listed single keys.
    named: usize,
}

impl<'a> World<'a> {
    fn new(database: &'a Database, seed: u64) -> Self {
        let connect = || PgConnection::establish(database.url()).unwrap();
        let writers = (0..WRITERS).map(|number| Writer {
            connection: connect(),
            digest: insert(database, u32::try_from(number + 1).unwrap()),
            is_open: false,
            has_written: false,
        });
        let writers = writers.collect();
        let observed = |_| Observed { reader: Reader::new(database), unread: BTreeSet::new() };
        Self {
            database,
            operator: connect(),
            writers,
            readers: (0..READERS).map(observed).collect(),
            random: Random::new(seed),
            named: 0,
        }
    }

    /// Makes a random step. Returns the changes that a reader missed, if any.
    fn step(&mut self) -> Option<BTreeSet<String>> {
        let writer = self.random.below(WRITERS);
        match self.random.below(100) {
            0..25 => self.begin(writer),
            25..50 => self.write(writer),
            50..70 => self.end(writer),
            70..88 => return self.read(),
            _ => self.prune(),
        }
        None
    }

    /// Begins a transaction. Some transactions get their transaction ID long before they write.
    fn begin(&mut self, number: usize) {
        let writer = &mut self.writers[number];
        if !writer.is_open {
            let early =
                if self.random.below(2) == 0 { "; SELECT pg_current_xact_id()" } else { "" };
            writer.connection.batch_execute(&format!("BEGIN{early}")).unwrap();
            writer.is_open = true;
        }
    }

    fn write(&mut self, number: usize) {
        let statement = change(self.database, &self.writers[number].digest);
        let writer = &mut self.writers[number];
        if writer.is_open {
            writer.connection.batch_execute(&statement).unwrap();
            writer.has_written = true;
        }
    }

    fn end(&mut self, number: usize) {
        let commits = self.random.below(6) > 0;
        let writer = &mut self.writers[number];
        if !writer.is_open {
            return;
        }
        writer.connection.batch_execute(if commits { "COMMIT" } else { "ROLLBACK" }).unwrap();
        writer.is_open = false;
        if std::mem::take(&mut writer.has_written) && commits {
            for reader in &mut self.readers {
                reader.unread.insert(writer.digest.clone());
            }
        }
    }

    fn read(&mut self) -> Option<BTreeSet<String>> {
        let observed = &mut self.readers[self.random.below(READERS)];
        let unread = std::mem::take(&mut observed.unread);
        match observed.reader.read() {
            Seen::Everything => None,
            Seen::Keys(keys) => {
                self.named += usize::from(!keys.is_empty());
                let missed: BTreeSet<String> =
                    unread.into_iter().filter(|digest| !keys.contains(digest)).collect();
                (!missed.is_empty()).then_some(missed)
            }
        }
    }

    /// Prunes the log as if an hour had passed, with a random batch size.
    fn prune(&mut self) {
        let most = [1, 2, 1000][self.random.below(3)];
        self.operator
            .batch_execute(&format!(
                "UPDATE api_key_meta SET prune_at = prune_at - interval '61 minutes'; \
                 SELECT api_keys_prune_v1({most})"
            ))
            .unwrap();
    }
}

/// Returns a migrated database on this server. Each test has its own server, because open
/// transactions in other databases of a server delay pruning.
fn migrated(server: &OwnServer) -> Database {
    let database = server.database();
    database.migrate();
    database
}

/// Returns the number of steps until a reader missed a change, or `None` if no reader did.
fn missed_after(database: &Database, seed: u64) -> Option<usize> {
    let mut world = World::new(database, seed);
    let missed = (0..STEPS).find(|_| world.step().is_some());
    // A reader that always reports "everything" would pass too, so many reads must list single
    // keys.
    assert!(missed.is_some() || world.named > STEPS / 30, "{} reads named keys", world.named);
    missed
}

/// Replaces a part of the definition of an SQL function.
fn break_function(database: &Database, signature: &str, right: &str, wrong: &str) {
    let definition = database
        .texts(&format!("SELECT pg_get_functiondef('{signature}'::regprocedure)"))
        .remove(0);
    assert!(definition.contains(right), "{right} is not in {definition}");
    database.execute(&definition.replace(right, wrong)).unwrap();
}

// E7
#[test]
fn no_order_of_pruning_and_reading_misses_a_change() {
    let server = OwnServer::start();
    for seed in 1..=3 {
        assert_eq!(missed_after(&migrated(&server), seed), None, "seed {seed}");
    }
}

// E7
#[test]
fn each_wrong_rule_for_reading_or_pruning_misses_a_change() {
    const READ: &str = "api_keys_log_since_v1(pg_snapshot, bigint, text)";
    const PRUNE: &str = "api_keys_prune_v1(integer)";
    let server = OwnServer::start();
    for (rule, function, right, wrong) in [
        (
            "no floor",
            READ,
            "ORDER BY xid DESC LIMIT 1) IS NOT NULL",
            "ORDER BY xid DESC LIMIT 1) IS NULL OR true",
        ),
        ("by numbers alone", READ, "xid = ANY (ARRAY(SELECT pg_snapshot_xip(since)))", "false"),
        (
            "not oldest first",
            PRUNE,
            "xid < keep ORDER BY xid LIMIT most",
            "xid < keep ORDER BY xid DESC LIMIT most",
        ),
        (
            "the oldest rows are kept",
            PRUNE,
            "xid < keep ORDER BY xid LIMIT most",
            "xid > (SELECT xid FROM public.api_key_changes ORDER BY xid LIMIT 1) AND xid < keep LIMIT most",
        ),
    ] {
        let missed = (1..=5).find_map(|seed| {
            let database = migrated(&server);
            break_function(&database, function, right, wrong);
            missed_after(&database, seed)
        });
        println!("{rule}: a change is missed after {missed:?} steps");
        assert!(missed.is_some(), "{rule}");
    }
}
