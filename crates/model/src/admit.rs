//! The traits by which crates admit signals and read them back without knowing the ledger.

use std::future::Future;
use std::pin::Pin;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::schema::Kind;
use crate::signal::Signal;
use crate::tenant::{Origin, Tenant};

/// A boxed future, so that the traits of this crate can be objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How safe a record must be before it is acknowledged. `received` is not a success and therefore not a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Bytes and position are on stable storage.
    #[default]
    Durable,
    /// A signed checkpoint that covers the record is on stable storage.
    Committed,
    /// The checkpoint meets the configured quorum of witnesses.
    Witnessed,
}

/// The place of a record in its origin: contiguous from 0, given once, never to other bytes.
pub type Position = u64;

/// What a sender holds after a record is durable. The index in the tree comes with the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Whose log.
    pub origin: Origin,
    /// Where in it.
    pub position: Position,
    /// RFC 6962 hash of the entry: `SHA-256(0x00 | entry)`; 64 hexadecimal digits in text.
    #[serde(with = "hex32")]
    pub leaf_hash: [u8; 32],
}

/// What the caller of a refused operation can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// Come back later: a queue is full, a disk is full.
    Retry,
    /// Never send this again as it is.
    Reject,
    /// We are broken and about to exit.
    Stop,
}

/// Why signals were not admitted. Nothing of the call is durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What the caller can do.
    pub kind: RefusalKind,
    /// Why, without any payload.
    pub reason: String,
}

/// Admits signals: `privacy`, then `ledger`. Implemented by `dihya::pipeline` alone.
pub trait Admit: Send + Sync {
    /// Makes all of `signals` durable at `level`, in order, or none. Receipts are in the order of the signals.
    /// All signals must be of one tenant; at most `limits::APPEND_RECORDS_MAX`.
    fn admit(&self, signals: Vec<Signal>, level: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>>;

    /// Like [`Self::admit`] for signals that are made as they are wanted: each can go as far as it goes alone before the next
    /// is made, so that what was just read is still in the processor's cache when it is cleared. All of them are asked for,
    /// also where they are refused.
    fn admit_each<'a>(
        &'a self,
        signals: &'a mut (dyn Iterator<Item = Signal> + Send),
        level: Level,
    ) -> BoxFuture<'a, Result<Vec<Receipt>, Refusal>> {
        let signals = signals.collect();
        self.admit(signals, level)
    }
}

/// Takes note of signals that were not recorded and that nobody will send again: they are counted, and a gap record says
/// so. Implemented by `dihya::pipeline` alone.
pub trait Lose: Send + Sync {
    /// Counts `count` signals of `kind` that `tenant` lost.
    fn lose(&self, tenant: &Tenant, cause: &'static str, kind: Kind, count: u64);
}

/// A record read back from the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Where it stands.
    pub position: Position,
    /// When it was admitted: never before the record at the position before.
    pub admitted_at: Timestamp,
    /// What it says, as cleared.
    pub signal: Signal,
}

/// One tenant's records in order: what a projection folds.
pub trait Feed: Send {
    /// Returns the tenant whose records these are.
    fn tenant(&self) -> &Tenant;

    /// Reads up to `max` durable records from where the last read ended; empty once caught up. Records of the ledger's
    /// own kinds are skipped, so positions may jump.
    fn read(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>>;

    /// Waits until there is more to read.
    fn wait(&mut self) -> BoxFuture<'_, ()>;
}

mod hex32 {
    //! 32 bytes as 64 hexadecimal digits.

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(D::Error::custom("expected 64 hexadecimal digits"));
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(D::Error::custom)?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_readable_and_survives_json() {
        let receipt =
            Receipt { origin: Origin::new("localhost/default").expect("valid"), position: 7, leaf_hash: [0xab; 32] };
        let json = serde_json::to_string(&receipt).expect("serialises");
        assert!(json.contains(&"ab".repeat(32)), "{json}");
        assert_eq!(serde_json::from_str::<Receipt>(&json).expect("parses"), receipt);
        for bad in ["\"ab\"", &format!("\"{}\"", "zz".repeat(32))] {
            let json = format!(r#"{{"origin":"a","position":0,"leaf_hash":{bad}}}"#);
            assert!(serde_json::from_str::<Receipt>(&json).is_err(), "{bad}");
        }
    }
}
