//! How fast the lake takes events, how much disk they take, and how fast it answers.
//!
//! `cargo run --release -p lake --example lake-bench -- [--dir DIR] [--gb 10] [--asks 7] [--ids 2]` prints one JSON line. Requests of
//! a web server, made from a seed and spread over a day; their size is that of the JSON that a shipper would send for them. Each has
//! two random identifiers of 128 bits, its own and its trace's; with `--ids 1` its own alone, with `--ids 0` none. They
//! are folded, committed and joined into large files as in the product, with the time of making them taken off. Then each
//! question is asked several times, with what it reads in the operating system's memory or not as it happens to be.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use disk::{OsClock, OsDisk, OsRng};
use futures_util::StreamExt as _;
use lake::fault::NoFault;
use lake::{Lake, Limits, Options, Query, Retention, RowsOut, World};
use model::{
    BoxFuture, Clock as _, Event, Feed, Recorded, Refusal, Rng, SeededRng, Signal, SourceId, Tenant, Timestamp, Value,
};

/// The allocator of the product, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PATHS: [&str; 7] =
    ["/", "/cart", "/api/v1/orders", "/static/app.3f9c1d.js", "/search?q=shoes&page=2", "/healthz", "/login"];
const AGENTS: [&str; 3] =
    ["Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "curl/8.5.0", "kube-probe/1.30"];
const SERVICES: [&str; 8] = ["shop", "search", "cart", "login", "mail", "stock", "pay", "api"];

/// What was made so far.
#[derive(Default)]
struct Made {
    raw_bytes: AtomicU64,
    events: AtomicU64,
    /// Time spent making them.
    nanos: AtomicU64,
    /// The identifier of one request in the middle, and of its trace.
    needle: Mutex<Option<(String, String)>>,
}

struct Generator {
    tenant: Tenant,
    rng: SeededRng,
    clock: OsClock,
    made: Arc<Made>,
    raw_bytes: u64,
    /// Events to spread the day over.
    events_about: u64,
    /// Random identifiers of an event.
    ids: u8,
    /// When that day begins, in seconds since 1970: yesterday, so that nothing is too old to be kept.
    start: i64,
}

impl Generator {
    fn pick<'a>(&self, of: &[&'a str]) -> &'a str {
        of.get(usize::try_from(self.rng.below(of.len() as u64)).unwrap_or(0)).copied().unwrap_or_default()
    }

    fn event(&self, number: u64) -> (Event, usize) {
        let mut id = [0; 32];
        self.rng.fill(&mut id);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (request, trace) = (hex(&id[..16]), hex(&id[16..]));
        if number == self.events_about / 2 && self.ids == 2 {
            *self.made.needle.lock().unwrap_or_else(PoisonError::into_inner) = Some((request.clone(), trace.clone()));
        }
        let status = self.pick(&["200", "200", "200", "304", "404"]);
        let bytes = self.rng.below(90_000);
        let request = if self.ids == 0 { String::new() } else { format!(" request_id={request}") };
        let message = format!(
            "{} {} {status} {bytes} 0.{:03}s upstream=app-{}:8080{request}",
            self.pick(&["GET", "POST"]),
            self.pick(&PATHS),
            self.rng.below(1_000),
            self.rng.below(9),
        );
        let time_ns =
            (self.start * 1_000_000_000).saturating_add_unsigned(number * (86_400_000_000_000 / self.events_about));
        let attributes = [
            ("client.ip", Value::Text(format!("[ip:{:016x}]", self.rng.below(250)))),
            ("user_agent.original", Value::from(self.pick(&AGENTS))),
            ("http.response.bytes", Value::U64(bytes)),
        ];
        let service = self.pick(&SERVICES);
        let event = Event {
            stream: "web".to_owned(),
            severity: 9,
            time_ns: Some(time_ns),
            observed_ns: time_ns,
            body: Some(Value::Text(message)),
            attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            resource: [("service.name", service), ("service.version", "4.12.0")]
                .into_iter()
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .collect(),
            trace_id: (self.ids == 2).then_some(trace),
            ..Event::default()
        };
        // As bench/intake sends them: an action line, names, quotes and time besides the values.
        let of = |map: &model::Map| map.iter().map(|(name, value)| name.len() + 6 + written(value)).sum::<usize>();
        let trace = if event.trace_id.is_some() { 48 } else { 0 };
        let raw = 27 + 34 + 70 + trace + written_body(&event) + of(&event.attributes) + of(&event.resource);
        (event, raw)
    }
}

fn written(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        _ => 5,
    }
}

fn written_body(event: &Event) -> usize {
    event.body.as_ref().map_or(0, written) + 14
}

impl Feed for Generator {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            let start = self.clock.monotonic();
            let mut records = Vec::with_capacity(max);
            while records.len() < max && self.made.raw_bytes.load(Ordering::Relaxed) < self.raw_bytes {
                let number = self.made.events.fetch_add(1, Ordering::Relaxed);
                let (event, raw) = self.event(number);
                self.made.raw_bytes.fetch_add(raw as u64, Ordering::Relaxed);
                let admitted_at = Timestamp::from_nanosecond(event.observed_ns.into()).expect("in range");
                let signal = Signal { tenant: self.tenant.clone(), source: SourceId([1; 16]), body: event.into() };
                records.push(Recorded { position: number, admitted_at, signal });
            }
            let took = u64::try_from((self.clock.monotonic() - start).as_nanos()).unwrap_or(u64::MAX);
            self.made.nanos.fetch_add(took, Ordering::Relaxed);
            Ok(records)
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

/// Processor time of this process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}

/// Bytes of the files below a directory whose names end so.
fn size_of(path: &std::path::Path, end: &str) -> u64 {
    std::fs::read_dir(path).map_or(0, |entries| {
        entries
            .flatten()
            .map(|entry| {
                let path = entry.path();
                let counts = path.to_string_lossy().ends_with(end);
                match (path.is_dir(), counts) {
                    (true, _) => size_of(&path, end),
                    (false, true) => entry.metadata().map_or(0, |meta| meta.len()),
                    (false, false) => 0,
                }
            })
            .sum()
    })
}

/// Returns median, least and most as a JSON array.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    format!("[{:.3},{:.3},{:.3}]", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

async fn asked(lake: &Lake, tenant: &Tenant, sql: &str) -> u64 {
    let limits = Limits { rows: 1_000, time: Duration::from_secs(30) };
    let mut answer = lake.sql(tenant, sql, limits, RowsOut::Ndjson).await.expect("answers");
    while let Some(bytes) = answer.next().await {
        bytes.expect("answers to the end");
    }
    answer.rows()
}

async fn searched(lake: &Lake, tenant: &Tenant, search: &str) -> u64 {
    let limits = Limits { rows: 1_000, time: Duration::from_secs(30) };
    let query = Query { search: search.to_owned(), limit: 10, ..Query::default() };
    let hits = lake.search(tenant, &query, limits).await.expect("is searched");
    hits.collect::<Vec<_>>().await.into_iter().filter(Result::is_ok).count() as u64
}

/// Folds, commits and joins everything. Returns raw MB a second of processor time and by the wall, without making it.
async fn fill(lake: &Lake, generator: Generator) -> (f64, f64) {
    let (tenant, made, wanted) = (generator.tenant.clone(), Arc::clone(&generator.made), generator.raw_bytes);
    let clock = generator.clock;
    let (start, before) = (clock.monotonic(), cpu());
    let running = {
        let lake = lake.clone();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { lake.run(Box::new(generator)).await.map(|_| ()) });
        tasks
    };
    let mut upkeep = clock.monotonic();
    while made.raw_bytes.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if clock.monotonic() - upkeep > Duration::from_secs(60) {
            upkeep = clock.monotonic();
            lake.upkeep(&tenant).await.expect("is kept up");
        }
    }
    let events = made.events.load(Ordering::Relaxed);
    while lake.position(&tenant).expect("a tenant") < events {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lake.flush(&tenant).await.expect("is committed");
    while lake.upkeep(&tenant).await.expect("is kept up").joined_files > 0 {}
    drop(running);
    let making = made.nanos.load(Ordering::Relaxed) as f64 / 1e9;
    let megabytes = made.raw_bytes.load(Ordering::Relaxed) as f64 / 1e6;
    (megabytes / (cpu() - before - making), megabytes / ((clock.monotonic() - start).as_secs_f64() - making))
}

/// A question, by the name of its figure: in SQL or as a search, and how many rows it has.
type Question = (&'static str, String, u64, bool);

fn questions(by_service: String, needle: Option<(String, String)>) -> Vec<Question> {
    let absent = "SELECT count(*) FROM events WHERE body ILIKE '%nowhere to be found%'";
    let mut questions: Vec<Question> = vec![
        ("count_by_service_ms", by_service, SERVICES.len() as u64, true),
        ("substring_ms", absent.to_owned(), 1, true),
        ("newest_ms", "severity:info".to_owned(), 10, false),
        ("newest_word_ms", "orders".to_owned(), 10, false),
        ("absent_word_ms", "nowhere".to_owned(), 0, false),
    ];
    if let Some((request, trace)) = needle {
        questions.push(("needle_trace_ms", format!("trace_id:{trace}"), 1, false));
        questions.push(("needle_text_ms", request.clone(), 1, false));
        questions.push(("phrase_text_ms", format!("\":8080 request_id={request}\""), 1, false));
    }
    questions
}

async fn run(dir: PathBuf, gb: f64, asks: usize, ids: u8) -> String {
    let clock = OsClock::default();
    let world =
        World { disk: Arc::new(OsDisk), clock: Arc::new(clock), rng: Arc::new(OsRng), fault: Arc::new(NoFault) };
    let tenant = Tenant::default();
    let options = Options {
        dir: dir.join("lake"),
        spill: dir.join("spill"),
        tenants: vec![tenant.clone()],
        flush_every: Duration::from_secs(30),
        hot_bytes: usize::MAX,
        retention: Retention::default(),
    };
    let lake = Lake::open(world, options).await.expect("opens");
    let made = Arc::new(Made::default());
    let start = (clock.now().as_second() / 3_600 - 25) * 3_600;
    let raw_bytes = (gb * 1e9) as u64;
    let generator = Generator {
        tenant: tenant.clone(),
        rng: SeededRng::new(7),
        clock,
        made: Arc::clone(&made),
        raw_bytes,
        events_about: raw_bytes / 470,
        ids,
        start,
    };
    let (per_core, by_wall) = fill(&lake, generator).await;
    let filled_mb = peak_mb();
    let raw = made.raw_bytes.load(Ordering::Relaxed) as f64;
    let (on_disk, filters) = (size_of(&dir.join("lake"), "") as f64, size_of(&dir.join("lake"), ".tokens") as f64);
    let needle = made.needle.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let hour = |of: i64| Timestamp::from_second(start + of * 3_600).expect("in range");
    let by_service = format!(
        "SELECT service, count(*) FROM events WHERE ts >= '{}' AND ts < '{}' GROUP BY service",
        hour(11),
        hour(12)
    );
    let questions = questions(by_service, needle);
    let mut figures = Vec::new();
    for (name, question, rows, is_sql) in &questions {
        let mut took = Vec::new();
        for _ in 0..asks {
            let start = clock.monotonic();
            let found =
                if *is_sql { asked(&lake, &tenant, question).await } else { searched(&lake, &tenant, question).await };
            took.push((clock.monotonic() - start).as_secs_f64() * 1e3);
            assert_eq!(found, *rows, "{name}");
        }
        figures.push(format!("\"{name}\":{}", spread(took)));
    }
    format!(
        "{{\"bench\":\"lake\",\"asks\":{asks},\"raw_gb\":{:.3},\"events\":{},\"mb_per_s_core\":{per_core:.1},\"mb_per_s\":{by_wall:.1},\
         \"filled_peak_mb\":{filled_mb:.1},\"peak_mb\":{:.1},\"raw_to_disk\":{:.2},\"filters_percent\":{:.2},{}}}",
        raw / 1e9,
        made.events.load(Ordering::Relaxed),
        peak_mb(),
        raw / on_disk,
        filters / raw * 100.0,
        figures.join(",")
    )
}

#[expect(clippy::print_stdout, reason = "a command line tool")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let number = |name: &str, default: f64| argument(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let dir = PathBuf::from(argument("--dir").unwrap_or_else(|| "target/lake-bench".to_owned()));
    let dir = dir.join(std::process::id().to_string());
    std::fs::create_dir_all(&dir).expect("creates");
    let runtime = tokio::runtime::Runtime::new().expect("starts");
    let line = runtime.block_on(run(
        dir.clone(),
        number("--gb", 10.0),
        number("--asks", 7.0) as usize,
        number("--ids", 2.0) as u8,
    ));
    drop(runtime);
    std::fs::remove_dir_all(&dir).expect("removes");
    println!("{line}");
}
