//! What a test does where something that it needs is missing: it is skipped with the reason, and under `CI=true` it fails.
//!
//! Included by path where it is used, as `tests/peers/peers.rs` is.

/// Says why a test does not run.
///
/// # Panics
/// Under `CI=true`, where nothing may be missing: what does not run there proves nothing, and nobody would see it.
#[track_caller]
#[expect(clippy::print_stdout, reason = "a skip says why")]
#[expect(clippy::disallowed_methods, reason = "whether CI runs is a matter of the environment, in tests alone")]
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must have what is missing here: {reason}");
    println!("skipped: {reason}");
}
