//! `privacy:` in `dihya.yaml`: which types of values are left in clear, and why; which names and addresses are no secret.

use std::collections::BTreeMap;

use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;

use crate::clear::Error;
use crate::detect::Type;
use crate::generalise::To;
use crate::redact::Redactor;

const TYPE: Spec = Spec {
    name: "privacy.types.*",
    doc: "What happens to values of one type, found in free text.",
    fields: &[
        FieldSpec::optional(
            "action",
            Ty::Enum(&["token", "mask", "drop", "generalise", "keep", "pseudonym", "seal"]),
            "token",
            "`token` puts the type's name in the value's place, `mask` three asterisks, `drop` nothing; `generalise` makes IP addresses, dates of birth and coordinates coarser and is `token` for others; `keep` leaves the value in clear and needs a reason; `pseudonym` and `seal` are refused until the keystore exists.",
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
            "By path (`user.id`, `client.*`, `attributes.user`): `drop`, `mask`, `token`, `generalise` (with `/24`, `month`, `year` or `age`), `keep because ...`. `subject`, `pseudonym` and `seal` are refused until the keystore exists. The longest fitting path counts.",
        ),
        FieldSpec::optional(
            "unknown",
            Ty::Enum(&["judge", "drop"]),
            "judge",
            "Fields that `fields` does not name: `judge` them by name and content, or `drop` them, whatever they are.",
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
    ],
};

/// `privacy:` as read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What happens to values, by type.
    pub types: BTreeMap<String, TypePolicy>,
    /// Names, addresses and networks that are no personal data.
    pub keep: Vec<String>,
    /// What happens to fields, by stream.
    pub streams: BTreeMap<String, StreamPolicy>,
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

/// What happens to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl FieldAction {
    /// Reads `drop`, `mask`, `token`, `generalise`, `generalise /24`, `generalise month`, `keep because REASON`.
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
            "subject" | "pseudonym" | "seal" => Err((
                format!("{word} needs the keystore, which this version does not have"),
                Some("write token, or drop".to_owned()),
            )),
            _ => Err((
                "unknown action, expected drop, mask, generalise, token, keep because ..., subject, pseudonym or seal"
                    .to_owned(),
                None,
            )),
        }
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
                Action::Seal | Action::Pseudonym => problems.push((
                    format!("{path}.action"),
                    "needs the keystore, which this version does not have".to_owned(),
                    Some("write token".to_owned()),
                )),
                Action::Keep if policy.reason.trim().is_empty() => problems.push((
                    path,
                    "values are kept in clear without a reason".to_owned(),
                    Some("add reason: why they may be stored and sent".to_owned()),
                )),
                Action::Keep | Action::Token | Action::Mask | Action::Drop | Action::Generalise => {}
            }
        }
        for (stream, policy) in &self.streams {
            for (field, action) in &policy.fields {
                if let Err((message, suggestion)) = FieldAction::read(action) {
                    problems.push((format!("streams.{stream}.fields.{field}"), message, suggestion));
                }
            }
        }
        problems
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
    fn kept_types_need_a_reason_and_nothing_is_sealed_yet() {
        let bad = config(serde_json::json!({
            "types": {"email": {"action": "seal"}, "ip": {"action": "keep"}, "shoe": {}}
        }));
        let problems = bad.check();
        let paths: Vec<_> = problems.iter().map(|(path, _, _)| path.as_str()).collect();
        assert_eq!(paths, ["types.email.action", "types.ip", "types.shoe"]);
        let error = bad.redactor([""; 0]).expect_err("is refused");
        assert!(error.to_string().contains("keystore"), "{error}");
    }

    #[test]
    fn all_problems_of_streams_are_told_with_their_place() {
        let bad = config(serde_json::json!({"streams": {"a-*": {"unknown": "drop", "fields": {
            "ok": "generalise /48", "user.id": "subject", "k": "keep", "g": "generalise week", "w": "hide", "d": "drop it", "t": " token ",
        }}}}));
        let problems = bad.check();
        let told: Vec<_> = problems.iter().map(|(path, message, _)| format!("{path}: {message}")).collect();
        assert_eq!(
            told,
            [
                "streams.a-*.fields.d: nothing may follow drop",
                "streams.a-*.fields.g: cannot generalise to that, expected /24, month, year or age",
                "streams.a-*.fields.k: a field is kept in clear without a reason",
                "streams.a-*.fields.user.id: subject needs the keystore, which this version does not have",
                "streams.a-*.fields.w: unknown action, expected drop, mask, generalise, token, keep because ..., subject, pseudonym or seal",
            ]
        );
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
        assert_eq!(SPEC.fields.len(), 3);
    }
}
