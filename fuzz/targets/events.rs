//! Our own events: what is taken and what is refused add up to something that can be said.
#![no_main]

use fuzz::{call, receiver, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, call)) = call(data) else { return };
    let stream = if choice & 4 == 0 { "app" } else { "-not a stream-" };
    let answer = run(receiver().events(call, stream));
    assert!(matches!(answer.status, 202 | 400 | 413 | 415), "status {}: {}", answer.status, answer.detail);
    assert!(answer.status == 202 || !(answer.detail.is_empty() && answer.body.is_empty()), "nobody is told why");
});
