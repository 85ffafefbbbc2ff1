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
    owner: Option<Owner>,
}

/// What an event needs of a keystore. Without one there are no owners, and tokens take the place of everything.
pub(crate) struct Keys<'a> {
    keystore: Option<&'a Keystore>,
    /// By role and path, the identifiers that were found there.
    named: BTreeMap<(String, String), BTreeSet<Tag>>,
    people: BTreeMap<String, Person>,
    missing: RefCell<Vec<Want>>,
    boxes: Vec<Sealed>,
    sealed: usize,
}

impl<'a> Keys<'a> {
    pub(crate) const fn new(keystore: Option<&'a Keystore>) -> Self {
        Self {
            keystore,
            named: BTreeMap::new(),
            people: BTreeMap::new(),
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
        for ((role, _), tags) in std::mem::take(&mut self.named) {
            let [tag] = tags.into_iter().collect::<Vec<_>>()[..] else { continue };
            let person = self.people.entry(role).or_insert(Person { tags: Vec::new(), owner: None });
            if !person.tags.contains(&tag) {
                person.tags.push(tag);
            }
        }
        let mut people = std::mem::take(&mut self.people);
        for person in people.values_mut() {
            person.owner = self.find(person.tags.clone());
        }
        self.people = people;
    }

    fn find(&self, tags: Vec<Tag>) -> Option<Owner> {
        let want = Want { class: Class::default(), tags };
        let found = self.keystore?.find(&want);
        if found.is_none() {
            self.missing.borrow_mut().push(want);
        }
        found
    }

    /// Returns the key that a value has for itself.
    fn itself(&self, kind: &str, text: &str) -> Option<Owner> {
        self.find(vec![self.keystore?.tag(kind, text)])
    }

    /// Returns the key of the person that the policy names; of the value itself where the event has no such person.
    pub(crate) fn owner(&self, keyed: &Keyed, kind: &str, text: &str) -> Option<Owner> {
        match keyed.role.as_ref().and_then(|role| self.people.get(role)) {
            Some(person) => person.owner.clone(),
            None => self.itself(kind, text),
        }
    }

    /// Returns the key of who an identifier names: the person of the role, or another one beside.
    pub(crate) fn owner_of_subject(&self, keyed: &Keyed, kind: &str, text: &str) -> Option<Owner> {
        let tag = self.keystore?.tag(kind, text);
        let person = keyed.role.as_ref().and_then(|role| self.people.get(role));
        match person.filter(|person| person.tags.contains(&tag)) {
            Some(person) => person.owner.clone(),
            None => self.find(vec![tag]),
        }
    }

    /// Returns the key of a value in a text: the event's only person's, or its own.
    pub(crate) fn owner_in_text(&self, kind: &str, text: &str) -> Option<Owner> {
        self.owner(&Keyed { role: Some(String::new()), kind: None }, kind, text)
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

    /// Puts a value into its owner's box; `false` where that is one too many.
    pub(crate) fn seal(&mut self, owner: &Owner, path: &str, value: Value) -> bool {
        let found = self.boxes.iter().position(|sealed| sealed.is_owned_by(owner));
        if self.sealed >= limits::SEALED_VALUES_MAX || (found.is_none() && self.boxes.len() >= limits::BOXES_MAX) {
            return false;
        }
        let at = found.unwrap_or_else(|| {
            self.boxes.push(Sealed::new(vec![owner.clone()]));
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
