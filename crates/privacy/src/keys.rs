//! The keys of one event: whose it is, who owns its values, and which keys are missing for that.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use model::{Value, limits};

use crate::boxes::{FIELD_MIN, Sealed};
use crate::config::{Action, Keyed};
use crate::detect::Type;
use crate::keystore::{Class, Keystore, Owner, Tag, Want};
use crate::pseudonym::{pseudonym, pseudonym_text};
use crate::redact::Redactor;

/// One of the persons of an event.
struct Person {
    tags: Vec<Tag>,
    /// The keys that were looked for, by class.
    owners: BTreeMap<Class, Option<Owner>>,
}

/// What an event needs of a keystore. Without one there are no owners, and tokens take the place of everything.
pub(crate) struct Keys<'a> {
    keystore: Option<&'a Keystore>,
    /// The class of what no field says otherwise of.
    class: Class,
    hour: u64,
    /// By role and path, the identifiers that were found there.
    named: BTreeMap<(String, String), BTreeSet<Tag>>,
    people: RefCell<BTreeMap<String, Person>>,
    missing: RefCell<Vec<Want>>,
    boxes: Vec<Sealed>,
    sealed: usize,
}

impl<'a> Keys<'a> {
    pub(crate) const fn new(keystore: Option<&'a Keystore>, class: Class, hour: u64) -> Self {
        Self {
            keystore,
            class,
            hour,
            named: BTreeMap::new(),
            people: RefCell::new(BTreeMap::new()),
            missing: RefCell::new(Vec::new()),
            boxes: Vec::new(),
            sealed: 0,
        }
    }

    /// Says that an identifier at a path names the person of a role.
    pub(crate) fn name(&mut self, role: &str, path: &str, kind: &str, text: &str) {
        if let Some(keystore) = self.keystore {
            let tag = keystore.tag(kind, text);
            self.named.entry((role.to_owned(), path.to_owned())).or_default().insert(tag);
        }
    }

    /// Takes all identifiers of a role for one person's, but where one path holds several: those are several persons.
    pub(crate) fn resolve_people(&mut self) {
        let people = self.people.get_mut();
        for ((role, _), tags) in std::mem::take(&mut self.named) {
            let [tag] = tags.into_iter().collect::<Vec<_>>()[..] else { continue };
            let person = people.entry(role).or_insert(Person { tags: Vec::new(), owners: BTreeMap::new() });
            if !person.tags.contains(&tag) {
                person.tags.push(tag);
            }
        }
    }

    fn find(&self, class: Class, tags: Vec<Tag>) -> Option<Owner> {
        let want = Want { class, tags };
        let found = self.keystore?.find(&want);
        if found.is_none() {
            self.missing.borrow_mut().push(want);
        }
        found
    }

    /// Returns the key that a value has for itself.
    fn itself(&self, class: Class, kind: &str, text: &str) -> Option<Owner> {
        self.find(class, vec![self.keystore?.tag(kind, text)])
    }

    /// Returns the key that a person of the event has in a class; `None` where the event has no such person.
    fn person(&self, role: &str, class: Class) -> Option<Option<Owner>> {
        let tags = {
            let people = self.people.borrow();
            let person = people.get(role)?;
            if let Some(owner) = person.owners.get(&class) {
                return Some(owner.clone());
            }
            person.tags.clone()
        };
        let owner = self.find(class, tags);
        if let Some(person) = self.people.borrow_mut().get_mut(role) {
            person.owners.insert(class, owner.clone());
        }
        Some(owner)
    }

    /// Returns the key of the person that the policy names; of the value itself where the event has no such person.
    pub(crate) fn owner(&self, keyed: &Keyed, class: Class, kind: &str, text: &str) -> Option<Owner> {
        match keyed.role.as_ref().and_then(|role| self.person(role, class)) {
            Some(owner) => owner,
            None => self.itself(class, kind, text),
        }
    }

    /// Returns the keys of the persons that the policy names, of whom a value cannot be told apart: of those that the event
    /// has, or of the value itself where it has none.
    pub(crate) fn owners(&self, keyed: &Keyed, class: Class, kind: &str, text: &str) -> Option<Vec<Owner>> {
        let found: Vec<Option<Owner>> = keyed.roles().filter_map(|role| self.person(role, class)).collect();
        if found.is_empty() {
            return self.itself(class, kind, text).map(|owner| vec![owner]);
        }
        found.into_iter().collect()
    }

    /// Returns the key of the texts that came by a stream within this hour.
    pub(crate) fn bucket(&self, stream: &str, class: Class) -> Option<Owner> {
        self.find(class, vec![self.keystore?.bucket(stream, self.hour)])
    }

    /// Returns the key of who an identifier names: the person of the role, or another one beside.
    pub(crate) fn owner_of_subject(&self, keyed: &Keyed, class: Class, kind: &str, text: &str) -> Option<Owner> {
        let tag = self.keystore?.tag(kind, text);
        let is_named =
            |role: &&String| self.people.borrow().get(*role).is_some_and(|person| person.tags.contains(&tag));
        match keyed.role.as_ref().filter(is_named).and_then(|role| self.person(role, class)) {
            Some(owner) => owner,
            None => self.find(class, vec![tag]),
        }
    }

    /// Returns the key of a value in a text: the event's only person's, or its own.
    pub(crate) fn owner_in_text(&self, kind: &str, text: &str) -> Option<Owner> {
        self.person("", self.class).unwrap_or_else(|| self.itself(self.class, kind, text))
    }

    /// Returns what takes the place of a value in a text.
    pub(crate) fn replacement(&self, redactor: &Redactor, kind: Type, understood: &str) -> Cow<'static, str> {
        if redactor.action(kind) != Action::Pseudonym {
            return redactor.replacement(kind, understood);
        }
        match self.owner_in_text(kind.as_str(), understood) {
            Some(owner) => {
                let name = pseudonym_text(&pseudonym(&owner, kind.as_str(), understood));
                format!("[{}:{name}]", kind.as_str()).into()
            }
            None => kind.token().into(),
        }
    }

    /// Puts a value into its owners' box; `false` where that is one too many.
    pub(crate) fn seal(&mut self, owners: Vec<Owner>, path: &str, value: Value) -> bool {
        let started = Sealed::new(owners);
        let found = self.boxes.iter().position(|sealed| sealed.has_owners_of(&started));
        if self.sealed >= limits::SEALED_VALUES_MAX || (found.is_none() && self.boxes.len() >= limits::BOXES_MAX) {
            return false;
        }
        let at = found.unwrap_or_else(|| {
            self.boxes.push(started);
            self.boxes.len() - 1
        });
        if let (Some(sealed), Ok(number)) = (self.boxes.get_mut(at), u16::try_from(self.sealed)) {
            sealed.push(FIELD_MIN + number, path, value);
            self.sealed += 1;
        }
        true
    }

    pub(crate) fn take_missing(&self) -> Vec<Want> {
        self.missing.take()
    }

    /// Returns what was sealed, and whose keys are missing.
    pub(crate) fn into_parts(self) -> (Vec<Sealed>, Vec<Want>) {
        (self.boxes, self.missing.into_inner())
    }
}
