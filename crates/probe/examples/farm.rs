//! Measures what 10,000 HTTPS checks every 10 s cost, against a farm of targets on 127.0.0.0/16 in another process.
//!
//! `farm MODE [CHECKS] [SECONDS]` with the mode `normal`, `rsa` (a chain like those of Let's Encrypt), `stalled` (every TLS handshake stalls), `blackhole` (no SYN is
//! answered), or `blackbox`: the same probes as `normal`, done by Debian's prometheus-blackbox-exporter, which is asked
//! over kept connections as Prometheus asks. Prints one JSON object. Release builds only mean something.

#![expect(clippy::print_stdout, reason = "its output is the measurement")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use disk::{OsClock, OsDisk, OsRng};
use model::{CheckChange, CheckResult};
use probe::schedule::{Full, Results, Scheduler, descriptors_needed, raise_descriptors};
use probe::{Check, Config, Means};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    let mode = argument(1).unwrap_or("normal");
    if mode == "serve" {
        return serve(argument(2).unwrap_or("normal"), Path::new(argument(3).unwrap_or("/tmp")));
    }
    let checks: usize = argument(2).unwrap_or("10000").parse()?;
    let seconds: u64 = argument(3).unwrap_or("40").parse()?;
    let dir = tempfile::tempdir()?;
    let mut farm = Command::new(std::env::current_exe()?)
        .args(["serve", mode])
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut port = String::new();
    BufReader::new(farm.stdout.take().ok_or("no output")?).read_line(&mut port)?;
    let port = port.trim().parse()?;
    let measured = match mode {
        "blackbox" => blackbox(port, dir.path(), checks, seconds),
        _ => measure(mode, port, dir.path(), checks, seconds),
    };
    drop(farm.stdin.take());
    farm.wait()?;
    println!("{}", measured?);
    Ok(())
}

/// Counts results by state and by reason.
#[derive(Default)]
struct Tally {
    results: AtomicU64,
    by_state: Mutex<BTreeMap<String, u64>>,
    a_reason: Mutex<String>,
}

impl Results for Tally {
    fn take(&self, _: &Check, result: &CheckResult, _: Option<&CheckChange>) -> Result<(), Full> {
        self.results.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut by_state) = self.by_state.lock() {
            *by_state.entry(result.observed.to_string()).or_default() += 1;
        }
        if let (false, Ok(mut reason)) = (result.reason.is_empty(), self.a_reason.lock()) {
            reason.clone_from(&result.reason);
        }
        Ok(())
    }
}

fn measure(mode: &str, port: u16, dir: &Path, checks: usize, seconds: u64) -> Outcome<serde_json::Value> {
    let declared: serde_json::Map<_, _> = (0..checks)
        .map(|n| {
            let url = format!("https://127.0.{}.{}:{port}/", n / 250, n % 250 + 1);
            let check = json!({"kind": "http", "url": url, "ca_file": dir.join("ca.pem"), "server_name": "farm.test",
                "interval": "10s", "timeout": "9.5s"});
            (format!("farm-{n}"), check)
        })
        .collect();
    let config = Config::read(&declared.into(), &json!({})).map_err(|issues| format!("{issues:?}"))?;
    let descriptors = raise_descriptors(descriptors_needed(&config.checks));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let loaded = rss_bytes("self", "VmRSS");
    let tally = Arc::new(Tally::default());
    let figures = runtime.block_on(async {
        let means = Means::new(Arc::new(OsClock::default()), Arc::new(OsRng), Arc::new(OsDisk));
        let sink = Arc::clone(&tally) as Arc<dyn Results>;
        let scheduler = Scheduler::start(config, means, sink, &[]);
        tokio::time::sleep(Duration::from_secs(12)).await;
        let (before, runs_before) = (cpu_seconds("self"), scheduler.stats().runs);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let (stats, cpu) = (scheduler.stats(), cpu_seconds("self") - before);
        let (rss, peak) = (rss_bytes("self", "VmRSS"), rss_bytes("self", "VmHWM"));
        let runs = stats.runs - runs_before;
        scheduler.stop(Duration::ZERO).await;
        json!({
            "runs": runs, "cpu_seconds": cpu, "cores": cpu / seconds as f64,
            "cpu_us_per_check": cpu * 1e6 / runs.max(1) as f64,
            "running": stats.running, "skipped": stats.skipped,
            "lag_p50_ms_max": stats.lag_quantile(0.5) * 1e3, "lag_p99_ms_max": stats.lag_quantile(0.99) * 1e3,
            "rss_mb": rss / 1e6, "rss_peak_mb": peak / 1e6,
        })
    });
    let states = tally.by_state.lock().map_err(|_| "poisoned")?.clone();
    let reason = tally.a_reason.lock().map_err(|_| "poisoned")?.clone();
    Ok(json!({
        "mode": mode, "checks": checks, "seconds": seconds, "figures": figures, "states": states, "a_reason": reason,
        "rss_loaded_mb": loaded / 1e6, "descriptors_suffice": descriptors.suffice(),
    }))
}

/// Connections over which the exporter is asked.
const ASKERS: usize = 64;

fn blackbox(port: u16, dir: &Path, checks: usize, seconds: u64) -> Outcome<serde_json::Value> {
    let module = format!(
        "modules:\n  farm:\n    prober: http\n    timeout: 9.5s\n    http:\n      preferred_ip_protocol: ip4\n      \
         tls_config: {{ca_file: {}, server_name: farm.test}}\n",
        dir.join("ca.pem").display()
    );
    let config = dir.join("blackbox.yml");
    disk::write_atomic(&OsDisk, &config, module.as_bytes())?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut exporter = Command::new("prometheus-blackbox-exporter")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--web.listen-address={free}"))
        .arg("--log.level=error")
        .stderr(Stdio::null())
        .spawn()?;
    let asked = ask_exporter(exporter.id(), free, port, checks, seconds);
    exporter.kill()?;
    exporter.wait()?;
    asked
}

fn ask_exporter(
    exporter: u32,
    address: std::net::SocketAddr,
    port: u16,
    checks: usize,
    seconds: u64,
) -> Outcome<serde_json::Value> {
    while std::net::TcpStream::connect(address).is_err() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = Arc::new(AtomicU64::new(0));
    let good = Arc::new(AtomicU64::new(0));
    let (cpu, runs) = runtime.block_on(async {
        let mut askers = JoinSet::new();
        for asker in 0..ASKERS {
            let (done, good) = (Arc::clone(&done), Arc::clone(&good));
            askers.spawn(async move {
                let _ = ask(asker, address, port, checks, &done, &good).await;
            });
        }
        tokio::time::sleep(Duration::from_secs(12)).await;
        let before = (cpu_seconds(&exporter.to_string()), done.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        (cpu_seconds(&exporter.to_string()) - before.0, done.load(Ordering::Relaxed) - before.1)
    });
    Ok(json!({
        "mode": "blackbox", "checks": checks, "seconds": seconds, "succeeded": good.load(Ordering::Relaxed),
        "figures": {
            "runs": runs, "cpu_seconds": cpu, "cores": cpu / seconds as f64,
            "cpu_us_per_check": cpu * 1e6 / runs.max(1) as f64,
            "rss_mb": rss_bytes(&exporter.to_string(), "VmRSS") / 1e6,
            "rss_peak_mb": rss_bytes(&exporter.to_string(), "VmHWM") / 1e6,
        },
    }))
}

/// Asks for every 64th target in turn, all of them within ten seconds, over one connection.
async fn ask(
    asker: usize,
    address: std::net::SocketAddr,
    port: u16,
    checks: usize,
    done: &AtomicU64,
    good: &AtomicU64,
) -> Outcome<()> {
    use http_body_util::{BodyExt as _, Empty};
    let stream = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mine: Vec<usize> = (asker..checks).step_by(ASKERS).collect();
    let mut moments = tokio::time::interval(Duration::from_secs(10) / u32::try_from(mine.len().max(1))?);
    for n in mine.iter().cycle() {
        moments.tick().await;
        let target = format!("https://127.0.{}.{}:{port}/", n / 250, n % 250 + 1);
        let path = format!("/probe?module=farm&target={target}");
        let request = http::Request::get(path).header("Host", "exporter").body(Empty::<bytes::Bytes>::new())?;
        let body = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
        done.fetch_add(1, Ordering::Relaxed);
        if body.windows(15).any(|window| window == b"probe_success 1") {
            good.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<f64> = after.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    // utime and stime, the fields 14 and 15, in hundredths of a second.
    fields.iter().skip(11).take(2).sum::<f64>() / 100.0
}

fn rss_bytes(pid: &str, key: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
    kib * 1024.0
}

/// The farm: prints its port and serves until its input closes.
fn serve(mode: &str, dir: &Path) -> Outcome<()> {
    let _ = raise_descriptors(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let acceptor = if mode == "rsa" { rsa_acceptor(dir)? } else { acceptor(dir)? };
    let _guard = runtime.enter();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    let any: std::net::SocketAddr = ([0, 0, 0, 0], 0).into();
    socket.bind(&any.into())?;
    socket.listen(if mode == "blackhole" { 0 } else { 4_096 })?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into())?;
    let port = listener.local_addr()?.port();
    let mut tasks = JoinSet::new();
    if mode == "blackhole" {
        // Nobody accepts: once the queue of one is full, the kernel drops every further SYN.
        for _ in 0..4 {
            tasks.spawn_on(
                async move {
                    let held = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                    std::future::pending::<()>().await;
                    drop(held);
                },
                runtime.handle(),
            );
        }
        runtime.block_on(tokio::time::sleep(Duration::from_millis(300)));
        println!("{port}");
        std::io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    let stalls = mode == "stalled";
    tasks.spawn_on(
        async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let mut stream = stream;
                    if stalls {
                        let _ = stream.read_to_end(&mut Vec::new()).await;
                        return;
                    }
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut request = [0; 1_024];
                    if matches!(stream.read(&mut request).await, Ok(1..)) {
                        let _ = stream.write_all(ANSWER).await;
                        let _ = stream.shutdown().await;
                    }
                });
            }
        },
        runtime.handle(),
    );
    println!("{port}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Leaf, intermediate and root, all P-256.
fn acceptor(dir: &Path) -> Outcome<tokio_rustls::TlsAcceptor> {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Ok::<_, rcgen::Error>(params)
    };
    let root = CertifiedIssuer::self_signed(authority("farm root")?, KeyPair::generate()?)?;
    let middle = CertifiedIssuer::signed_by(authority("farm intermediate")?, KeyPair::generate()?, &root)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["farm.test".to_owned()])?.signed_by(&key, &middle)?;
    disk::write_atomic(&OsDisk, &dir.join("ca.pem"), root.pem().as_bytes())?;
    let chain = vec![leaf.der().clone(), middle.der().clone()];
    serving(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
}

/// A leaf and an intermediate of RSA 2048 under a root of RSA 4096, as Let's Encrypt has them; `openssl` makes them.
fn rsa_acceptor(dir: &Path) -> Outcome<tokio_rustls::TlsAcceptor> {
    let make = "set -e; cd \"$0\"; q() { openssl \"$@\" 2>/dev/null; }
        q req -x509 -newkey rsa:4096 -nodes -keyout root.key -out ca.pem -subj /CN=root -days 30
        q req -newkey rsa:2048 -nodes -keyout middle.key -out middle.csr -subj /CN=middle
        printf 'basicConstraints=critical,CA:TRUE\\n' > middle.ext
        q x509 -req -in middle.csr -CA ca.pem -CAkey root.key -CAcreateserial -out middle.pem -days 30 -extfile middle.ext
        q req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=farm.test
        printf 'subjectAltName=DNS:farm.test\\n' > leaf.ext
        q x509 -req -in leaf.csr -CA middle.pem -CAkey middle.key -CAcreateserial -out leaf.pem -days 30 -extfile leaf.ext";
    if !Command::new("bash").args(["-c", make]).arg(dir).status()?.success() {
        return Err("openssl made no chain".into());
    }
    let der = |name: &str| CertificateDer::from_pem_file(dir.join(name));
    serving(vec![der("leaf.pem")?, der("middle.pem")?], PrivateKeyDer::from_pem_file(dir.join("leaf.key"))?)
}

fn serving(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Outcome<tokio_rustls::TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config).into())
}
