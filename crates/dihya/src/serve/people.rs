//! What people ask about incidents, silences and notifications, over the alert engine of their tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert::Engine;
use alert::state::{self, Notified};
use model::{BoxFuture, Clock, IncidentId, IncidentTransition, SilenceChange, Tenant, Timestamp};
use server::Declined;
use server::seam::{
    Attempt, Incident, IncidentAct, IncidentFilter, IncidentState, Incidents, Listing, Notification,
    NotificationFilter, NotificationState, Notifications, Page, Silence, SilenceDraft, SilenceState, Silences, Step,
};

/// The alert engines by tenant.
pub(super) struct Engines {
    pub(super) by_tenant: BTreeMap<Tenant, Arc<Engine>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Engines {
    fn of(&self, tenant: &Tenant) -> Result<&Engine, Declined> {
        self.by_tenant.get(tenant).map(Arc::as_ref).ok_or(Declined::Missing { what: "tenant" })
    }
}

fn declined(error: alert::Error) -> Declined {
    match error {
        alert::Error::Missing { what } => Declined::Missing { what },
        alert::Error::Conflict { reason } => Declined::Conflict { reason },
        alert::Error::Invalid { field, expected } => Declined::Invalid { field, reason: expected },
        alert::Error::Refused { source, .. } => Declined::Refused(source),
        other => Declined::Refused(model::Refusal { kind: other.kind(), reason: other.to_string() }),
    }
}

/// One row more than asked for shows whether there is a next page.
fn one_more(page: &Page) -> state::Page {
    state::Page { limit: page.limit.saturating_add(1), after: page.after.clone() }
}

/// Cuts rows of which one more was asked for.
fn listing<R, T>(mut rows: Vec<R>, page: &Page, key: impl Fn(&R) -> String, show: impl Fn(R) -> T) -> Listing<T> {
    let more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let next = if more { rows.last().map(key) } else { None };
    Listing { items: rows.into_iter().map(show).collect(), next }
}

fn show_incident(incident: alert::incidents::Incident, steps: Vec<IncidentTransition>) -> Incident {
    let state = match state::IncidentState::of(&incident) {
        state::IncidentState::Open => IncidentState::Open,
        state::IncidentState::Acknowledged => IncidentState::Acknowledged,
        state::IncidentState::Resolved => IncidentState::Resolved,
    };
    let (acknowledged_by, acknowledged_at) = incident.acknowledged.unzip();
    Incident {
        id: incident.id,
        state,
        title: incident.title,
        severity: incident.severity,
        sector: incident.sector,
        key: incident.key,
        labels: incident.labels,
        opened_at: incident.opened_at,
        updated_at: incident.updated_at,
        acknowledged_at,
        acknowledged_by,
        resolved_at: incident.resolved_at,
        alerts_firing: incident.members.len() as u64,
        timeline: steps
            .into_iter()
            .map(|step| Step { at: step.at, action: step.action, by: step.by, note: step.note })
            .collect(),
    }
}

impl Incidents for Engines {
    fn list<'a>(
        &'a self,
        tenant: &'a Tenant,
        filter: IncidentFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Incident>, Declined>> {
        Box::pin(async move {
            let state = filter.state.map(|state| match state {
                IncidentState::Open => state::IncidentState::Open,
                IncidentState::Acknowledged => state::IncidentState::Acknowledged,
                IncidentState::Resolved => state::IncidentState::Resolved,
            });
            let filter = state::IncidentFilter { state, check: filter.check };
            let rows = self.of(tenant)?.incidents(&filter, &one_more(&page)).await.map_err(declined)?;
            Ok(listing(rows, &page, |row| row.id.to_string(), |row| show_incident(row, Vec::new())))
        })
    }

    fn find<'a>(&'a self, tenant: &'a Tenant, id: &'a IncidentId) -> BoxFuture<'a, Result<Incident, Declined>> {
        Box::pin(async move {
            let (incident, steps) = self.of(tenant)?.incident(id).await.map_err(declined)?;
            Ok(show_incident(incident, steps))
        })
    }

    fn act<'a>(
        &'a self,
        tenant: &'a Tenant,
        id: &'a IncidentId,
        act: IncidentAct,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Incident, Declined>> {
        Box::pin(async move {
            let engine = self.of(tenant)?;
            let done = match act {
                IncidentAct::Acknowledge { note } => engine.acknowledge(id, by, &note).await,
                IncidentAct::Resolve { note } => engine.resolve(id, by, &note).await,
                IncidentAct::Note { text, public } => engine.note(id, by, &text, public).await,
            };
            done.map_err(declined)?;
            self.find(tenant, id).await
        })
    }
}

impl Engines {
    fn show_silence(&self, silence: SilenceChange) -> Silence {
        Silence { state: silence_state(&silence, self.clock.now()), ..shown(silence) }
    }
}

fn silence_state(silence: &SilenceChange, now: Timestamp) -> SilenceState {
    if silence.ends_at <= now {
        SilenceState::Expired
    } else if silence.starts_at > now {
        SilenceState::Pending
    } else {
        SilenceState::Active
    }
}

fn shown(silence: SilenceChange) -> Silence {
    Silence {
        id: silence.id,
        state: SilenceState::Active,
        matchers: silence.matchers,
        starts_at: silence.starts_at,
        ends_at: silence.ends_at,
        created_by: silence.created_by,
        comment: silence.comment,
        updated_at: silence.at,
    }
}

impl Silences for Engines {
    fn list<'a>(
        &'a self,
        tenant: &'a Tenant,
        state: Option<SilenceState>,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Silence>, Declined>> {
        Box::pin(async move {
            let engine = self.of(tenant)?;
            let now = self.clock.now();
            // The filter is ours: pages are read until one is full or nothing is left.
            let (mut kept, mut after) = (Vec::new(), page.after.clone());
            loop {
                let part = state::Page { limit: model::limits::PAGE_ROWS_MAX, after: after.clone() };
                let rows = engine.silences(&part).await.map_err(declined)?;
                let full = rows.len() == part.limit;
                after = rows.last().map(|row| row.id.clone());
                kept.extend(rows.into_iter().filter(|row| state.is_none_or(|state| silence_state(row, now) == state)));
                if !full || kept.len() > page.limit {
                    break;
                }
            }
            Ok(listing(kept, &page, |row| row.id.clone(), |row| self.show_silence(row)))
        })
    }

    fn set<'a>(
        &'a self,
        tenant: &'a Tenant,
        draft: SilenceDraft,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Silence, Declined>> {
        Box::pin(async move {
            let draft = alert::engine::SilenceDraft {
                id: draft.id,
                matchers: draft.matchers,
                starts_at: draft.starts_at,
                ends_at: draft.ends_at,
                comment: draft.comment,
            };
            let silence = self.of(tenant)?.set_silence(draft, by).await.map_err(declined)?;
            Ok(self.show_silence(silence))
        })
    }

    fn expire<'a>(&'a self, tenant: &'a Tenant, id: &'a str, by: &'a str) -> BoxFuture<'a, Result<Silence, Declined>> {
        Box::pin(async move {
            let silence = self.of(tenant)?.expire_silence(id, by).await.map_err(declined)?;
            Ok(self.show_silence(silence))
        })
    }
}

fn show_notification(notified: Notified) -> Notification {
    let state = match notified.state {
        state::NotificationState::Pending => NotificationState::Pending,
        state::NotificationState::Delivered => NotificationState::Delivered,
        state::NotificationState::Failed => NotificationState::Failed,
    };
    let intent = notified.intent;
    Notification {
        id: intent.id.0,
        incident: intent.incident.map(|id| id.0),
        receiver: intent.receiver,
        channel: intent.channel,
        firing: intent.firing,
        state,
        at: intent.at,
        give_up_at: intent.give_up_at,
        attempts: notified
            .attempts
            .into_iter()
            .map(|delivery| Attempt {
                attempt: delivery.attempt,
                outcome: delivery.outcome,
                at: delivery.at,
                reason: delivery.reason,
                next_at: delivery.next_at,
            })
            .collect(),
    }
}

impl Notifications for Engines {
    fn channels(&self, tenant: &Tenant) -> Vec<String> {
        self.of(tenant).map(Engine::channels).unwrap_or_default()
    }

    fn list<'a>(
        &'a self,
        tenant: &'a Tenant,
        filter: NotificationFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Notification>, Declined>> {
        Box::pin(async move {
            let filter = state::NotificationFilter {
                incident: filter.incident.map(IncidentId),
                receiver: filter.receiver,
                state: filter.state.map(|state| match state {
                    NotificationState::Pending => state::NotificationState::Pending,
                    NotificationState::Delivered => state::NotificationState::Delivered,
                    NotificationState::Failed => state::NotificationState::Failed,
                }),
            };
            let rows = self.of(tenant)?.notifications(&filter, &one_more(&page)).await.map_err(declined)?;
            Ok(listing(rows, &page, |row| row.intent.id.0.clone(), show_notification))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_knows_whether_another_follows() {
        let page = Page { limit: 2, after: None };
        let cut = |rows: Vec<u8>| {
            let listing = listing(rows, &page, ToString::to_string, |row| row);
            (listing.items, listing.next)
        };
        assert_eq!(cut(vec![1, 2, 3]), (vec![1, 2], Some("2".to_owned())));
        assert_eq!(cut(vec![1, 2]), (vec![1, 2], None));
        assert_eq!(one_more(&page).limit, 3);
    }

    #[test]
    fn refusals_keep_their_meaning() {
        let refusal = model::Refusal { kind: model::RefusalKind::Retry, reason: "full".into() };
        for (error, expected) in [
            (alert::Error::Missing { what: "incident" }, Declined::Missing { what: "incident" }),
            (alert::Error::Conflict { reason: "over".into() }, Declined::Conflict { reason: "over".into() }),
            (
                alert::Error::Invalid { field: "note".into(), expected: "shorter".into() },
                Declined::Invalid { field: "note".into(), reason: "shorter".into() },
            ),
            (alert::Error::Refused { doing: "admit", source: refusal.clone() }, Declined::Refused(refusal)),
        ] {
            assert_eq!(declined(error), expected);
        }
        assert!(matches!(declined(alert::Error::Stopped), Declined::Refused(r) if r.kind == model::RefusalKind::Stop));
    }
}
