//! `privacy:` in `dihya.yaml`: which types of values are left in clear, and why; which names and addresses are no secret.

use std::collections::BTreeMap;

use model::Private;
use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;

use crate::clear::Error;
use crate::detect::Type;
use crate::generalise::To;
use crate::keystore::Class;
use crate::redact::Redactor;

const TYPE: Spec = Spec {
    name: "privacy.types.*",
    doc: "What happens to values of one type, found in free text.",
    fields: &[
        FieldSpec::optional(
            "action",
            Ty::Enum(&["token", "mask", "drop", "generalise", "keep", "pseudonym", "seal"]),
            "token",
            "`token` puts the type's name in the value's place, `mask` three asterisks, `drop` nothing; `generalise` makes IP addresses, dates of birth and coordinates coarser and is `token` for others; `keep` leaves the value in clear and needs a reason; in events, `pseudonym` puts a name in its place that only the person's key makes, and `seal` puts the type's name in its place and the value in a box of the person; elsewhere both are `token`.",
        ),
        FieldSpec::optional("reason", Ty::Text, "", "Why the values are kept: for the auditor."),
    ],
};

const STREAM: Spec = Spec {
    name: "privacy.streams.*",
    doc: "What happens to the fields of the events of one stream, or of all whose name fits (`shop-*`); the longest fitting name counts.",
    fields: &[
        FieldSpec::optional(
            "fields",
            Ty::Map(&Ty::Text),
            "{}",
            "By path (`user.id`, `client.*`, `attributes.user`): `drop`, `mask`, `token`, `generalise` (with `/24`, `month`, `year` or `age`), `keep because ...`; `subject` says whose the event is and puts a pseudonym in the value's place, `pseudonym` a pseudonym, `seal` the value into a box of the subject, or of nobody but itself (`pseudonym self`, `seal self`). A word behind tells several persons of one event apart (`subject actor`, `seal actor`), `as TYPE` says what identifies (`subject as username`), and `in CLASS` under the key of which retention class. `seal actor+patient` takes the keys of both to open. `original because ...` clears a text as free text is, and keeps what it was in a box of the stream's hour. The longest fitting path counts.",
        ),
        FieldSpec::optional(
            "class",
            Ty::Text,
            "",
            "The retention class (`privacy.classes`) of the keys under which the persons of these events have pseudonyms and boxes; a field may say another one (`seal patient in medical`).",
        ),
        FieldSpec::optional(
            "unknown",
            Ty::Enum(&["judge", "drop"]),
            "judge",
            "Fields that `fields` does not name: `judge` them by name and content, or `drop` them, whatever they are.",
        ),
    ],
};

const KEYSTORE: Spec = Spec {
    name: "privacy.keystore",
    doc: "How the keys of persons are kept, in `keystore/<tenant>/`.",
    fields: &[
        FieldSpec::optional(
            "passphrase",
            Ty::Secret,
            "",
            "Derives the key that wraps the others (argon2id, 64 MiB). Without it, a random one lies beside them in `kek_random`, for the owner alone.",
        ),
        FieldSpec::optional(
            "previous",
            Ty::Secret,
            "",
            "The passphrase before, while it is changed: keystores that it still opens (without it: that have a random key) are put under `passphrase` at a start and when the configuration is read again. Take it out afterwards.",
        ),
    ],
};

const CLASS: Spec = Spec {
    name: "privacy.classes.*",
    doc: "A retention class: each person has a key of its own in it, which dies with all that is under it, whatever becomes of the others.",
    fields: &[
        FieldSpec::required(
            "number",
            Ty::Int { min: 1, max: 255 },
            "What stands for it in the keystore: never give the number of one class to another.",
        ),
        FieldSpec::optional(
            "keep",
            Ty::Text,
            "",
            "How long a key lives after the last event under it, in days or years (`90d`, `2y`); up to 7 days more. Without it, until it is erased.",
        ),
    ],
};

/// What may stand under `privacy:`.
pub static SPEC: Spec = Spec {
    name: "privacy",
    doc: "What happens to personal values before anything is stored, matched, shown or sent.",
    fields: &[
        FieldSpec::optional(
            "types",
            Ty::Map(&Ty::Object(&TYPE)),
            "{}",
            "By type (such as secret, iban, nir, card, email, phone, person, address, dob, ip; `ip` is both versions), what happens to it in free text.",
        ),
        FieldSpec::optional(
            "keep",
            Ty::List(&Ty::Text),
            "[]",
            "Names, addresses and networks (`10.0.0.0/8`) that are no personal data. Declared targets need not be listed.",
        ),
        FieldSpec::optional(
            "streams",
            Ty::Map(&Ty::Object(&STREAM)),
            "{}",
            "By stream, what happens to the fields of its events.",
        ),
        FieldSpec::optional(
            "classes",
            Ty::Map(&Ty::Object(&CLASS)),
            "{}",
            "By name, retention classes of the keys of persons.",
        ),
        FieldSpec::optional("keystore", Ty::Object(&KEYSTORE), "{}", "How the keys of persons are kept."),
    ],
};

/// `privacy:` as read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What happens to values, by type.
    pub types: BTreeMap<String, TypePolicy>,
    /// Names, addresses and networks that are no personal data.
    pub keep: Vec<String>,
    /// What happens to fields, by stream.
    pub streams: BTreeMap<String, StreamPolicy>,
    /// Retention classes of the keys of persons, by name.
    pub classes: BTreeMap<String, ClassConfig>,
    /// How the keys of persons are kept.
    pub keystore: KeystoreConfig,
}

/// A retention class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassConfig {
    /// What stands for it in the keystore.
    pub number: u8,
    /// How long a key lives after its last use; empty without end.
    pub keep: String,
}

impl ClassConfig {
    /// Returns the days for which a key lives after its last use; `None` without end.
    ///
    /// # Errors
    /// What is wrong.
    fn days(&self) -> Result<Option<u32>, &'static str> {
        if self.keep.is_empty() {
            return Ok(None);
        }
        let time =
            model::config::parse_duration(&self.keep).map_err(|_| "expected days or years, such as 90d or 2y")?;
        let seconds = time.as_secs();
        match u32::try_from(seconds / 86_400) {
            Ok(days) if days > 0 && seconds % 86_400 == 0 && days <= 200 * 366 => Ok(Some(days)),
            _ => Err("expected whole days, from 1d to 200y"),
        }
    }
}

/// How the keys of persons are kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeystoreConfig {
    /// Derives the key that wraps the others; without it, a random one lies beside them.
    #[serde(deserialize_with = "model::config::de::filled_secret_opt")]
    pub passphrase: Option<Private<String>>,
    /// The one before, while it is changed.
    #[serde(deserialize_with = "model::config::de::filled_secret_opt")]
    pub previous: Option<Private<String>>,
}

impl KeystoreConfig {
    /// Tells whether another configuration names the same passphrases.
    #[must_use]
    pub fn is_as(&self, other: &Self) -> bool {
        let same = |a: &Option<Private<String>>, b: &Option<Private<String>>| {
            a.as_ref().map(Private::expose) == b.as_ref().map(Private::expose)
        };
        same(&self.passphrase, &other.passphrase) && same(&self.previous, &other.previous)
    }
}

/// What happens to values of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypePolicy {
    /// What is done.
    pub action: Action,
    /// Why the values are kept.
    pub reason: String,
}

/// What happens to the fields of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamPolicy {
    /// By path, what is done, as [`FieldAction::read`] reads it.
    pub fields: BTreeMap<String, String>,
    /// What happens to the others.
    pub unknown: Unknown,
    /// The retention class of keys; empty for the one that has no name.
    pub class: String,
}

/// What happens to fields that a stream's policy does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// They are judged by their name and content.
    #[default]
    Judge,
    /// They are dropped: fail-closed.
    Drop,
}

/// What happens to a value in free text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The type's name takes its place.
    #[default]
    Token,
    /// Asterisks take its place.
    Mask,
    /// Nothing takes its place.
    Drop,
    /// A coarser value takes its place.
    Generalise,
    /// It stays.
    Keep,
    /// A keyed name of the person takes its place.
    Pseudonym,
    /// It can be read again by an authorised, logged act.
    Seal,
}

impl Action {
    /// Returns its word in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Mask => "mask",
            Self::Drop => "drop",
            Self::Generalise => "generalise",
            Self::Keep => "keep",
            Self::Pseudonym => "pseudonym",
            Self::Seal => "seal",
        }
    }
}

/// Whose key an action takes, and what kind of identifier a value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyed {
    /// Which of the persons of an event: the empty name is that of the only one; `None` is the value itself.
    pub role: Option<String>,
    /// The type of identifier, where the policy says it.
    pub kind: Option<String>,
    /// The retention class, where the policy says another one than the stream's.
    pub class: Option<String>,
}

impl Keyed {
    /// Yields the persons whose keys it takes: several where the value cannot be told apart by person.
    pub(crate) fn roles(&self) -> impl Iterator<Item = &str> {
        self.role.iter().flat_map(|roles| roles.split('+'))
    }
}

/// What happens to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldAction {
    /// The field goes.
    Drop,
    /// Asterisks take its place.
    Mask,
    /// A coarser value takes its place.
    Generalise(To),
    /// A token takes its place.
    Token,
    /// It stays.
    Keep,
    /// It says whose the event is, and a pseudonym takes its place.
    Subject(Keyed),
    /// A pseudonym takes its place.
    Pseudonym(Keyed),
    /// A token takes its place, and it goes into a box.
    Seal(Keyed),
    /// It is judged as free text is, and what it was goes into the box of its stream and hour.
    Original,
}

impl FieldAction {
    /// Tells whether it needs keys.
    #[must_use]
    pub const fn is_keyed(&self) -> bool {
        matches!(self, Self::Subject(_) | Self::Pseudonym(_) | Self::Seal(_) | Self::Original)
    }

    /// Returns whose key it takes, where it says so.
    pub(crate) const fn keyed(&self) -> Option<&Keyed> {
        match self {
            Self::Subject(keyed) | Self::Pseudonym(keyed) | Self::Seal(keyed) => Some(keyed),
            Self::Drop | Self::Mask | Self::Generalise(_) | Self::Token | Self::Keep | Self::Original => None,
        }
    }

    /// Reads `drop`, `mask`, `token`, `generalise`, `generalise /24`, `generalise month`, `keep because REASON`,
    /// `original because REASON`, and `subject`, `pseudonym`, `seal` with a role, `as TYPE` and `in CLASS` behind.
    ///
    /// # Errors
    /// What is wrong, and what to write instead where that can be said.
    pub fn read(text: &str) -> Result<Self, (String, Option<String>)> {
        let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let rest = rest.trim();
        let bare = |action| {
            if rest.is_empty() {
                Ok(action)
            } else {
                Err((format!("nothing may follow {word}"), Some(format!("write {word}"))))
            }
        };
        match word {
            "drop" => bare(Self::Drop),
            "mask" => bare(Self::Mask),
            "token" => bare(Self::Token),
            "generalise" | "generalize" => match rest {
                "" => Ok(Self::Generalise(To::Fitting)),
                "month" => Ok(Self::Generalise(To::Month)),
                "year" => Ok(Self::Generalise(To::Year)),
                "age" => Ok(Self::Generalise(To::AgeBand)),
                prefix => match prefix.strip_prefix('/').and_then(|bits| bits.parse().ok()).filter(|bits| *bits <= 128)
                {
                    Some(bits) => Ok(Self::Generalise(To::Prefix(bits))),
                    None => Err(("cannot generalise to that, expected /24, month, year or age".to_owned(), None)),
                },
            },
            "keep" => match rest.strip_prefix("because ").map(str::trim) {
                Some(reason) if !reason.is_empty() => Ok(Self::Keep),
                _ => Err((
                    "a field is kept in clear without a reason".to_owned(),
                    Some("write keep because, and why it may be stored and sent".to_owned()),
                )),
            },
            "original" => match rest.strip_prefix("because") {
                Some(reason) if !reason.trim().is_empty() => Ok(Self::Original),
                _ => Err((
                    "a text is kept as it came without a reason".to_owned(),
                    Some("write original because, and why it must be possible to read it again".to_owned()),
                )),
            },
            "subject" | "pseudonym" if rest.split(' ').next().is_some_and(|role| role.contains('+')) => {
                Err(("only seal may name several persons".to_owned(), None))
            }
            "subject" => match Keyed::read(rest)? {
                Keyed { role: None, .. } => {
                    Err(("an event cannot be its own subject".to_owned(), Some("write pseudonym self".to_owned())))
                }
                keyed => Ok(Self::Subject(keyed)),
            },
            "pseudonym" => Keyed::read(rest).map(Self::Pseudonym),
            "seal" => Keyed::read(rest).map(Self::Seal),
            _ => Err((
                "unknown action, expected drop, mask, generalise, token, keep because ..., subject, pseudonym, seal or original because ..."
                    .to_owned(),
                None,
            )),
        }
    }
}

impl Keyed {
    /// Most persons of whom one value is.
    const ROLES_MAX: usize = 4;

    /// Reads what stands behind the action: `self`, a role or several joined by `+`, then `as TYPE`, then `in CLASS`.
    fn read(text: &str) -> Result<Self, (String, Option<String>)> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (role, rest) = match &words[..] {
            [role, rest @ ..] if !matches!(*role, "as" | "in") => (*role, rest),
            rest => ("", rest),
        };
        let (kind, class) = match rest {
            [] => (None, None),
            ["as", kind] => (Some(*kind), None),
            ["in", class] => (None, Some(*class)),
            ["as", kind, "in", class] => (Some(*kind), Some(*class)),
            _ => (Some("?"), None),
        };
        let is_word = |word: &str| {
            word.len() <= 32
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        let roles: Vec<&str> = role.split('+').collect();
        let several = roles.len() > 1;
        let are_roles = roles.iter().all(|role| is_word(role) && !(several && matches!(*role, "" | "self")));
        if !are_roles || roles.len() > Self::ROLES_MAX || !kind.is_none_or(is_word) || !class.is_none_or(is_word) {
            return Err((
                "cannot read who that is, expected self or one word, then as and a type, then in and a class"
                    .to_owned(),
                Some("write for example subject actor as username, or seal actor+patient in medical".to_owned()),
            ));
        }
        let role = (role != "self").then(|| role.to_owned());
        Ok(Self { role, kind: kind.map(str::to_owned), class: class.map(str::to_owned) })
    }
}

impl Config {
    /// Returns all that is wrong: dotted path under `privacy`, message, suggestion.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String, Option<String>)> {
        let mut problems = Vec::new();
        for (name, policy) in &self.types {
            let path = format!("types.{name}");
            if Type::named(name).is_empty() {
                let mut known = Type::ALL.map(Type::as_str).to_vec();
                known.dedup();
                let known = known.join(", ");
                problems.push((path.clone(), format!("unknown type, expected one of {known}"), None));
            }
            match policy.action {
                Action::Keep if policy.reason.trim().is_empty() => problems.push((
                    path,
                    "values are kept in clear without a reason".to_owned(),
                    Some("add reason: why they may be stored and sent".to_owned()),
                )),
                Action::Keep
                | Action::Token
                | Action::Mask
                | Action::Drop
                | Action::Generalise
                | Action::Pseudonym
                | Action::Seal => {}
            }
        }
        for (stream, policy) in &self.streams {
            let path = format!("streams.{stream}.class");
            problems.extend(self.check_class(path, &policy.class));
            for (field, action) in &policy.fields {
                let path = format!("streams.{stream}.fields.{field}");
                match FieldAction::read(action) {
                    Err((message, suggestion)) => problems.push((path, message, suggestion)),
                    Ok(action) => {
                        let class = action.keyed().and_then(|keyed| keyed.class.as_deref()).unwrap_or_default();
                        problems.extend(self.check_class(path, class));
                    }
                }
            }
        }
        problems.extend(self.check_classes());
        problems
    }

    /// Returns what is wrong with a class that is asked for.
    fn check_class(&self, path: String, class: &str) -> Option<(String, String, Option<String>)> {
        if class.is_empty() || self.classes.contains_key(class) {
            return None;
        }
        let known: Vec<&str> = self.classes.keys().map(String::as_str).collect();
        let message = match &known[..] {
            [] => "unknown class: privacy.classes names none".to_owned(),
            known => format!("unknown class, expected one of {}", known.join(", ")),
        };
        Some((path, message, None))
    }

    fn check_classes(&self) -> Vec<(String, String, Option<String>)> {
        let (mut problems, mut numbers) = (Vec::new(), BTreeMap::new());
        for (name, class) in &self.classes {
            let path = |field: &str| format!("classes.{name}.{field}");
            if class.number == 0 {
                let message = "expected a number from 1 to 255: 0 is that of the class without a name";
                problems.push((path("number"), message.to_owned(), None));
            } else if let Some(other) = numbers.insert(class.number, name) {
                let message = format!("is the number of {other} too: they would share the keys of persons");
                problems.push((path("number"), message, None));
            }
            if let Err(why) = class.days() {
                problems.push((path("keep"), why.to_owned(), Some("write for example 90d".to_owned())));
            }
        }
        problems
    }

    /// Returns the class of a name; the one without a name where there is none.
    pub(crate) fn class(&self, name: &str) -> Class {
        self.classes.get(name).map_or_else(Class::default, |class| Class(class.number))
    }

    /// Returns how long the keys of a class live after their last use, in days, where they have an end: for
    /// [`crate::Keystore::set_lives`].
    #[must_use]
    pub fn lives(&self) -> BTreeMap<Class, u32> {
        let days = |class: &ClassConfig| Some((Class(class.number), class.days().ok()??));
        self.classes.values().filter_map(days).collect()
    }

    /// Makes the redactor that the policy asks for; `declared` are the names of checks, targets, hosts, receivers and
    /// channels of the rest of the configuration.
    ///
    /// # Errors
    /// When a policy cannot be carried out: [`Error::Policy`].
    pub fn redactor<I, S>(&self, declared: I) -> Result<Redactor, Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        if let Some((path, message, _)) = self.check().into_iter().next() {
            return Err(Error::Policy { path, message });
        }
        let mut redactor = Redactor::new().with_declared(declared).with_declared(&self.keep);
        for (name, policy) in &self.types {
            for kind in Type::named(name) {
                redactor = redactor.with_action(kind, policy.action);
            }
        }
        Ok(redactor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> Config {
        serde_json::from_value(json).expect("reads")
    }

    #[test]
    fn kept_types_need_a_reason() {
        let bad = config(serde_json::json!({
            "types": {"email": {"action": "seal"}, "nir": {"action": "pseudonym"}, "ip": {"action": "keep"}, "shoe": {}}
        }));
        let problems = bad.check();
        let paths: Vec<_> = problems.iter().map(|(path, _, _)| path.as_str()).collect();
        assert_eq!(paths, ["types.ip", "types.shoe"]);
        let error = bad.redactor([""; 0]).expect_err("is refused");
        assert!(error.to_string().contains("without a reason"), "{error}");
    }

    #[test]
    fn all_problems_of_streams_are_told_with_their_place() {
        let bad = config(serde_json::json!({"streams": {"a-*": {"unknown": "drop", "fields": {
            "ok": "generalise /48", "user.id": "subject self", "r": "seal my self", "s": "pseudonym as ", "k": "keep", "g": "generalise week", "w": "hide", "d": "drop it", "t": " token ",
        }}}}));
        let problems = bad.check();
        let told: Vec<_> = problems.iter().map(|(path, message, _)| format!("{path}: {message}")).collect();
        assert_eq!(
            told,
            [
                "streams.a-*.fields.d: nothing may follow drop",
                "streams.a-*.fields.g: cannot generalise to that, expected /24, month, year or age",
                "streams.a-*.fields.k: a field is kept in clear without a reason",
                "streams.a-*.fields.r: cannot read who that is, expected self or one word, then as and a type, then in and a class",
                "streams.a-*.fields.s: cannot read who that is, expected self or one word, then as and a type, then in and a class",
                "streams.a-*.fields.user.id: an event cannot be its own subject",
                "streams.a-*.fields.w: unknown action, expected drop, mask, generalise, token, keep because ..., subject, pseudonym, seal or original because ...",
            ]
        );
    }

    #[test]
    fn classes_are_named_numbered_and_known() {
        let bad = config(serde_json::json!({
            "classes": {
                "a": {"number": 1, "keep": "12h"}, "b": {"number": 1, "keep": "soon"}, "c": {}, "d": {"number": 2, "keep": "1d12h"},
            },
            "streams": {"s": {"class": "x", "fields": {
                "i": "seal in y", "j": "subject a+b", "k": "seal a+", "l": "seal a+self", "m": "seal a+b+c+d+e",
                "n": "original", "o": "seal as nir in a",
            }}},
        }));
        let told: Vec<_> = bad.check().into_iter().map(|(path, message, _)| format!("{path}: {message}")).collect();
        let who = "cannot read who that is, expected self or one word, then as and a type, then in and a class";
        assert_eq!(
            told,
            [
                "streams.s.class: unknown class, expected one of a, b, c, d",
                "streams.s.fields.i: unknown class, expected one of a, b, c, d",
                "streams.s.fields.j: only seal may name several persons",
                &format!("streams.s.fields.k: {who}"),
                &format!("streams.s.fields.l: {who}"),
                &format!("streams.s.fields.m: {who}"),
                "streams.s.fields.n: a text is kept as it came without a reason",
                "classes.a.keep: expected whole days, from 1d to 200y",
                "classes.b.number: is the number of a too: they would share the keys of persons",
                "classes.b.keep: expected days or years, such as 90d or 2y",
                "classes.c.number: expected a number from 1 to 255: 0 is that of the class without a name",
                "classes.d.keep: expected whole days, from 1d to 200y",
            ]
        );
        let none = config(serde_json::json!({"streams": {"s": {"class": "x"}}}));
        assert_eq!(none.check()[0].1, "unknown class: privacy.classes names none");
        let good = config(serde_json::json!({"classes": {"a": {"number": 1, "keep": "2y"}, "b": {"number": 9}}}));
        assert_eq!((good.check(), good.lives()), (Vec::new(), [(Class(1), 730)].into()));
        assert_eq!(["a", "b", ""].map(|name| good.class(name)), [Class(1), Class(9), Class(0)]);
    }

    #[test]
    fn keyed_actions_say_whose_and_what() {
        let of = |role: Option<&str>, kind: Option<&str>, class: Option<&str>| Keyed {
            role: role.map(str::to_owned),
            kind: kind.map(str::to_owned),
            class: class.map(str::to_owned),
        };
        let keyed = |role, kind| of(role, kind, None);
        for (text, action) in [
            ("subject", FieldAction::Subject(keyed(Some(""), None))),
            ("subject actor", FieldAction::Subject(keyed(Some("actor"), None))),
            ("subject as username", FieldAction::Subject(keyed(Some(""), Some("username")))),
            ("subject alias as email", FieldAction::Subject(keyed(Some("alias"), Some("email")))),
            ("pseudonym self", FieldAction::Pseudonym(keyed(None, None))),
            ("seal actor", FieldAction::Seal(keyed(Some("actor"), None))),
            ("seal self as nir", FieldAction::Seal(keyed(None, Some("nir")))),
            ("seal in medical", FieldAction::Seal(of(Some(""), None, Some("medical")))),
            ("pseudonym b as email in x", FieldAction::Pseudonym(of(Some("b"), Some("email"), Some("x")))),
            ("seal actor+patient", FieldAction::Seal(keyed(Some("actor+patient"), None))),
            ("original because doctors read it again", FieldAction::Original),
        ] {
            assert_eq!(FieldAction::read(text), Ok(action.clone()), "{text}");
            assert!(action.is_keyed());
        }
        assert!(!FieldAction::Drop.is_keyed());
    }

    #[test]
    fn types_have_actions_in_free_text() {
        let config = config(serde_json::json!({"types": {
            "ip": {"action": "generalise"}, "dob": {"action": "generalise"}, "email": {"action": "mask"}, "phone": {"action": "drop"},
            "nir": {"action": "generalise"},
        }}));
        let redactor = config.redactor([""; 0]).expect("is possible");
        let text = "203.0.113.9 né le 12/03/1980, ana@example.org 0612345678, 255081416802538";
        let cleared = "203.0.113.0/24 né le 1980-03, *** , [nir]";
        assert_eq!(redactor.redact(text), cleared);
        assert_eq!(redactor.redact(cleared), cleared);
        assert_eq!(redactor.explain(text).cleared, cleared);
    }

    #[test]
    fn a_policy_becomes_a_redactor() {
        let good = config(serde_json::json!({
            "types": {"ip": {"action": "keep", "reason": "internal network only"}, "email": {}},
            "keep": ["ops@example.org"],
        }));
        let redactor = good.redactor(["web"]).expect("is possible");
        assert_eq!(redactor.redact("10.0.0.1 ops@example.org a@b.fr"), "10.0.0.1 ops@example.org [email]");
        assert!(redactor.is_declared("web"));
        assert_eq!(SPEC.fields.len(), 5);
        let keyed = config(serde_json::json!({"keystore": {"passphrase": "correct horse"}}));
        assert_eq!(keyed.keystore.passphrase.as_ref().map(|text| text.expose().as_str()), Some("correct horse"));
        assert!(!format!("{keyed:?}").contains("horse"));
        let changing = config(serde_json::json!({"keystore": {"passphrase": "mule", "previous": "correct horse"}}));
        assert!(keyed.keystore.is_as(&keyed.keystore.clone()) && !keyed.keystore.is_as(&changing.keystore));
    }
}
