//! What every channel promises the dispatcher, held against servers inside the test: one table over all of them.

use std::sync::Arc;
use std::time::Duration;

use model::{IntentId, StepClock};
use privacy::Redactor;
use serde_json::{Value, json};

use super::servers::{Behaviour, Identity, Server, Smtp};
use super::{Channel, Parts, SendError, build, build_all, config};
use crate::message::tests::sample;
use crate::notification::Notification;

fn parts(directory: &std::path::Path) -> Parts {
    Parts {
        disk: Arc::new(disk::OsDisk),
        clock: Arc::new(StepClock::new("2026-11-22T03:12:10Z".parse().expect("is a time"))),
        redactor: Arc::new(Redactor::new()),
        directory: directory.to_owned(),
    }
}

fn channel(config: Value) -> Arc<dyn Channel> {
    let configs = config::read(&json!({"x": config})).expect("reads");
    assert_eq!(configs["x"].check(), []);
    build(&configs["x"], &parts(std::path::Path::new("."))).expect("builds")
}

fn email_to(port: u16, extra: &Value) -> Arc<dyn Channel> {
    let mut config = json!({"kind": "email", "server": format!("localhost:{port}"), "from": "Dihya <dihya@example.org>",
                            "to": ["ops@example.org", "night@example.org"], "tls": "none", "timeout": "500ms"});
    for (key, value) in extra.as_object().expect("is an object") {
        config[key] = value.clone();
    }
    channel(config)
}

/// What a channel must answer to a behaviour.
fn expected(behaviour: Behaviour, is_mail: bool) -> Result<(), (bool, Option<u64>)> {
    match behaviour {
        Behaviour::Success => Ok(()),
        // The endpoint took it and talks on: what it says is not ours to wait for.
        Behaviour::Endless | Behaviour::Stalls => Ok(()),
        Behaviour::Permanent => Err((true, None)),
        Behaviour::Later if !is_mail => Err((false, Some(7))),
        _ => Err((false, None)),
    }
}

#[tokio::test]
async fn every_channel_tells_success_never_and_later_apart() {
    let behaviours = [
        Behaviour::Success,
        Behaviour::Permanent,
        Behaviour::Transient,
        Behaviour::Later,
        Behaviour::Silence,
        Behaviour::Garbage,
        Behaviour::Closes,
        Behaviour::Endless,
        Behaviour::Stalls,
    ];
    for kind in ["webhook", "slack", "teams", "email"] {
        for behaviour in behaviours {
            let is_mail = kind == "email";
            let (server, channel) = if is_mail {
                let server = Server::smtp(Smtp::new(behaviour)).await;
                let channel = email_to(server.port, &json!({}));
                (server, channel)
            } else {
                let server = Server::http(behaviour, None).await;
                let url = format!("http://127.0.0.1:{}/hook?token=hunter2", server.port);
                (server, channel(json!({"kind": kind, "url": url, "timeout": "500ms"})))
            };
            assert_eq!(channel.kind(), kind);
            assert_eq!(channel.pages_people(), kind != "webhook");
            let answer = channel.send(&sample()).await;
            let told = answer.clone().map_err(|error| (error.permanent, error.retry_after.map(|wait| wait.as_secs())));
            assert_eq!(told, expected(behaviour, is_mail), "{kind} {behaviour:?}: {answer:?}");
            if let Err(error) = answer {
                let reason = error.reason;
                assert!(!reason.is_empty() && reason.len() < 120, "{kind} {behaviour:?}: {reason}");
                for payload in ["secret", "hunter2", "@", "127.0.0.1", "Web shop"] {
                    assert!(!reason.contains(payload), "{kind} {behaviour:?}: {reason}");
                }
            } else {
                assert_eq!(server.seen().len(), 1, "{kind} {behaviour:?}");
            }
        }
    }
}

/// A token that expired lost every page until somebody noticed.
#[tokio::test]
async fn only_what_will_never_be_taken_is_given_up_at_once() {
    for (head, first, last) in [
        ("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", false, false),
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", false, false),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", false, false),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false, true),
        ("HTTP/1.1 407 Proxy\r\nContent-Length: 0\r\n\r\n", false, false),
        ("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", false, true),
        ("HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n", true, true),
        ("HTTP/1.1 422 Odd\r\nContent-Length: 0\r\n\r\n", true, true),
    ] {
        let server = Server::http(Behaviour::Answers(head), None).await;
        let slack = channel(json!({"kind": "slack", "url": format!("http://127.0.0.1:{}/", server.port)}));
        for (attempt, permanent) in [(1, first), (10, last)] {
            let mut notification = sample();
            notification.attempt = attempt;
            let error = slack.send(&notification).await.expect_err(head);
            assert_eq!(error.permanent, permanent, "{head} {attempt}");
        }
    }
}

#[tokio::test]
async fn nobody_listening_is_a_reason_to_come_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("is bound").port();
    drop(listener);
    let http = channel(json!({"kind": "webhook", "url": format!("http://localhost:{port}/")}));
    for channel in [http, email_to(port, &json!({}))] {
        let error = channel.send(&sample()).await.expect_err("nobody listens");
        assert!(!error.permanent && error.reason.contains("connection refused"), "{error}");
    }
}

#[tokio::test]
async fn webhooks_are_signed_stamped_and_reuse_their_connection() {
    let server = Server::http(Behaviour::Success, None).await;
    let webhook = channel(json!({
        "kind": "webhook", "url": format!("http://127.0.0.1:{}/hook", server.port), "signing_key": "key",
        "bearer_token": "t0ken", "headers": {"X-Team": "ops"},
    }));
    for _ in 0..2 {
        assert_eq!(webhook.send(&sample()).await, Ok(()));
    }
    assert_eq!((server.seen().len(), server.connections()), (2, 1));
    let request = server.seen().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").expect("has a body");
    for line in [
        "POST /hook HTTP/1.1",
        "idempotency-key: 3f9a1c",
        "dihya-timestamp: 1795317130",
        "authorization: Bearer t0ken",
        "x-team: ops",
        "content-type: application/json",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(head.contains("dihya-signature: v1="), "{head}");
    let payload: Value = serde_json::from_str(body).expect("is JSON");
    assert_eq!((&payload["version"], &payload["truncatedAlerts"]), (&json!("4"), &json!(2)));

    let mut odd = sample();
    odd.id = IntentId("line\nbreak".into());
    assert!(webhook.send(&odd).await.expect_err("is refused").permanent);
}

#[tokio::test]
async fn tls_is_checked_against_the_file_that_was_named() {
    let (ours, other) = (Identity::new(), Identity::new());
    let server = Server::http(Behaviour::Success, Some(ours.acceptor.clone())).await;
    let url = |host: &str| format!("https://{host}:{}/", server.port);
    let send = |url: String, ca: &Identity, proxy: Option<String>| {
        let channel = channel(json!({"kind": "slack", "url": url, "ca_file": ca.ca_file, "proxy": proxy}));
        async move { channel.send(&sample()).await }
    };
    assert_eq!(send(url("localhost"), &ours, None).await, Ok(()));
    let error = send(url("localhost"), &other, None).await.expect_err("is not trusted");
    assert!(error.reason.contains("could not agree on TLS") && !error.permanent, "{error}");
    let error = send(url("127.0.0.1"), &ours, None).await.expect_err("is another name");
    assert!(error.reason.contains("another name"), "{error}");

    let plain = Server::http(Behaviour::Success, None).await;
    let error = send(format!("https://localhost:{}/", plain.port), &ours, None).await.expect_err("speaks no TLS");
    assert!(!error.permanent, "{error}");

    let proxy = Server::proxy(server.port, "HTTP/1.1 200 Go\r\n\r\n").await;
    let through = Some(format!("http://localhost:{}", proxy.port));
    assert_eq!(send(url("localhost"), &ours, through).await, Ok(()));
    assert!(proxy.seen()[0].starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port)));
    for answer in ["HTTP/1.1 403 No\r\n\r\n", "garbage\r\n\r\n", Box::leak("x".repeat(9_000).into_boxed_str())] {
        let proxy = Server::proxy(server.port, answer).await;
        let through = Some(format!("http://localhost:{}", proxy.port));
        let error = send(url("localhost"), &ours, through).await.expect_err("is refused");
        assert_eq!((error.permanent, error.reason.as_str()), (false, "the proxy opened no tunnel"));
    }
}

#[tokio::test]
async fn a_proxy_is_told_the_whole_url_of_a_plain_request() {
    let proxy = Server::http(Behaviour::Success, None).await;
    let url = "http://hook.example.invalid/x";
    let webhook = channel(json!({"kind": "webhook", "url": url, "proxy": format!("http://127.0.0.1:{}", proxy.port)}));
    assert_eq!(webhook.send(&sample()).await, Ok(()));
    assert!(proxy.seen()[0].starts_with("POST http://hook.example.invalid/x HTTP/1.1"), "{:?}", proxy.seen());
}

#[tokio::test]
async fn mail_goes_to_all_over_one_connection() {
    let server = Server::smtp(Smtp::new(Behaviour::Success)).await;
    let email = email_to(server.port, &json!({}));
    for _ in 0..3 {
        assert_eq!(email.send(&sample()).await, Ok(()));
    }
    assert_eq!((server.seen().len(), server.connections()), (3, 1));
    let mail = server.seen().remove(0);
    for part in [
        "MAIL FROM:<dihya@example.org>",
        "RCPT TO:<ops@example.org>",
        "RCPT TO:<night@example.org>",
        "Subject: [CRITICAL] Web shop: certificate expired 3 days ago",
        "Auto-Submitted: auto-generated",
    ] {
        assert!(mail.contains(part), "{part} in {mail}");
    }
}

#[tokio::test]
async fn a_refused_recipient_does_not_keep_the_mail_from_others() {
    for (answers, expected, mails) in [
        (vec!["550 no such user", "250 ok"], Ok(()), 1),
        (vec!["550 no", "550 no"], Err(true), 0),
        (vec!["450 grey", "450 grey"], Err(false), 0),
    ] {
        let server = Server::smtp(Smtp { recipients: answers.clone(), ..Smtp::new(Behaviour::Success) }).await;
        let email = email_to(server.port, &json!({}));
        let told = email.send(&sample()).await.map_err(|error| error.permanent);
        assert_eq!(told, expected, "{answers:?}");
        assert_eq!(server.seen().len(), mails, "{answers:?}");
    }
    // Who has the mail does not get it again when the one who was put off is tried again.
    let server = Server::smtp(Smtp { recipients: vec!["250 ok", "450 grey"], ..Smtp::new(Behaviour::Success) }).await;
    let email = email_to(server.port, &json!({}));
    let error = email.send(&sample()).await.expect_err("one is missing");
    assert!(error.partial && !error.permanent && error.had.len() == 1);
    // It is not the channel that remembers: this one is made after a restart, and the recipients changed places.
    let email = email_to(server.port, &json!({"to": ["night@example.org", "ops@example.org"]}));
    let again = Notification { had: error.had, ..sample() };
    assert_eq!(email.send(&again).await, Ok(()));
    let again = server.seen().remove(1);
    assert!(!again.contains("RCPT TO:<ops@") && again.contains("RCPT TO:<night@"), "{again}");
}

/// A transaction in which nobody took the mail stayed open on a connection that was kept: the next MAIL was answered
/// with 503, and the next mail was lost for ever.
#[tokio::test]
async fn a_transaction_that_came_to_nothing_costs_the_next_mail_nothing() {
    let recipients = vec!["250 ok", "450 grey", "550 no such user"];
    let server = Server::smtp(Smtp { recipients, ..Smtp::new(Behaviour::Strict) }).await;
    let email = email_to(server.port, &json!({}));
    let error = email.send(&sample()).await.expect_err("one is missing");
    assert!(error.partial);
    // The one who was put off is now refused for good: there is nothing to send.
    assert_eq!(email.send(&Notification { had: error.had, ..sample() }).await, Ok(()));
    let mut next = sample();
    next.id = IntentId("next".into());
    assert_eq!(email.send(&next).await, Ok(()));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn an_account_that_may_not_send_is_waited_for() {
    for (answer, permanent) in [("550 5.7.1 not allowed", false), ("553 not owned", false), ("501 syntax", true)] {
        let server = Server::smtp(Smtp { sender: answer, ..Smtp::new(Behaviour::Success) }).await;
        let error = email_to(server.port, &json!({})).send(&sample()).await.expect_err(answer);
        assert_eq!(error.permanent, permanent, "{answer}");
    }
}

#[tokio::test]
async fn mail_is_rehearsed_without_a_message() {
    for (smtp, passes) in [
        (Smtp::new(Behaviour::Strict), true),
        (Smtp { recipients: vec!["450 grey", "450 grey"], ..Smtp::new(Behaviour::Strict) }, true),
        (Smtp { recipients: vec!["250 ok", "550 no such user"], ..Smtp::new(Behaviour::Strict) }, false),
        (Smtp { sender: "550 no", ..Smtp::new(Behaviour::Strict) }, false),
        (Smtp::new(Behaviour::Silence), false),
    ] {
        let server = Server::smtp(smtp).await;
        let email = email_to(server.port, &json!({}));
        let told = email.probe().expect("can be rehearsed").await;
        assert_eq!(told.is_ok(), passes, "{told:?}");
        assert!(server.seen().is_empty());
        if passes {
            assert_eq!(email.send(&sample()).await.is_ok(), passes);
            assert_eq!(server.connections(), 1);
        }
    }
    let webhook = channel(json!({"kind": "webhook", "url": "http://localhost:1/"}));
    assert!(webhook.probe().is_none());
}

#[tokio::test]
async fn mail_is_protected_as_configured() {
    let identity = Identity::new();
    let ca = json!(identity.ca_file);
    let user = |password: &str| json!({"username": "u", "password": password});
    let smtp = |offers: Vec<&'static str>, tls: bool, implicit: bool| Smtp {
        offers,
        tls: tls.then(|| identity.acceptor.clone()),
        implicit,
        ..Smtp::new(Behaviour::Success)
    };
    for (server, extra, expected) in [
        (smtp(vec![], true, false), json!({"tls": "required", "ca_file": ca}), ""),
        (smtp(vec![], true, true), json!({"tls": "implicit", "ca_file": ca}), ""),
        (smtp(vec![], true, false), json!({"tls": "opportunistic", "ca_file": ca}), ""),
        (smtp(vec![], false, false), json!({"tls": "opportunistic", "ca_file": ca}), ""),
        (smtp(vec![], false, false), json!({"tls": "required", "ca_file": ca}), "offers no STARTTLS"),
        (smtp(vec![], true, false), json!({"tls": "required"}), "could not agree on TLS"),
        (smtp(vec!["AUTH PLAIN"], true, false), json!({"tls": "required", "ca_file": ca, "auth": "good"}), ""),
        (
            smtp(vec!["AUTH PLAIN"], true, false),
            json!({"tls": "required", "ca_file": ca, "auth": "wrong"}),
            "535 (AUTH)",
        ),
        (smtp(vec![], false, false), json!({"auth": "good"}), "does not offer what is needed (AUTH)"),
    ] {
        let server = Server::smtp(server).await;
        let mut extra = extra;
        let auth = extra.as_object_mut().expect("is an object").remove("auth");
        if let Some(password) = auth.as_ref().and_then(Value::as_str) {
            extra.as_object_mut().expect("is an object").extend(user(password).as_object().expect("is one").clone());
        }
        let told = email_to(server.port, &extra).send(&sample()).await;
        match (expected, &told) {
            ("", Ok(())) => assert_eq!(server.seen().len(), 1, "{extra}"),
            (expected, Err(SendError { permanent: false, reason, .. })) if !expected.is_empty() => {
                assert!(reason.contains(expected), "{extra}: {reason}");
            }
            _ => panic!("{extra}: {told:?}"),
        }
    }
}

#[tokio::test]
async fn addresses_beyond_ascii_need_a_server_that_takes_them() {
    for (offers, expected) in [(vec!["SMTPUTF8"], Ok(())), (vec![], Err(true))] {
        let server = Server::smtp(Smtp { offers, ..Smtp::new(Behaviour::Success) }).await;
        let email = email_to(server.port, &json!({"to": "zoé@example.org"}));
        assert_eq!(email.send(&sample()).await.map_err(|error| error.permanent), expected);
    }
}

#[tokio::test]
async fn an_idle_connection_that_died_is_replaced() {
    let clock = Arc::new(StepClock::new("2026-11-22T03:12:10Z".parse().expect("is a time")));
    let server = Server::smtp(Smtp::new(Behaviour::Success)).await;
    let config = json!({"x": {"kind": "email", "server": format!("localhost:{}", server.port), "from": "d@example.org",
                              "to": "a@example.org", "tls": "none"}});
    let configs = config::read(&config).expect("reads");
    let parts = Parts { clock: Arc::clone(&clock) as Arc<dyn model::Clock>, ..parts(std::path::Path::new(".")) };
    let channels = build_all(&configs, &parts).expect("builds");
    assert_eq!(channels["x"].send(&sample()).await, Ok(()));
    clock.advance(Duration::from_secs(120));
    assert_eq!(channels["x"].send(&sample()).await, Ok(()));
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_channel_that_cannot_be_built_is_named() {
    let configs = config::read(&json!({
        "a": {"kind": "log"},
        "b": {"kind": "webhook", "url": "https://h/", "ca_file": "/nonexistent"},
    }))
    .expect("reads");
    let (name, error) = build_all(&configs, &parts(std::path::Path::new("."))).err().expect("one is wrong");
    assert_eq!(name, "b");
    assert!(error.to_string().contains("could not open"), "{error}");
    for url in ["not a url", "/path"] {
        let configs = config::read(&json!({"c": {"kind": "teams", "url": url}})).expect("reads");
        assert!(build_all(&configs, &parts(std::path::Path::new("."))).is_err());
    }
    for extra in [
        json!({"headers": {"a b": "c"}}),
        json!({"headers": {"a": "b\n"}}),
        json!({"proxy": "/x"}),
        json!({"proxy": "a b"}),
    ] {
        let mut config = json!({"kind": "webhook", "url": "http://h/"});
        for (key, value) in extra.as_object().expect("is one") {
            config[key] = value.clone();
        }
        let configs = config::read(&json!({"c": config})).expect("reads");
        assert!(build_all(&configs, &parts(std::path::Path::new("."))).is_err(), "{extra}");
    }
}
