//! Audit events of hospital software, sent by a client of FHIR that other people wrote: persons under pseudonyms, though
//! nobody wrote a policy.

use std::process::Command;

use serde_json::Value;

use crate::intake::{agent_token, assert_nothing_planted_lies_in, events, is_there, python};
use crate::program::{Place, Server, text, verify};

const CLIENT: &str = r#"
import base64, sys
from fhirclient import client
from fhirclient.models.auditevent import AuditEvent
from fhirclient.models.bundle import Bundle
url, token = sys.argv[1], sys.argv[2]
server = client.FHIRClient(settings={"app_id": "his", "api_base": f"{url}/api/dihya/v1/fhir"}).server
server.session.headers["Authorization"] = f"Bearer {token}"
server.get_capability()
def read_of(n):
    return {"resourceType": "AuditEvent", "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
            "code": "rest"}, "action": "R", "recorded": "2026-11-28T09:30:00+01:00", "outcome": "0",
            "outcomeDesc": f"read {n}, call 0612345678 or planted.person{n}@example.org",
            "agent": [{"who": {"reference": "Practitioner/planted.person", "display": "Dr Planted.Person planted.person"},
                       "altId": "planted.person", "requestor": True, "network": {"address": "203.0.113.77", "type": "2"}}],
            "source": {"observer": {"reference": "Device/his", "display": "his"}},
            "entity": [{"what": {"reference": f"Patient/customer-4711-{n % 2}", "display": "planted.person"}},
                       {"what": {"reference": "Observation/customer-4711"},
                        "query": base64.b64encode(b"Patient?name=planted.person").decode()}]}
created = AuditEvent(read_of(0)).create(server)
assert created["issue"][0]["severity"] == "information", created
resources = [{"resource": read_of(n), "request": {"method": "POST", "url": "AuditEvent"}} for n in range(1, 300)]
batch = Bundle({"resourceType": "Bundle", "type": "batch", "entry": resources}).as_json()
del batch["entry"][7]["resource"]["agent"]
answer = server.post_json("", batch)
statuses = [entry.response.status for entry in Bundle(answer.json()).entry]
assert answer.status_code == 200 and statuses[7].startswith("400"), statuses[7]
assert all(status.startswith("201") for at, status in enumerate(statuses) if at != 7), statuses
try:
    server.post_json("AuditEvent", {"resourceType": "AuditEvent"})
    raise SystemExit("taken")
except Exception as refused:
    assert refused.response.status_code == 400 and refused.response.json()["resourceType"] == "OperationOutcome"
"#;

#[test]
fn a_fhir_client_sends_and_patients_stand_under_pseudonyms_without_a_policy() {
    let client = python();
    let version = ["-c", "import importlib.metadata as m; print(m.version('fhirclient'))"];
    if !is_there("fhirclient", Command::new(&client).args(version)) {
        return;
    }
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let token = agent_token(&server, "his");
    let sent = Command::new(&client).args(["-c", CLIENT, &server.url(), &token]).output().expect("runs");
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let data = server.data.clone();
    server.kill();
    let kept = events(&place);
    assert_eq!(kept.len(), 299, "what was acknowledged was durable");
    let fhir = |at: usize| &kept[at]["attributes"]["fhir"];
    let first = &kept[0];
    assert_eq!(
        (&first["stream"], &first["sector"], &first["severity"]),
        (&"fhir-audit".into(), &"health".into(), &9.into())
    );
    assert_eq!(first["body"], "read 0, call [phone] or [email]", "{first:#}");
    assert_eq!(first["resource"]["service.name"], "his");
    let is_pseudonym = |value: &Value| value.as_str().is_some_and(|name| name.len() == 27 && name.starts_with('P'));
    for at in 0..4 {
        let of = fhir(at);
        for path in ["/patient/0", "/agent/0/who/reference", "/agent/0/altId", "/entity/1/what/reference"] {
            assert!(of.pointer(path).is_some_and(is_pseudonym), "{path}: {of:#}");
        }
        assert_eq!((&of["action"], &of["type"]["code"]), (&"R".into(), &"rest".into()));
    }
    assert_eq!(fhir(0)["patient"], fhir(2)["patient"], "the same person");
    assert_ne!(fhir(0)["patient"], fhir(1)["patient"], "two persons");
    assert_eq!(fhir(0)["agent"][0]["who"], fhir(1)["agent"][0]["who"]);
    assert_nothing_planted_lies_in(&data);
    assert_eq!(verify(&data)["sound"], true);
}
