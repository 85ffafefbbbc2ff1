//! The table of routes, walked by everybody who may not.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::Tenant;

use super::*;
use crate::doubles::{Fixture, check, incident, request};
use crate::routes::{Area, ROUTES};

#[test]
fn a_token_is_accepted_in_four_dresses() {
    let basic = STANDARD.encode("x:dhy_t");
    for (value, token) in [
        ("Bearer dhy_t".to_owned(), Some("dhy_t")),
        ("bearer  dhy_t ".to_owned(), Some("dhy_t")),
        (format!("Basic {basic}"), Some("dhy_t")),
        ("ApiKey dhy_t".to_owned(), Some("dhy_t")),
        (format!("ApiKey {basic}"), Some("dhy_t")),
        ("Basic !!".to_owned(), None),
        (format!("Basic {}", STANDARD.encode("no colon")), None),
        (format!("Basic {}", STANDARD.encode([0xFF, b':'])), None),
        ("Digest dhy_t".to_owned(), None),
        ("dhy_t".to_owned(), None),
    ] {
        assert_eq!(credentials(&value).as_deref(), token, "{value}");
    }
}

#[test]
fn a_stranger_does_not_choose_labels() {
    assert_eq!(method_word(&Method::from_bytes(b"BREW").expect("a token")), "other");
    for method in ["GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"] {
        assert_eq!(method_word(&Method::from_bytes(method.as_bytes()).expect("a token")), method);
    }
}

/// The status of an answer, where gRPC says it in a header of its own.
fn status(answer: &crate::doubles::Answered) -> u16 {
    match answer.header("grpc-status") {
        "" | "0" => answer.status,
        "16" => 401,
        "7" => 403,
        _ => 400,
    }
}

fn concrete(path: &str) -> String {
    path.replace("{id}", "I1")
        .replace("{event}", "start")
        .replace("{check}", "web.svg")
        .replace("{*path}", "localhost/default/checkpoint")
}

#[tokio::test]
async fn every_route_lets_in_its_roles_and_nobody_else() {
    let fixture = Fixture::new().await;
    fixture.cases.0.lock().expect("not poisoned").push(incident("I1"));
    for route in ROUTES {
        let path = concrete(route.path);
        let ask = async |token: &str| status(&fixture.send(request(route.method.as_str(), &path, token, "")).await);
        let open = matches!(route.need, Need::Open | Need::Page | Need::Sign);
        assert_eq!(ask("").await == 401, !open, "{} {path} without a token", route.method);
        let Need::Roles(allowed) = route.need else { continue };
        for role in Role::ALL {
            let token = fixture.token(&[role]).await;
            let refused = matches!(ask(&token).await, 401 | 403);
            assert_eq!(refused, !allowed.contains(&role), "{} {path} as {role}", route.method);
        }
    }
}

#[tokio::test]
async fn a_token_stays_in_its_scopes_and_in_its_tenant() {
    let fixture = Fixture::new().await;
    fixture.board.put(check("web", "Web", model::State::Up));
    for route in ROUTES.iter().filter(|route| matches!(route.need, Need::Roles(_))) {
        for scope in [Area::Checks, Area::Tokens] {
            let token = fixture.token_of(Tenant::default(), &[Role::Admin], &[scope]).await;
            let answer = fixture.send(request(route.method.as_str(), &concrete(route.path), &token, "")).await;
            let says = answer.text.contains("confined") || answer.header("grpc-message").contains("confined");
            let confined = status(&answer) == 403 && says;
            assert_eq!(confined, route.area != scope, "{} {} in {}", route.method, route.path, scope.as_str());
        }
    }
    let other = fixture.token_of(Tenant::new("other").expect("valid"), &[Role::Admin], &[]).await;
    let mut ask = request("GET", "/api/dihya/v1/checks", &other, "");
    ask.headers_mut().insert("x-scope-orgid", "default".parse().expect("a header"));
    assert_eq!(fixture.send(ask).await.json()["services"], serde_json::json!([]), "a header names no tenant");
}

/// A browser sends the password that it was once asked for along with what any page makes it send: a form on a foreign
/// page could acknowledge an incident.
#[tokio::test]
async fn a_foreign_page_changes_nothing() {
    let fixture = Fixture::with(crate::Config {
        external_url: Some("https://watch.example/".into()),
        ..crate::Config::default()
    })
    .await;
    fixture.board.put(check("web", "Web", model::State::Up));
    let path = "/api/dihya/v1/checks/web/run";
    let ask = async |method: &str, path: &str, headers: &[(&'static str, &str)]| {
        let mut request = request(method, path, &fixture.admin, "");
        request.headers_mut().insert("host", HeaderValue::from_static("watch.internal:8970"));
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        fixture.send(request).await
    };
    for (headers, status) in [
        (vec![], 200),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![("sec-fetch-site", "none")], 200),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        (vec![("origin", "http://watch.internal:8970")], 200),
        (vec![("origin", "https://watch.example")], 200),
        (vec![("origin", "https://watch.example.evil")], 403),
        (vec![("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], 403),
        (vec![("origin", "null")], 403),
    ] {
        let answer = ask("POST", path, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
    }
    let answer = ask("DELETE", "/api/dihya/v1/silences/x", &[("origin", "https://evil.example")]).await;
    assert_eq!((answer.status, answer.header("content-type")), (403, "application/problem+json"));
    assert_eq!(ask("GET", "/api/dihya/v1/checks", &[("sec-fetch-site", "cross-site")]).await.status, 200);
    // The media type is asked for where there is no body to read, too.
    for (kind, status) in [("application/x-www-form-urlencoded", 415), ("text/plain", 415), ("application/json", 200)] {
        assert_eq!(ask("POST", path, &[("content-type", kind)]).await.status, status, "{kind}");
    }
}

#[tokio::test]
async fn guessing_is_slowed_and_does_not_stop_those_who_know() {
    let fixture = Fixture::new().await;
    let mut guess = String::new();
    for at in 0..30 {
        guess = crate::token::mint(&model::SeededRng::new(at)).expose().clone();
        let answer = fixture.send(request("GET", "/api/dihya/v1/checks", &guess, "")).await;
        let expected = if at < 20 { 401 } else { 429 };
        assert_eq!(answer.status, expected, "attempt {at}");
        assert_eq!(answer.headers.contains_key("retry-after"), expected == 429);
        assert!(!answer.text.contains(&guess));
    }
    assert_eq!(fixture.get("/api/dihya/v1/checks").await.status, 200);
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.send(request("GET", "/api/dihya/v1/checks", &guess, "")).await.status, 401);
    let mut unreadable = request("GET", "/api/dihya/v1/checks", "", "");
    unreadable.headers_mut().insert("authorization", HeaderValue::from_bytes(&[0xFF]).expect("opaque"));
    assert_eq!(fixture.send(unreadable).await.status, 401);
    // An open route does not look at credentials: a stale token in a probe's configuration does no harm there.
    assert_eq!(fixture.send(request("GET", "/livez", &guess, "")).await.status, 200);
}

#[tokio::test]
async fn a_token_has_its_share_of_a_minute() {
    let fixture = Fixture::new().await;
    let account = fixture.parts.tokens.list(&Tenant::default()).remove(0);
    for _ in 0..model::limits::TOKEN_REQUESTS_PER_MINUTE_MAX {
        fixture.app.requests.count(account.id.clone(), Duration::ZERO).expect("within the share");
    }
    let answer = fixture.get("/api/dihya/v1/checks").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "61"));
}

#[tokio::test]
async fn an_expired_token_opens_nothing() {
    let fixture = Fixture::new().await;
    let draft = crate::TokenDraft {
        tenant: Tenant::default(),
        name: "short".into(),
        roles: [Role::Viewer].into(),
        scopes: [].into(),
        expires_at: Some(crate::doubles::now() + Duration::from_secs(60)),
    };
    let (token, _) = fixture.parts.tokens.add(draft, "test").await.expect("adds");
    let ask = async || fixture.send(request("GET", "/api/dihya/v1/checks", token.expose(), "")).await.status;
    assert_eq!(ask().await, 200);
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(ask().await, 401);
}

#[tokio::test]
async fn nothing_else_answers() {
    let fixture = Fixture::new().await;
    for path in ["/alertmanager/api/v2/status", "/alertmanager", "/api/v2/alerts", "/api/v1/write", "/nope", "/status/"]
    {
        let answer = fixture.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (404, "application/problem+json"), "{path}");
    }
    let answer = fixture.send(request("PUT", "/api/dihya/v1/checks", &fixture.admin, "")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET,HEAD"));
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn a_panic_is_an_answer_and_counted() {
    let fixture = Fixture::new().await;
    fixture.board.put(check("panics", "It panics", model::State::Up));
    let answer = fixture.post("/api/dihya/v1/checks/panics/run", "").await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.json()["detail"], "this is a bug of ours");
    assert!(fixture.get("/metrics").await.text.contains("dihya_http_panics_total 1"));
}

#[tokio::test]
async fn a_handler_that_hangs_is_ended() {
    let fixture = Fixture::new().await;
    let response = handle(&fixture.app, "/x", Duration::from_millis(1), std::future::pending()).await;
    let answer = crate::doubles::Answered::read(response).await;
    assert_eq!((answer.status, answer.json()["detail"].as_str()), (503, Some("the request took too long")));
}

#[tokio::test]
async fn every_answer_has_an_id_and_guards_browsers() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.open("/livez").await, fixture.open("/nope").await);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    for answer in [&first, &second] {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value);
        }
        assert_eq!(answer.header("strict-transport-security"), "");
    }
}
