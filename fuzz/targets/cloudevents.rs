//! CloudEvents in their three modes.
#![no_main]

use fuzz::{call, receiver, run};
use http::{HeaderMap, HeaderValue};
use intake::cloudevents::Mode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut call)) = call(data) else { return };
    let mut headers = HeaderMap::new();
    let kind = match choice & 12 {
        0 => "application/cloudevents+json",
        4 => "application/cloudevents-batch+json",
        8 => "application/json",
        _ => "text/plain",
    };
    headers.insert("content-type", HeaderValue::from_static(kind));
    if choice & 8 != 0 {
        for (name, value) in [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // The first byte of the body says how much of it is the value of a header.
        let Some(length) = call.body.first().map(|byte| usize::from(*byte)) else { return };
        let subject = call.body.slice(1..(1 + length).min(call.body.len()));
        let Ok(subject) = HeaderValue::from_bytes(&subject) else { return };
        headers.insert("ce-subject", subject);
        call.body = call.body.slice((1 + length).min(call.body.len())..);
    }
    let mode = Mode::of(&headers).expect("known").expect("there");
    let answer = run(receiver().cloud_events(call, &mode, "app"));
    assert!(matches!(answer.status, 202 | 400 | 413 | 415), "status {}: {}", answer.status, answer.detail);
    assert!(answer.status == 202 || !(answer.detail.is_empty() && answer.body.is_empty()), "nobody is told why");
});
