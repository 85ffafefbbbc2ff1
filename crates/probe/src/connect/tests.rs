//! The connector against names, proxies, certificates and networks of every kind.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

use model::State;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::testing::{Authority, Issued, Names, Server, Wanted, means, names, observe, read_head};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

fn target(port: u16) -> Target {
    Target { host: "127.0.0.1".to_owned(), port }
}

#[test]
fn targets_are_read_with_and_without_ports() {
    for (text, default, authority) in [
        ("a.example:1", None, "a.example:1"),
        ("a.example", Some(2), "a.example:2"),
        ("[::1]:3", None, "[::1]:3"),
        ("[::1]", Some(4), "[::1]:4"),
        ("::1", Some(5), "[::1]:5"),
        ("127.0.0.1:6", Some(7), "127.0.0.1:6"),
    ] {
        assert_eq!(Target::parse(text, default).map(|target| target.authority()), Ok(authority.to_owned()), "{text}");
    }
    for bad in ["", "a", ":1", "a:b", "a:99999", "[::1", "[a]:1", "[::1]1", "a b:1", "a/b:1", "u@h:1", "::1"] {
        assert!(Target::parse(bad, None).is_err(), "{bad}");
    }
}

#[test]
fn faults_of_the_system_are_ours_and_the_rest_is_the_targets() {
    use rustix::io::Errno;
    for (errno, fault, reason) in [
        (Errno::MFILE, Some(Fault::Resources), "we are out of file descriptors"),
        (Errno::NOMEM, Some(Fault::Resources), "we are out of memory"),
        (Errno::ADDRNOTAVAIL, Some(Fault::Resources), "we are out of local ports"),
        (Errno::NETUNREACH, Some(Fault::Network), "we have no route to it"),
        (Errno::NETDOWN, Some(Fault::Network), "our network is down"),
        (Errno::PERM, Some(Fault::Network), "our own system forbids it"),
        (Errno::CONNREFUSED, None, "connection refused"),
        (Errno::CONNRESET, None, "connection reset by the peer"),
        (Errno::PIPE, None, "connection closed by the peer"),
        (Errno::HOSTUNREACH, None, "host unreachable"),
    ] {
        let error = Error::from_io(Phase::Connect, &errno.into());
        assert_eq!((error.fault, error.reason.as_str()), (fault, reason));
        let state = if fault.is_some() { State::Unknown } else { State::Down };
        assert_eq!(Observation::from(error).state, state);
    }
    let error = Error::from_io(Phase::Send, &ErrorKind::TimedOut.into());
    assert!(error.timed_out);
    assert_eq!(error.to_string(), "could not send the request: timed out");
    assert_eq!(Error::timed_out(Phase::Resolve).fault, Some(Fault::Resolver));
}

#[test]
fn addresses_alternate_between_the_families() {
    let addresses = |text: &str| text.split(' ').map(|ip| ip.parse().expect("an address")).collect::<Vec<IpAddr>>();
    assert_eq!(interleave(addresses("1.1.1.1 ::1 ::2 2.2.2.2 ::3")), addresses("::1 1.1.1.1 ::2 2.2.2.2 ::3"));
    assert_eq!(interleave(addresses("1.1.1.1")), addresses("1.1.1.1"));
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails_and_the_targets_fault_is_told() {
    let server = Server::fixed("").await;
    // Nothing listens at 127.0.0.2: refused at once; the server does not listen there either, but on .1.
    let addresses = ["127.0.0.2", "127.0.0.1"].map(|ip| ip.parse().expect("an address"));
    let (_, peer) = race(&addresses, server.port, soon()).await.expect("connects");
    assert_eq!(peer.ip(), addresses[1]);
    let port = server.port;
    drop(server);
    let error = race(&addresses, port, soon()).await.expect_err("nobody listens");
    assert_eq!((error.fault, error.reason.as_str()), (None, "connection refused"));
    let error = race(&addresses, port, Instant::now()).await.expect_err("too late");
    assert!(error.timed_out || error.reason == "connection refused");
    // An address that is not ours to reach says nothing when the other one was refused.
    let mixed = ["255.255.255.255", "127.0.0.1"].map(|ip| ip.parse().expect("an address"));
    assert_eq!(race(&mixed, port, soon()).await.expect_err("refused").fault, None);
}

fn by(names: &Names) -> NetOptions {
    NetOptions { resolver: Some(names.address), ..NetOptions::default() }
}

#[tokio::test]
async fn names_are_resolved_and_failures_have_an_author() {
    let names = names(true).await;
    let means = means();
    let ask = async |host: &str| {
        let mut timings = Timings::default();
        let found = means.connector.resolve(host, &by(&names), soon(), &mut timings).await;
        (found, timings.resolve)
    };
    let (found, took) = ask("here.example").await;
    assert_eq!(found.expect("resolves"), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    assert!(took.is_some());
    let asked = names.asked.load(Ordering::SeqCst);
    ask("here.example").await.0.expect("resolves");
    assert_eq!(names.asked.load(Ordering::SeqCst), asked, "cached for its time to live");
    for (host, fault, reason) in [
        ("gone.example", None, "the name does not exist"),
        ("empty.example", None, "the name has no address"),
        ("broken.example", None, "the name servers of its domain fail (SERVFAIL)"),
        ("refused.example", Some(Fault::Resolver), "the resolver refuses to answer us"),
        ("a..b", None, "the name is not a valid DNS name"),
    ] {
        let error = ask(host).await.0.expect_err("fails");
        assert_eq!((error.fault, error.reason.as_str()), (fault, reason), "{host}");
    }
    let within = Instant::now() + Duration::from_millis(600);
    let swallowed = means.connector.resolve("silent.example", &by(&names), within, &mut Timings::default()).await;
    let error = swallowed.expect_err("no answer");
    assert_eq!((error.fault, error.reason.as_str()), (None, "the name servers of its domain do not answer"));
    means.connector.forget();
    ask("here.example").await.0.expect("resolves");
    assert!(names.asked.load(Ordering::SeqCst) > asked);
}

#[tokio::test]
async fn a_resolver_that_fails_or_is_silent_is_our_fault() {
    let names = names(false).await;
    let connector = &means().connector;
    let mut timings = Timings::default();
    let error = connector.resolve("broken.example", &by(&names), soon(), &mut timings).await.expect_err("fails");
    assert_eq!(
        (error.fault, error.reason.as_str()),
        (Some(Fault::Resolver), "the resolver fails for every name (SERVFAIL)")
    );
    let within = Instant::now() + Duration::from_millis(200);
    let error = connector.resolve("silent.example", &by(&names), within, &mut timings).await.expect_err("fails");
    assert_eq!((error.fault, error.timed_out), (Some(Fault::Resolver), true));
    let address = names.address;
    drop(names);
    let within = Instant::now() + Duration::from_millis(500);
    let net = NetOptions { resolver: Some(address), ..NetOptions::default() };
    let error = connector.resolve("here.example", &net, within, &mut timings).await.expect_err("fails");
    assert_eq!(error.fault, Some(Fault::Resolver), "{error}");
}

#[tokio::test]
async fn families_and_private_addresses_are_filtered() {
    let names = names(true).await;
    let connector = &means().connector;
    let mut timings = Timings::default();
    let six = NetOptions { family: Family::Ipv6, ..by(&names) };
    let error = connector.resolve("here.example", &six, soon(), &mut timings).await.expect_err("fails");
    assert_eq!(error.reason, "the name has no address of the wanted family");
    let four = NetOptions { family: Family::Ipv4, ..by(&names) };
    assert_eq!(connector.resolve("1.2.3.4", &four, soon(), &mut timings).await.expect("is one").len(), 1);
    let public = NetOptions { deny_private: true, ..by(&names) };
    for host in ["localhost", "127.0.0.1", "::1"] {
        let public = NetOptions { resolver: None, ..public.clone() };
        let error = connector.resolve(host, &public, soon(), &mut timings).await.expect_err("fails");
        assert!(error.reason.starts_with("its address is not public"), "{host}: {error}");
    }
    // The resolver is an address that the check names, as good as any other.
    let error = connector.resolve("here.example", &public, soon(), &mut timings).await.expect_err("fails");
    assert_eq!(error.reason, "its resolver is not public, and deny_private is set");
    assert!(connector.resolver_uncached(&public).is_err());
    let target = NetOptions { deny_private: false, deny_private_target: true, ..public };
    let error = connector.resolve("private.example", &target, soon(), &mut timings).await.expect_err("fails");
    assert_eq!(error.reason, "its address is not public, and a public service redirected to it");
    assert!(connector.is_public("1.1.1.1", &by(&names), soon()).await);
    assert!(!connector.is_public("private.example", &by(&names), soon()).await);
    assert!(!connector.is_public("gone.example", &by(&names), soon()).await);
}

#[test]
fn resolvers_are_addresses_with_or_without_ports() {
    for (text, expected) in [
        ("9.9.9.9", "9.9.9.9:53"),
        ("9.9.9.9:54", "9.9.9.9:54"),
        ("2620:fe::fe", "[2620:fe::fe]:53"),
        ("[::1]", "[::1]:53"),
    ] {
        assert_eq!(parse_resolver(text).map(|address| address.to_string()), Ok(expected.to_owned()));
    }
    assert!(parse_resolver("dns.example").is_err());
    let read = |json: Json| serde_json::from_value::<NetOptions>(json).map(|net| net.resolver.is_some());
    assert!(read(json!({"resolver": "1.1.1.1"})).is_ok_and(|some| some));
    assert!(read(json!({"resolver": null})).is_ok_and(|some| !some));
    assert!(read(json!({"resolver": "x"})).is_err());
}

/// Runs a proxy that answers CONNECT with `answer`, then echoes.
async fn proxy(answer: &'static [u8]) -> Server {
    Server::start(move |mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("CONNECT inside.example:25 HTTP/1.1\r\nHost: inside.example:25\r\n"), "{head}");
        assert!(head.contains("Proxy-Authorization: Basic dTpAJQ==\r\n"), "{head}");
        let _ = stream.write_all(answer).await;
        let mut byte = [0];
        while matches!(stream.read(&mut byte).await, Ok(1)) {
            let _ = stream.write_all(&byte).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_proxy_tunnels_and_its_failures_are_ours() {
    let connector = &means().connector;
    let inside = Target { host: "inside.example".to_owned(), port: 25 };
    let long = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; 9_000]].concat().leak();
    for (answer, fault, reason) in [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n".as_slice(), None, "the proxy cannot reach it (status 502)"),
        (b"HTTP/1.1 407 Auth\r\n\r\n", Some(Fault::Setup), "the proxy refuses (status 407)"),
        (b"220 mail.example\r\n\r\n", Some(Fault::Network), "the proxy does not speak HTTP"),
        (long, Some(Fault::Network), "the proxy's answer is too long"),
    ] {
        let proxy = proxy(answer).await;
        let url = format!("http://u:%40%25@127.0.0.1:{}", proxy.port).parse().ok();
        let net = NetOptions { proxy: url, ..NetOptions::default() };
        let error = connector.tcp(&inside, &net, soon()).await.err().expect("refused");
        assert_eq!((error.fault, error.reason.as_str()), (fault, reason));
    }
    let open = proxy(b"HTTP/1.1 200 Connection established\r\n\r\n").await;
    let url = format!("http://u:%40%25@127.0.0.1:{}", open.port).parse().ok();
    let net = NetOptions { proxy: url, ..NetOptions::default() };
    let mut stream = connector.tcp(&inside, &net, soon()).await.expect("tunnels");
    stream.send(b"hello\r\n").await.expect("sends");
    assert_eq!(stream.receive_line(100).await.expect("echoes"), b"hello");
    let guarded = NetOptions { deny_private: true, ..net.clone() };
    let private = Target { host: "10.0.0.1".to_owned(), port: 25 };
    assert!(connector.tcp(&private, &guarded, soon()).await.err().expect("refused").reason.contains("not public"));
    let public = Target { host: "1.1.1.1".to_owned(), port: 25 };
    let error = connector.tcp(&public, &guarded, soon()).await.err().expect("the proxy is not public either");
    assert_eq!((error.phase, error.fault), (Phase::Tunnel, Some(Fault::Network)));
    drop(open);
    let gone = Server::fixed("").await.port;
    let net = NetOptions { proxy: format!("http://127.0.0.1:{gone}").parse().ok(), ..NetOptions::default() };
    let error = connector.tcp(&inside, &net, soon()).await.err().expect("no proxy");
    assert_eq!((error.phase, error.fault), (Phase::Tunnel, Some(Fault::Network)));
}

#[tokio::test]
async fn streams_keep_their_caps_and_deadlines() {
    let connector = &means().connector;
    let server = Server::start(|mut stream| async move {
        let _ = stream.write_all(b"first line\r\nsecond\nxxxxxxxxxxxxxxxxxxxx").await;
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await;
    let within = Instant::now() + Duration::from_millis(1_500);
    let mut stream = connector.tcp(&target(server.port), &NetOptions::default(), within).await.expect("connects");
    assert_eq!((stream.peer().port(), stream.deadline(), stream.tls().is_none()), (server.port, within, true));
    assert_eq!(stream.receive_line(20).await.expect("a line"), b"first line");
    assert_eq!(stream.receive_line(20).await.expect("a line"), b"second");
    assert_eq!(stream.receive_line(5).await.expect_err("too long").reason, "line exceeds 5 bytes");
    stream.set_cap(20);
    let error = stream.receive_some(&mut Vec::new()).await.expect_err("too much");
    assert_eq!((error.reason.as_str(), error.fault), ("answer exceeds 20 bytes", None));
    stream.set_cap(1_000);
    stream.ask();
    let error = stream.receive_exact(&mut [0; 100]).await.expect_err("silence");
    assert!(error.timed_out && error.timings.connect.is_some());
    assert_eq!(error.to_string(), "no complete answer: timed out");
    assert!(stream.send(b"late").await.expect_err("late").timed_out);
    assert!(stream.shutdown().await.is_err(), "late");
}

/// Lines were read byte by byte: a system call for each byte of a greeting.
#[tokio::test]
async fn what_follows_a_line_is_read_next() {
    let connector = &means().connector;
    let server = Server::start(|mut stream| async move {
        let _ = stream.write_all(b"one\r\ntwo\n12345").await;
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
        let _ = stream.write_all(b"67\n").await;
    })
    .await;
    let connect = async || connector.tcp(&target(server.port), &NetOptions::default(), soon()).await.expect("connects");
    let mut stream = connect().await;
    assert_eq!(stream.receive_line(4).await.expect("a line"), b"one");
    assert_eq!(stream.receive_line(3).await.expect("a line"), b"two");
    let mut some = [0; 2];
    stream.receive_exact(&mut some).await.expect("is there");
    assert_eq!(&some, b"12");
    let mut rest = Vec::new();
    assert_eq!(stream.receive_some(&mut rest).await.expect("is there"), 3);
    stream.shutdown().await.expect("closes its half");
    assert_eq!(stream.receive_line(10).await.expect("a line"), b"67");
    assert_eq!(stream.receive_line(10).await.expect_err("the end").reason, "connection closed by the peer");
    // A line does not fail for what follows it.
    let mut stream = connect().await;
    stream.set_cap(9);
    assert_eq!(stream.receive_line(9).await.expect("a line"), b"one");
    assert_eq!(stream.receive_line(9).await.expect("a line"), b"two");
    assert_eq!(stream.receive_line(9).await.expect_err("no more").reason, "answer exceeds 9 bytes");
    // What was said in clear beyond an answer is not taken for the peer's words under TLS.
    let mut stream = connect().await;
    stream.receive_line(9).await.expect("a line");
    let error = connector.start_tls(stream, "127.0.0.1", &TlsOptions::default()).await.err().expect("refused");
    assert_eq!((error.phase, error.fault), (Phase::Tls, None));
    assert_eq!(error.reason, "the peer sent more than its answer before TLS");
}

async fn problem_of(issued: &Issued, options: Json) -> (String, String) {
    let server = Server::tls(issued, "").await;
    let mut check =
        json!({"kind": "tls", "address": server.address(), "conditions": "tls.problem == 'none'", "timeout": "5s"});
    for (key, value) in options.as_object().into_iter().flatten() {
        check[key] = value.clone();
    }
    let strict = observe(check.clone()).await;
    check["insecure"] = true.into();
    let lax = observe(check).await;
    assert_eq!(lax.figures.get("certificate_days_left"), strict.figures.get("certificate_days_left"));
    let seen = lax.conditions.first().map(|condition| condition.actual.clone()).unwrap_or_default();
    (strict.reason, seen)
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_has_a_name() {
    let authority = Authority::new();
    let ca = json!({"ca_file": authority.ca_file()});
    let sound = Wanted::default();
    let expired = Wanted { until_year: 2021, ..sound };
    let early = Wanted { from_year: 2080, ..sound };
    let other = Wanted { name: "other.example", ..sound };
    for (issued, reason, code) in [
        (authority.issue(sound), "", ""),
        (authority.issue(expired), "TLS handshake failed: the certificate has expired", "expired"),
        (authority.issue(early), "TLS handshake failed: the certificate is not yet valid", "not_yet_valid"),
        (authority.issue(other), "TLS handshake failed: the certificate is not for this host", "wrong_host"),
        (sound.self_signed(), "TLS handshake failed: the certificate is self-signed", "self_signed"),
        (
            Authority::named("Stranger").issue(sound),
            "TLS handshake failed: the certificate's issuer is not trusted",
            "unknown_issuer",
        ),
    ] {
        let (said, seen) = problem_of(&issued, ca.clone()).await;
        let expected = if code.is_empty() { "tls.problem == 'none' does not hold: tls.problem = \"\"" } else { reason };
        assert_eq!(said, expected);
        assert_eq!(seen, format!("tls.problem = \"{code}\""));
    }
    let mut named = ca;
    named["server_name"] = "other.example".into();
    assert!(problem_of(&authority.issue(other), named.clone()).await.1.ends_with("\"\""));
    named["server_name"] = "not a name".into();
    let (said, _) = problem_of(&authority.issue(other), named).await;
    assert_eq!(said, "TLS handshake failed: the server name is neither a DNS name nor an address");
}

#[tokio::test]
async fn a_chain_that_verified_is_remembered_by_name_and_time() {
    let authority = Authority::new();
    let issued = authority.issue(Wanted::default());
    let server = Server::tls(&issued, "").await;
    let means = means();
    let tls = TlsOptions { ca_file: Some(authority.ca_file()), ..TlsOptions::default() };
    let net = NetOptions::default();
    let shake = async |tls: TlsOptions| {
        let stream = means.connector.tls(&target(server.port), &net, &tls, soon()).await;
        stream.map(|stream| Arc::clone(stream.tls().expect("a handshake")))
    };
    let (first, second) = (shake(tls.clone()).await.expect("verifies"), shake(tls.clone()).await.expect("verifies"));
    assert!(Arc::ptr_eq(&first.chain, &second.chain), "the second came from memory");
    let other = TlsOptions { server_name: Some("other.example".to_owned()), ..tls.clone() };
    let error = shake(other).await.expect_err("another name is verified anew");
    assert_eq!(error.tls.expect("seen").problem, Some(TlsProblem::WrongHost));
    means.connector.forget();
    let third = shake(tls).await.expect("verifies");
    assert!(!Arc::ptr_eq(&first.chain, &third.chain) && *third.chain == *first.chain);
    let cert = &third.chain.certs[0];
    assert_eq!((cert.key_type, cert.key_bits, cert.names.as_slice()), ("ec", 256, &["127.0.0.1".to_owned()][..]));
    assert_eq!((cert.issuer.as_str(), cert.sha256.len()), ("CN=Test Authority", 64));
}

#[tokio::test]
async fn versions_and_files_are_checked() {
    let authority = Authority::new();
    let issued = authority.issue(Wanted::default());
    let old = issued.acceptor(Some(&[&rustls::version::TLS12]));
    let server = Server::start(move |stream| {
        let old = old.clone();
        async move {
            if let Ok(mut stream) = old.accept(stream).await {
                let _ = stream.read_u8().await;
            }
        }
    })
    .await;
    let check = |extra: Json| {
        let mut check = json!({"kind": "tls", "address": server.address(), "ca_file": authority.ca_file(),
            "conditions": "tls.version == 'TLSv1.2' && size(tls.chain) == 1", "alpn": ["h2"], "timeout": "5s"});
        for (key, value) in extra.as_object().into_iter().flatten() {
            check[key] = value.clone();
        }
        check
    };
    assert_eq!(observe(check(json!({}))).await.reason, "");
    let result = observe(check(json!({"min_tls_version": "1.3"}))).await;
    assert_eq!(result.reason, "TLS handshake failed: the peer sent the alert ProtocolVersion");
    let key = authority.file("key.pem", &issued.key.serialize_pem());
    let cert = authority.file("cert.pem", &pem(&issued.chain[0]));
    assert_eq!(observe(check(json!({"client_cert_file": cert, "client_key_file": key}))).await.reason, "");
    let empty = authority.file("empty.pem", "");
    for (extra, reason) in [
        (json!({"ca_file": "/nowhere/ca.pem"}), "ca_file cannot be read"),
        (json!({"ca_file": empty}), "ca_file holds no certificate in PEM"),
        (json!({"client_cert_file": "/nowhere", "client_key_file": key}), "client_cert_file cannot be read"),
        (json!({"client_cert_file": cert, "client_key_file": "/nowhere"}), "client_key_file cannot be read"),
        (json!({"client_cert_file": cert, "client_key_file": empty}), "client_key_file holds no key"),
        (
            json!({"ca_file": authority.file("not.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}),
            "ca_file holds no usable authority",
        ),
    ] {
        let result = observe(check(extra)).await;
        assert_eq!((result.state, result.reason), (State::Unknown, format!("TLS handshake failed: {reason}")));
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn a_peer_that_breaks_off_or_stalls_the_handshake_is_down() {
    let stalling = Server::start(|mut stream| async move {
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    })
    .await;
    // One certificate to read, not those of the system: on a busy machine these alone take longer than this check may.
    let authority = Authority::new();
    let ca_file = authority.ca_file();
    let check = json!({"kind": "tls", "address": stalling.address(), "ca_file": ca_file, "timeout": "1s"});
    let result = observe(check).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Down, "TLS handshake failed: timed out"));
    assert!(result.timings_ms.connect.is_some() && result.timings_ms.tls.is_none());
    let closing = Server::start(|mut stream| async move {
        let mut hello = [0; 16];
        let _ = stream.read(&mut hello).await;
    })
    .await;
    let result = observe(json!({"kind": "tls", "address": closing.address(), "ca_file": ca_file})).await;
    assert_eq!(result.state, State::Down, "{}", result.reason);
    assert!(result.reason.contains("connection"), "{}", result.reason);
    let twice = means();
    let plain = twice.connector.tcp(&target(stalling.port), &NetOptions::default(), soon()).await.expect("connects");
    drop(plain);
}

#[tokio::test]
async fn tls_inside_tls_is_our_mistake() {
    let authority = Authority::new();
    let server = Server::tls(&authority.issue(Wanted::default()), "").await;
    let connector = &means().connector;
    let tls = TlsOptions { ca_file: Some(authority.ca_file()), ..TlsOptions::default() };
    let stream = connector.tls(&target(server.port), &NetOptions::default(), &tls, soon()).await.expect("verifies");
    let error = connector.start_tls(stream, "127.0.0.1", &tls).await.err().expect("refused");
    assert_eq!(error.fault, Some(Fault::Internal));
}

#[tokio::test]
async fn the_tcp_kind_sends_and_expects() {
    let echo = Server::start(|mut stream| async move {
        let mut byte = [0];
        while matches!(stream.read(&mut byte).await, Ok(1)) {
            if byte[0] == b'.' {
                return;
            }
            let _ = stream.write_all(&byte).await;
        }
    })
    .await;
    let check = |extra: Json| {
        let mut check = json!({"kind": "tcp", "address": echo.address(), "timeout": "5s"});
        for (key, value) in extra.as_object().into_iter().flatten() {
            check[key] = value.clone();
        }
        check
    };
    assert_eq!(observe(check(json!({}))).await.state, State::Up);
    let expecting =
        check(json!({"send": "hello world\r\n", "expect": "o w", "conditions": "answer.startsWith('hello')"}));
    let result = observe(expecting).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Up, ""));
    assert!(result.timings_ms.first_byte.is_some());
    let result = observe(check(json!({"send": "hello.", "expect": "bye"}))).await;
    assert_eq!(result.reason, "no complete answer: the answer ended without what was expected");
    let result = observe(check(json!({"expect": "bye", "timeout": "300ms"}))).await;
    assert_eq!(result.reason, "no complete answer: timed out");
}
