//! How many notifications a core takes from alert records through the durable outbox to a loopback webhook.
//!
//! `cargo run --release -p alert --example outbox -- [ALERTS] [memory|ledger]`. The webhook's server is another process,
//! so that the processor time of this one is what the alert path costs. Prints one line of JSON.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alert::channel::build::{Parts as ChannelParts, build_all};
use alert::fault::{Fault, NoFault, Point};
use alert::state::State as _;
use alert::{Config, Engine, Parts, Setup, SqliteState};
use disk::{Disk, OsClock, OsDisk, OsRng};
use model::{
    Admit, Alert, Body, BoxFuture, Clock, Feed, Labels, Level, Origin, Position, Receipt, Recorded, Refusal, Sector,
    Severity, Signal, SourceId, Tenant,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

/// The allocator of the product, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if first.as_deref() == Some("serve") {
        return runtime.block_on(serve());
    }
    let alerts = first.map_or(Ok(20_000), |text| text.parse())?;
    let real = arguments.next().as_deref() == Some("ledger");
    runtime.block_on(measure(alerts, real))
}

/// Answers every POST with 200, and counts them until its standard input closes.
async fn serve() -> Result<(), Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        connections.spawn(answer(stream));
    }
}

async fn answer(mut stream: tokio::net::TcpStream) {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let mut buffer: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        while let Some(end) = request_end(&buffer) {
            buffer.drain(..end);
            if stream.write_all(OK).await.is_err() {
                return;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => buffer.extend(chunk.iter().take(read)),
        }
    }
}

/// Returns the length of the first whole request.
fn request_end(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(buffer.get(..head)?).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse::<usize>().ok()?;
    (buffer.len() >= head + length).then_some(head + length)
}

async fn measure(alerts: usize, real: bool) -> Result<(), Failure> {
    let mut server = std::process::Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut port = String::new();
    std::io::BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut port)?;
    let dir = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let ledger = Ledger::open(real, dir.path(), &clock)?;
    let state = Arc::new(SqliteState::open(&dir.path().join("state.sqlite")).await?);
    let setup = setup(port.trim(), dir.path(), &clock)?;
    let start = async |fault: Arc<dyn Fault>| -> Result<Engine, Failure> {
        let after = state.load(&Tenant::default()).await?.cursor.map(|(position, _)| position);
        let parts = Parts::new(
            Arc::clone(&state) as _,
            ledger.feed(after)?,
            Arc::new(ledger.clone()),
            setup.clone(),
            Arc::clone(&clock),
            Arc::new(OsRng),
        );
        Ok(Engine::start(Parts { fault, ..parts }).await?)
    };
    // First from alert records to a full outbox, then from there to the webhook and the records of the outcomes.
    let engine = start(Arc::new(NothingLeaves)).await?;
    let mut watch = Watch::start(&clock)?;
    let mut at = 0;
    while at < alerts {
        let batch = (at..alerts.min(at + 2_048)).map(|n| signal(n, clock.now())).collect();
        at = alerts.min(at + 2_048);
        ledger.admit(batch, Level::Durable).await?;
    }
    wait_for_depth(&state, alerts as u64).await?;
    let filled = watch.lap(&clock, alerts)?;
    drop(engine);
    let engine = start(Arc::new(NoFault)).await?;
    watch.lap(&clock, alerts)?;
    engine.reload(setup.clone());
    wait_for_depth(&state, 0).await?;
    let drained = watch.lap(&clock, alerts)?;
    engine.stop().await;
    server.kill()?;
    server.wait()?;
    let line = serde_json::json!({
        "bench": "outbox",
        "ledger": if real { "real" } else { "memory" },
        "notifications": alerts,
        "alert_to_outbox": filled,
        "outbox_to_webhook": drained,
    });
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// Lets nothing out of the outbox.
struct NothingLeaves;

impl Fault for NothingLeaves {
    fn dies_at(&self, point: Point) -> bool {
        point == Point::Taken
    }
}

/// Waits until so many notifications wait.
async fn wait_for_depth(state: &SqliteState, depth: u64) -> Result<(), Failure> {
    loop {
        let waiting: u64 = state.depths(&Tenant::default()).await?.iter().map(|(_, depth)| depth.waiting).sum();
        if waiting == depth {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Civil and processor time since the last lap.
struct Watch {
    wall: Duration,
    cpu: f64,
}

impl Watch {
    fn start(clock: &Arc<dyn Clock>) -> Result<Self, Failure> {
        Ok(Self { wall: clock.monotonic(), cpu: cpu_seconds()? })
    }

    fn lap(&mut self, clock: &Arc<dyn Clock>, notifications: usize) -> Result<serde_json::Value, Failure> {
        let now = Self::start(clock)?;
        let (wall, cpu) = ((now.wall - self.wall).as_secs_f64(), now.cpu - self.cpu);
        *self = now;
        Ok(serde_json::json!({
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "per_second": notifications as f64 / wall,
            "per_second_per_core": notifications as f64 / cpu,
        }))
    }
}

fn setup(port: &str, dir: &Path, clock: &Arc<dyn Clock>) -> Result<Setup, Failure> {
    let channels = serde_json::json!({"log": {"kind": "webhook", "url": format!("http://127.0.0.1:{port}/")}});
    let parts = ChannelParts {
        disk: Arc::new(OsDisk),
        clock: Arc::clone(clock),
        redactor: Arc::new(privacy::Redactor::new()),
        directory: dir.to_owned(),
    };
    let built = build_all(&alert::channel::config::read(&channels)?, &parts).map_err(|(_, error)| error)?;
    let mut config = Config::default();
    config.dihya.self_test = None;
    Ok(Setup::new(config, built))
}

fn signal(n: usize, at: model::Timestamp) -> Signal {
    let labels = [("alertname", "HighLatency"), ("severity", "critical"), ("service", "checkout"), ("zone", "eu-west")];
    let mut labels: Labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    labels.insert("instance".to_owned(), format!("node-{n}.example:9100"));
    let alert = Alert {
        labels,
        annotations: Labels::from([("summary".to_owned(), "Latency is above 800 ms for ten minutes".to_owned())]),
        starts_at: at,
        ends_at: None,
        generator_url: None,
        severity: Severity::Critical,
        sector: Sector::Ecommerce,
        channel: None,
    };
    Signal { tenant: Tenant::default(), source: SourceId([1; 16]), body: alert.into() }
}

/// Processor time of this process so far, user and system.
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no stat")?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|text| text.parse().ok()).collect();
    // USER_HZ is 100 on every Linux that Rust knows.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// The real ledger behind privacy, or records in memory.
#[derive(Clone)]
enum Ledger {
    Real(ledger::Ledger, Arc<privacy::Clearer>),
    Memory(Arc<Memory>),
}

struct Memory {
    records: Mutex<Vec<Recorded>>,
    grown: watch::Sender<usize>,
    clock: Arc<dyn Clock>,
}

impl Ledger {
    fn open(real: bool, dir: &Path, clock: &Arc<dyn Clock>) -> Result<Self, Failure> {
        if !real {
            let memory = Memory { records: Mutex::default(), grown: watch::Sender::new(0), clock: Arc::clone(clock) };
            return Ok(Self::Memory(Arc::new(memory)));
        }
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let config = ledger::Config::new(dir.to_owned(), "localhost", vec![Tenant::default()]);
        let (ledger, _) = ledger::Ledger::open(disk, Arc::clone(clock), Arc::new(OsRng), config)?;
        let clearer = privacy::Clearer::new(Arc::new(privacy::Redactor::new()), [7; 32]);
        Ok(Self::Real(ledger, Arc::new(clearer)))
    }

    fn feed(&self, after: Option<Position>) -> Result<Box<dyn Feed>, Failure> {
        let tenant = Tenant::default();
        let from = after.map_or(0, |position| position + 1);
        Ok(match self {
            Self::Real(ledger, _) => Box::new(RealFeed { cursor: ledger.cursor(&tenant, from)?, tenant }),
            Self::Memory(memory) => {
                let next = usize::try_from(from)?;
                Box::new(MemoryFeed { grown: memory.grown.subscribe(), memory: Arc::clone(memory), next, tenant })
            }
        })
    }
}

impl Admit for Ledger {
    fn admit(&self, signals: Vec<Signal>, level: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
        Box::pin(async move {
            match self {
                Self::Real(ledger, clearer) => {
                    let cleared: Result<Vec<_>, _> = signals.into_iter().map(|signal| clearer.clear(signal)).collect();
                    let rejected = |error: privacy::Error| Refusal { kind: error.kind(), reason: error.to_string() };
                    ledger.append(cleared.map_err(rejected)?, level).await.map_err(Refusal::from)
                }
                Self::Memory(memory) => Ok(memory.append(signals)),
            }
        })
    }
}

impl Memory {
    fn append(&self, signals: Vec<Signal>) -> Vec<Receipt> {
        let origin = Origin::new("localhost/default").expect("invariant: it is one");
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let mut receipts = Vec::with_capacity(signals.len());
        for signal in signals {
            let position = records.len() as Position;
            records.push(Recorded { position, admitted_at: now, signal });
            receipts.push(Receipt { origin: origin.clone(), position, leaf_hash: [0; 32] });
        }
        self.grown.send_replace(records.len());
        receipts
    }
}

struct MemoryFeed {
    memory: Arc<Memory>,
    next: usize,
    tenant: Tenant,
    grown: watch::Receiver<usize>,
}

impl Feed for MemoryFeed {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            let records = self.memory.records.lock().unwrap_or_else(PoisonError::into_inner);
            let read: Vec<Recorded> = records.iter().skip(self.next).take(max).cloned().collect();
            self.next += read.len();
            Ok(read)
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let next = self.next;
            let _gone = self.grown.wait_for(|len| *len > next).await;
        })
    }
}

struct RealFeed {
    cursor: ledger::Cursor,
    tenant: Tenant,
}

impl Feed for RealFeed {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move {
            let stored = self.cursor.read(max).map_err(Refusal::from)?;
            let record = |stored: ledger::Stored| {
                let body = Body::from_fields(stored.kind, &stored.fields()).ok()?;
                let signal = Signal { tenant: self.tenant.clone(), source: stored.source, body };
                Some(Recorded { position: stored.position, admitted_at: stored.t_admit, signal })
            };
            Ok(stored.into_iter().filter_map(record).collect())
        })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.cursor.wait())
    }
}
