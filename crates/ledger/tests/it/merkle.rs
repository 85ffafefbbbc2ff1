//! The vectors of transparency-dev/merkle: 518 inclusion, consistency and subtree proofs, good and bad.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ledger::Malformed;
use ledger::merkle::{
    Hash, verify_consistency, verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};
use serde_json::Value;

use crate::conformance::data;

/// A vector's hash; `None` where it is not 32 bytes, which our types refuse on decoding.
fn hash(vector: &Value) -> Option<Hash> {
    STANDARD.decode(vector.as_str().unwrap_or_default()).ok()?.try_into().ok()
}

/// A vector's root. Some say "don't care" in 12 bytes and must be told apart or found equal all the same.
fn root(vector: &Value) -> Option<Hash> {
    let bytes = STANDARD.decode(vector.as_str().unwrap_or_default()).ok()?;
    if !bytes.starts_with(b"don't care") {
        return hash(vector);
    }
    let mut padded = [0; 32];
    padded[..bytes.len()].copy_from_slice(&bytes);
    Some(padded)
}

fn proof(vector: &Value) -> Option<Vec<Hash>> {
    vector["proof"].as_array().map_or(Some(Vec::new()), |list| list.iter().map(hash).collect())
}

fn each(part: &Path, check: &mut impl FnMut(&Path, &Value)) {
    for entry in std::fs::read_dir(part).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_dir() {
            each(&path, check);
        } else if path.extension().is_some_and(|ext| ext == "json") {
            let text = std::fs::read(&path).expect("reads");
            check(&path, &serde_json::from_slice(&text).expect("is JSON"));
        }
    }
}

/// Runs all vectors under `part` through `verify`, which answers `None` for what cannot even be decoded.
fn run(part: &str, floor: usize, verify: impl Fn(&Value) -> Option<Result<(), Malformed>>) {
    let Some(dir) = data(&format!("tlog/merkle/testdata/{part}")) else { return };
    let mut count = 0;
    each(&dir, &mut |path, vector| {
        count += 1;
        let wanted = !vector["wantErr"].as_bool().expect("says what is wanted");
        let result = verify(vector);
        assert_eq!(result.is_some_and(|r| r.is_ok()), wanted, "{}: {result:?}", path.display());
    });
    assert!(count >= floor, "{count} vectors");
    eprintln!("conformance: tlog-{part} passed {count} of {count}");
}

fn n(vector: &Value, key: &str) -> u64 {
    vector[key].as_u64().unwrap_or(0)
}

#[test]
fn inclusion_vectors_agree() {
    run("inclusion", 98, |v| {
        let (leaf, top, proof) = (hash(&v["leafHash"])?, root(&v["root"])?, proof(v)?);
        Some(verify_inclusion(&leaf, n(v, "leafIdx"), n(v, "treeSize"), &proof, &top))
    });
}

#[test]
fn consistency_vectors_agree() {
    run("consistency", 98, |v| {
        let (old, new, proof) = (root(&v["root1"])?, root(&v["root2"])?, proof(v)?);
        Some(verify_consistency(n(v, "size1"), n(v, "size2"), &old, &new, &proof))
    });
}

#[test]
fn subtree_inclusion_vectors_agree() {
    run("subtreeinclusion", 204, |v| {
        let (leaf, top, proof) = (hash(&v["leafHash"])?, root(&v["root"])?, proof(v)?);
        Some(verify_subtree_inclusion(&leaf, n(v, "leafIdx"), n(v, "start"), n(v, "end"), &proof, &top))
    });
}

#[test]
fn subtree_consistency_vectors_agree() {
    run("subtreeconsistency", 118, |v| {
        let (subtree, top, proof) = (root(&v["root1"])?, root(&v["root2"])?, proof(v)?);
        Some(verify_subtree_consistency(n(v, "start"), n(v, "end"), n(v, "size"), &subtree, &top, &proof))
    });
}
