//! Measures how fast one core redacts: lines as services log them, a web server's access log, lines dense with personal data.
//!
//! `cargo run --release -p privacy --example speed`

use model::SeededRng;
use privacy::Redactor;

/// The allocator of the product, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BYTES: usize = 32 << 20;
/// What a reader of files hands over at once.
const BLOCK: usize = 64 << 10;

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn main() {
    let redactor = Redactor::new();
    let mut json = Vec::new();
    // `speed logs` measures one of them: for a profile.
    let only = std::env::args().nth(1);
    for (name, line) in [("logs", log as fn(&SeededRng) -> String), ("access", access), ("dense", dense)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let rng = SeededRng::new(1);
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < BYTES {
            let line = line(&rng);
            bytes += line.len() + 1;
            lines.push(line);
        }
        let mut blocks = vec![String::with_capacity(BLOCK)];
        for line in &lines {
            let block = blocks.last_mut().expect("there is one");
            block.push_str(line);
            block.push('\n');
            if block.len() >= BLOCK {
                blocks.push(String::with_capacity(BLOCK));
            }
        }
        for (how, texts) in [("line by line", &lines), ("in blocks of 64 KiB", &blocks)] {
            for (what, work) in [("found", find as fn(&Redactor, &str) -> bool), ("redacted", redact)] {
                let start = cpu_seconds();
                let changed = texts.iter().filter(|text| work(&redactor, text)).count();
                let seconds = cpu_seconds() - start;
                let share = 100 * changed / texts.len();
                println!(
                    "{name}, {how}, {what}: {:.0} MB/s, {share} % of texts hold something",
                    bytes as f64 / 1e6 / seconds
                );
                json.push(format!("\"{name}, {how}, {what}\": {:.1}", bytes as f64 / 1e6 / seconds));
            }
        }
    }
    println!("{{{}}}", json.join(", "));
}

fn find(redactor: &Redactor, text: &str) -> bool {
    !redactor.findings(text).is_empty()
}

fn redact(redactor: &Redactor, text: &str) -> bool {
    matches!(redactor.redact(text), std::borrow::Cow::Owned(_))
}

/// Returns the processor time that this process has used: what else the machine does is not measured.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn log(rng: &SeededRng) -> String {
    let n = |bound| rng.below(bound);
    let head = format!("2026-11-22T{:02}:{:02}:{:02}.{:06}Z", n(24), n(60), n(60), n(1_000_000));
    match n(8) {
        0 => format!(
            "{head} INFO  scheduler[{}]: run of job nightly-report finished, {} rows written to the warehouse",
            n(9999),
            n(99_999)
        ),
        1 => format!(
            "{head} WARN  http::server request_id={:016x} GET /api/v1/items/{} status=503 duration_ms={}",
            rng.next_u64(),
            n(99_999),
            n(3000)
        ),
        2 => format!(
            "{head} ERROR db pool exhausted after waiting for a connection; {} in use, {} idle, retrying in a moment",
            n(99),
            n(9)
        ),
        3 => format!(
            "{head} INFO  Accepted publickey for deploy from {}.{}.{}.{} port {} ssh2",
            11 + n(200),
            n(256),
            n(256),
            n(255),
            n(65_535)
        ),
        4 => format!("{head} DEBUG gc: heap {} MiB of {} MiB, pause {} us, generation {}", n(4096), 4096, n(900), n(3)),
        5 => format!(
            "{head} INFO  kernel: [{}.{}] usb 1-{}: new high-speed USB device number {} using xhci_hcd",
            n(99_999),
            n(999_999),
            n(9),
            n(99)
        ),
        6 => format!(
            "{head} INFO  cache miss for key users:{} (shard {}), loading it from the store behind it",
            n(999_999),
            n(16)
        ),
        _ => format!(
            "{head} INFO  the quick brown fox jumps over the lazy dog while nothing of interest happens here at all"
        ),
    }
}

fn access(rng: &SeededRng) -> String {
    let n = |bound| rng.below(bound);
    let client = format!("{}.{}.{}.{}", 11 + n(200), n(256), n(256), n(255));
    let time = format!("[{:02}/Nov/2026:{:02}:{:02}:{:02} +0000]", 1 + n(28), n(24), n(60), n(60));
    match n(4) {
        0 => format!(
            "{client} - - {time} \"GET /static/app.{:08x}.js HTTP/1.1\" 200 {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64) \
             AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.{}.{} Safari/537.36\"",
            n(1 << 32),
            n(99_999),
            n(9999),
            n(99)
        ),
        1 => format!(
            "{client} - - {time} \"POST /api/v1/orders/{} HTTP/1.1\" 201 {} \"https://shop.example/cart\" \"curl/8.5.0\"",
            n(9_999_999),
            n(999)
        ),
        2 => format!(
            "127.0.0.1 - - {time} \"GET /livez HTTP/1.1\" {} {} \"-\" \"kube-probe/1.{}\"",
            200 + n(4),
            n(99),
            20 + n(12)
        ),
        _ => format!(
            "{{\"@timestamp\":\"2026-11-22T18:04:11.{:03}Z\",\"log.level\":\"INFO\",\"message\":\"request\",\
             \"event.duration\":{},\"trace.id\":\"{:016x}{:016x}\",\"http.status\":{}}}",
            n(1000),
            n(9_999_999_999),
            rng.next_u64(),
            rng.next_u64(),
            200 + n(300)
        ),
    }
}

fn dense(rng: &SeededRng) -> String {
    let n = |bound| rng.below(bound);
    match n(4) {
        0 => format!(
            "appel de jean.dupont{}@example.org au 06 {:02} {:02} {:02} {:02} depuis {}.2.{}.4",
            n(99),
            n(100),
            n(100),
            n(100),
            n(100),
            11 + n(100),
            n(256)
        ),
        1 => format!("paiement 4242 4242 4242 4242 par FR14 2004 1010 0505 0001 3M02 606, dossier {}", n(9999)),
        2 => format!(
            "GET https://ana:pw{}@db/x?token={:016x}&page=2 patient 2 55 08 14 168 025 38",
            n(999),
            rng.next_u64()
        ),
        _ => format!(
            "contact +33 6 {:02} {:02} {:02} {:02} ou marie%40example.org, réf. {}",
            n(100),
            n(100),
            n(100),
            n(100),
            n(99_999)
        ),
    }
}
