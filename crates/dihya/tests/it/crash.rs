//! `kill -9` in a loop while alerts pour in: what was acknowledged is in the ledger and was told.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::program::{Place, Server, eventually, verify};
use crate::web::{Service, request};

/// How often the server is killed.
const KILLS: usize = 6;
/// Alerts sent in each life.
const ALERTS_PER_LIFE: usize = 600;
/// Senders at once.
const SENDERS: usize = 4;

/// Each acknowledged alert must reach the hook. The hook may hear of one twice; never not at all.
#[test]
fn no_acknowledged_alert_is_lost_to_kill_9() {
    let place = Place::new();
    let (service, hook) = (Service::start(), Service::start());
    let config = crate::journey::config(&service, &hook, "").replace("group_by: [check]", "group_by: [alertname]");
    let file = place.put("dihya.yaml", &config);
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    for life in 0..KILLS {
        let server = Server::start(&place, &["--config", &file]);
        let (address, token) = (server.address.clone(), server.token());
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (address, token) = (address.clone(), token.clone());
                std::thread::spawn(move || send(&address, &token, life, sender))
            })
            .collect();
        // Killed in the middle of it: half of the alerts is recorded, the rest is on its way.
        eventually("half of the alerts", || {
            let metrics = request(&address, "GET", "/metrics", Some(&token), None).body;
            let counts = metrics.lines().filter(|line| line.starts_with("dihya_alerts_admitted_total"));
            let admitted: f64 = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
            (admitted >= (ALERTS_PER_LIFE / 2) as f64).then_some(())
        });
        server.kill();
        for sender in senders {
            acknowledged.extend(sender.join().expect("a sender ends"));
        }
    }
    assert!(acknowledged.len() > KILLS * ALERTS_PER_LIFE / 3, "{} were acknowledged", acknowledged.len());

    let server = Server::start(&place, &["--config", &file]);
    let mut told: BTreeSet<String> = BTreeSet::new();
    eventually("every acknowledged alert", || {
        for post in hook.posts() {
            told.extend(names(&post));
        }
        acknowledged.is_subset(&told).then_some(())
    });
    let data = server.data.clone();
    assert_eq!(server.stop(), Some(0));
    let report = verify(&data);
    assert_eq!(report["sound"], true, "{report:#}");
    println!("{} acknowledged alerts over {KILLS} kills, none lost", acknowledged.len());
}

/// Sends until done or until nobody answers; returns the names of the alerts that were acknowledged.
fn send(address: &str, token: &str, life: usize, sender: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..ALERTS_PER_LIFE / SENDERS {
        let name = format!("a-{life}-{sender}-{number}");
        let body = json!({"message": name, "level": "error", "labels": {"alertname": name}});
        match request(address, "POST", "/api/dihya/v1/alerts", Some(token), Some(&body)).status {
            202 => acknowledged.push(name),
            0 => return acknowledged,
            429 | 503 => {}
            other => panic!("unexpected answer {other}"),
        }
    }
    acknowledged
}

fn names(post: &Value) -> Vec<String> {
    let alerts = post["alerts"].as_array().cloned().unwrap_or_default();
    alerts.iter().filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
}
