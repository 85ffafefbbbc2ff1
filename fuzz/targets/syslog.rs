//! Syslog: each byte of a stream is in a message or in what frames it, and every message is settled.
#![no_main]

use fuzz::{receiver, run};
use intake::syslog::{Dialect, Framer};
use libfuzzer_sys::fuzz_target;
use model::{SourceId, Tenant};

fuzz_target!(|data: &[u8]| {
    let Some((choice, stream)) = data.split_first() else { return };
    // A stream comes in pieces that its sender chooses.
    let piece = usize::from(*choice).max(1);
    let (mut framer, mut messages) = (Framer::default(), Vec::new());
    stream.chunks(piece).for_each(|piece| framer.push(piece, &mut messages));
    framer.end(&mut messages);
    let framed: usize = messages.iter().map(|message| message.bytes.len()).sum();
    assert!(framed <= stream.len(), "{framed} of {} bytes", stream.len());
    let zone = if choice & 1 == 0 { "UTC" } else { "Europe/Paris" };
    let dialect = Dialect { stream: "syslog".to_owned(), zone: jiff::tz::TimeZone::get(zone).expect("is known") };
    let taken = run(receiver().syslog((&Tenant::default(), SourceId::SYSLOG), &dialect, &messages));
    assert_eq!((taken.settled, taken.later), (messages.len(), None));
    assert_eq!(taken.durable + taken.refused, messages.len() as u64);
});
