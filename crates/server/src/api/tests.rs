//! The API as a client meets it.

use http::{HeaderValue, Request, header};
use model::{Body, IncidentAction, MatchOp, RefusalKind, Severity, State};
use serde_json::json;

use crate::doubles::{Answered, Fixture, check, incident, now, request};
use crate::seam::{Beat, Check, IncidentState};
use crate::token::Role;

fn problem(answer: &Answered, status: u16, field: Option<&str>) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let json = answer.json();
    assert_eq!(json["status"], status);
    assert_eq!(json["field"].as_str(), field, "{json}");
    assert_eq!(json["request_id"], answer.header("x-request-id"), "{json}");
    assert!(!json["detail"].as_str().unwrap_or_default().is_empty());
}

#[tokio::test]
async fn what_ails_the_instance_is_told_to_administrators() {
    let fixture = Fixture::new().await;
    assert!(fixture.get("/api/dihya/v1/status").await.json().get("unwell").is_none());
    fixture.vitals.0.lock().expect("not poisoned").push("lake: broken".to_owned());
    assert_eq!(fixture.get("/api/dihya/v1/status").await.json()["unwell"], json!(["lake: broken"]));
    let viewer = fixture.token(&[Role::Viewer]).await;
    let answer = fixture.send(request("GET", "/api/dihya/v1/status", &viewer, "")).await;
    assert_eq!((answer.status, answer.json().get("unwell")), (200, None));
    let other = fixture.token_of(model::Tenant::new("other").expect("valid"), &[Role::Admin], &[]).await;
    let answer = fixture.send(request("GET", "/api/dihya/v1/status", &other, "")).await;
    assert_eq!((answer.status, answer.json().get("unwell")), (200, None), "it is the instance's, and may name others");
    assert!(fixture.get("/metrics").await.text.contains("dihya_lake_open{tenant=\"default\"} 0"));
}

#[tokio::test]
async fn checks_are_told_in_the_one_schema() {
    let fixture = Fixture::new().await;
    fixture.board.put(check("web", "Web", State::Up));
    fixture.board.put(Check { group: "Shop".into(), ..check("db", "Database", State::Down) });
    for path in ["/api/dihya/v1/status", "/api/dihya/v1/checks"] {
        let answer = fixture.get(path).await;
        let json = answer.json();
        assert_eq!(json["overall"], "down", "{path}");
        assert_eq!(json["checked_at"], "2026-11-22T18:00:00Z");
        let service = json["services"][0].as_object().expect("an object");
        let keys: Vec<&str> = service.keys().map(String::as_str).collect();
        let schema = ["id", "name", "kind", "state", "reason", "since", "checked_at", "conditions", "timings_ms"];
        assert_eq!(keys, schema);
        assert_eq!(service["timings_ms"], json!({"connect": 1.5, "total": 20.0}));
        let mut again = request("GET", path, &fixture.admin, "");
        again.headers_mut().insert("if-none-match", answer.headers["etag"].clone());
        assert_eq!(fixture.send(again).await.status, 304);
    }
    assert_eq!(Fixture::new().await.get("/api/dihya/v1/status").await.json()["overall"], "unknown");
    assert_eq!(fixture.get("/api/dihya/v1/checks/web").await.json()["state"], "up");
    assert_eq!(fixture.post("/api/dihya/v1/checks/db/run", "").await.json()["id"], "db");
    assert_eq!(acts(&fixture), [("default".into(), "check.run".into(), "db".into(), String::new())]);
    problem(&fixture.get("/api/dihya/v1/checks/nope").await, 404, None);
    problem(&fixture.post("/api/dihya/v1/checks/nope/run", "").await, 404, None);
}

#[tokio::test]
async fn listings_are_filtered_and_paged() {
    let fixture = Fixture::new().await;
    for at in 0..5 {
        let state = if at == 3 { State::Down } else { State::Up };
        let group = if at < 2 { "a" } else { "b" };
        fixture.board.put(Check { group: group.into(), ..check(&format!("c{at}"), "C", state) });
    }
    let ids = |answer: &Answered| -> Vec<String> {
        let json = answer.json();
        let services = json["services"].as_array().expect("a list");
        services.iter().map(|service| service["id"].as_str().expect("text").to_owned()).collect()
    };
    let first = fixture.get("/api/dihya/v1/checks?limit=2").await;
    assert_eq!(ids(&first), ["c0", "c1"]);
    assert_eq!((first.json()["next"].as_str(), first.json()["overall"].as_str()), (Some("c1"), Some("down")));
    let last = fixture.get("/api/dihya/v1/checks?limit=3&cursor=c1").await;
    assert_eq!((ids(&last).len(), last.json()["next"].as_str()), (3, None));
    assert_eq!(ids(&fixture.get("/api/dihya/v1/checks?state=down").await), ["c3"]);
    assert_eq!(ids(&fixture.get("/api/dihya/v1/checks?group=a&kind=http").await), ["c0", "c1"]);
    assert_eq!(ids(&fixture.get("/api/dihya/v1/checks?kind=tcp").await), Vec::<String>::new());
    problem(&fixture.get("/api/dihya/v1/checks?state=broken").await, 400, Some("state"));
    problem(&fixture.get("/api/dihya/v1/checks?limit=0").await, 400, Some("limit"));
    problem(&fixture.get("/api/dihya/v1/checks?satte=up").await, 400, None);
    problem(&fixture.get("/api/dihya/v1/checks?%ff=1&limit=%").await, 400, Some("limit"));
}

#[tokio::test]
async fn incidents_are_taken_annotated_and_closed() {
    let fixture = Fixture::new().await;
    fixture.cases.0.lock().expect("not poisoned").extend([incident("I1"), incident("I2")]);
    let listed = fixture.get("/api/dihya/v1/incidents?state=open&limit=1").await.json();
    assert_eq!((listed["items"][0]["id"].as_str(), listed["next"].as_str()), (Some("I1"), Some("I1")));
    assert!(listed["items"][0].get("timeline").is_none());
    let operator = fixture.token(&[Role::Operator]).await;
    let act = async |path: &str, json: &str| {
        fixture.send(request("POST", &format!("/api/dihya/v1/incidents/{path}"), &operator, json)).await
    };
    assert_eq!(act("I1/ack", "").await.json()["state"], "acknowledged");
    assert_eq!(act("I1/notes", r#"{"note": "looking"}"#).await.json()["timeline"][2]["action"], "noted");
    let public = act("I1/notes", r#"{"note": "we look", "public": true}"#).await.json();
    assert_eq!(
        public["timeline"][3],
        json!({"at": "2026-11-22T18:00:00Z", "action": "published", "by": "token-1", "note": "we look"})
    );
    let refused = act("I1/resolve", r#"{"note": "done"}"#).await;
    problem(&refused, 409, None);
    assert_eq!(refused.json()["detail"], "1 alert still fires");
    fixture.cases.0.lock().expect("not poisoned")[0].alerts_firing = 0;
    assert_eq!(act("I1/resolve", "{}").await.json()["state"], "resolved");
    assert_eq!(fixture.cases.0.lock().expect("not poisoned")[0].state, IncidentState::Resolved);
    for (path, json, status, field) in [
        ("I1/notes", r#"{"note": " "}"#, 400, Some("note")),
        ("I1/notes", r#"{}"#, 400, Some("note")),
        ("I1/notes", r#"{"note": "x", "publik": true}"#, 400, Some("publik")),
        ("I1/notes", &format!(r#"{{"note": "{}"}}"#, "x".repeat(9_000)), 400, Some("note")),
        ("I1/ack", r#"{"note": 5}"#, 400, Some("note")),
        ("I1/ack", "{", 400, None),
        ("..%2f..%2fetc/ack", "", 404, None),
        ("nope/ack", "", 404, None),
    ] {
        problem(&act(path, json).await, status, field);
    }
    assert_eq!(fixture.get("/api/dihya/v1/incidents/I2").await.json()["timeline"][0]["action"], "opened");
    problem(&fixture.get("/api/dihya/v1/incidents/I9").await, 404, None);
    problem(&fixture.get("/api/dihya/v1/incidents?state=lost").await, 400, Some("state"));
}

#[tokio::test]
async fn silences_are_acts_that_the_ledger_has_first() {
    let fixture = Fixture::new().await;
    let path = "/api/dihya/v1/silences";
    let json =
        r#"{"matchers": [{"name": "service", "op": "=", "value": "web"}], "duration": "2h", "comment": "works"}"#;
    fixture.ledger.refuse(Some(RefusalKind::Retry));
    let refused = fixture.post(path, json).await;
    problem(&refused, 429, None);
    assert_eq!(refused.header("retry-after"), "1");
    fixture.ledger.refuse(None);
    assert_eq!(fixture.get(path).await.json()["items"], json!([]), "what was not recorded did not happen");
    let set = fixture.post(path, json).await;
    assert_eq!((set.status, set.json()["ends_at"].as_str()), (201, Some("2026-11-22T20:00:00Z")));
    assert_eq!(set.json()["created_by"], "token-0");
    let expired = fixture.send(request("DELETE", &format!("{path}/silence-0"), &fixture.admin, "")).await;
    assert_eq!(expired.json()["state"], "expired");
    let acts: Vec<String> = fixture
        .ledger
        .take()
        .into_iter()
        .filter_map(|signal| if let Body::Admin(act) = signal.body { Some(act.act) } else { None })
        .collect();
    assert_eq!(acts, ["silence.set", "silence.expire"]);
    assert_eq!(fixture.get(&format!("{path}?state=expired")).await.json()["items"][0]["id"], "silence-0");
    for id in ["nope", "a%2fb"] {
        problem(&fixture.send(request("DELETE", &format!("{path}/{id}"), &fixture.admin, "")).await, 404, None);
    }
}

#[tokio::test]
async fn a_silence_that_would_hide_everything_is_refused() {
    let fixture = Fixture::new().await;
    let matcher = |op: MatchOp, value: &str| json!([crate::doubles::matcher("service", op, value)]);
    let good = matcher(MatchOp::Equal, "web");
    for (matchers, rest, field) in [
        (json!([]), json!({"duration": "2h", "comment": "x"}), "matchers"),
        (matcher(MatchOp::Equal, ""), json!({"duration": "2h", "comment": "x"}), "matchers"),
        (matcher(MatchOp::Matches, ".*"), json!({"duration": "2h", "comment": "x"}), "matchers"),
        (matcher(MatchOp::NotEqual, "x"), json!({"duration": "2h", "comment": "x"}), "matchers"),
        (matcher(MatchOp::NotMatches, "x"), json!({"duration": "2h", "comment": "x"}), "matchers"),
        (matcher(MatchOp::Matches, "("), json!({"duration": "2h", "comment": "x"}), "matchers[0].value"),
        (matcher(MatchOp::Equal, &"x".repeat(3_000)), json!({"duration": "2h", "comment": "x"}), "matchers[0].value"),
        (
            json!([{"name": "a-b", "op": "=", "value": "x"}]),
            json!({"duration": "2h", "comment": "x"}),
            "matchers[0].name",
        ),
        (json!([{"name": "a", "op": "~", "value": "x"}]), json!({"duration": "2h", "comment": "x"}), "matchers[0].op"),
        (good.clone(), json!({"duration": "2h", "comment": " "}), "comment"),
        (good.clone(), json!({"duration": "soon", "comment": "x"}), "duration"),
        (good.clone(), json!({"duration": "30000y", "comment": "x"}), "duration"),
        (good.clone(), json!({"comment": "x"}), "ends_at"),
        (good.clone(), json!({"duration": "2h", "ends_at": "2027-01-01T00:00:00Z", "comment": "x"}), "ends_at"),
        (good.clone(), json!({"ends_at": "2026-01-01T00:00:00Z", "comment": "x"}), "ends_at"),
        (good.clone(), json!({"ends_at": "tomorrow", "comment": "x"}), "ends_at"),
        (good.clone(), json!({"id": "a/b", "duration": "2h", "comment": "x"}), "id"),
    ] {
        let mut body = rest;
        body["matchers"] = matchers;
        problem(&fixture.post("/api/dihya/v1/silences", &body.to_string()).await, 400, Some(field));
    }
    let json = json!({"matchers": matcher(MatchOp::NotEqual, ""), "starts_at": "2026-11-23T00:00:00Z",
        "ends_at": "2026-11-24T00:00:00Z", "comment": "x", "id": "s-1"});
    assert_eq!(fixture.post("/api/dihya/v1/silences", &json.to_string()).await.json()["id"], "s-1");
}

#[tokio::test]
async fn notifications_tell_each_attempt() {
    let fixture = Fixture::new().await;
    let listed = fixture.get("/api/dihya/v1/notifications?receiver=ops&incident=I1&state=delivered").await.json();
    assert_eq!(listed["items"][0]["attempts"][0]["outcome"], "delivered");
    assert_eq!(fixture.get("/api/dihya/v1/notifications?receiver=x").await.json()["items"], json!([]));
    problem(&fixture.get("/api/dihya/v1/notifications?state=lost").await, 400, Some("state"));
}

#[tokio::test]
async fn an_alert_is_answered_with_its_receipt() {
    let fixture = Fixture::new().await;
    let sender = fixture.token(&[Role::Ingest]).await;
    let send = async |json: &str| fixture.send(request("POST", "/api/dihya/v1/alerts", &sender, json)).await;
    let json = r#"{"message": "Disk full\non host 7", "level": "CRITICAL", "channel": "log", "service": "db",
        "sector": "Santé", "labels": {"rack": "4", "empty": "", "check": "db"}}"#;
    let answer = send(json).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json(), json!({"origin": "localhost/default", "position": 0, "leaf_hash": "07".repeat(32)}));
    let signals = fixture.ledger.take();
    // What a token sends is never Dihya's own.
    assert!(signals.iter().all(|signal| signal.source != model::SourceId::default()));
    let Some(Body::Alert(alert)) = signals.first().map(|signal| signal.body.clone()) else { panic!("{signals:?}") };
    let labels: Vec<(&str, &str)> = alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        labels,
        [("alertname", "Disk full"), ("rack", "4"), ("sector", "health"), ("service", "db"), ("severity", "critical")]
    );
    assert_eq!((alert.severity, alert.channel.as_deref()), (Severity::Critical, Some("log")));
    assert_eq!(alert.ends_at, Some(now() + crate::ALERT_FIRES_FOR));
    let many: std::collections::BTreeMap<String, &str> = (0..64).map(|at| (format!("l{at}"), "x")).collect();
    for (json, field) in [
        (json!({"message": "", "level": "info"}), "message"),
        (json!({"message": "x".repeat(20_000), "level": "info"}), "message"),
        (json!({"message": "x", "level": "loud"}), "level"),
        (json!({"message": "x"}), "level"),
        (json!({"message": "x", "level": "info", "sector": "bank"}), "sector"),
        (json!({"message": "x", "level": "info", "channel": ""}), "channel"),
        (json!({"message": "x", "level": "info", "service": "x".repeat(200)}), "service"),
        (json!({"message": "x", "level": "info", "labels": {"a-b": "x"}}), "labels"),
        (json!({"message": "x", "level": "info", "labels": {"a": "x".repeat(3_000)}}), "labels.a"),
        (json!({"message": "x", "level": "info", "labels": {"a": 5}}), "labels.a"),
        (json!({"message": "x", "level": "info", "labels": many}), "labels"),
        (json!({"message": "x", "level": "info", "lables": {}}), "lables"),
    ] {
        problem(&send(&json.to_string()).await, 400, Some(field));
    }
    assert!(fixture.ledger.take().is_empty());
}

/// Any name was taken, and each made a worker, a label of a metric and a name in the ledger for ever.
#[tokio::test]
async fn a_channel_that_is_not_declared_is_refused_with_the_nearest() {
    let fixture = Fixture::new().await;
    for (channel, detail) in [
        ("mial", "expected a channel that is declared, did you mean mail?"),
        ("carrier pigeon", "expected a channel that is declared"),
    ] {
        let json = json!({"message": "x", "level": "info", "channel": channel}).to_string();
        let answer = fixture.post("/api/dihya/v1/alerts", &json).await;
        problem(&answer, 422, Some("channel"));
        assert_eq!(answer.json()["detail"], detail);
    }
    assert!(fixture.ledger.take().is_empty());
}

#[tokio::test]
async fn what_the_ledger_refuses_is_said_with_when_to_come_back() {
    let fixture = Fixture::new().await;
    let json = r#"{"message": "x", "level": "info"}"#;
    for (kind, status, after) in
        [(RefusalKind::Retry, 429, "1"), (RefusalKind::Reject, 422, ""), (RefusalKind::Stop, 503, "30")]
    {
        fixture.ledger.refuse(Some(kind));
        let answer = fixture.post("/api/dihya/v1/alerts", json).await;
        problem(&answer, status, None);
        assert_eq!(answer.header("retry-after"), after);
        // Reads that must be recorded fail closed, whatever kind of refusal it is.
        let read = fixture.get("/api/dihya/v1/incidents").await;
        problem(&read, 503, None);
        assert_eq!(read.header("retry-after"), "5");
    }
}

#[tokio::test]
async fn bodies_are_read_strictly() {
    let fixture = Fixture::new().await;
    let send = async |media_type: Option<&str>, body: Vec<u8>| {
        let mut builder = Request::builder().method("POST").uri("/api/dihya/v1/alerts");
        builder = builder.header("authorization", format!("Bearer {}", fixture.admin));
        if let Some(media_type) = media_type {
            builder = builder.header("content-type", media_type);
        }
        fixture.send(builder.body(body.into()).expect("a request")).await
    };
    let json = br#"{"message": "x", "level": "info"}"#.to_vec();
    problem(&send(None, json.clone()).await, 415, None);
    problem(&send(Some("text/plain"), json.clone()).await, 415, None);
    assert_eq!(send(Some("Application/JSON; charset=utf-8"), json).await.status, 202);
    problem(&send(Some("application/json"), vec![b' '; 5 << 20]).await, 413, None);
    problem(&send(Some("application/json"), b"[[[[".repeat(10_000)).await, 400, None);
    problem(&send(Some("application/json"), vec![0xFF, 0xFE]).await, 400, None);
}

#[tokio::test]
async fn heartbeats_are_opened_by_their_id_alone() {
    let fixture = Fixture::new().await;
    let path = "/api/dihya/v1/heartbeats/backup-4f6c";
    for (method, path, beat) in [
        ("GET", path.to_owned(), Beat::Success),
        ("HEAD", path.to_owned(), Beat::Success),
        ("POST", path.to_owned(), Beat::Success),
        ("POST", format!("{path}/start"), Beat::Start),
        ("GET", format!("{path}/fail"), Beat::Fail),
        ("POST", format!("{path}/137"), Beat::Exit(137)),
        ("GET", format!("{path}/0"), Beat::Exit(0)),
    ] {
        assert_eq!(fixture.send(request(method, &path, "", "")).await.status, 204, "{method} {path}");
        assert_eq!(fixture.hearts.0.lock().expect("not poisoned").pop(), Some(beat));
    }
    for event in ["256", "-1", "begin"] {
        problem(&fixture.open(&format!("{path}/{event}")).await, 400, Some("event"));
    }
    fixture.ledger.refuse(Some(RefusalKind::Retry));
    problem(&fixture.open(path).await, 429, None);
    fixture.ledger.refuse(None);
    // Guessing an id counts as guessing a token.
    let statuses: Vec<u16> = {
        let mut statuses = Vec::new();
        for at in 0..25 {
            statuses.push(fixture.open(&format!("/api/dihya/v1/heartbeats/guess-{at}.x")).await.status);
        }
        statuses
    };
    assert_eq!((statuses[0], statuses[19], statuses[20]), (404, 404, 429));
}

/// A heartbeat without an unguessable name was open to everybody who guessed the name of its check.
#[tokio::test]
async fn a_heartbeat_without_a_secret_needs_a_token() {
    let fixture = Fixture::new().await;
    let path = "/api/dihya/v1/heartbeats/nightly";
    let ask = async |token: &str| fixture.send(request("POST", path, token, "")).await.status;
    assert_eq!(ask("").await, 404);
    assert_eq!(ask(&fixture.token(&[Role::Viewer]).await).await, 404);
    assert_eq!(ask("dhy_stale").await, 404);
    let other = model::Tenant::new("other").expect("valid");
    assert_eq!(ask(&fixture.token_of(other, &[Role::Ingest], &[]).await).await, 404);
    for role in [Role::Ingest, Role::Operator, Role::Admin] {
        assert_eq!(ask(&fixture.token(&[role]).await).await, 204, "{role}");
    }
    let confined = fixture.token_of(model::Tenant::default(), &[Role::Ingest], &[crate::routes::Area::Alerts]).await;
    assert_eq!(ask(&confined).await, 404);
    // A stale token beside a name that is secret does no harm.
    let secret = request("POST", "/api/dihya/v1/heartbeats/backup-4f6c.~x", "dhy_stale", "");
    assert_eq!(fixture.send(secret).await.status, 204);
}

#[tokio::test]
async fn logs_are_read_by_whom_they_are_for() {
    let fixture = Fixture::new().await;
    let tile = fixture.open("/ledger/localhost/open/tile/0/x001/x234/067").await;
    assert_eq!((tile.status, tile.text.as_str()), (200, "tile/0/x001/x234/067"));
    assert_eq!(tile.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(tile.header("access-control-allow-origin"), "*");
    let checkpoint = fixture.open("/ledger/localhost/open/checkpoint").await;
    assert_eq!(checkpoint.header("cache-control"), "no-cache");
    assert_eq!(checkpoint.header("content-type"), "text/plain; charset=utf-8");
    problem(&fixture.open("/ledger/localhost/default/checkpoint").await, 401, None);
    let without = async |path: &str| {
        let mut answer = fixture.open(path).await.json();
        answer["request_id"] = serde_json::Value::Null;
        answer
    };
    let there = without("/ledger/localhost/default/checkpoint").await;
    assert_eq!(there, without("/ledger/localhost/nobody/checkpoint").await, "names of tenants are not for strangers");
    let own = fixture.get("/ledger/localhost/default/tile/0/000.p/7").await;
    assert_eq!(own.header("cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(own.header("access-control-allow-origin"), "");
    for path in [
        "localhost/other/checkpoint",
        "localhost/none/checkpoint",
        "localhost/default/tile/9/000",
        "localhost/default/state.sqlite",
        "localhost/default/../default/checkpoint",
        "localhost/default/%2e%2e/%2e%2e/admin-token",
        "localhost%2fdefault/tile/0/..%2f..%2fvkey",
        "localhost/default//checkpoint",
    ] {
        problem(&fixture.get(&format!("/ledger/{path}")).await, 404, None);
    }
    let sender = fixture.token(&[Role::Ingest]).await;
    let ask = async |path: &str| fixture.send(request("GET", path, &sender, "")).await.status;
    assert_eq!(ask("/ledger/localhost/open/checkpoint").await, 200);
    assert_eq!(ask("/ledger/localhost/default/checkpoint").await, 401);
    // The meta-log is the instance's: for its administrators and auditors.
    assert_eq!(fixture.get("/ledger/localhost/meta/checkpoint").await.status, 200);
    let viewer = fixture.token(&[Role::Viewer]).await;
    problem(&fixture.send(request("GET", "/ledger/localhost/meta/checkpoint", &viewer, "")).await, 404, None);
    let proof = fixture.get("/api/dihya/v1/ledger/proof?position=3").await;
    assert_eq!(proof.text, "c2sp.org/tlog-proof@v1 default 3\n");
    problem(&fixture.get("/api/dihya/v1/ledger/proof").await, 400, Some("position"));
    problem(&fixture.get("/api/dihya/v1/ledger/proof?position=-1").await, 400, Some("position"));
    problem(&fixture.get("/api/dihya/v1/ledger/proof?position=99").await, 404, None);
}

#[tokio::test]
async fn tokens_are_made_shown_once_and_revoked() {
    let fixture = Fixture::new().await;
    let path = "/api/dihya/v1/tokens";
    let json = r#"{"name": "ci", "roles": ["viewer", "privacy-officer"], "scopes": ["checks"], "expires_at": "2026-11-22T19:00:00Z"}"#;
    fixture.ledger.refuse(Some(RefusalKind::Stop));
    problem(&fixture.post(path, json).await, 503, None);
    fixture.ledger.refuse(None);
    let made = fixture.post(path, json).await;
    assert_eq!(made.status, 201);
    let token = made.json()["token"].as_str().expect("text").to_owned();
    let id = made.json()["id"].as_str().expect("text").to_owned();
    let ask = async || fixture.send(request("GET", "/api/dihya/v1/checks", &token, "")).await.status;
    assert_eq!(ask().await, 200);
    let listed = fixture.get(path).await;
    assert!(!listed.text.contains(&token) && listed.text.contains("\"ci\""));
    assert_eq!(listed.json()["items"][0]["roles"], json!(["viewer", "privacy-officer"]));
    assert_eq!(listed.json()["items"][0]["used_at"], "2026-11-22T18:00:00Z");
    let revoke = async |id: &str| fixture.send(request("DELETE", &format!("{path}/{id}"), &fixture.admin, "")).await;
    assert_eq!(revoke(&id).await.status, 204);
    assert_eq!(ask().await, 401);
    problem(&revoke(&id).await, 404, None);
    let acts: Vec<(String, String)> = fixture
        .ledger
        .take()
        .into_iter()
        .filter_map(|signal| if let Body::Admin(act) = signal.body { Some((act.act, act.target)) } else { None })
        .collect();
    let ci = |act: &str| (act.to_owned(), "ci".to_owned());
    assert_eq!(acts, [ci("token.add"), ci("token.revoke")]);
    for (json, field) in [
        (r#"{"name": "", "roles": ["viewer"]}"#, "name"),
        (r#"{"name": "token-0", "roles": ["viewer"]}"#, "name"),
        (r#"{"name": "x", "roles": []}"#, "roles"),
        (r#"{"name": "x", "roles": ["root"]}"#, "roles[0]"),
        (r#"{"name": "x", "roles": ["viewer"], "scopes": ["all"]}"#, "scopes[0]"),
        (r#"{"name": "x", "roles": ["viewer"], "expires_at": "2020-01-01T00:00:00Z"}"#, "expires_at"),
    ] {
        problem(&fixture.post(path, json).await, 400, Some(field));
    }
}

#[tokio::test]
async fn the_instance_says_how_it_is() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.open("/livez").await.text, "ok\n");
    assert_eq!(fixture.open("/readyz").await.status, 200);
    fixture.vitals.0.lock().expect("not poisoned").push("the ledger is read-only".into());
    let sick = fixture.open("/readyz").await;
    assert_eq!((sick.status, sick.text.as_str()), (503, "not ready\n"));
    assert_eq!(fixture.open("/").await.json()["name"], "dihya");
    let browser = |accept: &str| {
        let mut request = request("GET", "/", "", "");
        request.headers_mut().insert("accept", accept.parse().expect("a header"));
        request
    };
    let sent = fixture.send(browser("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")).await;
    assert_eq!((sent.status, sent.header("location")), (307, "/status"));
    assert_eq!(fixture.send(browser("text/html;q=0, */*")).await.status, 200);
    let description = fixture.open("/openapi.json").await;
    assert!(description.json()["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
}

#[tokio::test]
async fn every_recorded_read_is_recorded() {
    use crate::routes::{ROUTES, Recorded};
    let fixture = Fixture::new().await;
    fixture.cases.0.lock().expect("not poisoned").push(incident("I1"));
    // Questions about events are told apart in a test of their own.
    let reads = ROUTES.iter().filter(|route| route.recorded == Recorded::Access && route.method == http::Method::GET);
    for route in reads {
        assert_eq!(fixture.get(&route.path.replace("{id}", "I1")).await.status, 200, "{}", route.path);
        let signals = fixture.ledger.take();
        let [signal] = signals.as_slice() else { panic!("{}: {signals:?}", route.path) };
        let Body::Access(access) = &signal.body else { panic!("{signal:?}") };
        assert_eq!((access.what.as_str(), access.rows, access.actor.as_str()), (route.path, 1, "token-0"));
    }
    // Other reads leave no record of their own.
    for path in ["/api/dihya/v1/status", "/status", "/livez", "/metrics"] {
        fixture.get(path).await;
        assert!(fixture.ledger.take().is_empty(), "{path}");
    }
    // The step that a person takes in an incident is recorded by the seam that takes it.
    fixture.post("/api/dihya/v1/incidents/I1/ack", "").await;
    assert_eq!(fixture.cases.0.lock().expect("not poisoned")[0].timeline[1].action, IncidentAction::Acknowledged);
}

fn acts(fixture: &Fixture) -> Vec<(String, String, String, String)> {
    let acts = fixture.ledger.take().into_iter().filter_map(|signal| match signal.body {
        Body::Admin(act) => Some((signal.tenant.to_string(), act.act, act.target, act.detail)),
        _ => None,
    });
    acts.collect()
}

/// An administrator's token confined to a part of the API and to a week made one that was confined to nothing.
#[tokio::test]
async fn a_token_makes_no_greater_one() {
    let fixture = Fixture::new().await;
    let draft = crate::TokenDraft {
        tenant: model::Tenant::default(),
        name: "confined".into(),
        roles: [Role::Admin].into(),
        scopes: [crate::routes::Area::Tokens, crate::routes::Area::Alerts].into(),
        expires_at: Some("2026-12-01T00:00:00Z".parse().expect("a time")),
    };
    let (confined, _) = fixture.parts.tokens.add(draft, "test").await.expect("adds");
    let ask = async |json: serde_json::Value| {
        fixture.send(request("POST", "/api/dihya/v1/tokens", confined.expose(), &json.to_string())).await
    };
    let within = json!({"name": "a", "roles": ["ingest"], "scopes": ["alerts"], "expires_at": "2026-11-30T00:00:00Z"});
    for (change, field, says) in [
        (json!({"scopes": []}), "scopes", "name scopes among alerts, tokens"),
        (json!({"scopes": ["alerts", "checks"]}), "scopes", "lacks the scope checks"),
        (json!({"expires_at": null}), "expires_at", "no later than 2026-12-01T00:00:00Z"),
        (json!({"expires_at": "2026-12-01T00:00:01Z"}), "expires_at", "no later than 2026-12-01T00:00:00Z"),
    ] {
        let mut body = within.clone();
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let answer = ask(body).await;
        problem(&answer, 403, Some(field));
        assert!(answer.text.contains(says), "{}", answer.text);
    }
    assert!(acts(&fixture).is_empty());
    assert_eq!(ask(within).await.status, 201);
    let [(_, act, target, detail)] = &acts(&fixture)[..] else { panic!("one act") };
    assert_eq!((act.as_str(), target.as_str()), ("token.add", "a"));
    assert_eq!(detail, "roles: ingest; scopes: alerts; expires: 2026-11-30T00:00:00Z");
}

#[tokio::test]
async fn the_instance_makes_tokens_for_its_tenants() {
    let fixture = Fixture::new().await;
    let path = "/api/dihya/v1/tokens";
    let made = fixture.post(path, r#"{"name": "theirs", "roles": ["admin"], "tenant": "other"}"#).await;
    assert_eq!((made.status, made.json()["tenant"].as_str()), (201, Some("other")));
    // Their log says who made it, and so does that of the instance.
    let detail = "roles: admin; scopes: all; expires: never";
    let said = |tenant: &str, detail: String| (tenant.into(), "token.add".into(), "theirs".into(), detail);
    let both = [said("other", detail.into()), said("default", format!("tenant: other; {detail}"))];
    assert_eq!(acts(&fixture), both);
    let names = |answer: &Answered| {
        let json = answer.json();
        let items = json["items"].as_array().expect("a list");
        items.iter().map(|row| row["name"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&fixture.get(&format!("{path}?tenant=other")).await), ["theirs"]);
    assert_eq!(names(&fixture.get(path).await), ["token-0"]);
    problem(
        &fixture.post(path, r#"{"name": "x", "roles": ["viewer"], "tenant": "nobody"}"#).await,
        400,
        Some("tenant"),
    );
    problem(&fixture.get(&format!("{path}?tenant=nobody")).await, 400, Some("tenant"));
    // A tenant's own administrator stays in it.
    let theirs = made.json()["token"].as_str().expect("shown").to_owned();
    let ask = async |method: &str, path: &str, json: &str| fixture.send(request(method, path, &theirs, json)).await;
    let abroad = r#"{"name": "x", "roles": ["viewer"], "tenant": "default"}"#;
    problem(&ask("POST", path, abroad).await, 403, None);
    problem(&ask("GET", &format!("{path}?tenant=default"), "").await, 403, None);
    let own = fixture.get(path).await.json()["items"][0]["id"].as_str().expect("an id").to_owned();
    problem(&ask("DELETE", &format!("{path}/{own}"), "").await, 404, None);
    fixture.ledger.take();
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(fixture.send(request("DELETE", &format!("{path}/{id}"), &fixture.admin, "")).await.status, 204);
    let details: Vec<String> = acts(&fixture).into_iter().map(|(_, _, _, detail)| detail).collect();
    assert_eq!(details, ["", "tenant: other"]);
    assert_eq!(ask("GET", path, "").await.status, 401);
}

#[tokio::test]
async fn a_public_note_has_a_place_in_a_feed() {
    let fixture = Fixture::new().await;
    fixture.cases.0.lock().expect("not poisoned").push(incident("I1"));
    let note = async |note: &str, public: bool| {
        let json = json!({"note": note, "public": public}).to_string();
        fixture.post("/api/dihya/v1/incidents/I1/notes", &json).await
    };
    problem(&note("a\u{8}b", true).await, 400, Some("note"));
    assert_eq!(note("two\nlines\tand a tab", true).await.status, 200);
    assert_eq!(note("a\u{8}b", false).await.status, 200);
}

#[tokio::test]
async fn events_come_in_over_our_route_and_over_elasticsearchs() {
    let fixture = Fixture::new().await;
    let sender = fixture.token(&[Role::Ingest]).await;
    let send = async |path: &str, body: &str| fixture.send(request("POST", path, &sender, body)).await;
    let accepted = send("/api/dihya/v1/events?stream=shop", "{\"message\":\"a\"}\nnoise\n").await;
    assert_eq!((accepted.status, accepted.json()["accepted"].as_u64()), (202, Some(1)), "{}", accepted.text);
    let bulk =
        send("/web-2026.11.22/_bulk", "{\"index\":{}}\n{\"message\":\"b\",\"level\":\"warn\"}\n{\"delete\":{}}\n")
            .await;
    assert_eq!((bulk.status, bulk.header("x-elastic-product")), (200, "Elasticsearch"));
    let statuses = |answer: &Answered, act: &str, at: usize| answer.json()["items"][at][act]["status"].as_u64();
    assert_eq!((statuses(&bulk, "index", 0), statuses(&bulk, "delete", 1)), (Some(201), Some(400)));
    let events: Vec<(String, u8)> = fixture
        .ledger
        .take()
        .into_iter()
        .filter_map(|signal| match signal.body {
            Body::Event(event) => Some((event.stream, event.severity)),
            _ => None,
        })
        .collect();
    assert_eq!(events, [("shop".to_owned(), 0), ("web".to_owned(), 13)]);

    for (path, body) in
        [("/api/dihya/v1/events", ""), ("/api/dihya/v1/events?stream=a%20b", "{}"), ("/api/dihya/v1/events", "noise")]
    {
        problem(&send(path, body).await, 400, None);
    }
    problem(&send("/api/dihya/v1/events?index=a", "{}").await, 400, None);
    let cloud = async |kind: &'static str, body: &str| {
        let mut sent = request("POST", "/api/dihya/v1/events?stream=shop", &sender, body);
        sent.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        fixture.send(sent).await
    };
    let one = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    assert_eq!(cloud("application/cloudevents+json", one).await.status, 202);
    assert_eq!(cloud("application/cloudevents-batch+json", "[]").await.status, 202);
    let half = cloud("application/cloudevents-batch+json", &format!("[{one},{{}}]")).await;
    assert_eq!((half.status, half.json()["refused"].as_u64()), (202, Some(1)), "{}", half.text);
    problem(&cloud("application/cloudevents+json", "{}").await, 400, None);
    problem(&cloud("application/cloudevents+avro", one).await, 415, None);
    problem(&fixture.send(request("POST", "/api/dihya/v1/events", "", "{}")).await, 401, None);
    audit_events_come_in_as_to_a_fhir_server(&fixture, &sender).await;
    journals_come_in_as_to_systemd_journal_remote(&fixture, &sender).await;
    let viewer = fixture.token(&[Role::Viewer]).await;
    problem(&fixture.send(request("POST", "/api/dihya/v1/events", &viewer, "{}")).await, 403, None);

    // Errors are in their shape too, whoever made them.
    for (token, status, kind) in [
        ("", 401, "security_exception"),
        (&*viewer, 403, "security_exception"),
        (&*sender, 400, "illegal_argument_exception"),
    ] {
        let answer = fixture.send(request("POST", "/_bulk", token, "noise")).await;
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str().unwrap_or_default()), (status, kind));
        assert_eq!(answer.header("x-elastic-product"), "Elasticsearch");
        assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
    }
    let packed = |encoding: &str| {
        let mut request = request("POST", "/_bulk", &sender, "text");
        request.headers_mut().insert("content-encoding", encoding.parse().expect("a header"));
        request
    };
    assert_eq!(fixture.send(packed("br")).await.status, 415);
    assert_eq!(fixture.send(packed("gzip")).await.status, 400);
    let mut large = request("POST", "/_bulk", &sender, "{}");
    large.headers_mut().insert("content-length", "99999999".parse().expect("a header"));
    assert_eq!(fixture.send(large).await.status, 413);
}

#[tokio::test]
async fn agents_find_the_elasticsearch_that_they_ask_for() {
    let fixture = Fixture::new().await;
    let sender = fixture.token(&[Role::Ingest]).await;
    let ask = async |method: &str, path: &str| {
        let mut request = request(method, path, &sender, "");
        request
            .headers_mut()
            .insert("accept", "application/vnd.elasticsearch+json; compatible-with=8".parse().expect("one"));
        fixture.send(request).await
    };
    for (method, path, pointer) in [
        ("GET", "/", "/version/number"),
        ("GET", "/_license", "/license/status"),
        ("GET", "/_xpack", "/features/ilm/available"),
        ("GET", "/_ilm/policy/filebeat", "/filebeat/version"),
        ("PUT", "/_ilm/policy/filebeat", "/acknowledged"),
        ("GET", "/_index_template/filebeat-8.15.0", "/index_templates/0/name"),
        ("PUT", "/_index_template/filebeat-8.15.0", "/acknowledged"),
        ("PUT", "/_data_stream/filebeat-8.15.0", "/acknowledged"),
        ("GET", "/_template/filebeat-7.17.0", "/index_templates/0/name"),
        ("PUT", "/_template/filebeat-7.17.0", "/acknowledged"),
    ] {
        let answer = ask(method, path).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        assert!(answer.json().pointer(pointer).is_some(), "{method} {path}: {}", answer.text);
        assert_eq!(answer.header("x-elastic-product"), "Elasticsearch");
        assert!(answer.header("content-type").starts_with("application/vnd.elasticsearch+json"));
    }
    assert_eq!(ask("HEAD", "/_index_template/x").await.status, 200);
    assert_eq!(fixture.open("/_license").await.status, 401);
}

#[tokio::test]
async fn events_are_asked_and_whoever_asked_is_recorded_first() {
    let fixture = Fixture::new().await;
    let base = "/api/dihya/v1/search";
    let ask = async |path: &str, json: serde_json::Value| fixture.post(path, &json.to_string()).await;
    let asked = || -> Vec<(String, u64, Option<String>)> {
        let accesses = fixture.ledger.take().into_iter().filter_map(|signal| match signal.body {
            Body::Access(access) => Some((access.what, access.rows, access.query)),
            _ => None,
        });
        accesses.collect()
    };
    let found = ask(base, json!({"query": "service:auth", "limit": 1})).await.json();
    assert_eq!((found["items"][0]["position"].as_u64(), found["next"].as_str()), (Some(8), Some("8")));
    assert_eq!(found["items"][0]["body"], "second");
    assert_eq!(asked(), [(base.into(), 1, Some("service:auth".into()))]);
    assert_eq!(ask(base, json!({"cursor": "8"})).await.json()["items"][0]["position"], 7);
    let steps = ask(&format!("{base}/histogram"), json!({"steps": 3})).await.json();
    assert_eq!((steps["items"].as_array().map(Vec::len), &steps["items"][0]["levels"]["info"]), (Some(3), &json!(2)));
    let values = ask(&format!("{base}/values"), json!({"field": "service"})).await.json();
    assert_eq!(values, json!({"values": [{"value": "service", "count": 2}], "events": 2, "present": 2, "distinct": 1}));
    let around = ask(&format!("{base}/context"), json!({"position": 7, "before": 0})).await.json();
    assert_eq!(around["items"].as_array().map(Vec::len), Some(2));
    let followed = ask(&format!("{base}/follow"), json!({"query": "x"})).await;
    assert_eq!(followed.header("content-type"), "text/event-stream");
    let lines: Vec<&str> = followed.text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!((lines[0], lines[2]), ("id: 8", "id: 7"));
    assert_eq!(lines.last(), Some(&"data: \"the lake stops\""), "{followed:?}");
    let rows = ask("/api/dihya/v1/sql", json!({"query": "SELECT 1", "limit": 5})).await;
    assert_eq!((rows.text.as_str(), rows.header("content-type")), ("SELECT 1 5 Ndjson", "application/x-ndjson"));
    let mut arrow = request("POST", "/api/dihya/v1/sql", &fixture.admin, r#"{"query": "SELECT 1"}"#);
    arrow.headers_mut().insert("accept", "application/vnd.apache.arrow.stream".parse().expect("a value"));
    assert_eq!(fixture.send(arrow).await.text, "SELECT 1 10000 Arrow");
    let exported = ask("/api/dihya/v1/exports", json!({"query": "stream:app", "from": "2026-11-22T18:00:00Z"})).await;
    assert_eq!(exported.text, "PAR1 stream:app Some(\"2026-11-22T18:00:00Z\")");
    assert_eq!(exported.header("content-type"), "application/vnd.apache.parquet");
    let whats: Vec<String> = asked().into_iter().map(|(what, ..)| what).collect();
    assert_eq!(whats[7], "/api/dihya/v1/exports");
    ask(base, json!({"query": "user.id:jdupont42"})).await;
    let accesses = fixture.ledger.take().into_iter().filter_map(|signal| match signal.body {
        Body::Access(access) => Some((access.query, access.question.map(|question| question.text.expose().clone()))),
        _ => None,
    });
    let (recorded, typed) = ("user.id:P7x".to_owned(), "user.id:jdupont42".to_owned());
    assert_eq!(accesses.collect::<Vec<_>>(), [(Some(recorded), Some(typed))], "for privacy to seal");
    let rest = ["histogram", "values", "context", "follow"].map(|last| format!("{base}/{last}"));
    assert_eq!(whats[1..5], rest);
    assert_eq!(whats.len(), 8);
}

/// Whoever followed events went on being told of them after the token was revoked.
#[tokio::test]
async fn a_follower_is_told_nothing_once_the_token_is_revoked() {
    use tower::ServiceExt as _;
    let fixture = Fixture::new().await;
    let tenant = model::Tenant::default();
    for (revoked, lines) in [(false, 2), (true, 0)] {
        let token = fixture.token(&[Role::Analyst]).await;
        let follow = request("POST", "/api/dihya/v1/search/follow", &token, "{}");
        let response = fixture.router.clone().oneshot(follow).await.expect("infallible");
        if revoked {
            let account = fixture.parts.tokens.verify(&token).expect("is one");
            assert!(fixture.parts.tokens.revoke(&tenant, &account.id).await.expect("revokes"));
        }
        let told = Answered::read(response).await;
        assert_eq!((told.status, told.text.matches("id: ").count()), (200, lines), "{told:?}");
    }
}

#[tokio::test]
async fn questions_that_cannot_be_read_and_askers_who_may_not_are_refused() {
    let fixture = Fixture::new().await;
    let base = "/api/dihya/v1/search";
    let ask = async |path: &str, json: &str| fixture.post(path, json).await;
    problem(&ask(base, r#"{"query": "broken"}"#).await, 400, Some("query"));
    problem(&ask(base, r#"{"limit": 0}"#).await, 400, Some("limit"));
    problem(&ask(base, r#"{"limit": 1001}"#).await, 400, Some("limit"));
    problem(&ask(base, r#"{"form": 1}"#).await, 400, Some("form"));
    let turned = r#"{"from": "2026-11-22T18:00:00Z", "until": "2026-11-22T18:00:00Z"}"#;
    problem(&ask(base, turned).await, 400, Some("until"));
    problem(&ask(base, &json!({"query": "x".repeat(20_000)}).to_string()).await, 400, Some("query"));
    problem(&ask(base, &json!({"cursor": "x".repeat(300)}).to_string()).await, 400, Some("cursor"));
    problem(&ask(&format!("{base}/values"), r#"{"field": ""}"#).await, 400, Some("field"));
    problem(&ask(&format!("{base}/context"), r#"{"position": 9, "before": 0}"#).await, 404, None);
    problem(&ask(&format!("{base}/context"), r#"{"position": 7, "before": 501}"#).await, 400, Some("before"));
    problem(&ask(&format!("{base}/follow"), turned).await, 400, Some("query"));
    problem(&ask("/api/dihya/v1/sql", r#"{"query": " "}"#).await, 400, Some("query"));
    problem(&ask("/api/dihya/v1/exports", turned).await, 400, Some("until"));
    problem(&ask("/api/dihya/v1/exports", r#"{"query": "broken"}"#).await, 400, Some("query"));
    problem(&ask("/api/dihya/v1/sql", r#"{"query": "SELECT 1", "limit": 1000001}"#).await, 400, Some("limit"));
    assert!(fixture.ledger.take().is_empty(), "nothing was read, so nothing is recorded");
    for role in [Role::Viewer, Role::Ingest] {
        let token = fixture.token(&[role]).await;
        problem(&fixture.send(request("POST", base, &token, "{}")).await, 403, None);
    }
    problem(&fixture.get(base).await, 405, None);
    // What cannot be recorded is not answered.
    fixture.ledger.refuse(Some(RefusalKind::Retry));
    for path in [base, "/api/dihya/v1/search/follow"] {
        problem(&ask(path, "{}").await, 503, None);
    }
    problem(&ask("/api/dihya/v1/sql", r#"{"query": "SELECT 1"}"#).await, 503, None);
    problem(&ask("/api/dihya/v1/exports", "{}").await, 503, None);
}

#[tokio::test]
async fn agents_of_opentelemetry_and_loki_are_answered_in_their_shapes() {
    const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let fixture = Fixture::new().await;
    let sender = fixture.token(&[Role::Ingest]).await;
    let send = async |path: &str, token: &str, media_type: &str, body: Vec<u8>| {
        let mut request = request("POST", path, token, "");
        *request.body_mut() = body.into();
        if !media_type.is_empty() {
            request.headers_mut().insert("content-type", media_type.parse().expect("a value"));
        }
        fixture.send(request).await
    };
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}}]}]}]}"#.to_vec();
    let sent = send("/v1/logs", &sender, "application/json; charset=utf-8", json.clone()).await;
    assert_eq!((sent.status, sent.text.as_str(), sent.header("content-type")), (200, "{}", "application/json"));
    // The same record as protobuf: a resource, a scope, a record with a body.
    let record = b"\x0a\x09\x12\x07\x12\x05\x2a\x03\x0a\x01a".to_vec();
    let sent = send("/v1/logs", &sender, "application/x-protobuf", record.clone()).await;
    assert_eq!((sent.status, sent.text.len(), sent.header("content-type")), (200, 0, "application/x-protobuf"));
    let framed = |packed: u8, message: &[u8]| {
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        [&[packed][..], &length, message].concat()
    };
    let sent = send(EXPORT, &sender, "application/grpc+proto", framed(0, &record)).await;
    assert_eq!(
        (sent.status, sent.text.as_bytes(), sent.header("content-type")),
        (200, &[0; 5][..], "application/grpc")
    );
    let line = br#"{"streams":[{"stream":{"job":"j"},"values":[["1","l"]]}]}"#.to_vec();
    assert_eq!(send("/loki/api/v1/push", &sender, "application/json", line).await.status, 204);
    let bodies: Vec<_> = fixture.ledger.take().into_iter().map(|signal| signal.body).collect();
    assert!(bodies.iter().all(|body| matches!(body, Body::Event(_))) && bodies.len() == 4, "{bodies:?}");
    // Errors, from the guard and from what was sent.
    let broken = send("/v1/logs", &sender, "application/json", b"[".to_vec()).await;
    assert_eq!((broken.status, broken.json()["code"].as_i64()), (400, Some(3)));
    assert_eq!(send("/v1/logs", &sender, "text/plain", json.clone()).await.status, 415);
    assert_eq!(send("/v1/logs", "dhy_x", "application/json", json).await.json()["code"], 16);
    for (token, media_type, body, code) in [
        (&*sender, "application/grpc", b"\0\0\0\0\x02x".to_vec(), "3"),
        (&*sender, "application/grpc", framed(0, b"\xff"), "3"),
        (&*sender, "application/grpc", framed(1, b"x"), "0"),
        (&*sender, "application/json", Vec::new(), "3"),
        ("", "application/grpc", framed(0, b""), "16"),
    ] {
        let answer = send(EXPORT, token, media_type, body).await;
        if code != "0" {
            assert_eq!((answer.status, answer.header("grpc-status")), (200, code), "{answer:?}");
        }
    }
    let wrong = send("/loki/api/v1/push", &sender, "", b"noise".to_vec()).await;
    assert_eq!((wrong.status, wrong.header("content-type")), (400, "text/plain; charset=utf-8"));
    assert_eq!(send("/loki/api/v1/push", &sender, "text/csv", Vec::new()).await.status, 415);
    fixture.ledger.refuse(Some(RefusalKind::Retry));
    let full = send("/v1/logs", &sender, "application/x-protobuf", record.clone()).await;
    assert_eq!((full.status, full.header("retry-after")), (429, "2"));
    assert_eq!(send(EXPORT, &sender, "application/grpc", framed(0, &record)).await.header("grpc-status"), "14");
    let line = br#"{"streams":[{"stream":{"job":"j"},"values":[["1","l"]]}]}"#.to_vec();
    assert_eq!(send("/loki/api/v1/push", &sender, "application/json", line).await.status, 429);
    let other = fixture.token(&[Role::Viewer]).await;
    assert_eq!(send("/loki/api/v1/push", &other, "", Vec::new()).await.status, 403);
}

async fn journals_come_in_as_to_systemd_journal_remote(fixture: &Fixture, sender: &str) {
    let upload = async |path: &str, token: &str, kind: &'static str, body: &str| {
        let mut sent = request("POST", path, token, body);
        sent.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        fixture.send(sent).await
    };
    let kind = "application/vnd.fdo.journal";
    let taken = upload("/upload", sender, kind, "MESSAGE=a\n\nMESSAGE=b\n\nnoise\n\n").await;
    assert_eq!(taken.status, 202, "{}", taken.text);
    assert!(
        taken.text.starts_with("2 entries recorded, 0 were already, 1 refused; the first: expected"),
        "{}",
        taken.text
    );
    for (path, token, kind, body, status) in [
        ("/upload", sender, kind, "MESSAGE=half", 400),
        ("/upload?stream=a%20b", sender, kind, "MESSAGE=a\n\n", 400),
        ("/upload?streams=a", sender, kind, "MESSAGE=a\n\n", 400),
        ("/upload", sender, "text/plain", "MESSAGE=a\n\n", 415),
        ("/upload", "", kind, "MESSAGE=a\n\n", 401),
    ] {
        let refused = upload(path, token, kind, body).await;
        assert_eq!(refused.status, status, "{}", refused.text);
        assert!(refused.text.ends_with('\n') && !refused.text.starts_with('{'), "in words: {}", refused.text);
    }
    let mut packed = request("POST", "/upload", sender, "x");
    packed.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    packed.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert_eq!(fixture.send(packed).await.status, 415);
}

async fn audit_events_come_in_as_to_a_fhir_server(fixture: &Fixture, sender: &str) {
    let one = json!({
        "resourceType": "AuditEvent", "type": {"code": "rest"}, "recorded": "2026-11-28T09:30:00Z",
        "agent": [{"requestor": true}], "source": {"observer": {"reference": "Device/his"}},
    });
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [{"resource": one}, {"resource": {}}]});
    let (one, batch) = (one.to_string(), batch.to_string());
    let base = "/api/dihya/v1/fhir";
    let created = fixture.send(request("POST", &format!("{base}/AuditEvent?_format=json"), sender, &one)).await;
    assert_eq!((created.status, created.json()["resourceType"].as_str()), (201, Some("OperationOutcome")));
    let location = created.headers["location"].to_str().expect("is text");
    assert!(location.starts_with(&format!("{base}/AuditEvent/")) && location.ends_with("/_history/1"), "{location}");
    for path in [base, &format!("{base}/"), &format!("{base}/AuditEvent")] {
        let taken = fixture.send(request("POST", path, sender, &batch)).await;
        assert_eq!((taken.status, taken.headers["content-type"].as_bytes()), (200, &b"application/fhir+json"[..]));
        assert_eq!(taken.json()["entry"][1]["response"]["status"], "400 Bad Request");
    }
    let mut xml = request("POST", base, sender, "<AuditEvent/>");
    xml.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/fhir+xml"));
    for (sent, status, code) in [
        (xml, 415, "not-supported"),
        (request("POST", base, "", &one), 401, "login"),
        (request("POST", base, sender, "{}"), 400, "not-supported"),
        (request("POST", &format!("{base}?stream=a%20b"), sender, &one), 400, "structure"),
        (request("POST", &format!("{base}?streams=a"), sender, &one), 400, "structure"),
        (request("POST", base, &fixture.token(&[Role::Viewer]).await, &one), 403, "forbidden"),
    ] {
        let refused = fixture.send(sent).await;
        assert_eq!((refused.status, refused.json()["issue"][0]["code"].as_str()), (status, Some(code)));
    }
    let metadata = fixture.send(request("GET", &format!("{base}/metadata"), "", "")).await;
    assert_eq!((metadata.status, metadata.json()["fhirVersion"].as_str()), (200, Some("4.0.1")));
}
