//! Records in, times and public steps out: the pure half of the history.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use model::{Alert, Body, IncidentId, IncidentTransition, Position, Recorded, Severity, SourceId, State};

use super::{Day, PublicAction};

pub(super) const DAY_MS: i64 = 86_400_000;

/// A silence between two results of a check is taken for our own absence when it is longer than three usual ones and a
/// minute: a restart or a lost run is not, a machine that was off is.
const ABSENCE_FACTOR: i64 = 3;
const ABSENCE_SLACK_MS: i64 = 60_000;

/// How a check stood when it was last heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: State,
    pub(super) maintenance: bool,
    pub(super) at_ms: i64,
    /// The last time between two results; 0 before the second.
    pub(super) gap_ms: i64,
}

/// A step in an incident's life that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingStep {
    pub(super) id: IncidentId,
    pub(super) position: Position,
    pub(super) at: Timestamp,
    pub(super) severity: Severity,
    pub(super) check: Option<String>,
    /// `None` for a step that strangers do not see.
    pub(super) action: Option<PublicAction>,
    pub(super) note: String,
}

/// What was folded, and what of it is not written yet.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pub(super) next: Position,
    pub(super) checks: HashMap<String, Standing>,
    pub(super) touched: BTreeSet<String>,
    pub(super) days: HashMap<(String, i64), Day>,
    pub(super) steps: Vec<PendingStep>,
    pub(super) folded: usize,
    /// Whether something was folded that people wait for.
    pub(super) urgent: bool,
}

impl Fold {
    pub(super) const fn dirty(&self) -> bool {
        self.folded > 0
    }

    pub(super) fn written(&mut self) {
        self.touched.clear();
        self.days.clear();
        self.steps.clear();
        self.folded = 0;
        self.urgent = false;
    }

    pub(super) fn apply(&mut self, record: &Recorded) {
        if record.position < self.next {
            return;
        }
        self.next = record.position + 1;
        self.folded += 1;
        let at_ms = record.admitted_at.as_millisecond();
        // Whatever a token sends, only Dihya itself says how a check stands and what becomes of an incident.
        if record.signal.source != SourceId::default() {
            return;
        }
        match &record.signal.body {
            Body::CheckResult(result) => self.see(&result.id, result.state, Some(result.maintenance), at_ms),
            Body::CheckChange(change) => {
                self.see(&change.id, change.to, None, at_ms);
                self.urgent = true;
            }
            Body::Incident(transition) => {
                self.step(record.position, record.admitted_at, transition);
                self.urgent = true;
            }
            _ => {}
        }
    }

    /// Gives the time since the check was last heard of to the state that it had then. `maintenance` is `Some` for a
    /// result, which also tells how far apart results are.
    fn see(&mut self, id: &str, state: State, maintenance: Option<bool>, at_ms: i64) {
        let fresh = Standing { state, maintenance: maintenance.unwrap_or(false), at_ms, gap_ms: 0 };
        let Some(before) = self.checks.get(id).copied() else {
            self.checks.insert(id.to_owned(), fresh);
            self.touched.insert(id.to_owned());
            return;
        };
        let elapsed = (at_ms - before.at_ms).max(0);
        let absent = before.gap_ms > 0 && elapsed > ABSENCE_FACTOR * before.gap_ms + ABSENCE_SLACK_MS;
        let known_until = if absent { before.at_ms + before.gap_ms } else { at_ms };
        self.spend(id, before.at_ms, known_until, before.state, before.maintenance);
        self.spend(id, known_until, at_ms, State::Unknown, false);
        let gap_ms = if maintenance.is_some() { elapsed } else { before.gap_ms };
        let maintenance = maintenance.unwrap_or(before.maintenance);
        self.checks.insert(id.to_owned(), Standing { state, maintenance, at_ms, gap_ms });
        self.touched.insert(id.to_owned());
    }

    fn spend(&mut self, id: &str, from_ms: i64, until_ms: i64, state: State, maintenance: bool) {
        let mut from_ms = from_ms;
        while from_ms < until_ms {
            let day = from_ms.div_euclid(DAY_MS);
            let end = until_ms.min((day + 1) * DAY_MS);
            let times = self.days.entry((id.to_owned(), day)).or_default();
            let slot = match (maintenance, state) {
                (true, _) => &mut times.maintenance_ms,
                (false, State::Up) => &mut times.up_ms,
                (false, State::Degraded) => &mut times.degraded_ms,
                (false, State::Down) => &mut times.down_ms,
                (false, State::Unknown) => &mut times.unknown_ms,
            };
            *slot += end - from_ms;
            from_ms = end;
        }
    }

    fn step(&mut self, position: Position, at: Timestamp, transition: &IncidentTransition) {
        let action = PublicAction::of(transition.action);
        // The key is the engine's own. A label may be a caller's word, and then the page would show an outage that no
        // check saw: it counts while the check itself says that something is wrong, as it does when its alert begins.
        let label = transition.labels.get(Alert::CHECK).map(String::as_str);
        let label = label.filter(|id| self.checks.get(*id).is_some_and(|check| check.state != State::Up));
        let check = transition.key.strip_prefix("check=").or(label).filter(|check| !check.is_empty());
        let public = action == Some(PublicAction::Published);
        self.steps.push(PendingStep {
            id: transition.incident.clone(),
            position,
            at,
            severity: transition.severity,
            check: check.map(str::to_owned),
            action,
            note: if public { transition.note.clone() } else { String::new() },
        });
    }
}

#[cfg(test)]
mod tests {
    use model::{CheckChange, CheckResult, IncidentAction, Labels, Sector, Signal, Tenant, Timings};

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).expect("in range")
    }

    fn recorded(position: u64, ms: i64, body: impl Into<Body>) -> Recorded {
        Recorded { position, admitted_at: at(ms), signal: Signal::ours(Tenant::default(), body) }
    }

    fn result(state: State, maintenance: bool) -> CheckResult {
        CheckResult {
            id: "web".into(),
            name: "Web".into(),
            kind: "http".into(),
            state,
            observed: state,
            reason: String::new(),
            since: at(0),
            checked_at: at(0),
            conditions: Vec::new(),
            timings_ms: Timings::default(),
            figures: [].into(),
            maintenance,
        }
    }

    fn fold(records: impl IntoIterator<Item = (i64, Body)>) -> Fold {
        let mut fold = Fold::default();
        for (position, (ms, body)) in (0..).zip(records) {
            fold.apply(&recorded(position, ms, body));
        }
        fold
    }

    fn day(fold: &Fold, day: i64) -> Day {
        fold.days.get(&("web".to_owned(), day)).copied().unwrap_or_default()
    }

    #[test]
    fn time_belongs_to_the_state_that_was_left() {
        let change = CheckChange {
            id: "web".into(),
            kind: "http".into(),
            from: State::Down,
            to: State::Up,
            reason: String::new(),
            at: at(0),
            flapping: false,
        };
        let fold = fold([
            (0, result(State::Up, false).into()),
            (10_000, result(State::Degraded, false).into()),
            (20_000, result(State::Down, false).into()),
            (25_000, change.into()),
            (30_000, result(State::Unknown, false).into()),
            (40_000, result(State::Up, true).into()),
            (50_000, result(State::Up, false).into()),
        ]);
        let expected =
            Day { up_ms: 15_000, degraded_ms: 10_000, down_ms: 5_000, unknown_ms: 10_000, maintenance_ms: 10_000 };
        assert_eq!(day(&fold, 0), expected);
        assert!(fold.urgent && fold.dirty());
        assert_eq!(fold.next, 7);
        assert_eq!(expected.uptime(), Some(25.0 / 30.0));
        assert_eq!(Day { unknown_ms: 5, ..Day::default() }.uptime(), None);
    }

    #[test]
    fn midnight_splits() {
        let fold = fold([
            (DAY_MS - 4_000, result(State::Up, false).into()),
            (DAY_MS + 6_000, result(State::Up, false).into()),
        ]);
        assert_eq!((day(&fold, 0).up_ms, day(&fold, 1).up_ms), (4_000, 6_000));
    }

    #[test]
    fn our_own_absence_is_unknown() {
        let hour = 3_600_000;
        let fold = fold([
            (0, result(State::Up, false).into()),
            (10_000, result(State::Up, false).into()),
            (hour, result(State::Up, false).into()),
            (hour + 10_000, result(State::Up, false).into()),
        ]);
        assert_eq!(day(&fold, 0), Day { up_ms: 30_000, unknown_ms: hour - 20_000, ..Day::default() });
    }

    /// A token that may only send alerts labelled one `check=web`, and strangers read of an outage of a check that was
    /// up all along.
    #[test]
    fn nobody_else_speaks_for_a_check() {
        let opened = |id: &str| IncidentTransition {
            incident: IncidentId(id.into()),
            action: IncidentAction::Opened,
            at: at(0),
            by: "dihya".into(),
            key: "{alertname=\"Fake\"}".into(),
            title: "fake".into(),
            severity: Severity::Critical,
            sector: Sector::None,
            labels: [("check".into(), "web".into())].into(),
            note: String::new(),
        };
        let up = || Body::from(result(State::Up, false));
        let seen = fold([(0, up()), (1, opened("a").into())]);
        assert_eq!(seen.steps[0].check, None);
        let seen = fold([(0, opened("a").into())]);
        assert_eq!(seen.steps[0].check, None, "of a check that nobody heard of");
        let seen = fold([(0, up()), (1, result(State::Down, false).into()), (2, opened("a").into())]);
        assert_eq!(seen.steps[0].check.as_deref(), Some("web"));
        let mut fold = fold([(0, up())]);
        let mut foreign = recorded(1, 5, result(State::Down, false));
        foreign.signal.source = SourceId::of_token("5f0c3a9e71b2d844");
        fold.apply(&foreign);
        assert_eq!((fold.checks["web"].state, fold.next), (State::Up, 2));
    }

    #[test]
    fn a_record_that_was_folded_is_not_folded_again() {
        let mut fold = fold([(0, result(State::Up, false).into()), (10, result(State::Up, false).into())]);
        fold.apply(&recorded(1, 99, result(State::Down, false)));
        assert_eq!(day(&fold, 0).up_ms, 10);
        fold.written();
        assert!(!fold.dirty());
    }

    #[test]
    fn only_public_notes_leave_the_ledger() {
        let transition = |action, key: &str, labels: Labels| {
            Body::from(IncidentTransition {
                incident: IncidentId("i".into()),
                action,
                at: at(0),
                by: "ana".into(),
                key: key.into(),
                title: "secret title".into(),
                severity: Severity::Error,
                sector: Sector::None,
                labels,
                note: "a note".into(),
            })
        };
        let db = CheckResult { id: "db".into(), ..result(State::Down, false) };
        let fold = fold([
            (0, db.into()),
            (1, transition(IncidentAction::Opened, "check=web", Labels::new())),
            (2, transition(IncidentAction::Joined, "{a=\"b\"}", [("check".into(), "db".into())].into())),
            (3, transition(IncidentAction::Noted, "x", Labels::new())),
            (4, transition(IncidentAction::Published, "x", Labels::new())),
        ]);
        let seen: Vec<_> =
            fold.steps.iter().map(|step| (step.check.as_deref(), step.action, step.note.as_str())).collect();
        assert_eq!(
            seen,
            [
                (Some("web"), Some(PublicAction::Opened), ""),
                (Some("db"), None, ""),
                (None, None, ""),
                (None, Some(PublicAction::Published), "a note"),
            ]
        );
    }
}
