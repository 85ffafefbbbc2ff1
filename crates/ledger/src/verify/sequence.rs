//! What records claim about each other in order: genesis first, times that ascend (I5), numbers without gaps (I4).

use std::collections::HashMap;

use model::SourceId;
use model::limits::KEY_ROTATIONS_MAX;

use super::bundle::{Record, Special};
use super::{Findings, Invariant, Report};
use crate::chain::Announced;
use crate::own::LogId;

/// Most sources whose numbers are followed; a log of ours has a few.
const SOURCES_MAX: usize = 1 << 16;
/// Most jumps remembered in words.
const JUMPS_MAX: usize = 64;

#[derive(Default)]
struct Numbers {
    next: u64,
    /// Numbers that were jumped over, and numbers that gap records account for.
    missing: u64,
    accounted: u64,
}

/// Follows the records of one log.
pub(super) struct Sequence {
    origin: String,
    log_id: Option<LogId>,
    t_ms: u64,
    sources: HashMap<SourceId, Numbers>,
    jumps: Vec<(u64, SourceId, u64)>,
    overflowed: bool,
    /// The leaves that announce new keys, [`KEY_ROTATIONS_MAX`] at most.
    pub(super) rotations: Vec<Announced>,
}

impl Sequence {
    pub(super) fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            log_id: None,
            t_ms: 0,
            sources: HashMap::new(),
            jumps: Vec::new(),
            overflowed: false,
            rotations: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, record: &Record, report: &mut Report, findings: &mut Findings) {
        let (index, head) = (record.index, &record.head);
        if head.t_admit_ms < self.t_ms {
            findings.error(Invariant::I5, Some(index), "the entry is older than the one before it");
        }
        self.t_ms = self.t_ms.max(head.t_admit_ms);
        self.number(index, head.source, head.seq, findings);
        match &record.special {
            Special::Genesis { log_id, origin } => {
                if index != 0 {
                    findings.error(Invariant::I1, Some(index), "a log starts once, with its first entry");
                } else if *origin != self.origin {
                    findings.error(Invariant::I1, Some(index), "the log starts under another origin");
                }
                self.log_id.get_or_insert(*log_id);
            }
            _ if index == 0 => findings.error(Invariant::I1, Some(0), "the log does not start with its genesis"),
            Special::Batch(batch) => {
                report.batches += 1;
                report.batch_records = report.batch_records.saturating_add(batch.count);
                if self.log_id.is_some_and(|log_id| log_id != batch.log_id) {
                    findings.error(Invariant::I1, Some(index), "the batch is of another log");
                }
            }
            Special::Retention { until_index } if *until_index > index => {
                findings.error(Invariant::I2, Some(index), "a retention record covers leaves that come after it");
            }
            Special::Retention { until_index } => report.retained_from = report.retained_from.max(*until_index),
            Special::Gap { count } => {
                if let Some(numbers) = self.sources.get_mut(&head.source) {
                    numbers.accounted = numbers.accounted.saturating_add(*count);
                }
            }
            Special::Rotation { .. } if self.rotations.len() as u64 == KEY_ROTATIONS_MAX => {
                findings.error(Invariant::I1, Some(index), "the log's keys were rotated more often than is followed");
            }
            Special::Rotation { number, retired, new } => {
                self.rotations.push(Announced { index, number: *number, retired: *retired, new: *new });
            }
            Special::Unknown => report.unknown_kinds += 1,
            Special::None => {}
        }
    }

    fn number(&mut self, index: u64, source: SourceId, seq: u64, findings: &mut Findings) {
        if !self.sources.contains_key(&source) && self.sources.len() == SOURCES_MAX {
            if !self.overflowed {
                findings.note(Invariant::I4, "the log has too many sources: the numbers of some were not followed");
            }
            self.overflowed = true;
            return;
        }
        let numbers = self.sources.entry(source).or_default();
        if seq < numbers.next {
            findings.error(Invariant::I4, Some(index), "the entry's number was given before");
            return;
        }
        if seq > numbers.next {
            let missing = seq - numbers.next;
            numbers.missing = numbers.missing.saturating_add(missing);
            if self.jumps.len() < JUMPS_MAX {
                self.jumps.push((index, source, missing));
            }
        }
        numbers.next = seq.saturating_add(1);
    }

    pub(super) fn finish(&mut self, report: &mut Report, findings: &mut Findings) {
        for (index, source, missing) in &self.jumps {
            let unaccounted = self.sources.get(source).is_some_and(|numbers| numbers.missing > numbers.accounted);
            if unaccounted {
                let text =
                    format!("{missing} entries of the source are missing before this one, and no record says why");
                findings.error(Invariant::I4, Some(*index), text);
            }
        }
        if report.unknown_kinds > 0 {
            let text = format!("{} entries are of kinds that this version does not know", report.unknown_kinds);
            findings.note(Invariant::I1, text);
        }
    }
}
