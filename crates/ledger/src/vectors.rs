//! The shared vectors of the format: written by this code, checked in, and read by the second decoder.
//!
//! A difference from the files in `testdata/format/v1/` means that bytes already released would be read otherwise. To
//! add a case, run the tests with `UPDATE_EXPECT=1` and look at what changed: only additions may have.

use std::process::Command;

use expect_test::{ExpectFile, expect_file};
use model::{Kind, Origin, SeededRng, SourceId, Value};
use serde_json::{Value as Json, json};

use crate::cbor;
use crate::checkpoint::Checkpoint;
use crate::commitment::{Salts, Seed};
use crate::entry::{self, Entry, Head, Scalar, Uuid};
use crate::merkle::{leaf_hash, prove_inclusion, root_from_inclusion, root_of};
use crate::note::{Note, SecretSeeds, Signer};
use crate::own::{Batch, Genesis};
use crate::payload::{self, Payload};
use crate::proof::{InnerProof, Proof};
use crate::tile::TilePath;
use crate::wal::{self, FrameHead, FrameKind, Header};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Compares with the checked-in file.
fn check(file: &ExpectFile, format: &str, cases: &[Json], refused: &[(&str, Vec<u8>)]) {
    let refused: Vec<_> = refused.iter().map(|(why, bytes)| json!({"why": why, "hex": hex(bytes)})).collect();
    let mut vectors = json!({"format": format, "cases": cases});
    if !refused.is_empty() {
        vectors["refused"] = refused.into();
    }
    let text = serde_json::to_string_pretty(&vectors).expect("writes");
    file.assert_eq(&format!("{text}\n"));
}

fn head(inner: bool, kind: u16, seq: u64) -> Head {
    Head {
        inner,
        kind,
        schema: entry::SCHEMA,
        t_admit_ms: 1_700_000_000_000 + seq,
        source: SourceId([0xab; 16]),
        seq,
        uuid: Uuid::new(*b"twelve-bytes", u32::try_from(seq).expect("is small")),
    }
}

fn encoded(head: &Head, public: &[(u16, Scalar<'_>)], commitments: &[(u16, [u8; 32])]) -> Vec<u8> {
    let mut out = Vec::new();
    entry::encode(&mut out, head, public.iter().copied(), commitments).expect("encodes");
    out
}

fn shown_scalar(scalar: Scalar<'_>) -> (&'static str, Json) {
    match scalar {
        Scalar::Bool(value) => ("bool", value.into()),
        Scalar::U64(value) => ("u64", value.to_string().into()),
        Scalar::I64(value) => ("i64", value.to_string().into()),
        Scalar::F64(value) => ("f64", hex(&value.to_be_bytes()).into()),
        Scalar::Text(value) => ("text", value.into()),
        Scalar::Name(value) => ("name", value.to_string().into()),
        Scalar::Bytes(value) => ("bytes", hex(value).into()),
    }
}

fn shown_entry(bytes: &[u8]) -> Json {
    let entry = Entry::decode(bytes).expect("decodes");
    let head = entry.head();
    let public: Vec<_> = entry
        .public()
        .map(|(field, scalar)| {
            let (ty, value) = shown_scalar(scalar);
            json!({"field": field, "type": ty, "value": value})
        })
        .collect();
    let commitments: Vec<_> = entry.commitments().map(|(field, c)| json!({"field": field, "c": hex(c)})).collect();
    json!({
        "inner": head.inner, "kind": head.kind, "schema": head.schema, "t_admit_ms": head.t_admit_ms.to_string(),
        "source": hex(&head.source.0), "seq": head.seq.to_string(), "uuid": hex(&head.uuid.0),
        "public": public, "commitments": commitments,
    })
}

#[test]
fn entries() {
    let genesis = Genesis { log_id: [0xcd; 16], origin: "localhost/default", continues: None };
    let batch = Batch { log_id: [0xcd; 16], root: [0xef; 32], count: 2, t_min_ms: 1, t_max_ms: 2, stream: 0 };
    let public = [
        (1, Scalar::Bool(false)),
        (2, Scalar::U64(u64::MAX)),
        (3, Scalar::I64(i64::MIN)),
        (4, Scalar::F64(-0.5)),
        (5, Scalar::F64(f64::NAN)),
        (6, Scalar::Text("sant\u{e9} \u{1f3e5}")),
        (7, Scalar::Name(4_096)),
        (8, Scalar::Bytes(&[0, 255])),
        (u16::MAX, Scalar::Text("")),
    ];
    let all = encoded(&head(true, Kind::CheckResult.number(), 5), &public, &[(9, [1; 32]), (10, [2; 32])]);
    let entries = [
        encoded(&head(false, Kind::Genesis.number(), 0), &genesis.fields(), &[]),
        encoded(&head(false, Kind::Batch.number(), 1), &batch.fields(), &[]),
        encoded(&head(false, 65_535, 2), &[], &[]),
        encoded(&head(false, Kind::Alert.number(), 3), &[], &[(3, [7; 32])]),
        all.clone(),
    ];
    let cases: Vec<_> = entries.iter().map(|bytes| json!({"hex": hex(bytes), "shown": shown_entry(bytes)})).collect();
    let patched = |at: usize, byte: u8| {
        let mut bytes = all.clone();
        bytes[at] = byte;
        bytes
    };
    let refused = [
        ("magic", patched(3, b'2')),
        ("inner flag", patched(4, 2)),
        ("first field after the second", patched(60, 3)),
        ("unknown type", patched(63, 10)),
        ("bool 2", patched(66, 2)),
        ("another NaN", patched(66 + 47, 1)),
        ("commitments that do not ascend", patched(all.len() - 33, 9)),
        ("a field both public and committed", patched(all.len() - 67, 8)),
        ("cut", all[..all.len() - 1].to_vec()),
        ("trailing byte", [&all[..], &[0]].concat()),
        ("empty", Vec::new()),
    ];
    for (why, bytes) in &refused {
        assert!(Entry::decode(bytes).is_err(), "{why}");
    }
    check(&expect_file!["../../../testdata/format/v1/entry.json"], "entry", &cases, &refused);
}

fn shown_cbor(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => (*value).into(),
        Value::U64(value) => json!({"int": value.to_string()}),
        Value::I64(value) => json!({"int": value.to_string()}),
        Value::F64(value) => json!({"f64": hex(&entry::f64_bits(*value).to_be_bytes())}),
        Value::Text(value) => value.as_str().into(),
        Value::Bytes(value) => json!({"bytes": hex(value)}),
        Value::List(items) => items.iter().map(shown_cbor).collect(),
        Value::Map(map) => {
            let map: serde_json::Map<_, _> = map.iter().map(|(k, v)| (k.clone(), shown_cbor(v))).collect();
            json!({"map": map})
        }
    }
}

fn nested() -> Value {
    let floats =
        [0.0, -0.0, 1.0, 1.1, 65_504.0, 65_536.0, 1e300, 5.960_464_477_539_063e-8, 6e-8, f64::INFINITY, f64::NAN];
    let numbers = [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX].map(Value::U64);
    Value::Map(
        [
            ("zz".to_owned(), Value::List(floats.map(Value::F64).to_vec())),
            ("b".to_owned(), Value::List(numbers.to_vec())),
            ("aaa".to_owned(), Value::List([-1, -24, -25, -256, -257, i64::MIN].map(Value::I64).to_vec())),
            (String::new(), Value::Bytes(vec![1, 2, 3])),
            (
                "\u{e9}".to_owned(),
                Value::Map([("n".to_owned(), Value::Null), ("t".to_owned(), Value::Bool(true))].into()),
            ),
        ]
        .into(),
    )
}

#[test]
fn cbor_values() {
    let values = [nested(), Value::List(vec![]), Value::Map([].into()), Value::from("x".repeat(300).as_str())];
    let cases: Vec<_> = values
        .iter()
        .map(|value| {
            let mut bytes = Vec::new();
            cbor::encode(&mut bytes, value).expect("encodes");
            json!({"hex": hex(&bytes), "shown": shown_cbor(value)})
        })
        .collect();
    let refused = [
        ("longer integer", vec![0x18, 0x17]),
        ("indefinite array", vec![0x9f, 0xff]),
        ("tag", vec![0xc0, 0x00]),
        ("undefined", vec![0xf7]),
        ("longer float", vec![0xfa, 0x3f, 0x80, 0, 0]),
        ("longer double", vec![0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]),
        ("another NaN", vec![0xf9, 0x7e, 1]),
        ("keys that do not ascend", vec![0xa2, 0x61, b'b', 0, 0x61, b'a', 0]),
        ("longer key first", vec![0xa2, 0x62, b'a', b'a', 0, 0x61, b'b', 0]),
        ("equal keys", vec![0xa2, 0x61, b'a', 0, 0x61, b'a', 0]),
        ("key that is a number", vec![0xa1, 0, 0]),
        ("text that is not UTF-8", vec![0x61, 0xff]),
        ("below 64 bits", vec![0x3b, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("cut", vec![0x82, 0]),
        ("trailing byte", vec![0, 0]),
        ("too deep", vec![0x81; 33].into_iter().chain([0]).collect()),
    ];
    for (why, bytes) in &refused {
        assert!(cbor::decode(bytes).is_err(), "{why}");
    }
    check(&expect_file!["../../../testdata/format/v1/cbor.json"], "cbor", &cases, &refused);
}

fn shown_payload(bytes: &[u8], commitments: &[(u16, [u8; 32])]) -> Json {
    let payload = Payload::decode(bytes).expect("decodes");
    let values: Vec<_> = payload
        .values()
        .zip(commitments)
        .map(|(cleared, (field, c))| {
            let value = cleared.value().expect("is a value");
            let (ty, shown) = match &value {
                Value::Bool(value) => shown_scalar(Scalar::Bool(*value)),
                Value::U64(value) => shown_scalar(Scalar::U64(*value)),
                Value::I64(value) => shown_scalar(Scalar::I64(*value)),
                Value::F64(value) => shown_scalar(Scalar::F64(*value)),
                Value::Text(value) => shown_scalar(Scalar::Text(value)),
                Value::Bytes(value) => shown_scalar(Scalar::Bytes(value)),
                Value::List(_) => ("list", shown_cbor(&value)),
                Value::Map(_) | Value::Null => ("map", shown_cbor(&value)),
            };
            json!({"field": field, "type": ty, "value": shown, "c": hex(c)})
        })
        .collect();
    json!({"explicit": bytes.first() == Some(&1), "values": values})
}

#[test]
fn payloads_and_commitments() {
    let (uuid, seed) = (Uuid::new(*b"twelve-bytes", 7), [0x5e; 32]);
    let salts = Salts::new(&Seed::from_bytes(seed));
    let values = [
        (1, Value::Bool(true)),
        (2, Value::U64(7)),
        (3, Value::I64(-7)),
        (4, Value::F64(f64::NAN)),
        (5, Value::from("connexion refus\u{e9}e")),
        (6, Value::Bytes(vec![])),
        (7, Value::List(vec![Value::Null, Value::F64(2.5)])),
        (8, nested()),
    ];
    let mut cases = Vec::new();
    for values in [&values[..], &[]] {
        let (mut derived, mut commitments) = (Vec::new(), Vec::new());
        payload::encode(&mut derived, &uuid, values, &salts, &mut commitments).expect("encodes");
        let explicit = payload::with_explicit_salts(&derived, &uuid, &salts).expect("is a payload");
        for bytes in [derived, explicit] {
            let shown = shown_payload(&bytes, &commitments);
            cases.push(json!({"hex": hex(&bytes), "uuid": hex(&uuid.0), "seed": hex(&seed), "shown": shown}));
        }
    }
    check(&expect_file!["../../../testdata/format/v1/payload.json"], "payload", &cases, &[]);
}

#[test]
fn trees() {
    let entries: Vec<Vec<u8>> = (0..13_u8).map(|n| vec![n; usize::from(n)]).collect();
    let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let cases: Vec<_> = [(1, 0), (2, 1), (7, 6), (8, 3), (13, 8), (13, 12)]
        .into_iter()
        .map(|(size, index): (usize, usize)| {
            let path = prove_inclusion(&mut &hashes[..size], index as u64, size as u64).expect("proves");
            let top = root_from_inclusion(&hashes[index], index as u64, size as u64, &path).expect("leads there");
            assert_eq!(top, root_of(&hashes[..size]));
            let entries: Vec<_> = entries[..size].iter().map(|entry| hex(entry)).collect();
            let path: Vec<_> = path.iter().map(|hash| hex(hash)).collect();
            json!({"entries": entries, "index": index, "path": path, "shown": {"root": hex(&top), "from_path": hex(&top)}})
        })
        .collect();
    check(&expect_file!["../../../testdata/format/v1/tree.json"], "tree", &cases, &[]);

    let paths =
        [(Some(0), 0, 256), (Some(1), 999, 1), (None, 1_000, 255), (Some(5), 1_234_067, 256), (None, u64::MAX, 7)];
    let cases: Vec<_> = paths
        .into_iter()
        .map(|(level, index, width)| {
            let shown = TilePath { level, index, width }.to_string();
            let level = level.map_or_else(|| "entries".to_owned(), |level: u8| level.to_string());
            json!({"level": level, "index": index.to_string(), "width": width, "shown": shown})
        })
        .collect();
    check(&expect_file!["../../../testdata/format/v1/tile-path.json"], "tile-path", &cases, &[]);
}

/// A log of five leaves, the last of which is the leaf of a batch of three.
fn log() -> (Signer, String, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let inner: Vec<_> = (0..3).map(|n| encoded(&head(true, Kind::CheckResult.number(), n), &[], &[])).collect();
    let hashes: Vec<_> = inner.iter().map(|entry| leaf_hash(entry)).collect();
    let batch = Batch { log_id: [0xcd; 16], root: root_of(&hashes), count: 3, t_min_ms: 1, t_max_ms: 2, stream: 0 };
    let mut leaves: Vec<_> = (0..4).map(|n| encoded(&head(false, Kind::Alert.number(), n), &[], &[])).collect();
    leaves.push(encoded(&head(false, Kind::Batch.number(), 4), &batch.fields(), &[]));
    let seeds = SecretSeeds::generate(&SeededRng::new(1));
    let signer = Signer::new(&Origin::new("localhost/default").expect("is valid"), &seeds);
    let hashes: Vec<_> = leaves.iter().map(|entry| leaf_hash(entry)).collect();
    let checkpoint = Checkpoint { origin: "localhost/default".into(), size: 5, root: root_of(&hashes) };
    let note = signer.sign(&checkpoint, 1_700_000_000);
    (signer, note, leaves, inner)
}

#[test]
fn notes_and_proofs() {
    let (signer, note, leaves, inner) = log();
    let keys = signer.verifiers();
    let checkpoint = keys.open(note.as_bytes()).expect("is signed");
    let parsed = Note::parse(note.as_bytes()).expect("parses");
    let lines: Vec<_> = parsed
        .lines
        .iter()
        .map(|line| json!({"name": line.name, "key_id": hex(&line.key_id), "bytes": line.signature.len()}))
        .collect();
    let message = crate::note::cosigned_message("localhost/default", 1_700_000_000, &checkpoint).expect("fits");
    let ml_dsa_44 = keys.ml_dsa_44.as_ref().expect("is there");
    let public = signer.vkey().rsplit('+').next().map(|key| {
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, key).expect("is base64").split_off(1)
    });
    let case = json!({
        "text": note, "name": "localhost/default", "timestamp": 1_700_000_000,
        "ed25519": hex(&public.expect("has a key")), "ml_dsa_44": hex(&signer.ml_dsa_public()),
        "shown": {
            "origin": checkpoint.origin, "size": "5", "root": hex(&checkpoint.root), "signatures": lines,
            "ed25519_key_id": hex(&keys.ed25519.key_id()), "ml_dsa_44_key_id": hex(&ml_dsa_44.key_id()),
            "cosigned_sha256": hex(&<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(message))),
        },
    });
    check(&expect_file!["../../../testdata/format/v1/note.json"], "note", &[case], &[]);

    let path = |entries: &[Vec<u8>], index| {
        let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        prove_inclusion(&mut hashes.as_slice(), index, entries.len() as u64).expect("proves")
    };
    let leaf = Proof { index: 2, path: path(&leaves, 2), checkpoint: note.clone(), extra: None };
    let way = InnerProof { index: 1, path: path(&inner, 1), batch: leaves[4].clone() };
    let record = Proof { index: 4, path: path(&leaves, 4), checkpoint: note, extra: Some(way.to_bytes()) };
    leaf.verify(&leaves[2], keys).expect("verifies");
    record.verify(&inner[1], keys).expect("verifies");
    let cases = [
        json!({"text": leaf.to_text(), "record": hex(&leaves[2]), "shown": {"index": "2", "origin": "localhost/default", "size": "5"}}),
        json!({"text": record.to_text(), "record": hex(&inner[1]), "shown": {"index": "4", "inner_index": 1, "origin": "localhost/default", "size": "5"}}),
    ];
    check(&expect_file!["../../../testdata/format/v1/proof.json"], "proof", &cases, &[]);
}

#[test]
fn wal_segments() {
    let (_, _, leaves, inner) = log();
    let header = Header {
        previous_end: 4_096,
        own_end: 0,
        opened_ms: 1_700_000_000_000,
        origins: vec![("localhost/meta".into(), 9, 4)],
    };
    let segment = wal::SegmentId { number: 3, tag: 0x0123_4567_89ab_cdef };
    let mut bytes = Vec::new();
    wal::write_frame(&mut bytes, &FrameHead::plain(FrameKind::Header), segment, 0, &header.encode());
    let origin = FrameHead { origin: 1, ..FrameHead::plain(FrameKind::Origin) };
    wal::write_frame(&mut bytes, &origin, segment, 0, b"localhost/default");
    let synced = bytes.len() as u64;
    let (seed, payload) = ([0x5e; 32], vec![0, 0, 0]);
    let mut body = seed.to_vec();
    for entry in [&leaves[0], &inner[0]] {
        wal::write_row(&mut body, entry.len(), payload.len(), 0);
    }
    for entry in [&leaves[0], &inner[0]] {
        body.extend_from_slice(entry);
        body.extend_from_slice(&payload);
    }
    let group = FrameHead { kind: FrameKind::Group, stripped: false, origin: 1, position: 0, count: 2 };
    wal::write_frame(&mut bytes, &group, segment, synced, &body);
    let closed = bytes.len() as u64;
    wal::write_frame(&mut bytes, &FrameHead::plain(FrameKind::Close), segment, closed, &[]);
    bytes.extend_from_slice(&[0; 64]);
    let frame = |kind: &str, origin: u16, synced: u64, count: u32, more: Json| {
        let mut shown = json!({"kind": kind, "stripped": false, "origin": origin, "synced": synced.to_string(), "position": "0", "count": count});
        shown.as_object_mut().expect("is one").extend(more.as_object().expect("is one").clone());
        shown
    };
    let records: Vec<_> =
        [&leaves[0], &inner[0]].map(|entry| json!({"entry": hex(entry), "payload": "000000", "boxes": ""})).to_vec();
    let shown = json!([
        frame(
            "header",
            0,
            0,
            0,
            json!({"previous_end": "4096", "own_end": "0", "opened_ms": "1700000000000", "origins": [{"origin": "localhost/meta", "position": "9", "leaves": "4"}]})
        ),
        frame("origin", 1, 0, 0, json!({"text": "localhost/default"})),
        frame("group", 1, synced, 2, json!({"seed": hex(&seed), "records": records})),
        frame("close", 0, closed, 0, json!({})),
    ]);
    let mut read = Vec::new();
    let mut at = 0;
    while let Ok((frame, next)) = wal::read_frame(&bytes, at, 3) {
        read.push(frame.kind);
        at = next;
    }
    assert_eq!(read, [FrameKind::Header, FrameKind::Origin, FrameKind::Group, FrameKind::Close]);
    let case = json!({"hex": hex(&bytes), "segment": 3, "shown": shown});
    let mut strange = bytes.clone();
    let other = wal::SegmentId { tag: 0, ..segment };
    strange.truncate(usize::try_from(closed).expect("is small"));
    wal::write_frame(&mut strange, &FrameHead::plain(FrameKind::Close), other, closed, &[]);
    assert!(wal::read_frame(&strange, usize::try_from(closed).expect("is small"), 3).is_ok_and(|(f, _)| f.tag == 0));
    let refused = [("tag of another segment", strange)];
    check(&expect_file!["../../../testdata/format/v1/wal.json"], "wal", &[case], &refused);
}

#[test]
fn the_second_decoder_agrees() {
    let format = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/format");
    let run = |args: &[&str]| Command::new("python3").arg(format!("{format}/decode.py")).args(args).output();
    let output = match run(&[&format!("{format}/v1")]) {
        Ok(output) => output,
        Err(error) => {
            #[expect(clippy::disallowed_methods, reason = "CI=true tells the tests that nothing may be skipped")]
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "no python3: {error}");
            eprintln!("skipped: no python3: {error}");
            return;
        }
    };
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(text.starts_with("12 files: ") && text.trim_end().ends_with("as described"), "{text}");
    assert!(!run(&[format]).expect("runs").status.success(), "a directory without vectors shows nothing");
}
