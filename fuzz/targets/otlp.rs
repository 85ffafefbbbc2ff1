//! OTLP logs, protobuf and JSON: a refusal has words, and both forms of the answer can be written.
#![no_main]

use fuzz::{call, receiver, run};
use intake::otlp::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, call)) = call(data) else { return };
    let format = if choice & 4 == 0 { Format::Protobuf } else { Format::Json };
    let export = run(receiver().otlp(call, format));
    assert!(matches!(export.status, 200 | 400 | 413 | 415), "status {}", export.status);
    assert!(export.status == 200 || !export.message.is_empty(), "nobody is told why");
    let json: serde_json::Value = serde_json::from_slice(&export.response(Format::Json)).expect("is JSON");
    assert!(json.is_object());
    let _ = export.response(Format::Protobuf);
});
