//! HTTP against servers that behave and servers that do not.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::State;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::*;
use crate::testing::{Authority, Server, Wanted, observe, read_head};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nX-A: 1\r\nX-A: 2\r\n\r\n{\"status\":\"up\"}";

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[tokio::test]
async fn a_sound_answer_is_up_with_its_phases_and_facts() {
    let server = Server::fixed(OK).await;
    let conditions = json!([
        "status == 200 && json.status == 'up' && headers['x-a'] == '1, 2'",
        "timing.total < duration('5s') && redirects == 0 && body.contains('up') && body_bytes == 15",
        "http_version == 'HTTP/1.1' && !has(tls.version) && url.endsWith('/health')",
    ]);
    let url = server.url("/health?token=hunter2");
    let result = observe(json!({"kind": "http", "url": url, "conditions": conditions})).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Up, ""), "{result:?}");
    assert_eq!(result.conditions.len(), 10);
    assert!(result.conditions.iter().all(|condition| condition.ok));
    let phases: Vec<_> = result.timings_ms.phases().map(|(name, _)| name).collect();
    assert_eq!(phases, ["connect", "first_byte", "transfer", "total"]);
    assert_eq!((result.figures["status"], result.figures["body_bytes"]), (200.0, 15.0));
}

#[tokio::test]
async fn what_does_not_hold_is_shown_with_its_value() {
    let server = Server::fixed(answer("503 No", "Set-Cookie: secret=1\r\n", b"{\"status\":\"sick\",\"n\":[1,2]}")).await;
    let conditions = json!([
        "json.status == 'up'",
        "status < 400",
        "body.contains('fine')",
        "json.missing == 1",
        "json.n[1] == 3",
        "headers['set-cookie'] == ''",
        "json.n[0]",
        "tls.days_left > 14",
    ]);
    let result = observe(json!({"kind": "http", "url": server.url("/"), "conditions": conditions})).await;
    assert_eq!(result.state, State::Down);
    assert_eq!(result.reason, "json.status == 'up' does not hold: json.status = \"sick\"; 6 more do not");
    let actual: Vec<_> = result.conditions.iter().map(|condition| condition.actual.as_str()).collect();
    assert_eq!(
        actual,
        [
            "json.status = \"sick\"",
            "status = 503",
            "body = 27 bytes",
            "json.missing = absent (there is no missing)",
            "json.n[1] = 2",
            "headers['set-cookie'] = hidden",
            "json.n[0] = 1 (it is a int, not true or false)",
            "tls.days_left = absent (there is no days_left)",
        ]
    );
    let plain = observe(json!({"kind": "http", "url": server.url("/")})).await;
    assert_eq!(plain.reason, "status <= 399 does not hold: status = 503");
}

#[tokio::test]
async fn requests_carry_what_is_configured() {
    let (seen, mut requests) = mpsc::channel(4);
    let server = Server::start(move |mut stream| {
        let seen = seen.clone();
        async move {
            let head = read_head(&mut stream).await;
            let _ = seen.send(head).await;
            let _ = stream.write_all(OK.as_bytes()).await;
        }
    })
    .await;
    let url = server.url("/a%20b?q=1");
    let basic = json!({"kind": "http", "url": url, "method": "post", "body": "hello", "username": "u", "password": "p",
        "headers": {"X-Tenant": "t", "User-Agent": "mine"}});
    assert_eq!(observe(basic).await.state, State::Up);
    let head = requests.recv().await.expect("a request").to_ascii_lowercase();
    for part in ["post /a%20b?q=1 http/1.1\r\n", "authorization: basic dtpw\r\n", "x-tenant: t\r\n", "user-agent: mine\r\n",
        "content-length: 5\r\n", "accept-encoding: identity\r\n", "connection: close\r\n"]
    {
        assert!(head.contains(part), "{part} in {head}");
    }
    assert!(head.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)), "{head}");
    let bearer = json!({"kind": "http", "url": url, "bearer_token": "dhy"});
    assert_eq!(observe(bearer).await.state, State::Up);
    assert!(requests.recv().await.expect("a request").contains("Bearer dhy"));
    let userinfo = url.replace("http://", "http://user:p%61ss@");
    assert_eq!(observe(json!({"kind": "http", "url": userinfo, "headers": {"Host": "x.example"}})).await.state, State::Up);
    let head = requests.recv().await.expect("a request").to_ascii_lowercase();
    assert!(head.contains("authorization: basic dxnlcjpwyxnz\r\n") && head.contains("host: x.example\r\n"), "{head}");
}

/// Redirects `/N` to `/N-1`, and `/0` answers.
async fn redirecting(status: &'static str, heads: mpsc::Sender<String>) -> Server {
    Server::start(move |mut stream| {
        let heads = heads.clone();
        async move {
            let head = read_head(&mut stream).await;
            let path = head.split(' ').nth(1).and_then(|path| path.strip_prefix('/')).unwrap_or_default().to_owned();
            let _ = heads.send(head).await;
            let answer = match path.parse::<usize>() {
                Ok(0) => answer("200 OK", "", b""),
                Ok(left) => answer(status, &format!("Location: /{}\r\n", left - 1), b"moved"),
                Err(_) => answer(status, &format!("Location: {}\r\n", path.replace("to-", "")), b""),
            };
            let _ = stream.write_all(&answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn redirects_are_followed_and_bounded() {
    let (seen, mut heads) = mpsc::channel(64);
    let server = redirecting("302 Found", seen).await;
    let check = |path: &str| json!({"kind": "http", "url": server.url(path), "conditions": "status == 200 && redirects < 9"});
    let result = observe(check("/3")).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Up, ""));
    assert!(result.timings_ms.connect.is_some());
    let result = observe(check("/11")).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Down, "no complete answer: more than 10 redirects"));
    let mut not_followed = check("/3");
    not_followed["follow_redirects"] = false.into();
    let result = observe(not_followed).await;
    assert_eq!(result.reason, "status == 200 does not hold: status = 302");
    for bad in ["/to-ftp://a/b", "/to-http://[", "/to-mailto:a@b"] {
        let result = observe(check(bad)).await;
        assert!(result.reason.contains("redirects to what is no http"), "{bad}: {}", result.reason);
    }
    // A post becomes a get after 302, and stays a post after 307.
    while heads.try_recv().is_ok() {}
    let mut post = check("/1");
    post["method"] = "POST".into();
    post["body"] = "x".into();
    observe(post).await;
    let methods: Vec<_> = [heads.recv().await, heads.recv().await].into_iter().flatten().collect();
    assert!(methods[0].starts_with("POST") && methods[1].starts_with("GET"), "{methods:?}");
}

#[tokio::test]
async fn credentials_do_not_follow_to_another_origin() {
    let (seen, mut heads) = mpsc::channel(8);
    let other = redirecting("307 Temporary Redirect", seen.clone()).await;
    let from = redirecting("307 Temporary Redirect", seen).await;
    let url = from.url(&format!("/to-{}", other.url("/0")));
    let check = json!({"kind": "http", "url": url, "method": "POST", "body": "x", "bearer_token": "secret",
        "headers": {"Cookie": "secret", "X-Api-Key": "secret", "Host": "a.example"}});
    assert_eq!(observe(check).await.state, State::Up);
    let (first, second) = (heads.recv().await.expect("a request"), heads.recv().await.expect("a request"));
    assert!(first.contains("Bearer secret") && first.contains("cookie: secret"), "{first}");
    assert!(!second.contains("secret") && second.starts_with("GET") && second.contains("dihya/"), "{second}");
    assert!(second.contains("host: 127.0.0.1") && !second.contains("content-length: 1"), "{second}");
}

#[tokio::test]
async fn private_addresses_are_refused_where_asked() {
    let server = Server::fixed(OK).await;
    let check = json!({"kind": "http", "url": server.url("/"), "deny_private": true});
    let result = observe(check).await;
    assert_eq!(result.state, State::Down);
    assert_eq!(result.reason, "could not resolve the name: its address is not public, and deny_private is set");
}

/// Behind a proxy the peer is the proxy, whose address said that the service was one of our own network.
#[tokio::test]
async fn a_public_service_sends_nobody_into_our_network_through_a_proxy() {
    let (seen, mut asked) = mpsc::channel(8);
    let proxy = Server::start(move |mut stream| {
        let seen = seen.clone();
        async move {
            let head = read_head(&mut stream).await;
            let _ = seen.send(head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            read_head(&mut stream).await;
            let _ = stream.write_all(&answer("302 Found", "Location: http://10.0.0.1/admin\r\n", b"")).await;
        }
    })
    .await;
    for (url, reason) in [
        ("http://1.1.1.1/", "could not resolve the name: its address is not public, and a public service redirected to it"),
        ("http://10.0.0.2/", "no complete answer: more than 2 redirects"),
    ] {
        let check = json!({"kind": "http", "url": url, "proxy": proxy.url("/"), "max_redirects": 2});
        let result = observe(check).await;
        assert_eq!((result.state, result.reason.as_str()), (State::Down, reason));
    }
    assert!(asked.recv().await.expect("a tunnel").starts_with("CONNECT 1.1.1.1:80"));
    assert!(asked.recv().await.expect("a tunnel").starts_with("CONNECT 10.0.0.2:80"), "nobody asked for 10.0.0.1 before");
}

#[tokio::test]
async fn hostile_answers_end_with_a_reason() {
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b'a'; 8 << 20]).expect("packs");
    let bomb = bomb.finish().expect("packs");
    let head_flood = format!("HTTP/1.1 200 OK\r\n{}", "X-Padding: 0123456789\r\n".repeat(8_000));
    for (answer, reason) in [
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "no complete answer: the answer is not HTTP"),
        (b"\0\x01\x02garbage\r\n\r\n".to_vec(), "no complete answer: the answer is not HTTP"),
        (Vec::new(), "no complete answer: connection closed before the answer was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec(), "no complete answer: connection closed by the peer"),
        (head_flood.into_bytes(), "no complete answer: the head of the answer is too long"),
        (answer("200 OK", "Content-Encoding: gzip\r\n", &bomb), "the body unpacks to more than 4194304 bytes"),
        (answer("200 OK", "Content-Encoding: br\r\n", b"x"), "the body has a content encoding that was not asked for"),
        (answer("200 OK", "", &vec![b'a'; 2 << 20]), "the body exceeds 1048576 bytes (max_body)"),
    ] {
        let server = Server::fixed(answer).await;
        let result = observe(json!({"kind": "http", "url": server.url("/"), "conditions": "body != ''"})).await;
        assert_eq!((result.state, result.reason.as_str()), (State::Down, reason));
    }
}

#[tokio::test]
async fn a_body_without_end_is_read_to_its_bound_only() {
    let server = Server::start(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        while stream.write_all(b"8\r\nabcdefgh\r\n").await.is_ok() {}
    })
    .await;
    let url = server.url("/");
    let unread = observe(json!({"kind": "http", "url": url, "max_body": "16KiB"})).await;
    assert_eq!((unread.state, unread.figures["body_bytes"]), (State::Up, 16_384.0), "{unread:?}");
    let read = observe(json!({"kind": "http", "url": url, "max_body": "16KiB", "conditions": "json.a == 1"})).await;
    assert_eq!(read.reason, "the body exceeds 16384 bytes (max_body)");
}

#[tokio::test]
async fn a_slow_answer_is_cut_at_the_time_out() {
    let dripped = std::sync::Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let dripped = std::sync::Arc::clone(&dripped);
        move |mut stream| {
            let dripped = std::sync::Arc::clone(&dripped);
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
                while stream.write_all(b"x").await.is_ok() {
                    dripped.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }
    })
    .await;
    let result = observe(json!({"kind": "http", "url": server.url("/"), "timeout": "1s"})).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Down, "no complete answer: timed out"));
    let phases: Vec<_> = result.timings_ms.phases().map(|(name, _)| name).collect();
    assert_eq!(phases, ["connect", "first_byte", "transfer", "total"]);
    assert!(dripped.load(Ordering::Relaxed) > 3);
}

#[tokio::test]
async fn https_sees_the_certificate() {
    let authority = Authority::new();
    let issued = authority.issue(Wanted::default());
    let server = Server::tls(&issued, OK).await;
    let url = server.url("/").replace("http:", "https:");
    let check = json!({"kind": "http", "url": url, "ca_file": authority.ca_file(),
        "conditions": "tls.days_left > 14 && tls.version == 'TLSv1.3' && tls.problem == '' && tls.key_type == 'ec'"});
    let result = observe(check).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Up, ""), "{result:?}");
    assert!(result.figures["certificate_days_left"] > 10_000.0);
    assert!(result.timings_ms.tls.is_some());
    let untrusted = observe(json!({"kind": "http", "url": url})).await;
    assert_eq!(untrusted.state, State::Down);
    assert_eq!(untrusted.reason, "TLS handshake failed: the certificate's issuer is not trusted");
    let plain = Server::start(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        read_head(&mut stream).await;
    })
    .await;
    let refused = observe(json!({"kind": "http", "url": plain.url("/").replace("http:", "https:")})).await;
    assert_eq!(refused.reason, "TLS handshake failed: the peer does not speak TLS");
}

#[test]
fn what_is_wrong_with_the_configuration_is_said_where() {
    for (check, path) in [
        (json!({"url": "ftp://a/"}), "url"),
        (json!({"url": "nonsense"}), "url"),
        (json!({"url": "http://a/", "method": "G T"}), "method"),
        (json!({"url": "http://a/", "headers": {"a b": "c"}}), "headers.a b"),
        (json!({"url": "http://a/", "headers": {"a": "c\nd"}}), "headers.a"),
        (json!({"url": "http://a/", "bearer_token": "a\nb"}), "bearer_token"),
        (json!({"url": 5}), ""),
    ] {
        let issues = build(&check).err().expect("refused");
        assert_eq!(issues[0].path, path, "{check}");
    }
}
