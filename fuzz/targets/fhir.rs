//! Audit events of FHIR, one or a bundle of them.
#![no_main]

use fuzz::{call, receiver, run};
use intake::fhir::STREAM_DEFAULT;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((_, call)) = call(data) else { return };
    let answer = run(receiver().audit_events(call, STREAM_DEFAULT));
    assert!(matches!(answer.status, 200 | 201 | 400 | 413 | 422), "status {}: {}", answer.status, answer.body);
    assert_eq!(answer.status == 201, answer.location.is_some());
    match answer.body["resourceType"].as_str() {
        Some("Bundle") => assert_eq!(answer.status, 200),
        Some("OperationOutcome") => assert!(answer.body["issue"][0]["diagnostics"].is_string(), "nobody is told why"),
        _ => panic!("no resource: {}", answer.body),
    }
});
