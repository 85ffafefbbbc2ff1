//! What is cleared stays what it was, byte for byte, however fast it is done. The digests were recorded before reading and
//! clearing were made faster; a change of the rules changes them, and then says so.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use intake::{Call, Encoding, Receiver};
use model::{
    Admit, BoxFuture, Level, Origin, Receipt, Refusal, SeededRng, Signal, SourceId, StepClock, Tenant, Timestamp, cbor,
};
use privacy::{Clearer, Config, Policy, Public, Redactor};
use sha2::{Digest, Sha256};

use crate::corpora::{ACTION, dense, web};

/// Clears what comes and keeps the digest of it.
struct Door(Clearer, Mutex<(Sha256, u64)>);

impl Admit for Door {
    fn admit(&self, signals: Vec<Signal>, _: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
        Box::pin(async move {
            let mut state = self.1.lock().expect("not poisoned");
            let mut receipts = Vec::new();
            for cleared in self.0.clear_all(signals).expect("clears") {
                let mut bytes = Vec::new();
                for (id, value) in cleared.public() {
                    bytes.extend_from_slice(&id.to_be_bytes());
                    let text = match value {
                        Public::Text(text) => text.to_string(),
                        Public::Name(text) => text.to_string(),
                        number => format!("{number:?}"),
                    };
                    bytes.extend_from_slice(text.as_bytes());
                }
                for (id, value) in cleared.values() {
                    bytes.extend_from_slice(&id.to_be_bytes());
                    cbor::encode(&mut bytes, &value).expect("is not deep");
                }
                state.0.update(&bytes);
                let origin = Origin::new("localhost/default").expect("is one");
                receipts.push(Receipt { origin, position: state.1, leaf_hash: [0; 32] });
                state.1 += 1;
            }
            Ok(receipts)
        })
    }
}

/// A policy that does something of everything that needs no keys.
fn strict() -> Clearer {
    let config = serde_json::json!({
        "types": {"phone": {"action": "mask"}, "ipv4": {"action": "generalise"}, "mac": {"action": "drop"}},
        "streams": {"app": {"fields": {"client.ip": "generalise /24", "user.email": "mask", "http.*": "keep because it says nothing of anybody", "odd.drop": "drop"}},
                    "odd": {"unknown": "drop", "fields": {"message": "keep because it is a test", "list": "token"}}},
    });
    let config: Config = serde_json::from_value(config).expect("reads");
    let redactor = Arc::new(config.redactor(["web", "10.0.0.0/8", "ops@example.org"]).expect("is possible"));
    let policy = Arc::new(Policy::new(&config, Arc::clone(&redactor)).expect("is possible"));
    Clearer::new(redactor, [7; 32]).with_policy(policy)
}

async fn digest(clearer: Clearer, line: fn(&SeededRng, u64) -> String, index: &str, lines: u64) -> String {
    let door = Arc::new(Door(clearer, Mutex::default()));
    let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
    let receiver = Receiver::new(Arc::clone(&door) as Arc<dyn Admit>, clock);
    let rng = SeededRng::new(7);
    let action = ACTION.replace("app", index);
    let body: String = (0..lines).map(|n| format!("{action}{}\n", line(&rng, n))).collect();
    let (tenant, source) = (Tenant::default(), SourceId([1; 16]));
    let call = Call { tenant, source, encoding: Encoding::Identity, body: Bytes::from(body) };
    let answer = receiver.bulk(call, None).await;
    let answered: String = Sha256::digest(answer.body.as_bytes()).iter().take(4).map(|b| format!("{b:02x}")).collect();
    let state = door.1.lock().expect("not poisoned");
    let hash: String = state.0.clone().finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{} {hash} {answered}", state.1)
}

fn plain() -> Clearer {
    Clearer::new(Arc::new(Redactor::new().with_declared(["web", "10.0.0.5"])), [7; 32])
}

#[tokio::test]
async fn what_is_cleared_is_what_it_was() {
    let corpora = [("web", web as fn(&SeededRng, u64) -> String), ("dense", dense), ("odd", odd)];
    let mut seen = Vec::new();
    for (name, line) in corpora {
        for index in ["app", "odd"] {
            seen.push(format!("{name} {index} plain {}", digest(plain(), line, index, 2_000).await));
            seen.push(format!("{name} {index} strict {}", digest(strict(), line, index, 2_000).await));
        }
    }
    expect_test::expect![[r#"
        web app plain 2000 371fc81d10d1be7e 9503cc33
        web app strict 2000 ad6f3b4eab33f874 9503cc33
        web odd plain 2000 2edd6217190d7506 f6167a0f
        web odd strict 2000 15154d9cf14da0f9 f6167a0f
        dense app plain 2000 1e0707277aedfe44 9503cc33
        dense app strict 2000 fcaed3d3c86857b8 9503cc33
        dense odd plain 2000 11747a8e0c5c76be f6167a0f
        dense odd strict 2000 689fe1468b170420 f6167a0f
        odd app plain 1832 5eaf2c4e1cb75ae3 76318667
        odd app strict 1832 133076fd82ec0863 76318667
        odd odd plain 1832 81a39e92d6462835 0e756fce
        odd odd strict 1832 882624bd8bfd8b82 0e756fce
    "#]]
    .assert_eq(&(seen.join("\n") + "\n"));
}

/// Values, as they stand between quotes.
const TEXTS: [&str; 28] = [
    "a plain text",
    "ana@example.org",
    "é à ü 語 \\\\u00e9 \\u00e9\\u4e2d ana\\u0040example.org",
    "first line\\nsecond line of bob@example.org",
    "'single' \\\"double\\\" `back` of ana@example.org",
    "a@b.fr+33612345678 and 2001:db8::1",
    "10.0.0.5 and 10.1.2.3 and 203.0.113.9:80",
    "https://ana:pw@db/x?token=0123456789abcdef0123&page=2",
    "ana%40example.org &commat; 100% \\\\x40",
    "[email] and [ip:0123456789abcdef] stay",
    "FR14 2004 1010 0505 0001 3M02 606",
    "2 55 08 14 168 025 38",
    "card 4111-1111-1111-1111, 4111111111111111",
    "M. Jean Dupont, 12 rue de la Paix, 75002 Paris",
    "né le 12/03/1985 à Lyon, Mme Claire Martin",
    "00:1a:2b:3c:4d:5e up, aa-bb-cc-dd-ee-ff down",
    "password=hunter2 api_key: sk_live_0123456789abcdef01234567",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "-----BEGIN PRIVATE KEY----- MIIE",
    "06 12 34 56 78 ou +33 6 12 34 56 78",
    "web",
    "",
    "\\t\\u200b\\u202f06\\u00a012 34 56 78",
    "AB-123-CD et 123 ABC 75",
    "diagnostic F32.1, patient k.benali",
    "2026-11-27T10:00:00Z",
    "550e8400-e29b-41d4-a716-446655440000 7d793037a0760186574b0282f2f435e7",
    "\\ud83d\\ude00 ok",
];

/// Names.
const KEYS: [&str; 16] = [
    "message",
    "msg",
    "email",
    "user.email",
    "name",
    "patientName",
    "password",
    "ana@example.org",
    "client.ip",
    "a\\nb",
    "it's",
    "tel",
    "list",
    "odd.drop",
    "created_by",
    "x-forwarded-for",
];

/// Documents that no program should write: all forms of texts and names, and what lays bare something else when it goes.
fn odd(rng: &SeededRng, n: u64) -> String {
    let below = |bound: u64| usize::try_from(rng.below(bound)).unwrap_or(0);
    let text = || format!("\"{}\"", TEXTS[below(28)]);
    let number = || {
        ["0", "-7", "1.5e3", "4111111111111111", "255081416802538", "0.1", "18446744073709551615", "33612345678"]
            [below(8)]
    };
    let scalar = || match below(8) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 | 3 => number().to_owned(),
        _ => text(),
    };
    let mut fields = vec![format!("\"@timestamp\":\"2026-11-27T10:00:{:02}Z\"", n % 60)];
    for _ in 0..1 + below(6) {
        let key = KEYS[below(16)];
        let value = match below(6) {
            0 => format!("[{},{},[{}],{{\"{}\":{}}}]", scalar(), scalar(), scalar(), KEYS[below(16)], scalar()),
            1 => format!(
                "{{\"{}\":{},\"{}\":{{\"{}\":{}}}}}",
                KEYS[below(16)],
                scalar(),
                KEYS[below(16)],
                KEYS[below(16)],
                scalar()
            ),
            2 => "{}".to_owned(),
            _ => scalar(),
        };
        fields.push(format!(" \"{key}\" : {value}"));
    }
    match below(12) {
        0 => fields.push("\"level\":\"WARN\",\"trace\":{\"id\":\"0AF7651916CD43DD8448EB211C80319C\"}".to_owned()),
        1 => fields.push(
            "\"host\":{\"name\":\"web\",\"ip\":[\"10.0.0.5\",\"203.0.113.7\"],\"mac\":\"00:1a:2b:3c:4d:5e\"}"
                .to_owned(),
        ),
        2 => fields.push("\"broken\":".to_owned()),
        3 => fields.push(format!("\"service.name\":{},\"labels\":{{\"sector\":\"health\"}}", text())),
        _ => {}
    }
    format!("{{{}}}", fields.join(","))
}
