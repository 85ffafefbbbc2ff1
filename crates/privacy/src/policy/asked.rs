//! What is asked about a person: an identifier becomes the names under which events have that person, as it did when they
//! came, so that nobody need store it to find it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::Value;

use super::{Clearing, Known, Policy, RULES_VERSION, Receipt, Rule, Stream};
use crate::config::FieldAction;
use crate::keys::Keys;
use crate::keystore::{Keystore, Owner, Want};
use crate::pseudonym::{pseudonym, pseudonym_text};

/// The stream as which questions are kept.
const QUESTIONS: &str = "dihya-questions";

/// What an identifier in a question stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// Whether a policy puts pseudonyms into the field: then the identifier itself is not to be stored anywhere.
    pub is_identifier: bool,
    /// The pseudonyms under which events have it, in order: none where no person of that identifier is known.
    pub names: Vec<String>,
}

impl Policy {
    /// Returns what `value` stands for where a question asks for it in `field` (`user.id`, `attributes.user.id`,
    /// `resource.x`), whatever stream is meant. Values whose pseudonym takes the key of another field's person cannot be
    /// told from the value alone, and are identifiers without a name. Nothing is minted.
    #[must_use]
    pub fn named(&self, field: &str, value: &str, keystore: Option<&Keystore>) -> Named {
        self.named_with(field, value, keystore).0
    }

    /// The same, with the keys of all whom the value names.
    pub(crate) fn named_with(&self, field: &str, value: &str, keystore: Option<&Keystore>) -> (Named, Vec<Owner>) {
        let paths = match field.split_once('.') {
            Some(("attributes" | "resource" | "body", _)) => vec![field.to_owned()],
            _ => ["attributes", "resource", "body"].map(|part| format!("{part}.{field}")).to_vec(),
        };
        let mut named = Named::default();
        let (mut names, mut owners) = (BTreeSet::new(), BTreeMap::new());
        for (stream, path) in self.streams.iter().flat_map(|stream| paths.iter().map(move |path| (stream, path))) {
            // What people type must not fill the memory of what was decided.
            let Some(Rule { pattern, action, .. }) = stream.find(path).and_then(|at| stream.fields.get(at)) else {
                continue;
            };
            let (FieldAction::Subject(keyed) | FieldAction::Pseudonym(keyed)) = action else {
                named.is_identifier |= matches!(action, FieldAction::Seal(_));
                continue;
            };
            named.is_identifier = true;
            let Some(keystore) = keystore else { continue };
            for kind in self.identities(stream, path, value, pattern, keyed) {
                for owner in keystore.find_all(keystore.tag(&kind, value)) {
                    names.insert(pseudonym_text(&pseudonym(&owner, &kind, value)));
                    owners.insert(owner.kid(), owner);
                }
            }
        }
        named.names = names.into_iter().collect();
        (named, owners.into_values().collect())
    }

    /// Returns the keys of all whom a text names that is held against no field: what a field that a policy keys may hold, and
    /// what detectors find in it. Nothing is minted.
    pub(crate) fn anybody(&self, text: &str, keystore: &Keystore) -> Vec<Owner> {
        let mut tags = BTreeSet::new();
        for (stream, rule) in
            self.streams.iter().flat_map(|stream| stream.fields.iter().map(move |rule| (stream, rule)))
        {
            let (FieldAction::Subject(keyed) | FieldAction::Pseudonym(keyed)) = &rule.action else { continue };
            let path = format!("attributes.{}", rule.pattern);
            tags.extend(
                self.identities(stream, &path, text, &rule.pattern, keyed).into_iter().map(|kind| (kind, text)),
            );
        }
        for finding in self.redactor.findings(text) {
            tags.extend(text.get(finding.range).map(|text| (finding.kind.as_str().to_owned(), text)));
        }
        let owners = tags.into_iter().flat_map(|(kind, text)| keystore.find_all(keystore.tag(&kind, text)));
        owners.map(|owner| (owner.kid(), owner)).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// Returns what the key is needed for under which questions of this hour are kept that name nobody who is known: as for
    /// what came by a stream that has no name of its own, so that a policy may say for how long.
    pub(crate) fn asking(&self, keystore: &Keystore) -> Want {
        let class = self.stream(QUESTIONS).map_or_else(Default::default, |stream| stream.class);
        Want { class, tags: vec![keystore.bucket(QUESTIONS, keystore.hour())] }
    }

    /// Returns what kinds of identifier the value may have been taken for: its field may have come by its whole name or within
    /// another.
    fn identities(
        &self,
        stream: &Stream,
        path: &str,
        value: &str,
        pattern: &str,
        keyed: &crate::config::Keyed,
    ) -> BTreeSet<String> {
        let mut receipt = Receipt { counts: Default::default(), rules: RULES_VERSION, policy: Arc::clone(&self.hash) };
        let mut known = Known::default();
        let clearing = Clearing {
            redactor: &self.redactor,
            name: "",
            stream: Some(stream),
            receipt: &mut receipt,
            keys: Keys::new(None, stream.class, 0),
            path: String::new(),
            scratch: String::new(),
            known: &mut known,
        };
        let inner = path.split_once('.').map_or(path, |(_, inner)| inner);
        let last = path.rsplit('.').next().unwrap_or(path);
        let value = Value::from(value);
        [inner, last].iter().map(|key| clearing.identity(key, &value, pattern, keyed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use disk::SimDisk;
    use model::{SeededRng, StepClock, Tenant, Timestamp};
    use serde_json::json;

    use super::super::{Event, Policy};
    use super::*;
    use crate::config::Config;
    use crate::keystore::Means;

    fn keystore() -> Keystore {
        let means = Means {
            disk: Arc::new(SimDisk::new(1)),
            rng: Arc::new(SeededRng::new(1)),
            clock: Arc::new(StepClock::new(Timestamp::UNIX_EPOCH)),
        };
        Keystore::in_memory(means, Tenant::default())
    }

    fn policy(config: serde_json::Value) -> Policy {
        let config: Config = serde_json::from_value(config).expect("reads");
        let redactor = Arc::new(config.redactor([""; 0]).expect("is possible"));
        Policy::new(&config, redactor).expect("is possible")
    }

    /// Lets an event come, and returns its body as it is stored.
    fn came(policy: &Policy, keystore: &Keystore, stream: &str, body: serde_json::Value) -> serde_json::Value {
        let event = Event { body: body.into(), ..Event::default() };
        let (cleared, ..) = policy.clear_keyed(stream, event, keystore).expect("clears");
        cleared.body().clone().into()
    }

    #[test]
    fn an_identifier_becomes_the_names_that_events_have() {
        let policy = policy(json!({"streams": {
            "shop": {"fields": {"user.id": "subject", "user.mail": "subject as email", "device": "pseudonym self"}},
            "desk": {"fields": {"user.id": "subject as username", "note": "seal", "colour": "token"}},
        }}));
        let keystore = keystore();
        let alone = came(&policy, &keystore, "shop", json!({"user": {"id": "jdupont42"}, "device": "d-9"}));
        // Later it turns out that name and address are one person's: both keys stay, and either finds all.
        let both = json!({"user": {"mail": "j@example.org", "id": "jdupont42"}});
        let both = came(&policy, &keystore, "shop", both);
        let desk = came(&policy, &keystore, "desk", json!({"user.id": "jdupont42"}));
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        let ids = [&alone["user"]["id"], &both["user"]["id"], &desk["user.id"]].map(text);
        let named = policy.named("user.id", "jdupont42", Some(&keystore));
        assert!(named.is_identifier);
        assert!(ids.iter().all(|id| id.starts_with('P') && named.names.contains(id)), "{ids:?} in {:?}", named.names);
        let mail = policy.named("attributes.user.mail", "J@example.org", Some(&keystore));
        assert!(mail.names.contains(&text(&both["user"]["mail"])), "in its one spelling: {:?}", mail.names);
        assert_eq!(policy.named("device", "d-9", Some(&keystore)).names, [text(&alone["device"])]);

        let before = keystore.stats().keys;
        let nobody = policy.named("user.id", "nobody7", Some(&keystore));
        assert_eq!(
            (nobody.is_identifier, nobody.names.len(), keystore.stats().keys),
            (true, 0, before),
            "none is made"
        );
        assert!(policy.named("user.id", "jdupont42", None).is_identifier);
        assert!(policy.named("note", "x", Some(&keystore)).is_identifier);
        for field in ["colour", "service"] {
            assert_eq!(policy.named(field, "x", Some(&keystore)), Named::default());
        }
        // A word alone names whom a field would name, or what it looks like.
        let found = |text: &str| policy.anybody(text, &keystore).iter().map(Owner::kid).collect::<Vec<_>>();
        let mailed = policy.anybody("mail of j@example.org", &keystore);
        let (_, owners) = policy.named_with("user.id", "jdupont42", Some(&keystore));
        assert_eq!(found("jdupont42"), owners.iter().map(Owner::kid).collect::<Vec<_>>());
        assert_eq!((owners.len(), mailed.len(), found("nobody7").len()), (2, 1, 0));
        // Once the keys are gone, the identifier is nobody's.
        let keys = ["username", "name:user.id"]
            .into_iter()
            .flat_map(|kind| keystore.find_all(keystore.tag(kind, "jdupont42")));
        let keys: Vec<_> = keys.map(|owner| owner.kid()).collect();
        keystore.destroy(&keys).expect("destroys");
        assert!(policy.named("user.id", "jdupont42", Some(&keystore)).names.is_empty());
    }
}
