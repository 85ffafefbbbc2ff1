//! Events to the door, in groups: each group is durable or refused, and each item learns its own outcome.

use std::sync::Arc;

use model::limits::{INTAKE_GROUP_BYTES_MAX, INTAKE_GROUP_EVENTS_MAX};
use model::{Admit, Event, Level, Position, Receipt, Refusal, RefusalKind, Signal, SourceId, Tenant};

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

/// Reads the item with a number: the event, and how many bytes it took.
pub(crate) type Reading<'a> = dyn Fn(usize) -> Result<(Event, usize), String> + Sync + 'a;

/// The items of a request on their way, and what became of those before them.
pub(crate) struct Admission<'a> {
    admit: &'a Arc<dyn Admit>,
    tenant: &'a Tenant,
    source: SourceId,
    read: &'a Reading<'a>,
    /// The next item to be read.
    next: usize,
    /// What was read and did not fit into the group before.
    held: Option<(usize, Event, usize)>,
    /// By the number of the item.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// The receipt of the last event that became durable.
    pub(crate) last: Option<Receipt>,
    /// Nothing more is tried: the ledger refuses, and order is kept.
    refused: Option<Outcome>,
}

/// One group, read item by item as it is asked for.
struct Group<'a, 'b> {
    admission: &'b mut Admission<'a>,
    items: Vec<usize>,
    bytes: usize,
}

impl Iterator for Group<'_, '_> {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        if self.items.len() >= INTAKE_GROUP_EVENTS_MAX {
            return None;
        }
        let (item, event, bytes) = self.admission.read_on()?;
        if !self.items.is_empty() && self.bytes + bytes > INTAKE_GROUP_BYTES_MAX {
            self.admission.held = Some((item, event, bytes));
            return None;
        }
        self.items.push(item);
        self.bytes += bytes;
        Some(self.admission.signal(event))
    }

    /// At least none: items may be no events. About as many as are left, where they are neither many nor large.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.admission.outcomes.len() - self.admission.next + usize::from(self.admission.held.is_some());
        (0, Some(left.min(INTAKE_GROUP_EVENTS_MAX - self.items.len())))
    }
}

impl<'a> Admission<'a> {
    pub(crate) fn new(
        admit: &'a Arc<dyn Admit>,
        (tenant, source): (&'a Tenant, SourceId),
        items: usize,
        read: &'a Reading<'a>,
    ) -> Self {
        Self {
            admit,
            tenant,
            source,
            read,
            next: 0,
            held: None,
            outcomes: vec![None; items],
            last: None,
            refused: None,
        }
    }

    /// Admits all items. After it, each has an outcome.
    pub(crate) async fn run(&mut self) {
        let admit = Arc::clone(self.admit);
        while self.refused.is_none() {
            self.held = self.read_on();
            if self.held.is_none() {
                return;
            }
            let mut group = Group { admission: self, items: Vec::new(), bytes: 0 };
            let admitted = admit.admit_each(&mut group, Level::Durable).await;
            // What the door did not ask for is part of the group all the same.
            group.by_ref().for_each(drop);
            let items = group.items;
            match admitted.map_err(refusal) {
                Err(Outcome::Never(_)) if items.len() > 1 => self.one_by_one(items).await,
                admitted => self.settle(&items, admitted),
            }
        }
        while let (Some((item, ..)), Some(refused)) = (self.read_on(), self.refused.clone()) {
            self.set(item, refused);
        }
    }

    /// Admits the items of a group each alone: one of them cannot be recorded, and the others must not suffer for it.
    async fn one_by_one(&mut self, items: Vec<usize>) {
        for item in items {
            let admitted = match (&self.refused, (self.read)(item)) {
                (Some(refused), _) => Err(refused.clone()),
                (None, Ok((event, _))) => {
                    let signals = vec![self.signal(event)];
                    self.admit.admit(signals, Level::Durable).await.map_err(refusal)
                }
                (None, Err(why)) => Err(Outcome::Never(why)),
            };
            self.settle(&[item], admitted);
        }
    }

    /// Reads the next item that is an event; those that are none learn so.
    fn read_on(&mut self) -> Option<(usize, Event, usize)> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        while self.next < self.outcomes.len() {
            let item = self.next;
            self.next += 1;
            match (self.read)(item) {
                Ok((event, bytes)) => return Some((item, event, bytes)),
                Err(why) => self.set(item, Outcome::Never(why)),
            }
        }
        None
    }

    fn signal(&self, event: Event) -> Signal {
        Signal { tenant: self.tenant.clone(), source: self.source, body: event.into() }
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

fn refusal(refusal: Refusal) -> Outcome {
    match refusal.kind {
        RefusalKind::Reject => Outcome::Never(refusal.reason),
        RefusalKind::Retry | RefusalKind::Stop => Outcome::Later(refusal.reason),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use model::{BoxFuture, Origin};

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
        let read = |item: usize| match streams.get(item) {
            Some(&"") | None => Err("no event".to_owned()),
            Some(stream) => Ok((event(stream), 10)),
        };
        let mut admission = Admission::new(&admit, (&tenant, SourceId::default()), streams.len(), &read);
        admission.run().await;
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
        let read = |_| Ok((event("a"), INTAKE_GROUP_BYTES_MAX / 2));
        let mut admission = Admission::new(&admit, (&tenant, SourceId::default()), 3, &read);
        admission.run().await;
        assert_eq!(*door.calls.lock().expect("not poisoned"), 2);
        assert_eq!(admission.last.map(|receipt| receipt.position), Some(2));
    }
}
