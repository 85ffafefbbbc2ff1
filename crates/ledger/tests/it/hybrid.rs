//! A log of 600 entries signed with Ed25519 and ML-DSA-44 by another implementation: notes, tiles and proofs agree.

use std::path::PathBuf;

use ledger::Malformed;
use ledger::merkle::{prove_consistency, prove_inclusion, root, verify_consistency, verify_inclusion};
use ledger::note::{Unsigned, Verifiers};
use ledger::tile::{ReadTile, TileNodes, TilePath, TileWriter, read_bundle};

use crate::conformance::data;

struct Dir(PathBuf);

impl ReadTile for Dir {
    type Error = Malformed;

    fn read_tile(&mut self, path: TilePath) -> Result<Vec<u8>, Malformed> {
        std::fs::read(self.0.join(path.to_string())).map_err(|_| Malformed::new("tile", "is missing"))
    }
}

#[test]
fn both_signatures_of_a_foreign_hybrid_log_verify_and_both_are_asked_for() {
    let Some(dir) = data("tlog/generated/hybrid-log") else { return };
    let read = |name: &str| std::fs::read(dir.join(name)).expect("reads");
    let (vkey, mldsa, note) = (read("vkey"), read("mldsa.pub"), read("checkpoint"));
    let keys = Verifiers::parse(&vkey, Some(&mldsa)).expect("parses");
    assert_eq!(keys.open(&note).expect("verifies").size, 600);
    // The older checkpoint has the one signature only.
    assert_eq!(keys.open(&read("checkpoint.old")), Err(Unsigned::Missing("ML-DSA-44")));
    // Ed25519 alone is for foreign logs that have nothing else.
    assert!(Verifiers::parse(&vkey, None).expect("parses").open(&note).is_ok());

    let text = String::from_utf8(note).expect("is text");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for (missing, name) in [(4, "Ed25519"), (5, "ML-DSA-44")] {
        let stripped: String = lines.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, l)| *l).collect();
        assert_eq!(keys.open(stripped.as_bytes()), Err(Unsigned::Missing(name)));
    }
    let forged = text.replacen("600", "601", 1);
    assert_eq!(keys.open(forged.as_bytes()), Err(Unsigned::Wrong("Ed25519")));
}

#[test]
fn the_tiles_of_a_foreign_log_are_the_ones_that_we_would_write() {
    let Some(dir) = data("tlog/generated/hybrid-log") else { return };
    let mut tiles = Dir(dir.clone());
    let mut writer = TileWriter::new();
    for path in TilePath::of_level(600, None) {
        let bundle = tiles.read_tile(path).expect("reads");
        for entry in read_bundle(&bundle) {
            writer.push(entry.expect("is whole")).expect("fits");
        }
    }
    let keys = Verifiers::parse(&std::fs::read(dir.join("vkey")).expect("reads"), None).expect("parses");
    let checkpoint = keys.open(&std::fs::read(dir.join("checkpoint")).expect("reads")).expect("verifies");
    assert_eq!((writer.size(), writer.root()), (checkpoint.size, checkpoint.root));
    for (path, bytes) in writer.take_full().into_iter().chain(writer.partials()) {
        assert_eq!(tiles.read_tile(path).expect("is there"), bytes, "{path}");
    }
    let resumed = TileWriter::resume(&mut tiles, 600).expect("resumes");
    assert_eq!(resumed, writer);

    let mut nodes = TileNodes::new(tiles, 600);
    assert_eq!(root(&mut nodes, 600).expect("computes"), checkpoint.root);
    let old = keys.open(&std::fs::read(dir.join("checkpoint.old")).expect("reads")).expect("verifies");
    let proof = prove_consistency(&mut nodes, old.size, 600).expect("proves");
    verify_consistency(old.size, 600, &old.root, &checkpoint.root, &proof).expect("is consistent");
    for index in [0, 1, 255, 256, 511, 512, 599] {
        let proof = prove_inclusion(&mut nodes, index, 600).expect("proves");
        let leaf = ledger::merkle::Nodes::node(&mut nodes, 0, index).expect("is there");
        verify_inclusion(&leaf, index, 600, &proof, &checkpoint.root).expect("is included");
    }
}
