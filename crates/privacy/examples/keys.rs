//! Measures the keys of persons: values sealed a second, what looking a person up takes, what a person takes in memory.
//!
//! `cargo run --release -p privacy --example keys`

use std::sync::Arc;

use disk::{OsClock, OsDisk, OsRng};
use model::{SeededRng, Tenant, Value};
use privacy::keystore::{Class, Keystore, Means, Want};
use privacy::{FIELD_MIN, Owner, Place, Sealed, seal_all};

/// Persons in the keystore.
const PERSONS: usize = 1_000_000;
/// Persons that come together, as in a batch of events.
const BATCH: usize = 1_000;
const LOOKUPS: usize = 500_000;
/// Values of one record.
const VALUES: u16 = 4;
const RECORDS: usize = 100_000;

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn main() {
    let means = Means { disk: Arc::new(OsDisk), rng: Arc::new(OsRng), clock: Arc::new(OsClock::default()) };
    let keystore = Keystore::in_memory(means, Tenant::default());
    let before = resident_bytes();
    for batch in 0..PERSONS / BATCH {
        let wants: Vec<Want> = (0..BATCH).map(|i| want(&keystore, batch * BATCH + i)).collect();
        keystore.mint(&wants).expect("mints");
    }
    let bytes = (resident_bytes() - before) as f64 / PERSONS as f64;

    let rng = SeededRng::new(1);
    let persons: Vec<usize> =
        (0..LOOKUPS).map(|_| usize::try_from(rng.below(PERSONS as u64)).expect("is small")).collect();
    let wants: Vec<Want> = persons.iter().map(|person| want(&keystore, *person)).collect();
    let start = cpu_seconds();
    let found: Vec<Option<Owner>> = wants.iter().map(|want| keystore.find(want)).collect();
    let find_ns = (cpu_seconds() - start) * 1e9 / LOOKUPS as f64;
    let start = cpu_seconds();
    let tagged = persons.iter().filter(|person| keystore.find(&want(&keystore, **person)).is_some()).count();
    let lookup_ns = (cpu_seconds() - start) * 1e9 / LOOKUPS as f64;
    assert_eq!(tagged, LOOKUPS);

    let place = Place::new("localhost/default", 1);
    let records: Vec<Sealed> = found.into_iter().flatten().take(RECORDS).map(record).collect();
    let (mut out, mut commitments) = (Vec::new(), Vec::new());
    let start = cpu_seconds();
    for (sealed, number) in records.chunks(1).zip(0_u128..) {
        out.clear();
        commitments.clear();
        seal_all(sealed, &place, &number.to_be_bytes(), &OsRng, &mut out, &mut commitments).expect("seals");
    }
    let sealed = (RECORDS * usize::from(VALUES)) as f64 / (cpu_seconds() - start);
    println!(
        "{PERSONS} persons: {bytes:.0} bytes each; look-up {find_ns:.0} ns by tag, {lookup_ns:.0} ns by identifier"
    );
    println!("{sealed:.0} values sealed a second, {VALUES} a record");
    println!(
        "{{\"bytes\": {bytes:.1}, \"find_ns\": {find_ns:.1}, \"lookup_ns\": {lookup_ns:.1}, \"sealed\": {sealed:.0}}}"
    );
}

fn want(keystore: &Keystore, person: usize) -> Want {
    Want { class: Class::default(), tags: vec![keystore.tag("email", &format!("person{person}@example.org"))] }
}

fn record(owner: Owner) -> Sealed {
    let mut sealed = Sealed::new(vec![owner]);
    for i in 0..VALUES {
        sealed.push(FIELD_MIN + i, "body.user.mail", Value::from("somebody.or.other@example.org"));
    }
    sealed
}

/// Returns the memory that this process has.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

/// Returns the processor time that this process has used: what else the machine does is not measured.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
