//! Where the conformance data lies, and what to do where it does not.

use std::path::PathBuf;

use crate::skip::skip;

/// Returns `part` of the conformance data, which is not part of this repository. Where it is missing the test is
/// skipped with a printed reason; with `CI=true` it fails.
pub(crate) fn data(part: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance").join(part);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("no {}", path.display()));
    None
}
