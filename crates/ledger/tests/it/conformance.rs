//! Where the conformance data lies, and what to do where it does not.

use std::path::PathBuf;

use crate::skip::skip;

/// Returns `part` of the conformance data, which is not part of this repository. Where it is missing the test is
/// skipped with a printed reason; with `CI=true` it fails, unless `.ci/run` found none of it here at all and said so.
#[expect(clippy::print_stdout, reason = "a skip says why")]
#[expect(clippy::disallowed_methods, reason = "what CI found is a matter of the environment, in tests alone")]
pub(crate) fn data(part: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance").join(part);
    if path.exists() {
        return Some(path);
    }
    let why = format!("no {}", path.display());
    match std::env::var("DIHYA_CONFORMANCE").as_deref() {
        Ok("absent") => println!("skipped: {why}"),
        _ => skip(&why),
    }
    None
}
