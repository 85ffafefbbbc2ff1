//! What can go wrong with a keystore, without a byte of what is in it.

use std::sync::Arc;

use model::RefusalKind;

/// Why keys are not to be had. No key, tag or identifier is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused.
    #[error("could not keep keys")]
    Disk(#[from] disk::Error),
    /// A bound of `model::limits` is met.
    #[error("could not mint: the keystore holds as many {what} as it may")]
    Full {
        /// Of what.
        what: &'static str,
    },
    /// The key that wraps the others does not do it.
    #[error("cannot open the keystore with this key-encryption key: {why}")]
    Kek {
        /// Why not.
        why: &'static str,
    },
    /// What is on disk is not what was written.
    #[error("cannot open the keystore: {why}; restore it from a backup")]
    Damaged {
        /// What is wrong.
        why: &'static str,
    },
    /// An earlier failure of the disk: nothing is written any more (D-2).
    #[error("the keystore has stopped: {reason}")]
    Stopped {
        /// The first failure.
        reason: Arc<str>,
    },
}

impl Error {
    /// Tells what the caller can do.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Full { .. } => RefusalKind::Retry,
            Self::Disk(error) if error.is_full() => RefusalKind::Retry,
            Self::Disk(_) | Self::Kek { .. } | Self::Damaged { .. } | Self::Stopped { .. } => RefusalKind::Stop,
        }
    }
}
