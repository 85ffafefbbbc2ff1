//! Journals in export format: however an upload is cut into pieces, the same becomes of it.
#![no_main]

use std::sync::Arc;

use fuzz::{receiver, run};
use intake::journal::{Ended, Journals, Sender, Sum};
use libfuzzer_sys::fuzz_target;
use model::{SourceId, Tenant};

async fn sent(journals: &Arc<Journals>, body: &[u8], piece: usize) -> Result<Sum, Ended> {
    let sender = Sender { tenant: Tenant::default(), source: SourceId([1; 16]), stream: "journal".to_owned() };
    let mut upload = journals.upload(sender);
    for piece in body.chunks(piece) {
        upload.take(piece).await?;
    }
    upload.end().await
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else { return };
    let journals = Arc::new(Journals::forgetful(Arc::clone(receiver())));
    let sum = run(sent(&journals, body, usize::from(*choice).max(1)));
    assert_eq!(sum, run(sent(&journals, body, body.len().max(1))));
    match sum {
        Ok(sum) => {
            assert!(sum.durable + sum.refused <= body.len() as u64 && sum.known == 0);
            assert!(sum.refused == 0 || sum.reason.is_some(), "nobody is told why");
        }
        Err(Ended::Broken(why)) => assert!(!why.is_empty(), "nobody is told why"),
        Err(Ended::Later(why)) => panic!("nothing is in the way: {why}"),
    }
});
