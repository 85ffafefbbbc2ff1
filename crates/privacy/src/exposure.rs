//! `Exposure`: which kinds of personal data passed, through which stream, on which day. Counts only.
//!
//! It answers in seconds what a notice of a breach must say within 72 hours: categories and numbers. It is bounded: days that
//! are too old go, and where there are too many streams the further ones are counted together.

use std::collections::BTreeMap;

use model::limits;

use crate::detect::Type;
use crate::policy::Receipt;

/// Stands for the streams that are too many to be told apart.
pub(crate) const OTHER: &str = "(other streams)";

/// Counts of values by day, stream and type.
#[derive(Clone, Debug, Default)]
pub struct Exposure {
    rows: BTreeMap<(u32, String, &'static str), u64>,
}

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Days since 1970-01-01, UTC.
    pub day: u32,
    /// Which stream.
    pub stream: &'a str,
    /// Which type, by its name for programs.
    pub kind: &'static str,
    /// How many values.
    pub count: u64,
}

impl Exposure {
    /// Adds what a receipt says; `day` counts from 1970-01-01, UTC.
    pub fn record(&mut self, day: u32, stream: &str, receipt: &Receipt) {
        for (kind, count) in &receipt.counts {
            let key = (day, stream.to_owned(), *kind);
            let full = self.rows.len() >= limits::EXPOSURE_ROWS_MAX && !self.rows.contains_key(&key);
            let key = if full { (day, OTHER.to_owned(), *kind) } else { key };
            let sum = self.rows.entry(key).or_insert(0);
            *sum = sum.saturating_add(*count);
        }
        let oldest = day.saturating_sub(u32::try_from(limits::EXPOSURE_DAYS_MAX).unwrap_or(u32::MAX));
        while self.rows.first_key_value().is_some_and(|((first, ..), _)| *first < oldest) {
            self.rows.pop_first();
        }
    }

    /// Adds a count that was kept; one of a type that is not known any more is passed over.
    pub fn restore(&mut self, day: u32, stream: &str, kind: &str, count: u64) {
        let known = Type::ALL.map(Type::name).into_iter().chain(["FIELD", "UNSEALED"]).find(|name| *name == kind);
        if let Some(kind) = known {
            self.record(day, stream, &Receipt { counts: [(kind, count)].into(), ..Receipt::default() });
        }
    }

    /// Returns the counts in order of day, stream and type.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|((day, stream, kind), count)| Row { day: *day, stream, kind, count: *count })
    }

    /// Returns the sums by stream and type over all days: for metrics.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<(&str, &'static str), u64> {
        let mut totals = BTreeMap::new();
        for row in self.rows() {
            *totals.entry((row.stream, row.kind)).or_insert(0_u64) += row.count;
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(kind: &'static str, count: u64) -> Receipt {
        Receipt { counts: [(kind, count)].into(), ..Receipt::default() }
    }

    #[test]
    fn counts_add_up_and_old_days_go() {
        let mut exposure = Exposure::default();
        exposure.record(20_000, "shop", &receipt("EMAIL", 2));
        exposure.record(20_000, "shop", &receipt("EMAIL", 3));
        exposure.record(20_001, "shop", &receipt("NIR", 1));
        let rows: Vec<_> = exposure.rows().map(|row| (row.day, row.stream, row.kind, row.count)).collect();
        assert_eq!(rows, [(20_000, "shop", "EMAIL", 5), (20_001, "shop", "NIR", 1)]);
        assert_eq!(exposure.totals()[&("shop", "EMAIL")], 5);
        exposure.record(20_401, "shop", &receipt("NIR", 1));
        assert_eq!(exposure.rows().map(|row| row.day).collect::<Vec<_>>(), [20_001, 20_401]);
    }

    #[test]
    fn what_was_kept_is_taken_up_again() {
        let mut exposure = Exposure::default();
        for (kind, count) in [("EMAIL", 2), ("EMAIL", 3), ("FIELD", 1), ("SHOE", 9)] {
            exposure.restore(20_000, "shop", kind, count);
        }
        let rows: Vec<_> = exposure.rows().map(|row| (row.kind, row.count)).collect();
        assert_eq!(rows, [("EMAIL", 5), ("FIELD", 1)]);
    }

    #[test]
    fn streams_beyond_the_bound_are_counted_together() {
        let mut exposure = Exposure::default();
        for i in 0..limits::EXPOSURE_ROWS_MAX + 10 {
            exposure.record(1, &format!("s{i}"), &receipt("EMAIL", 1));
        }
        assert_eq!(exposure.rows().count(), limits::EXPOSURE_ROWS_MAX + 1);
        assert_eq!(exposure.totals()[&(OTHER, "EMAIL")], 10);
    }
}
