//! Measures the load that many idle processes put on one Postgres server:
//! `cargo bench -p api-key-tests --bench fleet`.
//!
//! Each process builds its `AppKeys` and then gets no requests. The results are the server's
//! connections, reads per second and processor time. Two more results are the time until every
//! process has started, and the time until every process rejects a revoked key. The benchmark uses
//! Postgres directly and through a `PgBouncer`.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss)]

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use actix_web::{HttpRequest, http::StatusCode, rt::System};
use api_key_runtime::AppKeys;
use diesel::{
    Connection as _, PgConnection, RunQueryDsl as _,
    connection::SimpleConnection as _,
    dsl::sql,
    sql_types::{BigInt, Text},
};

use self::support::{
    Database, authenticate, figure, figures, heading, make_keys, request,
    servers::{Pooler, Postgres, pooler::Sizes},
};

#[allow(dead_code, unused_imports, reason = "no bench uses all of it")]
mod support;

/// The variable that passes the database URL, the number of handles, `max_staleness` and a key to a
/// process of the fleet.
const MEMBER: &str = "BENCH_FLEET_MEMBER";
/// Number of handles that start at once. A larger number would exceed the connect timeout on a
/// small machine.
const AT_ONCE: usize = 10;
/// How often a handle tries to start.
const ATTEMPTS: usize = 5;
/// Time after which the connections opened at startup are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
const SETTLING: Duration = Duration::from_secs(8);
const MEASURED: Duration = Duration::from_secs(20);
/// Number of statements whose processor time is averaged.
const READS: u32 = 5000;
/// Time between two checks of a process that waits for the revocation.
const CHECK_EVERY: Duration = Duration::from_millis(10);

fn main() {
    if let Ok(member) = env::var(MEMBER) {
        return serve(&member);
    }
    heading();
    let server = Postgres::start(&[
        "max_connections=2600",
        "track_functions=pl",
        "shared_buffers=128MB",
        "max_wal_size=4GB",
        "autovacuum=off",
    ]);
    reads(&server);
    let pooler = Pooler::start(&server, Sizes { clients: 3000, connections: 20 });
    for (processes, handles, max_staleness) in [(200, 1, 1), (200, 1, 5), (10, 100, 10)] {
        for pooler in [None, Some(&pooler)] {
            measure(&server, pooler, (processes, handles), max_staleness);
        }
    }
    println!("# load average {} at the end", figures::load_average());
}

/// Measures a fleet of this many processes, each with this many handles. `max_staleness` is in
/// seconds.
fn measure(
    server: &Postgres,
    pooler: Option<&Pooler>,
    (processes, handles): (usize, usize),
    max_staleness: u64,
) {
    let database = Database::postgres(server);
    let key = make_keys(1).remove(0);
    database.insert(std::slice::from_ref(&key));
    let url = match pooler {
        None => database.url().to_owned(),
        Some(pooler) => {
            let (_, name) = database.url().rsplit_once('/').unwrap();
            format!("postgres://postgres@{}/{name}", pooler.address)
        }
    };
    let way = if pooler.is_some() { "pgbouncer" } else { "direct" };
    let name = |what: &str| format!("fleet_{what}_{processes}x{handles}_{max_staleness}s_{way}");
    let began = Instant::now();
    let member = format!("{url} {handles} {max_staleness} {}", key.secret);
    let mut fleet: Vec<Member> = Vec::with_capacity(processes);
    while fleet.len() < processes {
        let at_once = (AT_ONCE / handles).max(1);
        let mut group: Vec<Member> = (0..at_once).map(|_| Member::start(&member)).collect();
        for member in &mut group {
            assert_eq!(member.line(), "ready");
        }
        fleet.append(&mut group);
    }
    figure(&name("startup"), began.elapsed().as_secs_f64(), "s");

    thread::sleep(SETTLING);
    let mut connection = PgConnection::establish(database.url()).unwrap();
    let mut count = |what: &str| {
        let found: i64 = diesel::select(sql::<BigInt>(what)).get_result(&mut connection).unwrap();
        found as f64
    };
    let connections =
        "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) - 1";
    figure(&name("connections"), count(connections), "");
    let reads =
        "(SELECT calls FROM pg_stat_user_functions WHERE funcname = 'api_keys_changes_since_v1')";
    let (reads_before, cpu_before) = (count(reads), server_cpu(server));
    let pooler_before = pooler.map(|pooler| process_cpu(pooler.process()));
    thread::sleep(MEASURED);
    let per_second = |value: f64| value / MEASURED.as_secs_f64();
    let cpu = server_cpu(server) - cpu_before;
    let reads = count(reads) - reads_before;
    figure(&name("reads_per_second"), per_second(reads), "/s");
    figure(&name("server_cores"), per_second(cpu), "cores");
    figure(&name("server_us_per_read"), cpu * 1e6 / reads, "us");
    if let (Some(pooler), Some(before)) = (pooler, pooler_before) {
        figure(&name("pooler_cores"), per_second(process_cpu(pooler.process()) - before), "cores");
    }

    for member in &mut fleet {
        member.say("check");
    }
    for member in &mut fleet {
        assert_eq!(member.line(), "accepted");
    }
    connection.batch_execute("UPDATE api_keys SET revoked_at = now()").unwrap();
    let revoked = now();
    let mut delays: Vec<f64> = fleet
        .iter_mut()
        .map(|member| (member.line().parse::<f64>().unwrap() - revoked).max(0.0) * 1e3)
        .collect();
    delays.sort_by(f64::total_cmp);
    figure(&name("revocation_median"), figures::quantile(&delays, 0.5), "ms");
    figure(&name("revocation_all"), figures::quantile(&delays, 1.0), "ms");
}

/// Measures the server's processor time of one read of the change log, beyond that of `SELECT '1'`:
/// if no transaction has ended since the last read, and if another session writes.
///
/// The reads follow each other without a pause. A read in a fleet costs more, because the server
/// process has to wake up, and other processes have used the processor's caches.
fn reads(server: &Postgres) {
    let database = Database::postgres(server);
    database.insert(&make_keys(1));
    let mut connection = PgConnection::establish(database.url()).unwrap();
    let since = text(&mut connection, "pg_current_snapshot()::text");
    let read = |definitions: &str| {
        format!("api_keys_changes_since_v1('{since}', pg_backend_pid(), {definitions})")
    };
    let least = microseconds(&mut connection, "'1'");
    let idle = microseconds(&mut connection, &read("0"));
    // Assigns a transaction number, as any write does.
    text(&mut connection, "pg_current_xact_id()::text");
    let definitions = text(&mut connection, &format!("split_part({}, ';', 9)", read("0")));
    let writes = microseconds(&mut connection, &read(&definitions));
    figure("feed_read_server_us_idle", idle - least, "us");
    figure("feed_read_server_us_writes", writes - least, "us");
    println!("#   beyond {least:.0} us of SELECT '1'");
}

fn text(connection: &mut PgConnection, what: &str) -> String {
    diesel::select(sql::<Text>(what)).get_result(connection).unwrap()
}

/// Returns the server's processor time of one statement in microseconds, averaged over many.
fn microseconds(connection: &mut PgConnection, what: &str) -> f64 {
    let process = text(connection, "pg_backend_pid()::text").parse().unwrap();
    let before = process_cpu(process);
    (0..READS).for_each(|_| drop(text(connection, what)));
    (process_cpu(process) - before) * 1e6 / f64::from(READS)
}

/// Returns the processor time so far of a server and all its processes, in seconds.
fn server_cpu(server: &Postgres) -> f64 {
    let postmaster = u32::try_from(server.process().as_raw_nonzero().get()).unwrap();
    let processes = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |process: &u32| stat(*process).is_some_and(|stat| stat.parent == postmaster);
    let ended = stat(postmaster).map_or(0.0, |stat| stat.ended_children);
    ended + processes.filter(is_child).map(process_cpu).sum::<f64>()
}

/// Returns the processor time of a process so far, in seconds.
fn process_cpu(process: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

struct Stat {
    parent: u32,
    /// The processor time of children that have ended, in seconds.
    ended_children: f64,
}

fn stat(process: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain spaces.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        // A tick is ten milliseconds.
        ended_children: (ticks(13)? + ticks(14)?) / 100.0,
    })
}

/// A process of the fleet.
struct Member {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Member {
    fn start(member: &str) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .env(MEMBER, member)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a process of the fleet. Uses the key through each handle until every handle rejects the
/// key, then prints the time of the last rejection. A line on standard input starts the use.
fn serve(member: &str) {
    let [url, handles, max_staleness, key] = member.split(' ').collect::<Vec<_>>()[..] else {
        return;
    };
    let max_staleness = Duration::from_secs(max_staleness.parse().unwrap());
    let build = || {
        let builder = AppKeys::builder().database_url(url).max_staleness(max_staleness);
        builder.idle_timeout(IDLE_TIMEOUT).build()
    };
    // On a small machine, connecting beside hundreds of other handles may time out.
    let start = || (0..ATTEMPTS).find_map(|_| build().ok()).expect("connects in a few attempts");
    let handles: Vec<AppKeys> = (0..handles.parse().unwrap()).map(|_| start()).collect();
    let requests: Vec<HttpRequest> = handles.iter().map(|keys| request(keys, key)).collect();
    println!("ready");
    let mut line = String::new();
    io::stdin().read_line(&mut line).unwrap();
    System::new().block_on(async {
        for request in &requests {
            // On a small machine, that many concurrent lookups may time out.
            while authenticate(request).await != Ok(()) {
                thread::sleep(10 * CHECK_EVERY);
            }
        }
        println!("accepted");
        for request in &requests {
            while authenticate(request).await != Err(StatusCode::UNAUTHORIZED) {
                thread::sleep(CHECK_EVERY);
            }
        }
        println!("{}", now());
    });
}

/// Returns the Unix time in seconds.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
