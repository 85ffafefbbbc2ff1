//! What a stranger hands to the verifier: notes, checkpoints, keys, receipts.
#![no_main]

use ledger::checkpoint::Checkpoint;
use ledger::note::{Note, Verifier, Verifiers};
use ledger::proof::Proof;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let text = std::str::from_utf8(bytes);
    match choice % 4 {
        0 => {
            let _ = Note::parse(bytes);
            let _ = Verifiers::parse(bytes, None);
        }
        1 => {
            let Ok(checkpoint) = text.map_err(drop).and_then(|text| Checkpoint::parse(text).map_err(drop)) else {
                return;
            };
            let again = Checkpoint::parse(&checkpoint.text()).expect("what was read can be written and read");
            assert_eq!((again.size, again.root), (checkpoint.size, checkpoint.root));
        }
        2 => {
            let Ok(verifier) = text.map_err(drop).and_then(|text| Verifier::parse(text).map_err(drop)) else { return };
            assert!(Verifier::parse(&verifier.vkey()).is_ok(), "{}", verifier.vkey());
        }
        _ => {
            let Ok(proof) = Proof::parse(bytes) else { return };
            let again = Proof::parse(proof.to_text().as_bytes()).expect("what was read can be written and read");
            assert_eq!(again.to_text(), proof.to_text());
        }
    }
});
