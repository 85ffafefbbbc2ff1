//! Events to the door, in groups: each group is durable or refused, and each item learns its own outcome.

use std::sync::Arc;

use model::limits::{INTAKE_GROUP_BYTES_MAX, INTAKE_GROUP_EVENTS_MAX};
use model::{Admit, Event, Level, Position, Receipt, RefusalKind, Signal, SourceId, Tenant};

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Durable, at this position.
    Durable(Position),
    /// Not taken now; the same item may be taken later.
    Later(String),
    /// Never to be taken.
    Never(String),
}

/// Events on their way, and what became of those before them.
pub(crate) struct Admission<'a> {
    /// Reads an item once more, where a group as a whole was refused.
    again: &'a (dyn Fn(usize) -> Option<Event> + Sync),
    admit: &'a Arc<dyn Admit>,
    tenant: &'a Tenant,
    source: SourceId,
    group: Vec<(usize, Event)>,
    bytes: usize,
    /// By the number of the item.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// The receipt of the last event that became durable.
    pub(crate) last: Option<Receipt>,
    /// Nothing more is tried: the ledger refuses, and order is kept.
    refused: Option<Outcome>,
}

impl<'a> Admission<'a> {
    pub(crate) fn new(
        admit: &'a Arc<dyn Admit>,
        (tenant, source): (&'a Tenant, SourceId),
        items: usize,
        again: &'a (dyn Fn(usize) -> Option<Event> + Sync),
    ) -> Self {
        let (group, outcomes) = (Vec::new(), vec![None; items]);
        Self { again, admit, tenant, source, group, bytes: 0, outcomes, last: None, refused: None }
    }

    /// Takes an event of `bytes` bytes for the item with this number.
    pub(crate) async fn take(&mut self, item: usize, event: Event, bytes: usize) {
        if self.bytes + bytes > INTAKE_GROUP_BYTES_MAX || self.group.len() >= INTAKE_GROUP_EVENTS_MAX {
            self.flush().await;
        }
        self.bytes += bytes;
        self.group.push((item, event));
    }

    /// Says that an item is none.
    pub(crate) fn refuse(&mut self, item: usize, why: impl Into<String>) {
        self.set(item, Outcome::Never(why.into()));
    }

    /// Admits what waits. After it, every item that was taken or refused has an outcome.
    pub(crate) async fn flush(&mut self) {
        let group = std::mem::take(&mut self.group);
        self.bytes = 0;
        if let Some(refused) = self.refused.clone() {
            group.iter().for_each(|(item, _)| self.set(*item, refused.clone()));
            return;
        }
        let (items, events): (Vec<usize>, Vec<Event>) = group.into_iter().unzip();
        if items.is_empty() {
            return;
        }
        match self.admit_all(events).await {
            Err(Outcome::Never(_)) if items.len() > 1 => {
                // One of them cannot be recorded: the others must not suffer for it.
                for item in items {
                    let event = (self.again)(item).into_iter().collect();
                    let admitted = self.admit_all(event).await;
                    self.settle(&[item], admitted);
                }
            }
            admitted => self.settle(&items, admitted),
        }
    }

    async fn admit_all(&self, events: Vec<Event>) -> Result<Vec<Receipt>, Outcome> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let signal = |event: Event| Signal { tenant: self.tenant.clone(), source: self.source, body: event.into() };
        let signals = events.into_iter().map(signal).collect();
        self.admit.admit(signals, Level::Durable).await.map_err(|refusal| match refusal.kind {
            RefusalKind::Reject => Outcome::Never(refusal.reason),
            RefusalKind::Retry | RefusalKind::Stop => Outcome::Later(refusal.reason),
        })
    }

    fn settle(&mut self, items: &[usize], admitted: Result<Vec<Receipt>, Outcome>) {
        match admitted {
            Ok(receipts) => {
                for (item, receipt) in items.iter().zip(&receipts) {
                    self.set(*item, Outcome::Durable(receipt.position));
                }
                self.last = receipts.into_iter().next_back().or(self.last.take());
            }
            Err(outcome) => {
                if matches!(outcome, Outcome::Later(_)) {
                    self.refused = Some(outcome.clone());
                }
                items.iter().for_each(|item| self.set(*item, outcome.clone()));
            }
        }
    }

    fn set(&mut self, item: usize, outcome: Outcome) {
        if let Some(place) = self.outcomes.get_mut(item) {
            *place = Some(outcome);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use model::{BoxFuture, Origin, Refusal};

    use super::*;

    /// A ledger in memory that takes `room` records, and never one whose stream is `poison`.
    pub(crate) struct Door {
        pub(crate) taken: Mutex<Vec<Event>>,
        pub(crate) room: usize,
        pub(crate) calls: Mutex<usize>,
    }

    impl Door {
        pub(crate) fn new(room: usize) -> Arc<Self> {
            Arc::new(Self { taken: Mutex::default(), room, calls: Mutex::default() })
        }

        pub(crate) fn events(&self) -> Vec<Event> {
            self.taken.lock().expect("not poisoned").clone()
        }
    }

    impl Admit for Door {
        fn admit(&self, signals: Vec<Signal>, level: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
            assert_eq!(level, Level::Durable, "nothing less is acknowledged");
            *self.calls.lock().expect("not poisoned") += 1;
            let mut taken = self.taken.lock().expect("not poisoned");
            let events: Vec<Event> = signals
                .into_iter()
                .map(|signal| match signal.body {
                    model::Body::Event(event) => *event,
                    _ => panic!("not an event"),
                })
                .collect();
            let refuse = |kind, reason: &str| Err(Refusal { kind, reason: reason.into() });
            let answer = if events.iter().any(|event| event.stream == "poison") {
                refuse(RefusalKind::Reject, "it is too large")
            } else if taken.len() + events.len() > self.room {
                refuse(RefusalKind::Retry, "the disk is full")
            } else {
                let origin = Origin::new("localhost/default").expect("valid");
                let first = taken.len() as u64;
                let receipts = (first..).take(events.len());
                let receipts =
                    receipts.map(|position| Receipt { origin: origin.clone(), position, leaf_hash: [0; 32] }).collect();
                taken.extend(events);
                Ok(receipts)
            };
            Box::pin(async move { answer })
        }
    }

    fn event(stream: &str) -> Event {
        Event { stream: stream.into(), ..Event::default() }
    }

    async fn admit(door: &Arc<Door>, streams: &[&str]) -> Vec<Option<Outcome>> {
        let (admit, tenant) = (Arc::clone(door) as Arc<dyn Admit>, Tenant::default());
        let again = |item: usize| streams.get(item).map(|stream| event(stream));
        let mut admission = Admission::new(&admit, (&tenant, SourceId::default()), streams.len(), &again);
        for (item, stream) in streams.iter().enumerate() {
            match *stream {
                "" => admission.refuse(item, "no event"),
                stream => admission.take(item, event(stream), 10).await,
            }
        }
        admission.flush().await;
        admission.outcomes
    }

    #[tokio::test]
    async fn each_item_learns_its_own_outcome() {
        let door = Door::new(100);
        let never = |why: &str| Some(Outcome::Never(why.into()));
        let outcomes = admit(&door, &["a", "", "poison", "b"]).await;
        let durable = |position| Some(Outcome::Durable(position));
        assert_eq!(outcomes, [durable(0), never("no event"), never("it is too large"), durable(1)]);
        assert_eq!(door.events().len(), 2);
    }

    #[tokio::test]
    async fn groups_are_bounded_and_after_a_refusal_nothing_overtakes() {
        let door = Door::new(INTAKE_GROUP_EVENTS_MAX + 5);
        let streams = vec!["a"; 2 * INTAKE_GROUP_EVENTS_MAX + 1];
        let outcomes = admit(&door, &streams).await;
        let durable = outcomes.iter().filter(|outcome| matches!(outcome, Some(Outcome::Durable(_)))).count();
        assert_eq!(durable, INTAKE_GROUP_EVENTS_MAX);
        assert!(
            outcomes.iter().skip(durable).all(|outcome| *outcome == Some(Outcome::Later("the disk is full".into())))
        );
        assert_eq!(*door.calls.lock().expect("not poisoned"), 2, "the third group was not even tried");
    }

    #[tokio::test]
    async fn a_group_ends_at_its_bytes() {
        let door = Door::new(100);
        let (admit, tenant) = (Arc::clone(&door) as Arc<dyn Admit>, Tenant::default());
        let again = |_| None;
        let mut admission = Admission::new(&admit, (&tenant, SourceId::default()), 3, &again);
        for item in 0..3 {
            admission.take(item, event("a"), INTAKE_GROUP_BYTES_MAX / 2).await;
        }
        admission.flush().await;
        assert_eq!(*door.calls.lock().expect("not poisoned"), 2);
        assert_eq!(admission.last.map(|receipt| receipt.position), Some(2));
    }
}
