//! What each kind of record changes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{
    Alert, Body, Delivery, Gap, IncidentAction, IncidentTransition, Intent, Labels, Outcome, Recorded, SilenceAction,
    SilenceChange, SourceId,
};

use super::compose::Message;
use super::decide::ALERTS_FULL;
use super::{Dropped, Heard, Incident, Incidents, SILENCE_KEPT, Silenced, Tracked, later};
use crate::events;
use crate::matcher;
use crate::route::GroupId;

impl Incidents {
    /// Folds one record. Records must come in order; one that was folded before changes nothing.
    pub fn fold(&mut self, recorded: &Recorded) {
        if self.cursor.is_some_and(|(position, _)| recorded.position <= position) {
            return;
        }
        let at = self.cursor.map_or(recorded.admitted_at, |(_, last)| last.max(recorded.admitted_at));
        self.cursor = Some((recorded.position, at));
        self.changes.cursor = self.cursor;
        self.forget(at);
        match &recorded.signal.body {
            Body::Alert(alert) => self.fold_alert(alert, recorded.signal.source, at),
            Body::Incident(transition) => {
                self.fold_transition(transition, at);
                self.changes.transitions.push((recorded.position, transition.clone()));
            }
            Body::Intent(intent) => {
                self.fold_intent(intent, at);
                self.changes.intents.push((recorded.position, intent.clone()));
            }
            Body::Delivery(delivery) => {
                self.fold_delivery(delivery);
                self.changes.deliveries.push((recorded.position, delivery.clone()));
            }
            Body::Silence(change) => self.fold_silence(change, at),
            Body::Gap(gap) => self.fold_gap(gap, at),
            _ => {}
        }
    }

    /// Forgets what is over by the time of a record, so that forgetting follows from records alone.
    fn forget(&mut self, at: Timestamp) {
        while let Some((due, fingerprint)) = self.index.purge.first().copied().filter(|(due, _)| *due <= at) {
            self.index.purge.remove(&(due, fingerprint));
            if let Err(Some(again)) = self.purge(fingerprint, at)
                && again > due
            {
                self.index.purge.insert((again, fingerprint));
            }
        }
        while let Some((due, id)) = self.index.closed.first().cloned().filter(|(due, _)| *due < at) {
            self.index.closed.remove(&(due, id.clone()));
            let over = self.incidents.get(&id).filter(|incident| {
                incident.resolved_at.is_some_and(|resolved| later(resolved, super::REOPEN_WITHIN) < at)
            });
            if over.is_some()
                && let Some(incident) = self.incidents.remove(&id)
            {
                if self.index.by_key.get(&incident.key) == Some(&id) {
                    self.index.by_key.remove(&incident.key);
                }
                if self.rows.incidents.remove(&id) {
                    self.changes.incidents.insert(id, incident);
                }
            }
        }
        while let Some((due, id)) = self.index.silences.first().cloned().filter(|(due, _)| *due < at) {
            self.index.silences.remove(&(due, id.clone()));
            // One that was set anew ends later, and stands there too.
            if self.silences.get(&id).is_some_and(|silenced| later(silenced.change.ends_at, SILENCE_KEPT) < at) {
                self.silences.remove(&id);
            }
        }
    }

    /// Forgets an alert that has stopped, has left its incident, and whose end was told to all who are told of ends.
    ///
    /// # Errors
    /// When it may not be forgotten yet; with the time at which it may be, where that is known.
    fn purge(&mut self, fingerprint: u64, at: Timestamp) -> Result<(), Option<Timestamp>> {
        let Some(tracked) = self.alerts.get(&fingerprint) else { return Ok(()) };
        let Some(end) = tracked.end(self.config.resolve_timeout) else { return Err(None) };
        if end > at {
            return Err(Some(end));
        }
        if tracked.member {
            return Err(None);
        }
        let ended = end.max(tracked.received_at);
        let groups = self.index.groups_of.get(&fingerprint).cloned().unwrap_or_default();
        for group in groups.iter().filter_map(|id| self.groups.get(id)) {
            let tick = group.tick_from(ended);
            if tick > at {
                return Err(Some(tick));
            }
            if group.awaits_end(fingerprint) {
                return Err(None);
            }
        }
        self.remove_alert(fingerprint, &groups);
        Ok(())
    }

    fn remove_alert(&mut self, fingerprint: u64, groups: &[GroupId]) {
        self.unindex_check(fingerprint);
        if let Some(tracked) = self.alerts.remove(&fingerprint)
            && let Some(end) = tracked.end(self.config.resolve_timeout)
        {
            self.index.ends.remove(&(end, fingerprint));
        }
        self.index.unassigned.remove(&fingerprint);
        self.index.groups_of.remove(&fingerprint);
        self.index.misfits.remove(&fingerprint);
        self.rows.alerts.insert(fingerprint);
        for id in groups {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.members.remove(&fingerprint);
            for heard in group.told.values_mut() {
                heard.firing.remove(&fingerprint);
            }
            if group.members.is_empty() { self.dissolve(*id) } else { self.touch_group(*id) }
        }
    }

    fn fold_alert(&mut self, alert: &Alert, source: SourceId, at: Timestamp) {
        let fingerprint = alert.fingerprint();
        let timeout = self.config.resolve_timeout;
        let fires = alert.is_firing(at);
        let own = source == SourceId::default();
        let goes_on = match self.alerts.get(&fingerprint) {
            // Nobody else speaks for a check of ours.
            Some(tracked) if tracked.own && !own && tracked.is_firing(at, timeout) => return,
            // What it says counts from now on, whatever was said in its name before.
            Some(tracked) if own && fires && !tracked.own => {
                self.unhear(fingerprint);
                false
            }
            Some(tracked) => tracked.is_firing(at, timeout),
            None if !fires => return,
            None if self.alerts.len() >= self.alerts_max => return self.drop_alert(at),
            None => false,
        };
        if !fires && !goes_on {
            return;
        }
        let known = self.alerts.contains_key(&fingerprint);
        if known {
            self.unindex_end(fingerprint);
            self.unindex_check(fingerprint);
        }
        let tracked = self.alerts.entry(fingerprint).or_insert_with(|| Tracked {
            alert: alert.clone(),
            own,
            fired_at: at,
            received_at: at,
            incident: None,
            member: false,
            until_told: false,
        });
        let before = std::mem::replace(&mut tracked.alert, alert.clone());
        tracked.received_at = at;
        if goes_on {
            tracked.alert.starts_at = before.starts_at.min(alert.starts_at);
            tracked.alert.channel = alert.channel.clone().or(before.channel.clone());
        } else {
            tracked.fired_at = at;
            tracked.own = own;
        }
        // Who says that it is over has the last word; a time-out has not.
        tracked.until_told &= fires;
        let regroup = !known || tracked.alert.channel != before.channel;
        let check = tracked.check().map(str::to_owned);
        self.rows.alerts.insert(fingerprint);
        if regroup {
            self.join_groups(fingerprint);
        }
        if fires && !goes_on && !own {
            let untold = self.somebody_would_hear(fingerprint);
            self.alerts.entry(fingerprint).and_modify(|tracked| tracked.until_told = untold);
        }
        self.index_alert(fingerprint);
        if !goes_on || !fires {
            self.touch_groups_of(fingerprint);
            check.into_iter().for_each(|check| self.touch_children(&check));
        }
    }

    fn drop_alert(&mut self, at: Timestamp) {
        if self.dropped.is_none() {
            events::too_many_alerts(&self.tenant);
        }
        let dropped = self.dropped.get_or_insert(Dropped { count: 0, from: at, until: at });
        dropped.count += 1;
        dropped.until = at;
        self.dropped_in_all += 1;
    }

    /// A loss that a record speaks of is said; what came after that was decided is not.
    fn fold_gap(&mut self, gap: &Gap, at: Timestamp) {
        if gap.cause != ALERTS_FULL {
            return;
        }
        self.dropped_said_at = Some(at);
        self.dropped = self.dropped.and_then(|dropped| {
            let count = dropped.count.checked_sub(gap.count).filter(|count| *count > 0)?;
            Some(Dropped { count, from: gap.until, ..dropped })
        });
    }

    /// Tells whether an alert's groups have anybody to tell, and none of them has heard that it fires.
    fn somebody_would_hear(&self, fingerprint: u64) -> bool {
        let ids = self.index.groups_of.get(&fingerprint).into_iter().flatten();
        let mut ways = ids.filter_map(|id| self.groups.get(id)).flat_map(|group| {
            group.ways.iter().map(|way| group.told.get(&way.key()).is_some_and(|h| h.firing.contains(&fingerprint)))
        });
        let first = ways.next();
        first == Some(false) && !ways.any(|heard| heard)
    }

    /// Tells whether all ways of an alert's groups have heard that it fires.
    fn everybody_heard(&self, fingerprint: u64) -> bool {
        let ids = self.index.groups_of.get(&fingerprint).into_iter().flatten();
        ids.filter_map(|id| self.groups.get(id)).all(|group| {
            let mut ways = group.ways.iter().filter(|way| self.takes(group, way, fingerprint));
            ways.all(|way| group.told.get(&way.key()).is_some_and(|heard| heard.firing.contains(&fingerprint)))
        })
    }

    /// Somebody was told that an alert fires: from now on its time-out holds.
    fn was_told(&mut self, fingerprint: u64) {
        if !self.alerts.get(&fingerprint).is_some_and(|tracked| tracked.until_told) {
            return;
        }
        self.unindex_end(fingerprint);
        self.alerts.entry(fingerprint).and_modify(|tracked| tracked.until_told = false);
        self.index_alert(fingerprint);
        self.rows.alerts.insert(fingerprint);
        self.touch_groups_of(fingerprint);
    }

    fn unindex_check(&mut self, fingerprint: u64) {
        let check = self.alerts.get(&fingerprint).and_then(Tracked::check);
        if let Some(alerts) = check.and_then(|check| self.index.by_check.get_mut(check)) {
            alerts.remove(&fingerprint);
        }
    }

    /// Forgets that anybody heard of an alert.
    fn unhear(&mut self, fingerprint: u64) {
        for id in self.index.groups_of.get(&fingerprint).cloned().unwrap_or_default() {
            if let Some(group) = self.groups.get_mut(&id) {
                group.told.values_mut().for_each(|heard| _ = heard.firing.remove(&fingerprint));
                self.touch_group(id);
            }
        }
    }

    fn unindex_end(&mut self, fingerprint: u64) {
        let timeout = self.config.resolve_timeout;
        if let Some(end) = self.alerts.get(&fingerprint).and_then(|tracked| tracked.end(timeout)) {
            self.index.ends.remove(&(end, fingerprint));
        }
    }

    fn touch_groups_of(&mut self, fingerprint: u64) {
        for id in self.index.groups_of.get(&fingerprint).cloned().unwrap_or_default() {
            self.index.dirty.insert(id);
        }
    }

    /// What depends on a check is told or kept quiet as that check goes.
    fn touch_children(&mut self, check: &str) {
        for child in self.children.get(check).cloned().unwrap_or_default() {
            for fingerprint in self.index.by_check.get(&child).cloned().unwrap_or_default() {
                self.touch_groups_of(fingerprint);
            }
        }
    }

    fn fold_transition(&mut self, transition: &IncidentTransition, at: Timestamp) {
        use IncidentAction as A;
        let fingerprint = model::LabelSet::fingerprint(&transition.labels);
        if transition.action == A::Opened {
            self.incidents.insert(transition.incident.clone(), opened(transition));
        }
        let Some(incident) = self.incidents.get_mut(&transition.incident) else { return };
        if let Some(due) = incident.remind_at(self.config.dihya.reminder_interval) {
            self.index.reminders.remove(&(due, incident.id.clone()));
        }
        incident.updated_at = transition.at;
        match transition.action {
            A::Opened | A::Joined | A::Reopened => {
                incident.severity = incident.severity.max(transition.severity);
                incident.labels.retain(|name, value| transition.labels.get(name) == Some(value));
                incident.members.insert(fingerprint);
                if transition.action == A::Reopened {
                    incident.reopened += 1;
                    incident.since = transition.at;
                    incident.resolved_at = None;
                    incident.acknowledged = None;
                    if !transition.title.is_empty() {
                        // What fires now may be something else than what fired before.
                        incident.title.clone_from(&transition.title);
                    }
                }
            }
            A::Left => {
                incident.members.remove(&fingerprint);
            }
            A::Resolved => {
                incident.members.clear();
                incident.resolved_at = Some(transition.at);
            }
            A::Acknowledged => incident.acknowledged = Some((transition.by.clone(), transition.at)),
            A::Reminded => incident.reminded_at = Some(transition.at),
            A::Noted | A::Published => {}
        }
        if matches!(transition.action, A::Acknowledged | A::Reminded) {
            let members: Vec<u64> = incident.members.iter().copied().collect();
            members.into_iter().for_each(|fingerprint| self.touch_groups_of(fingerprint));
        }
        self.index_incident(&transition.incident);
        self.set_membership(transition, fingerprint, at);
        self.rows.incidents.insert(transition.incident.clone());
    }

    fn set_membership(&mut self, transition: &IncidentTransition, fingerprint: u64, at: Timestamp) {
        use IncidentAction as A;
        let joins = matches!(transition.action, A::Opened | A::Joined | A::Reopened);
        if !joins && !matches!(transition.action, A::Left | A::Resolved) {
            return;
        }
        let Some(tracked) = self.alerts.get_mut(&fingerprint) else { return };
        tracked.member = joins;
        if joins {
            tracked.incident = Some(transition.incident.clone());
            self.index.unassigned.remove(&fingerprint);
            self.index.misfits.remove(&fingerprint);
        } else {
            let timeout = self.config.resolve_timeout;
            if tracked.is_firing(at, timeout) {
                self.index.unassigned.insert(fingerprint);
            } else if let Some(end) = tracked.end(timeout) {
                self.index.ends.remove(&(end, fingerprint));
            }
            self.index.purge.insert((at, fingerprint));
        }
        self.rows.alerts.insert(fingerprint);
        self.touch_groups_of(fingerprint);
    }

    fn fold_intent(&mut self, intent: &Intent, at: Timestamp) {
        let Some(told) = Message::told(&intent.message) else { return };
        let Some(group) = self.groups.get_mut(&told.group) else { return };
        let timeout = self.config.resolve_timeout;
        let mut firing = told.firing;
        if told.all {
            // Too many to name: all that fired by then count as told.
            let then = intent.at;
            firing = group
                .members
                .iter()
                .filter(|fp| self.alerts.get(fp).is_some_and(|t| t.fired_at <= then && t.is_firing(then, timeout)))
                .copied()
                .collect();
        }
        let heard = Heard { at: intent.at, firing: firing.clone(), pending: Some(intent.id.clone()) };
        let before = group.told.insert((intent.receiver.clone(), intent.channel.clone()), heard);
        if let Some(before) = before.and_then(|heard| heard.pending) {
            self.index.pending.remove(&before);
        }
        self.index.pending.insert(intent.id.clone(), told.group);
        let ended: Vec<u64> = group
            .members
            .iter()
            .filter(|fp| self.alerts.get(fp).is_some_and(|tracked| !tracked.member && !tracked.is_firing(at, timeout)))
            .copied()
            .collect();
        self.touch_group(told.group);
        for fingerprint in firing {
            // Told past the outbox to some, it fires on until the others are told too.
            if !told.already || self.everybody_heard(fingerprint) {
                self.was_told(fingerprint);
            }
        }
        for fingerprint in ended {
            if let Err(Some(again)) = self.purge(fingerprint, at) {
                self.index.purge.insert((again, fingerprint));
            }
        }
    }

    /// The end of a notification's way: what it said may be repeated after the time that counts from now.
    fn fold_delivery(&mut self, delivery: &Delivery) {
        if !delivery.outcome.is_end() {
            return;
        }
        let Some(id) = self.index.pending.remove(&delivery.intent) else { return };
        let Some(group) = self.groups.get_mut(&id) else { return };
        for heard in group.told.values_mut().filter(|heard| heard.pending.as_ref() == Some(&delivery.intent)) {
            heard.pending = None;
            if delivery.outcome == Outcome::Delivered {
                heard.at = heard.at.max(delivery.at);
            }
        }
        self.touch_group(id);
    }

    fn fold_silence(&mut self, change: &SilenceChange, at: Timestamp) {
        let mut change = change.clone();
        if change.action == SilenceAction::Expired {
            // Who ends a silence need not repeat what it was.
            if let Some(known) = self.silences.get(&change.id) {
                change.matchers.clone_from(&known.change.matchers);
                change.starts_at = known.change.starts_at;
                change.created_by.clone_from(&known.change.created_by);
                change.comment.clone_from(&known.change.comment);
            }
            change.ends_at = change.ends_at.min(at);
        }
        self.changes.silences.insert(change.id.clone(), change.clone());
        self.put_silence(change);
        self.index.dirty.extend(self.groups.keys());
    }

    pub(super) fn put_silence(&mut self, change: SilenceChange) {
        match matcher::compile(&change.matchers) {
            Ok(matchers) => {
                self.index.silences.insert((later(change.ends_at, SILENCE_KEPT), change.id.clone()));
                self.silences.insert(change.id.clone(), Silenced { change, matchers });
            }
            // Refused when it was set; one that was set elsewhere silences nothing rather than everything.
            Err(error) => events::silence_unusable(&self.tenant, &change.id, &error),
        }
    }
}

fn opened(transition: &IncidentTransition) -> Incident {
    Incident {
        id: transition.incident.clone(),
        key: transition.key.clone(),
        title: transition.title.clone(),
        severity: transition.severity,
        sector: transition.sector,
        labels: transition.labels.clone(),
        opened_at: transition.at,
        since: transition.at,
        updated_at: transition.at,
        acknowledged: None,
        resolved_at: None,
        reminded_at: None,
        reopened: 0,
        members: std::collections::BTreeSet::new(),
    }
}

/// Returns the labels that all of several sets share.
pub(super) fn common<'a>(mut sets: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut shared: BTreeMap<String, String> = sets.next().cloned().unwrap_or_default();
    for set in sets {
        shared.retain(|name, value| set.get(name) == Some(value));
    }
    shared
}
