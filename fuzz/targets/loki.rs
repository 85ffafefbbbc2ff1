//! Loki's push, snappy-packed protobuf and JSON.
#![no_main]

use fuzz::{call, receiver, run};
use intake::otlp::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, call)) = call(data) else { return };
    let format = if choice & 4 == 0 { Format::Protobuf } else { Format::Json };
    let export = run(receiver().loki(call, format));
    assert!(matches!(export.status, 200 | 204 | 400 | 413 | 415), "status {}", export.status);
    assert!(export.status < 300 || !export.message.is_empty(), "nobody is told why");
});
