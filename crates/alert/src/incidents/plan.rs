//! Who should be told of a group now, why, and when to look at it again.
//!
//! The rules are those of Alertmanager's `DedupStage.needsUpdate`, held against ticks that follow from records. Three
//! differences, each so that nobody is left with half a story: an alert's end is told only to those who were told that
//! it fires; it is told even when it came while a silence held, once the silence ends; and what nobody could hear
//! because a parent failed is told `group_wait` after the parent is back, not at the next tick of a day ago.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Group, Incidents, View, Way, later};
use crate::engine::{Telling, Why};
use crate::events;
use crate::notification::Reason;
use crate::route::GroupId;

/// How often to ask again whether a maintenance window is over.
const MAINTENANCE_POLL: Duration = Duration::from_secs(15);

/// How often to ask again whether a channel's notifications have gone out.
const FULL_POLL: Duration = Duration::from_secs(1);

/// Why an alert is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mute {
    /// A silence holds; its id.
    Silence(String),
    /// A check that it depends on fails.
    Parent(String),
    /// A maintenance window.
    Maintenance,
}

/// What to do about a group.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Who is to be told now: the place among the group's ways, why, and what fires and what has stopped.
    pub(super) tell: Vec<Tell>,
    /// When to look again.
    pub(super) wake: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Tell {
    pub(super) way: usize,
    pub(super) reason: Reason,
    pub(super) firing: Vec<u64>,
    pub(super) ended: Vec<u64>,
}

/// How the alerts of a group stand at a time.
#[derive(Default)]
struct Standing {
    /// Those that fire and may be told, with the time from which they may.
    firing: Vec<(u64, Timestamp)>,
    /// Those that have stopped and may be told, with the time since which they may.
    ended: Vec<(u64, Timestamp)>,
    /// When something about them is known to change.
    wake: Option<Timestamp>,
}

impl Group {
    /// Returns the first tick at or after `at`.
    pub(super) fn tick_from(&self, at: Timestamp) -> Timestamp {
        if at <= self.first_tick {
            return self.first_tick;
        }
        if self.pace.interval.is_zero() {
            return at;
        }
        let interval = SignedDuration::try_from(self.pace.interval).unwrap_or(SignedDuration::MAX);
        let past = at.duration_since(self.first_tick).as_nanos();
        let over = past.rem_euclid(interval.as_nanos().max(1));
        let wait = if over == 0 { 0 } else { interval.as_nanos() - over };
        later(at, Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Returns the last tick at or before `at`.
    fn tick_to(&self, at: Timestamp) -> Timestamp {
        let next = self.tick_from(at);
        if next == at || next == self.first_tick {
            return at;
        }
        next.checked_sub(self.pace.interval).unwrap_or(at)
    }

    /// Tells whether somebody was told that an alert fires, wants to know its end, and does not yet.
    pub(super) fn awaits_end(&self, fingerprint: u64) -> bool {
        self.ways
            .iter()
            .filter(|way| way.send_resolved)
            .any(|way| self.told.get(&way.key()).is_some_and(|heard| heard.firing.contains(&fingerprint)))
    }
}

impl Incidents {
    /// Returns why an alert is not told at `now`, if so.
    #[must_use]
    pub fn mute(&self, fingerprint: u64, now: Timestamp, view: &View<'_>) -> Option<Mute> {
        let tracked = self.alerts.get(&fingerprint)?;
        let labels = &tracked.alert.labels;
        let silence = self.silences.values().find(|silenced| {
            silenced.change.starts_at <= now && silenced.change.ends_at > now && silenced.matches(labels)
        });
        if let Some(silenced) = silence {
            return Some(Mute::Silence(silenced.change.id.clone()));
        }
        let labelled = || labels.get("in_maintenance").is_some_and(|value| value == "true");
        if tracked.own && (labelled() || (view.in_maintenance)(labels, now)) {
            return Some(Mute::Maintenance);
        }
        let parent = self.failing_parent(tracked.check()?, now)?;
        Some(Mute::Parent(parent.to_owned()))
    }

    /// Returns a check that fails and that `check` depends on. One hop is enough: what fails because of a grandparent
    /// depends on a parent that fails too.
    pub(super) fn failing_parent(&self, check: &str, now: Timestamp) -> Option<&str> {
        let parents = self.checks.parents.get(check)?;
        parents.iter().map(String::as_str).find(|parent| *parent != check && self.check_fails(parent, now))
    }

    fn check_fails(&self, check: &str, now: Timestamp) -> bool {
        let timeout = self.resolve_timeout();
        self.index.by_check.get(check).is_some_and(|alerts| {
            alerts
                .iter()
                .filter_map(|fingerprint| self.alerts.get(fingerprint))
                .any(|tracked| tracked.alert.name() == crate::send::CHECK_DOWN && tracked.is_firing(now, timeout))
        })
    }

    /// Returns when an alert that fires may be told, after all that kept it quiet before `now`.
    fn tellable_from(&self, group: &Group, fingerprint: u64, now: Timestamp) -> Timestamp {
        let Some(tracked) = self.alerts.get(&fingerprint) else { return now };
        let silences = self.silences.values().filter(|silenced| {
            let change = &silenced.change;
            change.ends_at <= now
                && change.ends_at > tracked.fired_at
                && change.starts_at < change.ends_at
                && silenced.matches(&tracked.alert.labels)
        });
        let from = silences.map(|silenced| silenced.change.ends_at).fold(tracked.fired_at, Timestamp::max);
        let parents = tracked.check().and_then(|check| self.checks.parents.get(check)).into_iter().flatten();
        let back = parents
            .filter_map(|parent| self.index.by_check.get(parent))
            .flatten()
            .filter_map(|fingerprint| self.alerts.get(fingerprint)?.alert.ends_at)
            .filter(|end| *end <= now && *end > tracked.fired_at)
            .max();
        let tick = group.tick_from(from);
        back.map_or(tick, |back| tick.max(later(back, group.pace.wait)))
    }

    fn standing(&self, group: &Group, now: Timestamp, view: &View<'_>) -> Standing {
        let timeout = self.resolve_timeout();
        let mut standing = Standing::default();
        let mut wakes = BTreeSet::new();
        for fingerprint in &group.members {
            let Some(tracked) = self.alerts.get(fingerprint) else { continue };
            let end = tracked.end(timeout);
            let fires = end.is_none_or(|end| end > now);
            if fires {
                wakes.extend(end);
            }
            let mute = self.mute(*fingerprint, now, view);
            match (&mute, fires) {
                (Some(Mute::Silence(id)), _) => {
                    wakes.extend(self.silences.get(id).map(|silenced| silenced.change.ends_at));
                }
                (Some(Mute::Maintenance), _) => {
                    wakes.insert(later(now, MAINTENANCE_POLL));
                }
                (Some(Mute::Parent(_)), true) => {}
                (None, true) => {
                    standing.firing.push((*fingerprint, self.tellable_from(group, *fingerprint, now)));
                }
                (None | Some(Mute::Parent(_)), false) => {
                    let ended = end.unwrap_or(now).max(tracked.received_at);
                    standing.ended.push((*fingerprint, group.tick_from(ended)));
                }
            }
        }
        standing.wake = wakes.first().copied();
        standing
    }

    /// Says who is to be told of a group at `now`, and when to look again.
    pub(super) fn plan(&self, id: GroupId, now: Timestamp, view: &View<'_>) -> Plan {
        let Some(group) = self.groups.get(&id) else { return Plan::default() };
        let standing = self.standing(group, now, view);
        let mut plan = Plan { tell: Vec::new(), wake: standing.wake };
        for (place, way) in group.ways.iter().enumerate() {
            let firing: Vec<(u64, Timestamp)> =
                standing.firing.iter().filter(|(fp, _)| self.takes(group, way, *fp)).copied().collect();
            match self.way_due(group, way, &firing, &standing.ended) {
                Some((due, _)) if due <= now && (view.is_full)(&way.channel) => {
                    let again = later(now, FULL_POLL);
                    plan.wake = Some(plan.wake.map_or(again, |wake| wake.min(again)));
                }
                Some((due, reason)) if due <= now => {
                    let told = group.told.get(&way.key());
                    let ended = standing.ended.iter().map(|(fp, _)| *fp);
                    plan.tell.push(Tell {
                        way: place,
                        reason,
                        firing: firing.iter().map(|(fp, _)| *fp).collect(),
                        ended: ended
                            .filter(|fp| way.send_resolved && told.is_some_and(|heard| heard.firing.contains(fp)))
                            .collect(),
                    });
                }
                Some((due, _)) => plan.wake = Some(plan.wake.map_or(due, |wake| wake.min(due))),
                None => {}
            }
        }
        plan
    }

    /// A channel that the alert's sender named hears of it at once and need not hear it again along a route.
    pub(super) fn takes(&self, group: &Group, way: &Way, fingerprint: u64) -> bool {
        let named = self.alerts.get(&fingerprint).and_then(|tracked| tracked.alert.channel.as_deref());
        group.is_direct() || named != Some(way.channel.as_str())
    }

    /// Returns when one way is to be told next, as far as is known, and why.
    fn way_due(
        &self,
        group: &Group,
        way: &Way,
        firing: &[(u64, Timestamp)],
        ended: &[(u64, Timestamp)],
    ) -> Option<(Timestamp, Reason)> {
        let nothing = BTreeSet::new();
        let heard = group.told.get(&way.key());
        let told = heard.map_or(&nothing, |heard| &heard.firing);
        let fresh = firing.iter().filter(|(fp, _)| !told.contains(fp)).map(|(_, due)| *due).min();
        // What was over before anybody heard of it is told as over at the next tick, not in the same breath.
        let after = heard.map(|heard| group.tick_from(later(heard.at, Duration::from_nanos(1))));
        let due_of = |due: Timestamp| after.filter(|_| heard.is_some_and(|h| due <= h.at)).unwrap_or(due);
        let over = ended.iter().filter(|(fp, _)| told.contains(fp)).map(|(_, due)| due_of(*due));
        if firing.is_empty() {
            // The last end decides: until then the group may still fire on.
            return over.max().filter(|_| way.send_resolved).map(|due| (due, Reason::Resolved));
        }
        let news = match (group.is_direct(), told.is_empty()) {
            (true, _) => Reason::Direct,
            (false, true) => Reason::New,
            (false, false) => Reason::Changed,
        };
        let left = over.min().filter(|_| way.send_resolved);
        let changed = fresh.into_iter().chain(left).min().map(|due| (due, news));
        // Who has heard nothing yet can be neither reminded nor told again.
        let Some(heard_at) = heard.map(|heard| heard.at) else { return changed };
        // What is still on its way says it all: a channel that is down for a day is not told five times afterwards.
        if heard.is_some_and(|heard| heard.pending.is_some()) {
            return changed;
        }
        let incidents = || firing.iter().filter_map(|(fp, _)| self.alerts.get(fp)?.incident.as_ref());
        let acknowledged = incidents().all(|id| self.incidents.get(id).is_some_and(|i| i.acknowledged.is_some()));
        let repeat = group
            .pace
            .repeat
            .filter(|_| !acknowledged)
            .map(|repeat| (group.tick_from(later(group.tick_to(heard_at), repeat)), Reason::Repeat));
        let reminded = incidents().filter_map(|id| self.incidents.get(id)?.reminded_at).max();
        let reminder = reminded.filter(|at| *at > heard_at).map(|at| (at, Reason::Reminder));
        changed.into_iter().chain(reminder).chain(repeat).min_by_key(|(due, _)| *due)
    }

    /// Says why somebody was told of an alert, or was not.
    pub(crate) fn why(&self, fingerprint: u64, now: Timestamp, view: &View<'_>) -> Option<Why> {
        let tracked = self.alerts.get(&fingerprint)?;
        let mut tellings = Vec::new();
        for group in self.index.groups_of.get(&fingerprint)?.iter().filter_map(|id| self.groups.get(id)) {
            let standing = self.standing(group, now, view);
            for way in &group.ways {
                let firing: Vec<(u64, Timestamp)> =
                    standing.firing.iter().filter(|(fp, _)| self.takes(group, way, *fp)).copied().collect();
                let heard = group.told.get(&way.key());
                tellings.push(Telling {
                    receiver: way.receiver.clone(),
                    channel: way.channel.clone(),
                    group_key: group.key.clone(),
                    told_at: heard.map(|heard| heard.at),
                    told: heard.is_some_and(|heard| heard.firing.contains(&fingerprint)),
                    next_at: self.way_due(group, way, &firing, &standing.ended).map(|(due, _)| due),
                });
            }
        }
        Some(Why {
            alert: tracked.clone(),
            firing: tracked.is_firing(now, self.resolve_timeout()),
            mute: self.mute(fingerprint, now, view),
            tellings,
        })
    }

    /// Plans all groups that may have something to tell and remembers when to look at the others.
    pub(super) fn plans(&mut self, now: Timestamp, view: &View<'_>) -> Vec<(GroupId, Plan)> {
        let mut look = std::mem::take(&mut self.index.dirty);
        while let Some((due, id)) = self.index.wakes.first().copied().filter(|(due, _)| *due <= now) {
            self.index.wakes.remove(&(due, id));
            look.insert(id);
        }
        let mut plans = Vec::new();
        for id in look {
            if let Some(at) = self.index.wake_of.remove(&id) {
                self.index.wakes.remove(&(at, id));
            }
            let plan = self.plan(id, now, view);
            if let Some(wake) = plan.wake {
                self.index.wake_of.insert(id, wake);
                self.index.wakes.insert((wake, id));
            }
            if !plan.tell.is_empty() {
                // Until the intent comes back the group stays to be looked at: the decision may not get through.
                self.index.dirty.insert(id);
                plans.push((id, plan));
            }
        }
        plans
    }

    /// Returns when [`Self::decide`] may have something new to say, if no record comes before.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        // Ends of alerts in no incident change nothing until somebody puts them into one.
        let is_member = |fingerprint| self.alerts.get(fingerprint).is_some_and(|tracked| tracked.member);
        let ends = self.index.ends.iter().find(|(_, fingerprint)| is_member(fingerprint)).map(|(at, _)| *at);
        let reminders = self.index.reminders.first().map(|(at, _)| *at);
        let wakes = self.index.wakes.first().map(|(at, _)| *at);
        let gap = self.dropped.map(|_| self.gap_due());
        ends.into_iter().chain(reminders).chain(wakes).chain(gap).min()
    }

    /// Says in the log which silences in force end before `until`, and returns their ids.
    pub fn warn_of_ending_silences(&self, now: Timestamp, until: Timestamp, warned: &mut BTreeSet<String>) {
        for (id, silenced) in &self.silences {
            let change = &silenced.change;
            if change.starts_at <= now && change.ends_at > now && change.ends_at <= until && warned.insert(id.clone()) {
                let holds = self.alerts.values().filter(|tracked| silenced.matches(&tracked.alert.labels)).count();
                events::silence_ends_soon(&self.tenant, id, change.ends_at, holds);
            }
        }
        warned.retain(|id| self.silences.get(id).is_some_and(|silenced| silenced.change.ends_at > now));
    }
}
