//! The shared vectors of keystore and boxes: written by this code, checked in, and recomputed by the second decoder
//! (`testdata/format/decode.py`, which a test of the ledger runs). Only additions may change the files.

use std::path::Path;
use std::sync::Arc;

use disk::{Disk, SimDisk};
use expect_test::{ExpectFile, expect_file};
use model::{Private, SeededRng, StepClock, Tenant, Timestamp, Value};
use serde_json::{Value as Json, json};

use crate::boxes::{Boxed, FIELD_MIN, Place, Sealed, seal_all};
use crate::keystore::{Class, Keystore, Kid, Means, Owner, Want, normal};
use crate::pseudonym::{pseudonym, pseudonym_text};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(file: &ExpectFile, format: &str, cases: &[Json], refused: &[(&str, Json)]) {
    let case = cases.first().expect("there is one");
    let refused: Vec<_> = refused
        .iter()
        .map(|(why, other)| {
            let mut whole = case.clone();
            let object = whole.as_object_mut().expect("is one");
            object.remove("shown");
            object.insert("why".to_owned(), (*why).into());
            object.extend(other.as_object().expect("is one").clone());
            whole
        })
        .collect();
    let vectors = json!({"format": format, "cases": cases, "refused": refused});
    file.assert_eq(&format!("{}\n", serde_json::to_string_pretty(&vectors).expect("writes")));
}

#[test]
fn a_file_of_keys() {
    let disk = SimDisk::new(1);
    let clock = StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range"));
    let means = Means { disk: Arc::new(disk.clone()), rng: Arc::new(SeededRng::new(7)), clock: Arc::new(clock) };
    let dir = Path::new("/k");
    let (keystore, _) = Keystore::open(means, dir, &Tenant::default(), None).expect("makes");
    let want = |identifiers: &[(&str, &str)]| Want {
        class: Class::default(),
        tags: identifiers.iter().map(|(kind, text)| keystore.tag(kind, text)).collect(),
    };
    let people = [&[("email", "Ana@Example.org"), ("name:user.id", "42")][..], &[("ins", "2 55 08 14 168 025 38")]];
    let wants = people.map(want);
    keystore.mint(&wants[..1]).expect("mints");
    keystore.mint(&wants[1..]).expect("mints");
    let both = Want { class: Class::default(), tags: vec![wants[0].tags[0], wants[1].tags[0]] };
    keystore.mint(&[both]).expect("links");
    let (bytes, emk, frames) = keystore.dump();
    assert_eq!(bytes, disk::read(&disk, &dir.join("subject_keys")).expect("reads"));
    assert!(disk.exists(&dir.join("emk_1")));
    let names = people.iter().zip(&wants).flat_map(|(identifiers, want)| {
        let owner = keystore.find(want).expect("is there");
        identifiers.iter().map(move |(kind, text)| (owner.clone(), *kind, *text)).collect::<Vec<_>>()
    });
    let names: Vec<(Json, Json)> = names
        .map(|(owner, kind, text)| {
            let (family, normal) = (crate::keystore::family(kind), normal(kind, text));
            let shown = pseudonym_text(&pseudonym(&owner, kind, text));
            (
                json!({"key": hex(owner.key()), "type": family, "identifier": normal}),
                json!({"tag": hex(&keystore.tag(kind, text).0), "pseudonym": shown}),
            )
        })
        .collect();
    let (given, shown): (Vec<_>, Vec<_>) = names.into_iter().unzip();
    let case = json!({
        "hex": hex(&bytes), "emk": hex(&emk), "tenant": "default", "names": given,
        "shown": {"epoch": "1", "whole": frames.0.to_string(), "frames": frames.1, "names": shown},
    });
    let mut altered = bytes.clone();
    *altered.last_mut().expect("is long") ^= 1;
    let mut header = bytes.clone();
    header[33] ^= 1;
    let refused = [
        ("another master key", json!({"emk": hex(&[1; 32])})),
        ("another tenant", json!({"tenant": "other"})),
        ("an altered frame", json!({"hex": hex(&altered)})),
        ("an altered header", json!({"hex": hex(&header)})),
        ("a frame cut off", json!({"hex": hex(&bytes[..bytes.len() - 5])})),
    ];
    check(&expect_file!["../../../testdata/format/v1/keystore.json"], "keystore", &[case, used_again()], &refused);
}

/// A key of a class that has an end, used again later than the file had said.
fn used_again() -> Json {
    let disk = SimDisk::new(1);
    let clock = Arc::new(StepClock::new(Timestamp::from_second(1_700_000_000).expect("in range")));
    let means = Means { disk: Arc::new(disk), rng: Arc::new(SeededRng::new(8)), clock: Arc::clone(&clock) as _ };
    let (keystore, _) = Keystore::open(means, Path::new("/k"), &Tenant::default(), None).expect("makes");
    keystore.set_lives([(Class(3), 30)].into());
    let want = |class| Want { class: Class(class), tags: vec![keystore.tag("email", "Ana@Example.org")] };
    keystore.mint(&[want(0), want(3)]).expect("mints");
    clock.advance(std::time::Duration::from_secs(10 * 86_400));
    keystore.mint(&[want(0), want(3)]).expect("says so");
    let (bytes, emk, frames) = keystore.dump();
    let bucket = json!({"stream": "his-café", "hour": keystore.hour().to_string()});
    let tag = hex(&keystore.bucket("his-café", keystore.hour()).0);
    json!({
        "hex": hex(&bytes), "emk": hex(&emk), "tenant": "default", "names": [], "buckets": [bucket],
        "shown": {"epoch": "1", "whole": frames.0.to_string(), "frames": frames.1, "names": [], "buckets": [tag]},
    })
}

#[test]
fn boxes_of_a_record() {
    let owner = |n: u8| Owner::new(Kid([n; 16]), &Private::new([n + 100; 32]));
    let uuid = *b"twelve-bytes\0\0\0\x07";
    let mut alone = Sealed::new(vec![owner(2)]);
    alone.push(FIELD_MIN, "body.user.mail", Value::from("ana@example.org"));
    alone.push(FIELD_MIN + 2, "body.ward", Value::U64(7));
    let mut joint = Sealed::new(vec![owner(3), owner(1)]);
    joint.push(FIELD_MIN + 1, "attributes.call", Value::List(vec![Value::Null, Value::Bytes(vec![1, 2])]));
    let place = Place::new("localhost/default", 1);
    let (mut bytes, mut commitments) = (Vec::new(), Vec::new());
    seal_all(&[alone, joint], &place, &uuid, &SeededRng::new(9), &mut bytes, &mut commitments).expect("seals");
    let values = [
        ("body.user.mail", json!("ana@example.org")),
        ("attributes.call", json!([null, {"bytes": "0102"}])),
        ("body.ward", json!({"int": "7"})),
    ];
    let shown: Vec<Json> = Boxed::read_all(&bytes)
        .expect("reads")
        .iter()
        .map(|found| {
            let keys: &[u8] = if found.number == 0 { &[2] } else { &[1, 3] };
            let owners: Vec<_> = keys.iter().map(|key| owner(*key)).collect();
            let opened = found.open(&place, &uuid, &owners).expect("opens");
            let values: Vec<Json> = opened
                .iter()
                .map(|value| {
                    let (path, shown) = &values[usize::from(value.field - FIELD_MIN)];
                    assert_eq!(value.path, *path);
                    let c = value.commitment(&uuid);
                    assert!(commitments.contains(&(value.field, c)));
                    json!({"field": value.field, "path": path, "value": shown, "r": hex(&value.r), "c": hex(&c)})
                })
                .collect();
            json!({"owners": found.handles().iter().map(|one| hex(one)).collect::<Vec<_>>(), "values": values})
        })
        .collect();
    let keys: Vec<_> = (1..=3).map(|n| json!({"kid": hex(&owner(n).kid().0), "key": hex(owner(n).key())})).collect();
    let case = json!({
        "hex": hex(&bytes), "origin": "localhost/default", "uuid": hex(&uuid), "schema": 1, "keys": keys, "shown": shown,
    });
    let mut altered = bytes.clone();
    *altered.last_mut().expect("is long") ^= 1;
    let refused = [
        ("another log", json!({"origin": "localhost/other"})),
        ("another record", json!({"uuid": hex(&[0; 16])})),
        ("another schema", json!({"schema": 2})),
        ("a key that is gone", json!({"keys": [keys[0], keys[1]]})),
        ("an altered box", json!({"hex": hex(&altered)})),
        ("a box cut off", json!({"hex": hex(&bytes[..bytes.len() - 1])})),
    ];
    check(&expect_file!["../../../testdata/format/v1/box.json"], "box", &[case], &refused);
}
