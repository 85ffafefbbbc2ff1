//! `privacy:` in `dihya.yaml`: which types of values are left in clear, and why; which names and addresses are no secret.

use std::collections::BTreeMap;

use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;

use crate::clear::Error;
use crate::detect::Type;
use crate::redact::Redactor;

const TYPE: Spec = Spec {
    name: "privacy.types.*",
    doc: "What happens to values of one type, found in free text.",
    fields: &[
        FieldSpec::optional(
            "action",
            Ty::Enum(&["token", "keep", "seal"]),
            "token",
            "`token` puts the type's name in the value's place; `keep` leaves it in clear and needs a reason; `seal` is refused until the keystore exists.",
        ),
        FieldSpec::optional("reason", Ty::Text, "", "Why the values are kept: for the auditor."),
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
            "By type (secret, url-credentials, jwt, iban, nir, card, email, phone, ip), what happens to it.",
        ),
        FieldSpec::optional(
            "keep",
            Ty::List(&Ty::Text),
            "[]",
            "Names, addresses and networks (`10.0.0.0/8`) that are no personal data. Declared targets need not be listed.",
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
}

/// What happens to values of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TypePolicy {
    /// `token`, `keep` or `seal`.
    pub action: Action,
    /// Why the values are kept.
    pub reason: String,
}

/// What happens to a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The type's name takes its place.
    #[default]
    Token,
    /// It stays.
    Keep,
    /// It can be read again by an authorised, logged act.
    Seal,
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
                Action::Seal => problems.push((
                    format!("{path}.action"),
                    "cannot seal values: this version has no keystore".to_owned(),
                    Some("write token".to_owned()),
                )),
                Action::Keep if policy.reason.trim().is_empty() => problems.push((
                    path,
                    "values are kept in clear without a reason".to_owned(),
                    Some("add reason: why they may be stored and sent".to_owned()),
                )),
                Action::Keep | Action::Token => {}
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
                if policy.action == Action::Keep {
                    redactor = redactor.with_kept(kind);
                }
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
    fn a_policy_becomes_a_redactor() {
        let good = config(serde_json::json!({
            "types": {"ip": {"action": "keep", "reason": "internal network only"}, "email": {}},
            "keep": ["ops@example.org"],
        }));
        let redactor = good.redactor(["web"]).expect("is possible");
        assert_eq!(redactor.redact("10.0.0.1 ops@example.org a@b.fr"), "10.0.0.1 ops@example.org [email]");
        assert!(redactor.is_declared("web"));
        assert_eq!(SPEC.fields.len(), 2);
    }
}
