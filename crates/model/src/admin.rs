//! Acts of people and of Dihya itself: administration, access, configuration, gaps, self-tests.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::private::Private;

/// Somebody changed something: a token, a silence, a configuration, a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminAct {
    /// Who: the token's name, or `local` for a command on the machine.
    pub actor: String,
    /// What was done: `token.add`, `silence.set`, `config.reload`, `backup.made` ...
    pub act: String,
    /// To what: a name declared by the operator or an id of ours.
    #[serde(default)]
    pub target: String,
    /// More, in words.
    #[serde(default)]
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

/// Somebody read something that the policy says must be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Who: the token's name.
    pub actor: String,
    /// What was read: the route's template, never its values.
    pub what: String,
    /// How many rows were given; 0 where they were given as they came.
    pub rows: u64,
    /// When.
    pub at: Timestamp,
    /// The shape of what was asked: no word that could be somebody's; only of questions about events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What was asked as it was typed, where the shape does not say it all: for privacy, which seals it.
    #[serde(skip)]
    pub question: Option<Box<Question>>,
}

/// A question with words that may be somebody's.
#[derive(Clone, Debug)]
pub struct Question {
    /// As it was typed.
    pub text: Private<String>,
    /// The identifiers in it: field and value; without a field where a word stands alone.
    pub identifiers: Vec<(String, Private<String>)>,
}

impl PartialEq for Question {
    /// Deliberately by value: a record is compared whole.
    fn eq(&self, other: &Self) -> bool {
        let values = |question: &Self| -> Vec<(String, String)> {
            question.identifiers.iter().map(|(field, value)| (field.clone(), value.expose().clone())).collect()
        };
        self.text.expose() == other.text.expose() && values(self) == values(other)
    }
}

impl Eq for Question {}

/// A configuration was put in force, or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigLoad {
    /// Whether it is in force.
    pub accepted: bool,
    /// SHA-256 of the file's bytes, hexadecimal; empty for the defaults.
    pub sha256: String,
    /// How many checks it declares.
    pub checks: u64,
    /// How many problems it had.
    pub problems: u64,
    /// When.
    pub at: Timestamp,
}

/// Something that should have been recorded was not, and this says so (invariant of verification I4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Why: `queue_full`, `disk_full`, `ledger_unavailable`, `clock_jump`, `alerts_full`.
    pub cause: String,
    /// What kind of signal was lost.
    pub what: String,
    /// How many.
    pub count: u64,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// A channel or a checker was tested on its schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// What was tested: `channel` or `canary`.
    pub what: String,
    /// Which one.
    pub target: String,
    /// Whether it passed.
    pub passed: bool,
    /// Why not; empty when it passed.
    #[serde(default)]
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_travels_with_its_record_and_is_never_written() {
        let question = |value: &str| {
            let identifiers = vec![("user.id".to_owned(), Private::new(value.to_owned()))];
            Some(Box::new(Question { text: Private::new(format!("user.id:{value}")), identifiers }))
        };
        let access = |value| Access {
            actor: "ana".into(),
            what: "/x".into(),
            rows: 1,
            at: Timestamp::UNIX_EPOCH,
            query: None,
            question: question(value),
        };
        let text =
            format!("{:?} {}", access("jdupont42"), serde_json::to_string(&access("jdupont42")).expect("writes"));
        assert!(!text.contains("jdupont42") && text.contains("Private("), "{text}");
        assert!(access("a") == access("a") && access("a") != access("b"));
    }
}
