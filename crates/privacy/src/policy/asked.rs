//! What is asked about a person: an identifier becomes the names under which events have that person, as it did when they
//! came, so that nobody need store it to find it.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Value;

use super::{Clearing, Policy, RULES_VERSION, Receipt, Stream};
use crate::config::FieldAction;
use crate::keys::Keys;
use crate::keystore::{Class, Keystore, Owner, Want};
use crate::pseudonym::{pseudonym, pseudonym_text};

/// What an identifier in a question stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// Whether a policy puts pseudonyms into the field: then the identifier itself is not to be stored anywhere.
    pub is_identifier: bool,
    /// The pseudonyms under which events have it, in order: none where no person of that identifier is known.
    pub names: Vec<String>,
    /// Whose it is: all keys of the person.
    pub owners: Vec<Owner>,
}

impl Policy {
    /// Returns what `value` stands for where a question asks for it in `field` (`user.id`, `attributes.user.id`,
    /// `resource.x`), whatever stream is meant. Values whose pseudonym takes the key of another field's person cannot be
    /// told from the value alone, and are identifiers without a name. Nothing is minted.
    #[must_use]
    pub fn named(&self, field: &str, value: &str, keystore: Option<&Keystore>) -> Named {
        let paths = match field.split_once('.') {
            Some(("attributes" | "resource" | "body", _)) => vec![field.to_owned()],
            _ => ["attributes", "resource", "body"].map(|part| format!("{part}.{field}")).to_vec(),
        };
        let mut named = Named::default();
        let mut names = BTreeSet::new();
        for (stream, path) in self.streams.iter().flat_map(|stream| paths.iter().map(move |path| (stream, path))) {
            // What people type must not fill the memory of what was decided.
            let Some((pattern, action)) = stream.find(path).and_then(|at| stream.fields.get(at)) else { continue };
            let (FieldAction::Subject(keyed) | FieldAction::Pseudonym(keyed)) = action else {
                named.is_identifier |= matches!(action, FieldAction::Seal(_));
                continue;
            };
            named.is_identifier = true;
            let Some(keystore) = keystore else { continue };
            for kind in self.identities(stream, path, value, pattern, keyed) {
                for owner in owners(keystore, &kind, value) {
                    names.insert(pseudonym_text(&pseudonym(&owner, &kind, value)));
                    if !named.owners.contains(&owner) {
                        named.owners.push(owner);
                    }
                }
            }
        }
        named.names = names.into_iter().collect();
        named
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
        let clearing = Clearing {
            redactor: &self.redactor,
            stream: Some(stream),
            receipt: &mut receipt,
            keys: Keys::new(None),
            path: String::new(),
            scratch: String::new(),
        };
        let inner = path.split_once('.').map_or(path, |(_, inner)| inner);
        let last = path.rsplit('.').next().unwrap_or(path);
        let value = Value::from(value);
        [inner, last].iter().map(|key| clearing.identity(key, &value, pattern, keyed)).collect()
    }
}

/// Returns all keys of who an identifier names: an event may have been written under any of them.
fn owners(keystore: &Keystore, kind: &str, value: &str) -> Vec<Owner> {
    let want = Want { class: Class::default(), tags: vec![keystore.tag(kind, value)] };
    let Some(owner) = keystore.find(&want) else { return Vec::new() };
    keystore.linked(owner.kid()).into_iter().filter_map(|kid| keystore.key(kid)).collect()
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
        assert!(named.is_identifier && !named.owners.is_empty());
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
        // Once the keys are gone, the identifier is nobody's.
        keystore.destroy(&named.owners.iter().map(Owner::kid).collect::<Vec<_>>()).expect("destroys");
        assert!(policy.named("user.id", "jdupont42", Some(&keystore)).names.is_empty());
    }
}
