//! Offline verification: sound logs pass, and each way to tamper with one is found and named.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::entry::{Head, Scalar, Uuid};
use ledger::note::Verifiers;
use ledger::own::{Batch, Genesis, KeyRotation, Meta, Recovery, Retention};
use ledger::verify::{DiskSource, FINDINGS_MAX, Finding, Invariant, Options, Report, Weight, verify, verify_meta};
use model::{Kind, SourceId, Value};

use crate::conformance::data;
use crate::sample::{Kepts, Sample};

fn sample() -> Sample {
    let mut sample = Sample::new("localhost/default", 1);
    sample.fill(600, 3);
    sample.commit();
    sample
}

fn errors(report: &Report) -> Vec<String> {
    report.findings.iter().filter(|f| f.weight == Weight::Error).map(ToString::to_string).collect()
}

/// Verifies with the sample's keys and its vault.
fn report(sample: &Sample) -> Report {
    let options =
        Options { keys: Some(sample.signer.verifiers()), vault: Some(&sample.vault), threads: 2, ..Options::default() };
    verify(&sample.files, &options)
}

#[test]
fn a_sound_log_has_no_findings_and_is_counted() {
    let sample = sample();
    let report = report(&sample);
    assert_eq!(report.findings, []);
    assert!(report.is_sound());
    assert_eq!((report.entries, report.batches, report.batch_records), (661, 60, 180));
    assert_eq!((report.vault_records, report.opened, report.covered), (841, 600 * 2 + 180 * 2, 0));
    assert_eq!(report.checkpoint.map(|c| c.size), Some(661));
    assert!(report.bytes > 50_000 && report.tiles == 7, "{} {}", report.bytes, report.tiles);
}

#[test]
fn progress_is_told_and_every_number_of_threads_gives_the_same_report() {
    let mut sample = Sample::new("localhost/default", 1);
    sample.fill(20_000, 0);
    sample.commit();
    let last = AtomicU64::new(0);
    let progress = |done, total| {
        assert!(done > last.swap(done, Ordering::Relaxed) && total == 20_001);
    };
    let reports = [1, 2, 3, 0].map(|threads| {
        last.store(0, Ordering::Relaxed);
        verify(&sample.files, &Options { threads, progress: Some(&progress), ..Options::default() })
    });
    assert!(reports.iter().all(|report| report.is_sound() && *report == reports[0]));
    assert_eq!(last.load(Ordering::Relaxed), 20_001);
    let notes: Vec<_> = reports[0].findings.iter().map(|f| (f.weight, f.to_string())).collect();
    let text = "I1: the keys are the log's own: compare them with those you were given";
    assert_eq!(notes, [(Weight::Note, text.to_owned())]);
}

#[test]
fn one_changed_byte_of_any_file_is_found() {
    let sample = sample();
    let keys = sample.signer.verifiers();
    for (path, bytes) in &sample.files {
        if path == "vkey" || path == "mldsa.pub" {
            continue; // the auditor has the keys
        }
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut files = sample.files.clone();
            files.get_mut(path).expect("is there")[at] ^= 1;
            let report = verify(&files, &Options { keys: Some(keys), ..Options::default() });
            assert!(!report.is_sound(), "{path} {at}");
        }
        let mut files = sample.files.clone();
        files.get_mut(path).expect("is there").pop();
        assert!(!verify(&files, &Options { keys: Some(keys), ..Options::default() }).is_sound(), "{path} cut");
        files.remove(path);
        assert!(!verify(&files, &Options { keys: Some(keys), ..Options::default() }).is_sound(), "{path} gone");
        files.insert(path.clone(), vec![0; 18_000_000]);
        assert!(!verify(&files, &Options { keys: Some(keys), ..Options::default() }).is_sound(), "{path} bloated");
    }
}

/// What is found when one file is changed.
fn tampered(path: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<String> {
    let mut sample = sample();
    change(sample.files.entry(path.to_owned()).or_default());
    errors(&report(&sample))
}

#[test]
fn findings_say_what_is_wrong_and_where() {
    assert_eq!(
        tampered("tile/0/001", |b| b[33] ^= 1),
        [
            "I1 leaf 257: the entry does not hash to tile/0/001",
            "I1 leaf 257: position 326 of the vault is another record than the leaf"
        ]
    );
    assert_eq!(tampered("tile/1/000.p/2", |b| b[0] ^= 1), ["I1: tile/1/000.p/2 does not follow from the entries"]);
    assert_eq!(tampered("tile/1/000.p/2", Vec::clear), ["I1: tile/1/000.p/2: is not as long as its width says"]);
    assert_eq!(
        tampered("tile/entries/000", |b| b.truncate(b.len() - 1)),
        [
            "I1: tile/entries/000 is not a sequence of entries",
            "I4 leaf 256: 1 entries of the source are missing before this one, and no record says why",
        ]
    );
    let found = tampered("tile/entries/000", |b| b.extend_from_slice(&[0, 0]));
    assert_eq!(found.last().map(String::as_str), Some("I1: tile/entries/000 holds 257 entries instead of 256"));
    let found = tampered("tile/entries/000", |b| b[2] = b'x');
    assert_eq!(found[0], "I1 leaf 0: cannot accept entry: does not start with dhy1");
    assert!(found.contains(&"I1: the root over the entries is not the one that was signed".to_owned()), "{found:?}");
    let note = sample().note();
    let without = |name: usize| {
        note.lines().enumerate().filter(|(n, _)| *n != name).map(|(_, l)| format!("{l}\n")).collect::<String>()
    };
    assert_eq!(tampered("checkpoint", |b| *b = without(4).into()), ["I1: the checkpoint lacks the Ed25519 signature"]);
    assert_eq!(
        tampered("checkpoint", |b| *b = without(5).into()),
        ["I1: the checkpoint lacks the ML-DSA-44 signature"]
    );
}

#[test]
fn a_log_that_lost_entries_and_tile_is_not_walked_further() {
    let mut sample = sample();
    sample.files.remove("tile/entries/001");
    sample.files.remove("tile/0/001");
    let report = report(&sample);
    assert_eq!(
        errors(&report),
        ["I1: tile/entries/001: is missing", "I1: tile/0/001: is missing", "I1: the log cannot be walked to its end"]
    );
    assert_eq!(report.entries, 256);
}

#[test]
fn keys_are_needed_and_both_of_them() {
    let mut sample = sample();
    let verify_own =
        |files: &BTreeMap<_, _>, alone| verify(files, &Options { ed25519_alone: alone, ..Options::default() });
    let mldsa = sample.files.remove("mldsa.pub").expect("is there");
    assert_eq!(errors(&verify_own(&sample.files, false))[0], "I1: mldsa.pub is missing");
    assert!(verify_own(&sample.files, true).is_sound());
    let alone = Verifiers { ml_dsa_44: None, ..sample.signer.verifiers().clone() };
    let pinned = verify(&sample.files, &Options { keys: Some(&alone), ..Options::default() });
    assert_eq!(errors(&pinned), ["I1: there is no ML-DSA-44 key, and both signatures are required"]);
    sample.files.insert("mldsa.pub".into(), mldsa[1..].to_vec());
    assert_eq!(errors(&verify_own(&sample.files, true)), ["I1: cannot accept ML-DSA-44 key: is not 1312 bytes"]);
    sample.files.remove("vkey");
    assert_eq!(errors(&verify_own(&sample.files, true)), ["I1: vkey is missing"]);
    assert!(!verify(&BTreeMap::new(), &Options::default()).is_sound());
}

#[test]
fn a_partial_tile_may_have_become_a_full_one() {
    let mut sample = sample();
    let size = sample.writer.size();
    let old = sample.files["checkpoint"].clone();
    sample.fill(500, 0);
    sample.commit();
    sample.files.retain(|path, _| !(path.ends_with(&format!(".p/{}", size % 256))));
    let earlier = sample.files.insert("checkpoint".into(), old).expect("was there");
    assert!(report(&sample).is_sound());
    let options = Options { keys: Some(sample.signer.verifiers()), ..Options::default() };
    let shrunk = verify(&sample.files, &Options { earlier: &[earlier], ..options });
    assert_eq!(errors(&shrunk), ["I6: the log has shrunk from 1161 leaves to 661"]);
}

#[test]
fn a_log_goes_on_from_every_checkpoint_that_was_kept() {
    let mut sample = Sample::new("localhost/default", 1);
    let mut kept = Vec::new();
    for _ in 0..5 {
        sample.fill(77, 2);
        sample.commit();
        kept.push(sample.files["checkpoint"].clone());
    }
    let keys = sample.signer.verifiers().clone();
    let ours = verify(&sample.files, &Options { keys: Some(&keys), earlier: &kept, ..Options::default() });
    assert_eq!((ours.earlier, errors(&ours)), (5, vec![]));

    // The same keys, another history.
    let mut fork = Sample::new("localhost/default", 1);
    fork.fill(20, 0);
    let early = fork.note().into_bytes();
    fork.fill(300, 1);
    fork.commit();
    let forked = verify(&fork.files, &Options { keys: Some(&keys), earlier: &kept[..1], ..Options::default() });
    assert_eq!(errors(&forked), ["I6: the checkpoint of 85 leaves is of another log than that of 351"]);
    let foreign = Sample::new("localhost/default", 2).note().into_bytes();
    let forked = verify(&fork.files, &Options { keys: Some(&keys), earlier: &[early, foreign], ..Options::default() });
    assert_eq!(
        (forked.earlier, errors(&forked)),
        (1, vec!["I6: the checkpoint lacks the Ed25519 signature".to_owned()])
    );
}

/// The report on a log whose last record `add` appends.
fn appended_report(add: impl FnOnce(&mut Sample)) -> Report {
    let mut sample = Sample::new("localhost/default", 1);
    sample.fill(20, 0);
    add(&mut sample);
    sample.commit();
    report(&sample)
}

/// What is wrong with a log whose last record `add` appends.
fn appended(add: impl FnOnce(&mut Sample)) -> Vec<String> {
    errors(&appended_report(add))
}

#[test]
fn numbers_are_contiguous_and_times_ascend() {
    let none: &[String] = &[];
    let gap = |count| [(1, Scalar::Text("queue_full")), (2, Scalar::Text("alert")), (3, Scalar::U64(count))];
    assert_eq!(appended(|s| s.record(false, 9_999, &[], &[])), none);
    assert_eq!(appended(|s| s.record(false, Kind::Gap.number(), &gap(3), &[])), none);
    let skip = |s: &mut Sample, seqs: u64| {
        for _ in 0..seqs {
            s.head(false, 0);
        }
        s.record(false, Kind::Alert.number(), &[], &[]);
    };
    let missing = "I4 leaf 21: 3 entries of the source are missing before this one, and no record says why";
    assert_eq!(appended(|s| skip(s, 3)), [missing]);
    assert_eq!(
        appended(|s| {
            skip(s, 3);
            s.record(false, Kind::Gap.number(), &gap(2), &[]);
        }),
        [missing]
    );
    assert_eq!(
        appended(|s| {
            s.record(false, Kind::Gap.number(), &gap(3), &[]);
            skip(s, 3);
        })
        .len(),
        0
    );
    assert_eq!(
        appended(|s| {
            let head = s.head(false, 18);
            s.record_with(&Head { seq: 4, ..head }, &[], &[]);
        }),
        ["I4 leaf 21: the entry's number was given before"]
    );
    assert_eq!(
        appended(|s| {
            s.t_ms -= 100;
            s.record(false, 18, &[], &[]);
        }),
        ["I5 leaf 21: the entry is older than the one before it"]
    );
    assert_eq!(
        appended(|s| {
            let head = s.head(true, 18);
            s.record_with(&head, &[], &[]);
        })
        .len(),
        0,
        "waits for its batch"
    );
}

#[test]
fn what_the_ledgers_own_records_claim_is_checked() {
    let none: &[String] = &[];
    let genesis = Genesis { log_id: [1; 16], origin: "localhost/default", continues: None };
    assert_eq!(
        appended(|s| s.record(false, 1, &genesis.fields(), &[])),
        ["I1 leaf 21: a log starts once, with its first entry"]
    );
    let batch = |log_id, t_ms| Batch { log_id, root: [0; 32], count: 1, t_min_ms: t_ms, t_max_ms: t_ms, stream: 0 };
    let found = appended(|s| {
        let b = batch([9; 16], s.t_ms);
        s.record(false, 3, &b.fields(), &[]);
    });
    assert_eq!(
        found,
        [
            "I1 leaf 21: the batch is of another log",
            "I1 leaf 21: the records of the batch do not lead to its root",
            "I5 leaf 21: the times of the batch are not those of its records"
        ]
    );
    let retention = |until_index| Retention { until_index, until_position: 0, policy: "age" };
    assert_eq!(appended(|s| s.record(false, 5, &retention(21).fields(), &[])), none);
    assert_eq!(
        appended(|s| s.record(false, 5, &retention(22).fields(), &[])),
        ["I2 leaf 21: a retention record covers leaves that come after it"]
    );
    let missing_field = "cannot accept record: lacks a field of its kind, or has it in another type";
    for kind in [1, 3, 5, 6, 7] {
        assert_eq!(appended(|s| s.record(false, kind, &[], &[])), [format!("I1 leaf 21: {missing_field}")], "{kind}");
    }
    assert_eq!(
        appended(|s| s.record(false, 4, &[], &[])),
        ["I1 leaf 21: cannot accept meta record: does not commit to one checkpoint"]
    );
    assert_eq!(
        appended(|s| s.record(false, 26, &[], &[])),
        ["I1 leaf 21: cannot accept gap record: does not say how many were lost"]
    );
    assert_eq!(appended(|s| s.record(false, 7, &Recovery { segment: 1, offset: 2, bytes: 3 }.fields(), &[])), none);
    let rotation = |s: &mut Sample, cut: usize| {
        let (vkey, public) = (s.signer.vkey(), s.signer.ml_dsa_public());
        let retired = s.signer.verifiers().digest();
        s.record(
            false,
            6,
            &KeyRotation { vkey: &vkey, ml_dsa_public: &public[cut..], number: 1, retired }.fields(),
            &[],
        );
    };
    let announced = appended_report(|s| rotation(s, 0));
    let text = "I1: leaf 21 announces keys that have not taken over: start the server, or run `dihya ledger rotate`, to \
                finish the rotation";
    assert!(announced.is_sound(), "what was begun is lawful: {:?}", announced.findings);
    assert!(announced.findings.iter().any(|f| f.weight == Weight::Note && f.to_string() == text));
    assert_eq!(appended(|s| rotation(s, 1)), ["I1 leaf 21: cannot accept ML-DSA-44 key: is not 1312 bytes"]);
}

#[test]
fn an_inner_record_is_no_leaf_and_a_log_starts_with_its_genesis() {
    let mut sample = Sample::new("localhost/default", 1);
    let head = sample.head(true, 16);
    let mut entry = Vec::new();
    ledger::entry::encode(&mut entry, &head, [], &[]).expect("encodes");
    sample.writer.push(&entry).expect("fits");
    sample.commit();
    let options = Options { keys: Some(sample.signer.verifiers()), ..Options::default() };
    assert_eq!(
        errors(&verify(&sample.files, &options)),
        ["I1 leaf 1: the entry belongs under a batch leaf, and is one itself"]
    );

    let mut other = Sample::new("localhost/other", 1);
    other.origin = sample.origin.clone();
    other.signer = sample.signer;
    other.commit();
    let keys = other.signer.verifiers().clone();
    let options = Options { keys: Some(&keys), ..Options::default() };
    assert_eq!(errors(&verify(&other.files, &options)), ["I1 leaf 0: the log starts under another origin"]);
    other.writer = ledger::tile::TileWriter::new();
    other.fill(1, 0);
    other.files.clear();
    other.commit();
    let found = errors(&verify(&other.files, &options));
    assert_eq!(found[0], "I1 leaf 0: the log does not start with its genesis");
}

#[test]
fn sources_are_followed_apart_and_in_bounded_number() {
    let mut sample = Sample::new("localhost/default", 1);
    for n in 0..66_000_u32 {
        let mut source = [1; 16];
        source[..4].copy_from_slice(&n.to_be_bytes());
        let head = sample.head(false, 18);
        sample.record_with(&Head { source: SourceId(source), seq: 0, uuid: Uuid::default(), ..head }, &[], &[]);
    }
    sample.commit();
    let report = verify(&sample.files, &Options { keys: Some(sample.signer.verifiers()), ..Options::default() });
    assert!(report.is_sound());
    assert_eq!(report.findings[0].text, "the log has too many sources: the numbers of some were not followed");
}

#[test]
fn findings_are_listed_up_to_a_bound_and_all_counted() {
    let mut sample = Sample::new("localhost/default", 1);
    for _ in 0..3_000 {
        sample.record(false, Kind::Recovery.number(), &[], &[]);
    }
    sample.commit();
    let report = report(&sample);
    assert_eq!((report.findings.len(), report.errors), (FINDINGS_MAX, 3_000));
    assert!(!report.is_sound());
}

/// What is found when the vault of a sound log is changed.
fn vault(change: impl FnOnce(&mut Kepts)) -> Vec<String> {
    let mut sample = sample();
    change(&mut sample.vault);
    errors(&report(&sample))
}

#[test]
fn the_vault_is_compared_record_by_record() {
    // Leaves 0..=10 are genesis and ten alerts, then come three inner records and their batch leaf.
    assert_eq!(
        vault(|v| {
            v.records.truncate(20);
            v.fails = true;
        }),
        ["I2: the vault cannot be read: the disk is gone"]
    );
    assert_eq!(vault(|v| v.records.truncate(20)), ["I2 leaf 17: the vault ends before leaf 17"]);
    let deleted = "values of the fields 3, 4 were deleted and no retention record covers them";
    assert_eq!(vault(|v| v.records[2].payload = None), [format!("I2 leaf 2: {deleted}")]);
    let inner = "values of the fields 6, 10 do not open";
    assert_eq!(vault(|v| v.records[12].seed[0] ^= 1), [format!("I2 leaf 11 record 1: {inner}")]);
    assert_eq!(vault(|v| v.records[12].payload = Some(vec![7])), [format!("I2 leaf 11 record 1: {inner}")]);
    let change = |v: &mut Kepts| *v.records[2].payload.as_mut().expect("is there").last_mut().expect("is there") ^= 1;
    assert_eq!(vault(change), ["I2 leaf 2: values of the fields 4 do not open"]);
    assert_eq!(vault(|v| v.records.swap(1, 2)), ["I1 leaf 1: position 1 of the vault is another record than the leaf"]);
    assert_eq!(
        vault(|v| v.records[1].entry.clear()),
        ["I1 leaf 1: position 1 of the vault: cannot accept entry: ends too early"]
    );
    let swapped = vault(|v| v.records.swap(12, 13));
    assert_eq!(swapped.len(), 4, "{swapped:?}");
    assert!(swapped[0].starts_with("I4 leaf 11 record 1: the record's number"), "{swapped:?}");
    assert_eq!(
        swapped[2..],
        [
            "I1 leaf 11: the records of the batch do not lead to its root",
            "I5 leaf 11: the times of the batch are not those of its records"
        ]
    );
    let many = vault(|v| {
        let inner = v.records[11].clone();
        let waiting = (0..4_097_u64).map(|seq| {
            let mut inner = inner.clone();
            inner.entry[35..43].copy_from_slice(&seq.to_be_bytes());
            inner
        });
        v.records.splice(11..11, waiting);
    });
    assert_eq!(many, ["I1 leaf 11: more records wait for their batch leaf than one may hold"]);
}

#[test]
fn what_a_retention_record_covers_needs_not_open() {
    let mut sample = sample();
    let until_index = 300;
    sample.record(false, 5, &Retention { until_index, until_position: 0, policy: "age" }.fields(), &[]);
    sample.commit();
    let mut leaf = 0;
    for kept in &mut sample.vault.records {
        let inner = ledger::entry::Entry::decode(&kept.entry).expect("decodes").head().inner;
        if leaf < until_index {
            kept.payload = None;
        }
        leaf += u64::from(!inner);
    }
    let covered = report(&sample);
    assert_eq!(errors(&covered), [""; 0]);
    assert_eq!((covered.retained_from, covered.covered + covered.opened), (300, 600 * 2 + 180 * 2));
    assert!(covered.covered > 600 && covered.opened > 600);
    // One more is not covered: the leaf at the bound itself.
    let at = sample.vault.records.iter().position(|kept| kept.payload.is_some()).expect("some are left");
    let at = (at..)
        .find(|at| !ledger::entry::Entry::decode(&sample.vault.records[*at].entry).expect("decodes").head().inner);
    sample.vault.records[at.expect("is there")].payload = None;
    assert_eq!(errors(&report(&sample)).len(), 1);
}

/// A tenant's log and a meta-log that holds its checkpoints.
fn with_meta(log_id: [u8; 16]) -> (Sample, Sample) {
    let mut tenant = Sample::new("localhost/default", 1);
    let mut meta = Sample::new("localhost/meta", 2);
    for _ in 0..4 {
        tenant.fill(50, 1);
        tenant.commit();
        for (id, note) in [(log_id, tenant.note()), ([8; 16], "another tenant's".to_owned())] {
            meta.record(
                false,
                Kind::Meta.number(),
                &Meta { log_id: id }.fields(),
                &[(Meta::CHECKPOINT, Value::Text(note))],
            );
        }
    }
    meta.commit();
    (tenant, meta)
}

fn against(meta: &Sample, tenant: &Sample) -> (u64, Vec<String>) {
    let checkpoint = tenant.signer.verifiers().open(&tenant.files["checkpoint"]).expect("is signed");
    let keys = tenant.signer.verifiers();
    let (count, findings) = verify_meta(&meta.vault, &[7; 16], &tenant.files, &checkpoint, &keys.clone().into());
    (count, findings.iter().map(Finding::to_string).collect())
}

#[test]
fn a_fork_shows_in_the_meta_log() {
    let (tenant, mut meta) = with_meta([7; 16]);
    assert_eq!(errors(&report(&meta)), [""; 0]);
    assert_eq!(against(&meta, &tenant), (4, vec![]));

    let mut fork = Sample::new("localhost/default", 1);
    fork.fill(300, 0);
    fork.commit();
    let (count, found) = against(&meta, &fork);
    assert_eq!((count, found.len()), (4, 4));
    assert_eq!(found[0], "I6 leaf 1: the checkpoint of 56 leaves is of another log than that of 301");

    let fresh = Sample::new("localhost/default", 1);
    let stale = Value::Text(fresh.note());
    meta.record(false, Kind::Meta.number(), &Meta { log_id: [7; 16] }.fields(), &[(Meta::CHECKPOINT, stale)]);
    let unsigned = Value::from("unsigned");
    meta.record(false, Kind::Meta.number(), &Meta { log_id: [7; 16] }.fields(), &[(Meta::CHECKPOINT, unsigned)]);
    meta.record(true, 16, &[], &[]);
    meta.vault.records[3].payload = None;
    meta.vault.records[5].payload = Some(vec![]);
    meta.vault.records[7].seed = [0; 32];
    meta.vault.fails = true;
    let (count, found) = against(&meta, &tenant);
    assert_eq!(count, 6);
    assert_eq!(
        found,
        [
            "I6 leaf 5: cannot accept payload: ends too early",
            "I6 leaf 7: the checkpoint in the meta-log does not open",
            "I6 leaf 9: the log has fewer leaves than at the checkpoint before",
            "I6 leaf 10: cannot accept note: has no empty line before its signatures",
            "I6: the meta-log's vault cannot be read: the disk is gone",
        ]
    );
}

#[test]
fn logs_made_by_others_verify_from_their_directories() {
    let disk = disk::OsDisk;
    if let Some(dir) = data("tlog/generated/hybrid-log") {
        let source = DiskSource::new(&disk, &dir);
        let foreign = Options { opaque_entries: true, ..Options::default() };
        let report = verify(&source, &foreign);
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!((report.entries, report.tiles), (600, 7));
        let old = std::fs::read(dir.join("checkpoint.old")).expect("reads");
        let alone = Options { ed25519_alone: true, earlier: &[old], ..foreign };
        let vkey = std::fs::read(dir.join("vkey")).expect("reads");
        let keys = Verifiers::parse(&vkey, None).expect("parses");
        let report = verify(&source, &Options { keys: Some(&keys), ..alone });
        assert_eq!((errors(&report), report.earlier), (vec![], 1));
        assert!(errors(&verify(&source, &Options::default())).len() >= 600, "its entries are not ours");
        assert!(format!("{source:?} {alone:?}").contains("hybrid-log"));
        println!("conformance: tlog-hybrid passed 600 of 600");
    }
    if let Some(dir) = data("tlog/tessera-log/testdata/log") {
        // The key is in Tessera's own tests.
        let vkey = b"example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
        let keys = Verifiers::parse(vkey, None).expect("parses");
        let earlier: Vec<_> =
            (1..=15).filter_map(|n| std::fs::read(dir.join(format!("checkpoint.{n}"))).ok()).collect();
        let options = Options { keys: Some(&keys), ed25519_alone: true, opaque_entries: true, ..Options::default() };
        let report = verify(&DiskSource::new(&disk, &dir), &Options { earlier: &earlier, ..options });
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!((report.entries, report.earlier), (15, 15));
        println!("conformance: tlog-tessera passed 15 of 15");
    }
}

#[test]
fn a_directory_that_cannot_be_read_is_a_finding() {
    let disk = disk::OsDisk;
    let dir = tempfile::tempdir().expect("makes");
    let found = errors(&verify(&DiskSource::new(&disk, dir.path()), &Options::default()));
    assert_eq!(found, ["I1: vkey is missing"]);
    std::fs::create_dir(dir.path().join("vkey")).expect("makes");
    let found = errors(&verify(&DiskSource::new(&disk, dir.path()), &Options::default()));
    assert!(found[0].starts_with("I1: vkey: ") && found.len() == 1, "{found:?}");
    std::fs::remove_dir(dir.path().join("vkey")).expect("removes");
    disk::write_atomic(&disk, &dir.path().join("vkey"), &[b'x'; 5_000]).expect("writes");
    let found = errors(&verify(&DiskSource::new(&disk, dir.path()), &Options::default()));
    assert_eq!(found, ["I1: vkey: is longer than 4096 bytes"]);
    assert_eq!(format!("{:?}", Invariant::I4), "I4");
}

/// After a kill in the midst of a write, or beside a server that writes, the log is as sound as its checkpoint says.
#[test]
fn a_torn_end_beyond_the_last_signed_leaf_is_a_note() {
    let mut sample = sample();
    sample.vault.fails = true;
    let found = report(&sample);
    assert_eq!(errors(&found), [""; 0]);
    assert!(found.findings.iter().any(|finding| finding.text.contains("ends torn")), "{:?}", found.findings);
    sample.vault.records.pop();
    assert_eq!(errors(&report(&sample)).len(), 1, "a signed leaf is not there");
}
