//! Entries, payloads and bundles of the ledger, as a file or a mirror may have them.
#![no_main]

use ledger::entry::Entry;
use ledger::payload::Payload;
use ledger::tile::read_bundle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    match choice % 3 {
        0 => {
            let Ok(entry) = Entry::decode(bytes) else { return };
            let ids: Vec<u16> = entry.public().map(|(id, _)| id).collect();
            assert!(ids.iter().all(|id| entry.field(*id).is_some()));
            assert!(entry.commitments().count() <= bytes.len());
        }
        1 => {
            let Ok(payload) = Payload::decode(bytes) else { return };
            assert!(payload.values().count() <= bytes.len());
            let _ = payload.to_values();
        }
        _ => {
            let mut taken = 0;
            for entry in read_bundle(bytes) {
                match entry {
                    Ok(entry) => taken += entry.len() + 2,
                    Err(_) => break,
                }
            }
            assert!(taken <= bytes.len());
        }
    }
});
