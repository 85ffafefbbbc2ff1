//! What the fuzz targets share: a receiver whose events are cleared as in the product, and go nowhere.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use disk::OsClock;
use intake::{Call, Encoding, Receiver};
use model::{Admit, BoxFuture, Level, Origin, Receipt, Refusal, Signal, SourceId, Tenant};
use privacy::{Clearer, Redactor};

/// Clears what it is given and says that it is durable.
struct Sink(Clearer);

impl Admit for Sink {
    fn admit(&self, signals: Vec<Signal>, _: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
        let cleared = signals.into_iter().zip(0..).map(|(signal, position)| {
            self.0.clear(signal).map(|_| Receipt {
                origin: Origin::new("localhost/default").expect("valid"),
                position,
                leaf_hash: [0; 32],
            })
        });
        let cleared = cleared.collect::<Result<Vec<_>, _>>();
        Box::pin(async move {
            cleared.map_err(|error| Refusal { kind: model::RefusalKind::Reject, reason: error.to_string() })
        })
    }
}

/// Returns the receiver.
pub fn receiver() -> &'static Arc<Receiver> {
    static RECEIVER: OnceLock<Arc<Receiver>> = OnceLock::new();
    RECEIVER.get_or_init(|| {
        let clearer = Clearer::new(Arc::new(Redactor::new()), [7; 32]);
        Arc::new(Receiver::new(Arc::new(Sink(clearer)), Arc::new(OsClock::default())))
    })
}

/// Makes a request of what the fuzzer chose: the first byte says how the body is packed, and what else the target asks.
/// Returns that byte too.
pub fn call(data: &[u8]) -> Option<(u8, Call)> {
    let (choice, body) = data.split_first()?;
    let encoding = match choice & 3 {
        0 | 1 => Encoding::Identity,
        2 => Encoding::of(Some(b"gzip"))?,
        _ => Encoding::of(Some(b"zstd")).or(Encoding::of(Some(b"deflate")))?,
    };
    let body = Bytes::copy_from_slice(body);
    Some((*choice, Call { tenant: Tenant::default(), source: SourceId([1; 16]), encoding, body }))
}

/// Runs one request to its end.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"),
        );
    }
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}
