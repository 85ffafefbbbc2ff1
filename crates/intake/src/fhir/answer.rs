//! What FHIR's senders are told: `OperationOutcome`s, `Bundle`s of them, and what this server can do.

use serde_json::{Value, json};

use super::{Issue, Mode, Split};
use crate::admission::Outcome;

/// FHIR's JSON.
pub const MEDIA_TYPE: &str = "application/fhir+json";
/// Seconds after which a sender may come back.
const RETRY_AFTER: u32 = 2;

/// What a sender is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body: a resource.
    pub body: Value,
    /// The path of what was created, below the base of the API.
    pub location: Option<String>,
    /// Seconds after which the same request may succeed.
    pub retry_after: Option<u32>,
}

/// Makes the `OperationOutcome` of a request that is answered with an HTTP status.
#[must_use]
pub fn outcome(status: u16, text: &str) -> Value {
    let code = match status {
        401 => "login",
        403 => "forbidden",
        404 | 405 | 415 => "not-supported",
        408 | 503 => "transient",
        413 => "too-long",
        429 => "throttled",
        500.. => "exception",
        _ => "structure",
    };
    one("error", code, text, "")
}

fn one(severity: &str, code: &str, text: &str, at: &str) -> Value {
    json!({"resourceType": "OperationOutcome", "issue": [issue(severity, code, text, at)]})
}

fn issue(severity: &str, code: &str, text: &str, at: &str) -> Value {
    let mut issue = json!({"severity": severity, "code": code, "diagnostics": text});
    if !at.is_empty() {
        issue["expression"] = json!([at]);
    }
    issue
}

impl Issue {
    /// Returns the answer to a request that has this issue as a whole.
    pub(crate) fn answer(&self) -> Answer {
        let status = if self.code == "too-long" { 413 } else { 400 };
        Answer { status, body: one("error", self.code, &self.text, self.at), location: None, retry_after: None }
    }
}

/// Says what became of one resource: status, where it is, and an `OperationOutcome`.
fn told(split: &Split<'_>, number: usize, outcome: Option<&Outcome>) -> (u16, Option<String>, Value) {
    match outcome {
        Some(Outcome::Durable(position)) => {
            let text = format!("recorded at position {position} of the ledger");
            let location = format!("AuditEvent/{position}/_history/1");
            (201, Some(location), one("information", "informational", &text, ""))
        }
        Some(Outcome::Later(why)) => (429, None, one("error", "throttled", why, "")),
        Some(Outcome::Never(why)) => match split.event(number, super::STREAM_DEFAULT, 0) {
            Err(issue) => (issue.answer().status, None, one("error", issue.code, &issue.text, issue.at)),
            Ok(_) => (422, None, one("error", "processing", why, "")),
        },
        None => (422, None, one("error", "processing", "it was not read", "")),
    }
}

/// Says what became of a request's resources.
pub(crate) fn answer(split: &Split<'_>, outcomes: &[Option<Outcome>]) -> Answer {
    let later = outcomes.iter().flatten().any(|outcome| matches!(outcome, Outcome::Later(_)));
    let retry_after = later.then_some(RETRY_AFTER);
    if split.mode == Mode::Create {
        let (status, location, body) = told(split, 0, outcomes.first().and_then(Option::as_ref));
        return Answer { status, body, location, retry_after };
    }
    let entry = |(number, outcome): (usize, &Option<Outcome>)| {
        let (status, location, outcome) = told(split, number, outcome.as_ref());
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut response = json!({"status": format!("{status} {}", reason.unwrap_or_default()), "outcome": outcome});
        if let Some(location) = location {
            response["location"] = location.into();
        }
        json!({ "response": response })
    };
    let entries: Vec<Value> = outcomes.iter().enumerate().map(entry).collect();
    let none_is_durable = !outcomes.iter().flatten().any(|outcome| matches!(outcome, Outcome::Durable(_)));
    let kind = if split.mode == Mode::Transaction { "transaction-response" } else { "batch-response" };
    let body = json!({"resourceType": "Bundle", "type": kind, "entry": entries});
    // Who only looks at the status must not take what is to be sent again for done.
    let status = if later && (none_is_durable || split.mode == Mode::Transaction) { 429 } else { 200 };
    let body = if status == 429 { outcome(status, "nothing can be recorded now") } else { body };
    Answer { status, body, location: None, retry_after }
}

/// Says that a transaction is refused, and all that is wrong with it.
pub(crate) fn refused(issues: &[(usize, Issue)]) -> Answer {
    let issues: Vec<Value> = issues
        .iter()
        .map(|(number, of)| {
            let at = format!("Bundle.entry[{number}].{}", if of.at.is_empty() { "resource" } else { of.at });
            issue("error", of.code, &of.text, &at.replace(".AuditEvent.", ".resource."))
        })
        .collect();
    let body = json!({"resourceType": "OperationOutcome", "issue": issues});
    Answer { status: 400, body, location: None, retry_after: None }
}

/// Says what this server can do.
#[must_use]
pub fn capability_statement() -> Value {
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-28",
        "kind": "instance",
        "software": {"name": "Dihya"},
        "implementation": {"description": "Takes audit events, cleared of personal data, into a ledger"},
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "rest": [{
            "mode": "server",
            "resource": [{"type": "AuditEvent", "interaction": [{"code": "create"}], "versioning": "no-version"}],
            "interaction": [{"code": "batch"}, {"code": "transaction"}],
        }],
    })
}
