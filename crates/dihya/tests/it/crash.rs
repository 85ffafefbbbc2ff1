//! `kill -9` in a loop while 10,000 alerts pour in: what was acknowledged is in the ledger and was told.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Place, Server, dihya, done, eventually, verify};
use crate::web::{Service, request};

/// Alerts that are sent, each until it is acknowledged.
const ALERTS: usize = 10_000;
/// How often the server is killed while it serves.
const KILLS: usize = 12;
/// How often it is killed while it starts.
const KILLS_AT_START: usize = 3;
/// Longest start that is cut short: a start with this build takes about as long.
const START_MS_MAX: u64 = 600;
/// Senders at once.
const SENDERS: usize = 6;
/// How long a sender waits before it tries again.
const AGAIN: Duration = Duration::from_millis(10);

/// What the senders share: where the server is now, and how far they are.
struct Sending {
    address: Mutex<Option<String>>,
    token: String,
    next: AtomicUsize,
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
    unanswered: AtomicUsize,
}

impl Sending {
    /// Sends alert after alert, each until it is acknowledged. An alert whose answer is lost is sent again, as a caller
    /// would: it is the same alert.
    fn send_all(&self) {
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= ALERTS {
                return;
            }
            let name = name(number);
            let body = json!({"message": name, "level": "error", "labels": {"alertname": name}});
            while !self.send(&body) {}
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Tries once, and tells whether it was acknowledged.
    fn send(&self, body: &Value) -> bool {
        let Some(address) = self.address.lock().expect("not poisoned").clone() else {
            std::thread::sleep(AGAIN);
            return false;
        };
        match request(&address, "POST", "/api/dihya/v1/alerts", Some(&self.token), Some(body)).status {
            202 => return true,
            429 | 503 => self.refused.fetch_add(1, Ordering::SeqCst),
            0 => self.unanswered.fetch_add(1, Ordering::SeqCst),
            other => panic!("unexpected answer {other}"),
        };
        std::thread::sleep(AGAIN);
        false
    }
}

fn name(number: usize) -> String {
    format!("a-{number}")
}

/// SplitMix64: what is killed when follows from one number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[expect(clippy::disallowed_methods, reason = "the environment may name the seed of a run that is to be repeated")]
fn seed() -> u64 {
    std::env::var("DIHYA_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// Starts a server and kills it before it can say that it listens, or shortly after.
fn kill_at_start(place: &Place, file: &str, after: Duration) {
    let mut command = dihya(&["serve", "--listen", "127.0.0.1:0", "--config", file, "--data-dir", &place.data()]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
    std::thread::sleep(after);
    child.kill().expect("it is there");
    let _ = child.wait();
}

/// Each acknowledged alert must be in the ledger and reach the hook. The hook may hear of one twice, with the same key;
/// never not at all.
#[test]
fn no_acknowledged_alert_is_lost_to_kill_9() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let config = crate::journey::config(&service, &hook, "").replace("group_by: [check]", "group_by: [alertname]");
    let file = place.put("dihya.yaml", &config);
    let seed = seed();
    println!("DIHYA_SEED={seed}");
    let mut dice = Dice(seed);
    // In each part of the alerts a moment at random, so that no life is without work.
    let moments = (0..KILLS).map(|part| part * ALERTS / KILLS + dice.below((ALERTS / KILLS) as u64) as usize);
    let moments: Vec<usize> = moments.collect();

    let mut server = Server::start(&place, &["--config", &file]);
    let sending = Arc::new(Sending {
        address: Mutex::new(Some(server.address.clone())),
        token: server.token(),
        next: AtomicUsize::new(0),
        acknowledged: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        unanswered: AtomicUsize::new(0),
    });
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let sending = Arc::clone(&sending);
            std::thread::spawn(move || sending.send_all())
        })
        .collect();
    for (life, moment) in moments.into_iter().enumerate() {
        eventually("the moment to be killed", || (sending.acknowledged.load(Ordering::SeqCst) >= moment).then_some(()));
        std::thread::sleep(Duration::from_micros(dice.below(20_000)));
        server.kill();
        *sending.address.lock().expect("not poisoned") = None;
        if life % (KILLS / KILLS_AT_START) == 0 {
            kill_at_start(&place, &file, Duration::from_millis(dice.below(START_MS_MAX)));
        }
        server = Server::start(&place, &["--config", &file]);
        *sending.address.lock().expect("not poisoned") = Some(server.address.clone());
    }
    for sender in senders {
        sender.join().expect("a sender ends");
    }
    let (acknowledged, refused, unanswered) = (
        sending.acknowledged.load(Ordering::SeqCst),
        sending.refused.load(Ordering::SeqCst),
        sending.unanswered.load(Ordering::SeqCst),
    );
    assert_eq!(acknowledged, ALERTS);

    let (keys, posts) = heard(&hook);
    // The hook has its post before the outbox has the answer.
    eventually("the last record of a delivery", || {
        let metrics = request(&server.address, "GET", "/metrics", Some(&sending.token), None).body;
        let mut pending = metrics.lines().filter(|line| line.starts_with("dihya_outbox_pending{"));
        pending.all(|line| line.ends_with(" 0")).then_some(())
    });
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    all_is_recorded(&place);
    let report = verify(&data);
    assert_eq!(report["sound"], true, "{report:#}");
    println!(
        "{acknowledged} acknowledged, {refused} refused, {unanswered} unanswered and sent again, {} delivered, {} \
         repeats with the same key, {} kills ({KILLS_AT_START} of a start), none lost",
        keys.len(),
        posts - keys.len(),
        KILLS + KILLS_AT_START,
    );
}

/// Waits until the hook has heard of every alert. Returns the idempotency keys by alert, and how many posts it took.
fn heard(hook: &Service) -> (BTreeMap<String, BTreeSet<String>>, usize) {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut posts = 0;
    eventually("every acknowledged alert", || {
        for (key, post) in hook.keyed_posts() {
            posts += 1;
            for name in names(&post) {
                keys.entry(name).or_default().insert(key.clone());
            }
        }
        (keys.len() >= ALERTS).then_some(())
    });
    let told_apart: Vec<_> = keys.iter().filter(|(_, keys)| keys.len() != 1).collect();
    assert!(told_apart.is_empty(), "told again with another key: {told_apart:?}");
    (keys, posts)
}

/// Each alert, its incident, the decision to tell, and that it was told.
fn all_is_recorded(place: &Place) {
    let rows = done(&["ledger", "show", "--limit", "1000000", "--format", "json", "--data-dir", &place.data()]);
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("is JSON");
    let of_kind = |kind: &'static str| rows.iter().filter(move |row| row["kind"] == kind).map(|row| &row["body"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts: BTreeSet<String> = of_kind("alert").map(|body| text(&body["labels"]["alertname"])).collect();
    let opened: BTreeSet<String> =
        of_kind("incident").filter(|body| body["action"] == "opened").map(|body| text(&body["incident"])).collect();
    let delivered: BTreeSet<String> =
        of_kind("delivery").filter(|body| body["outcome"] == "delivered").map(|body| text(&body["intent"])).collect();
    let mut told = BTreeSet::new();
    for intent in of_kind("intent") {
        assert!(opened.contains(&text(&intent["incident"])), "an incident of its own: {intent:#}");
        if delivered.contains(&text(&intent["id"])) {
            told.extend(names(&intent["message"]["notification"]));
        }
    }
    for name in (0..ALERTS).map(name) {
        assert!(alerts.contains(&name), "{name} has no record");
        assert!(told.contains(&name), "{name} has no record of its delivery");
    }
}

fn names(post: &Value) -> Vec<String> {
    let alerts = post["alerts"].as_array().cloned().unwrap_or_default();
    alerts.iter().filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
}
