//! The open batch: inner records on their way under one leaf.

use std::sync::Arc;
use std::time::Duration;

use crate::group::Group;
use crate::merkle::{Hash, root_of};
use crate::own::{self, LogId};

/// The records of one origin that wait for their batch leaf, on the writer's side.
#[derive(Debug, Default)]
pub(crate) struct OpenBatch {
    /// Leaf hashes of what was open at recovery.
    settled: Vec<Hash>,
    groups: Vec<Arc<Group>>,
    count: usize,
    t_min_ms: u64,
    t_max_ms: u64,
    /// When the first record came, by the monotonic clock.
    pub(crate) opened: Duration,
}

impl OpenBatch {
    /// Goes on with what recovery found open.
    pub(crate) fn resume(hashes: Vec<Hash>, t_min_ms: u64, t_max_ms: u64, opened: Duration) -> Self {
        Self { count: hashes.len(), settled: hashes, groups: Vec::new(), t_min_ms, t_max_ms, opened }
    }

    /// Returns how many records wait.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Adds the inner records of a group.
    pub(crate) fn push(&mut self, group: &Arc<Group>, now: Duration) {
        if group.inner == 0 {
            return;
        }
        if self.count == 0 {
            self.t_min_ms = group.t_admit_ms;
            self.opened = now;
        }
        self.t_max_ms = group.t_admit_ms;
        self.count += group.inner;
        self.groups.push(Arc::clone(group));
    }

    /// Closes the batch: returns its leaf and is empty afterwards. O(records), of which the leaf hashes are mostly there
    /// already, computed by the callers.
    pub(crate) fn close(&mut self, log_id: LogId) -> own::Batch {
        let mut hashes = std::mem::take(&mut self.settled);
        for group in std::mem::take(&mut self.groups) {
            hashes.extend(group.inner_hashes());
        }
        self.count = 0;
        own::Batch {
            log_id,
            root: root_of(&hashes),
            count: hashes.len() as u64,
            t_min_ms: self.t_min_ms,
            t_max_ms: self.t_max_ms,
            stream: 0,
        }
    }
}
