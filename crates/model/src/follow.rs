//! Following a transparency log from outside: what a probe needs of a verifier that it may not depend on.

use std::fmt;

use crate::Malformed;

/// Gives the files of one log by relative path: `checkpoint`, `vkey`, `mldsa.pub`, `tile/...`, and what key rotations left there.
pub trait LogFiles {
    /// Returns the bytes of a file, or `None` when there is none.
    ///
    /// # Errors
    /// When it is longer than `max` bytes or cannot be had: why, without payload.
    fn read(&self, path: &str, max: usize) -> Result<Option<Vec<u8>>, String>;
}

/// The keys of a log, as its files `vkey` and `mldsa.pub` hold them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys {
    /// The Ed25519 key, one line.
    pub vkey: Vec<u8>,
    /// The ML-DSA-44 key, raw; a foreign log may have none.
    pub ml_dsa: Option<Vec<u8>>,
}

/// What a log showed, once every signature and proof held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSeen {
    /// Its origin.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// When its last leaf was admitted, in milliseconds since 1970; absent for an empty or a foreign log.
    pub newest_ms: Option<u64>,
    /// How many rotations lead from the keys that were given to those in force.
    pub rotations: usize,
    /// Its signed checkpoint, to be given back as `earlier` next time.
    pub checkpoint: Vec<u8>,
}

/// Why a log cannot be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFault {
    /// A file did not arrive: says nothing of the log itself.
    Unread(String),
    /// What arrived contradicts itself, its signatures, or what was seen earlier.
    Unsound(String),
}

impl fmt::Display for LogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why) | Self::Unsound(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LogFault {}

/// Follows logs. `ledger::Follow` is the one real implementation.
pub trait FollowLog: Send + Sync {
    /// Reads the newest checkpoint, verifies its signatures by `keys` or by those that rotations lead to, that the log goes on from the checkpoint seen
    /// `earlier`, and that its last leaf is under the signed root. Costs a handful of tiles however long the log is.
    ///
    /// # Errors
    /// When a file does not arrive, or what arrives cannot be relied on.
    fn follow(&self, files: &dyn LogFiles, keys: &LogKeys, earlier: Option<&[u8]>) -> Result<LogSeen, LogFault>;
}

impl From<Malformed> for LogFault {
    fn from(why: Malformed) -> Self {
        Self::Unsound(why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_say_why_and_nothing_else() {
        assert_eq!(LogFault::Unread("checkpoint is missing".into()).to_string(), "checkpoint is missing");
        assert_eq!(LogFault::Unsound("two roots".into()).to_string(), "two roots");
    }
}
