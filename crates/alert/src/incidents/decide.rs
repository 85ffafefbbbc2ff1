//! Which records should come next: steps in incidents' lives first, and once these are recorded, notifications.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{
    Alert, Body, Gap, IncidentAction, IncidentId, IncidentTransition, LabelSet as _, Labels, Rng, Severity, Signal,
};

use super::{Dropped, Incidents, Tracked};
use crate::events;

/// Who acts when nobody does.
pub(crate) const ENGINE: &str = "dihya";
/// The cause of gaps that alerts beyond what can be kept leave.
pub(super) const ALERTS_FULL: &str = "alerts_full";
/// How often an alert may be put into an incident without being found there afterwards.
const MISFITS_MAX: u8 = 2;

/// What a decision depends on beside records and time.
pub struct View<'a> {
    /// Tells whether alerts with these labels are in a maintenance window.
    pub in_maintenance: &'a (dyn Fn(&Labels, Timestamp) -> bool + Send + Sync),
    /// Where ids come from.
    pub rng: &'a dyn Rng,
    /// Tells whether as many notifications wait for a channel as may: then nothing more is decided for it until some
    /// have gone out, and the others hear as ever. Nothing is lost by that, as what is due stays due.
    pub is_full: &'a (dyn Fn(&str) -> bool + Send + Sync),
}

impl Incidents {
    /// Says which records should come next. Nothing else is decided while steps of incidents are on their way, so
    /// that a notification names an incident that is recorded. Empty when all is said.
    ///
    /// Call it again only after what it returned was folded or was not admitted.
    pub fn decide(&mut self, now: Timestamp, view: &View<'_>) -> Vec<Signal> {
        let mut signals = self.orphans(now);
        signals.extend(self.gap(now));
        signals.extend(self.transitions(now, view).into_iter().map(Body::from));
        if signals.is_empty() {
            for (id, plan) in self.plans(now, view) {
                signals.extend(plan.tell.iter().filter_map(|tell| self.compose(id, tell, now, view)).map(Body::from));
            }
        }
        signals.into_iter().map(|body| Signal::ours(self.tenant.clone(), body)).collect()
    }

    /// Says that what was decided was not admitted, so that it may be decided again.
    pub fn not_admitted(&mut self) {
        self.index.misfits.clear();
    }

    /// Says which alerts found no room. Seldom, so that a flood of alerts makes no flood of gaps.
    fn gap(&self, now: Timestamp) -> Option<Body> {
        let Dropped { count, from, until } = self.dropped.filter(|_| self.gap_due() <= now)?;
        let (cause, what) = (ALERTS_FULL.to_owned(), model::Kind::Alert.as_str().to_owned());
        Some(Gap { cause, what, count, from, until }.into())
    }

    /// Returns from when on a loss may be spoken of.
    pub(super) fn gap_due(&self) -> Timestamp {
        self.dropped_said_at.map_or(Timestamp::MIN, |said| super::later(said, super::DROPPED_EVERY))
    }

    /// Ends the alerts of checks that are not declared any more.
    fn orphans(&self, now: Timestamp) -> Vec<Body> {
        let Some(known) = &self.checks.known else { return Vec::new() };
        let gone = self.index.by_check.iter().filter(|(check, _)| !known.contains(*check));
        gone.flat_map(|(_, alerts)| alerts)
            .filter_map(|fingerprint| self.alerts.get(fingerprint))
            .filter(|tracked| tracked.is_firing(now, self.resolve_timeout()))
            .map(|tracked| Body::from(Alert { ends_at: Some(now), ..tracked.alert.clone() }))
            .collect()
    }

    fn transitions(&mut self, now: Timestamp, view: &View<'_>) -> Vec<IncidentTransition> {
        let mut steps = Vec::new();
        // Those who come are put in before those who go are taken out, so that an incident whose last alert is
        // replaced by another one in the same moment goes on.
        let mut came = BTreeMap::new();
        let unassigned: Vec<u64> = self.index.unassigned.iter().copied().collect();
        let mut opened = BTreeMap::new();
        for fingerprint in unassigned {
            steps.extend(self.assign(fingerprint, now, view, &mut opened, &mut came));
        }
        steps.extend(self.leave(now, &came));
        for (_, id) in self.index.reminders.range(..=(now, IncidentId("~".to_owned()))) {
            steps.extend(self.incidents.get(id).map(|incident| {
                let mut step = self.step(id, IncidentAction::Reminded, now);
                step.labels.clone_from(&incident.labels);
                step
            }));
        }
        steps
    }

    fn assign(
        &mut self,
        fingerprint: u64,
        now: Timestamp,
        view: &View<'_>,
        opened: &mut BTreeMap<String, IncidentId>,
        came: &mut BTreeMap<IncidentId, usize>,
    ) -> Option<IncidentTransition> {
        let tracked = self.alerts.get(&fingerprint)?;
        if !tracked.is_firing(now, self.resolve_timeout()) {
            return None;
        }
        let misfits = self.index.misfits.entry(fingerprint).or_default();
        if *misfits >= MISFITS_MAX {
            return None;
        }
        *misfits += 1;
        if *misfits == MISFITS_MAX {
            events::alert_misfit(&self.tenant, fingerprint);
        }
        let key = self.incident_key(tracked, now);
        let known = self.index.by_key.get(&key).and_then(|id| self.incidents.get(id));
        let (id, action) = match (opened.get(&key), known) {
            (Some(id), _) => (id.clone(), IncidentAction::Joined),
            (None, Some(incident)) if incident.is_open() => (incident.id.clone(), IncidentAction::Joined),
            (None, Some(incident)) if may_reopen(incident.resolved_at, now) => {
                (incident.id.clone(), IncidentAction::Reopened)
            }
            _ => {
                let mut random = [0; 10];
                view.rng.fill(&mut random);
                (IncidentId::new(now, random), IncidentAction::Opened)
            }
        };
        opened.insert(key.clone(), id.clone());
        *came.entry(id.clone()).or_default() += 1;
        Some(IncidentTransition {
            key,
            title: title(tracked),
            severity: tracked.alert.severity,
            sector: tracked.alert.sector,
            labels: tracked.alert.labels.clone(),
            ..self.step(&id, action, now)
        })
    }

    fn leave(&self, now: Timestamp, came: &BTreeMap<IncidentId, usize>) -> Vec<IncidentTransition> {
        let mut steps = Vec::new();
        let mut left: BTreeMap<&IncidentId, usize> = BTreeMap::new();
        for (_, fingerprint) in self.index.ends.range(..=(now, u64::MAX)) {
            let Some(tracked) = self.alerts.get(fingerprint).filter(|tracked| tracked.member) else { continue };
            let Some(incident) = tracked.incident.as_ref().and_then(|id| self.incidents.get(id)) else { continue };
            let gone = left.entry(&incident.id).or_default();
            *gone += 1;
            let stay = incident.members.len() + came.get(&incident.id).copied().unwrap_or_default();
            let action = if *gone < stay { IncidentAction::Left } else { IncidentAction::Resolved };
            steps.push(IncidentTransition {
                severity: incident.severity,
                sector: incident.sector,
                title: incident.title.clone(),
                labels: tracked.alert.labels.clone(),
                ..self.step(&incident.id, action, now)
            });
        }
        steps
    }

    /// Makes a step of the engine's; of an incident that is known it repeats key, title, level and sector.
    fn step(&self, id: &IncidentId, action: IncidentAction, at: Timestamp) -> IncidentTransition {
        let known = self.incidents.get(id);
        IncidentTransition {
            incident: id.clone(),
            action,
            at,
            by: ENGINE.to_owned(),
            key: known.map(|incident| incident.key.clone()).unwrap_or_default(),
            title: known.map(|incident| incident.title.clone()).unwrap_or_default(),
            severity: known.map_or(Severity::Info, |incident| incident.severity),
            sector: known.map(|incident| incident.sector).unwrap_or_default(),
            labels: Labels::new(),
            note: String::new(),
        }
    }

    /// Returns what groups alerts into incidents: the root of what fails, else the labels that its first route groups
    /// by. A check that others depend on is a root even before they fail, so that they join it.
    fn incident_key(&self, tracked: &Tracked, now: Timestamp) -> String {
        if let Some(check) = tracked.check() {
            let root = self.root(check, now);
            if root != check || self.children.contains_key(check) {
                return format!("check={root}");
            }
        }
        let labels = &tracked.alert.labels;
        let routes = self.config.route.matching(labels);
        let key = routes.first().map(|route| route.group_by.of(labels).text()).unwrap_or_default();
        if key.len() <= KEY_BYTES_MAX {
            return key;
        }
        // Cut by somebody else, two keys could become one.
        let whole = crate::route::GroupId::of(&[&key]);
        key.chars().take(KEY_BYTES_MAX / 8).chain(format!("… {whole}").chars()).collect()
    }

    /// Climbs failing parents. Bounded, because configurations can be circular.
    fn root<'a>(&'a self, check: &'a str, now: Timestamp) -> &'a str {
        const CLIMB_MAX: usize = 32;
        let mut root = check;
        for _ in 0..CLIMB_MAX {
            match self.failing_parent(root, now) {
                Some(parent) if parent != check => root = parent,
                _ => break,
            }
        }
        root
    }
}

fn may_reopen(resolved_at: Option<Timestamp>, now: Timestamp) -> bool {
    resolved_at.is_some_and(|at| super::later(at, super::REOPEN_WITHIN) >= now)
}

/// Returns what people read first of an incident that an alert opens.
fn title(tracked: &Tracked) -> String {
    let alert = &tracked.alert;
    if let Some(summary) = alert.annotations.get("summary").filter(|summary| !summary.is_empty()) {
        return summary.chars().take(TITLE_CHARS_MAX).collect();
    }
    let about = [Alert::SERVICE, Alert::CHECK, "instance"].into_iter().find_map(|name| alert.labels.get(name));
    match about {
        Some(about) => format!("{}: {about}", alert.name()),
        None => alert.name().to_owned(),
    }
}

const TITLE_CHARS_MAX: usize = 200;
/// Longest key that stands as it is.
const KEY_BYTES_MAX: usize = 4 << 10;
