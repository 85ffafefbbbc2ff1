//! SSH: the banner, the algorithms it offers, and the host key it proves to hold. Nobody logs in.
//!
//! RFC 4253 up to the key exchange, with `curve25519-sha256` (RFC 8731) alone: after it the server has signed what we
//! both said, so a fingerprint is that of a key it holds and not of one it replays.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use model::BoxFuture;
use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use self::key::HostKey;
use self::wire::{Reader, name_list, string};
use super::service::{self, Broken};
use crate::config::{self, Issue};
use crate::connect::spec::net_fields;
use crate::connect::{NetOptions, Target, TimedStream};
use crate::fact::{Fact, FactSpec, Shape, fact};
use crate::kind::{Ctx, Defaults, Kind, Observation, Probe};

mod key;
mod wire;

/// The kind.
pub static KIND: Kind =
    Kind { name: "ssh", spec: &SPEC, facts: FACTS, defaults: Defaults::PLAIN, build: |json| Ok(Arc::new(read(json)?)) };

static SPEC: Spec = Spec {
    name: "ssh check",
    doc: "Exchanges keys with an SSH server and looks at its host key. Logs nobody in.",
    fields: net_fields![
        FieldSpec::required("address", Ty::Text, "Where it listens, `host:port`; the port is 22 unless given."),
        FieldSpec::optional(
            "fingerprint",
            Ty::OneOrMore(&Ty::Text),
            "",
            "Fingerprints of which the host key must have one, as `ssh-keygen -l` prints them: `SHA256:...`.",
        ),
        FieldSpec::optional(
            "host_key",
            Ty::Enum(&["any", "ed25519", "ecdsa", "rsa"]),
            "any",
            "Which of its host keys to ask for.",
        ),
    ],
};

const FACTS: &[FactSpec] = &[
    fact("banner", "How it introduces itself, such as `SSH-2.0-OpenSSH_9.2p1`.").is(Shape::Text),
    fact("ciphers", "The ciphers that it offers for what it sends.").is(Shape::Texts),
    fact(
        "fingerprint",
        "The fingerprint of the host key that it proved to hold; absent where we have no key exchange in common.",
    ),
    fact("host_key_algorithms", "The kinds of host keys that it offers.").is(Shape::Texts),
    fact("key_exchanges", "The key exchanges that it offers.").is(Shape::Texts),
    fact("key_type", "The kind of the host key.").is(Shape::Text),
];

const BANNER: &str = "SSH-2.0-dihya";
/// Longest line before the key exchange (RFC 4253 section 4.2 allows 255 for the banner).
const LINE_BYTES_MAX: usize = 1_024;
/// Most lines before the banner.
const LINES_MAX: usize = 32;
/// Most messages that may come between those that we wait for.
const ASIDES_MAX: usize = 8;
const KEY_EXCHANGES: [&str; 2] = ["curve25519-sha256", "curve25519-sha256@libssh.org"];

const DISCONNECT: u8 = 1;
const IGNORE: u8 = 2;
const DEBUG: u8 = 4;
const KEXINIT: u8 = 20;
const KEX_ECDH_INIT: u8 = 30;
const KEX_ECDH_REPLY: u8 = 31;

struct Ssh {
    target: Target,
    fingerprints: Vec<String>,
    algorithms: &'static [&'static str],
    net: NetOptions,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WantedKey {
    #[default]
    Any,
    Ed25519,
    Ecdsa,
    Rsa,
}

#[derive(Deserialize)]
struct Options {
    address: String,
    #[serde(default, deserialize_with = "model::config::de::one_or_more")]
    fingerprint: Vec<String>,
    #[serde(default)]
    host_key: WantedKey,
    #[serde(flatten)]
    net: NetOptions,
}

fn read(json: &Json) -> Result<Ssh, Vec<Issue>> {
    let options: Options = config::read(json)?;
    let target = Target::parse(&options.address, Some(22)).map_err(|why| vec![Issue::new("address", why)])?;
    for fingerprint in &options.fingerprint {
        let encoded = fingerprint.strip_prefix("SHA256:").unwrap_or_default();
        if STANDARD_NO_PAD.decode(encoded).map_or(0, |hash| hash.len()) != 32 {
            return Err(vec![Issue::new(
                "fingerprint",
                "expected SHA256: and 43 characters, as `ssh-keygen -l` prints",
            )]);
        }
    }
    let algorithms: &[&str] = match options.host_key {
        WantedKey::Any => {
            &["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "rsa-sha2-512", "rsa-sha2-256"]
        }
        WantedKey::Ed25519 => &["ssh-ed25519"],
        WantedKey::Ecdsa => &["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"],
        WantedKey::Rsa => &["rsa-sha2-512", "rsa-sha2-256"],
    };
    Ok(Ssh { target, fingerprints: options.fingerprint, algorithms, net: options.net })
}

impl Probe for Ssh {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn run<'a>(&'a self, ctx: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(async move {
            match ctx.connector().tcp(&self.target, &self.net, ctx.deadline).await {
                Ok(mut stream) => {
                    let told = self.converse(ctx, &mut stream).await;
                    let observation = service::seen(told, ctx, &stream);
                    // Reason 11, by application: what it makes of it is not our concern.
                    let goodbye = [&[DISCONNECT, 0, 0, 0, 11][..], &string(b""), &string(b"")].concat();
                    let _ = wire::send(&mut stream, &goodbye).await;
                    observation
                }
                Err(error) => Observation::failed(ctx, error),
            }
        })
    }
}

impl Ssh {
    async fn converse(&self, ctx: &Ctx, stream: &mut TimedStream) -> Result<Observation, Broken> {
        stream.send(format!("{BANNER}\r\n").as_bytes()).await?;
        let banner = banner(stream).await?;
        let ours = self.kexinit(ctx);
        wire::send(stream, &ours).await?;
        let theirs = expect(stream, KEXINIT).await?;
        let offer = Offer::read(&theirs).ok_or(Broken::Garbled("an offer of algorithms that cannot be read"))?;
        let mut observation = Observation::up()
            .fact("banner", service::printable(&banner))
            .fact("key_exchanges", offer.key_exchanges.clone())
            .fact("host_key_algorithms", offer.host_keys.clone())
            .fact("ciphers", offer.ciphers.clone());
        if !offer.has_common(&KEY_EXCHANGES, self.algorithms) {
            return if self.fingerprints.is_empty() {
                Ok(observation)
            } else {
                Err(Broken::Wants("it has no key exchange or kind of host key in common with us"))
            };
        }
        let hashes = Said { banner: &banner, ours: &ours, theirs: &theirs };
        let key = exchange(stream, &hashes, offer.guessed).await?;
        let fingerprint = key.fingerprint();
        observation = observation.fact("key_type", key.kind()).fact("fingerprint", Fact::Text(fingerprint.clone()));
        if !self.fingerprints.is_empty() && !self.fingerprints.contains(&fingerprint) {
            observation.state = model::State::Down;
            observation.reason = "its host key is not the one expected: another machine may answer".to_owned();
        }
        Ok(observation)
    }

    fn kexinit(&self, ctx: &Ctx) -> Vec<u8> {
        let mut message = vec![KEXINIT];
        let mut cookie = [0; 16];
        ctx.means.rng.fill(&mut cookie);
        message.extend_from_slice(&cookie);
        let ciphers = ["chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"];
        let macs = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"];
        let lists: [&[&str]; 10] =
            [&KEY_EXCHANGES, self.algorithms, &ciphers, &ciphers, &macs, &macs, &["none"], &["none"], &[], &[]];
        for list in lists {
            message.extend_from_slice(&string(list.join(",").as_bytes()));
        }
        message.extend_from_slice(&[0; 5]); // we do not guess; reserved
        message
    }
}

/// What both sides said before the key exchange, which the host key signs.
struct Said<'a> {
    banner: &'a [u8],
    ours: &'a [u8],
    theirs: &'a [u8],
}

async fn banner(stream: &mut TimedStream) -> Result<Vec<u8>, Broken> {
    for _ in 0..LINES_MAX {
        let line = stream.receive_line(LINE_BYTES_MAX).await?;
        if line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-") {
            return Ok(line);
        }
        if line.starts_with(b"SSH-") {
            return Err(Broken::down("it speaks an outdated version of SSH"));
        }
    }
    Err(Broken::Garbled("no banner"))
}

/// Exchanges keys and returns the host key once its signature holds.
async fn exchange(stream: &mut TimedStream, said: &Said<'_>, guessed: bool) -> Result<HostKey, Broken> {
    use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
    let random = ring::rand::SystemRandom::new(); // ring takes no other; the key lives for this exchange alone
    let unusable = |_| Broken::Garbled("a key that cannot be used");
    let private = EphemeralPrivateKey::generate(&X25519, &random).map_err(unusable)?;
    let public = private.compute_public_key().map_err(unusable)?;
    wire::send(stream, &[&[KEX_ECDH_INIT], &string(public.as_ref())[..]].concat()).await?;
    if guessed {
        // Its guess at the exchange was wrong unless it names ours first, and then it has nothing to send before us.
        return Err(Broken::Wants("it guesses the key exchange, which we do not follow"));
    }
    let reply = expect(stream, KEX_ECDH_REPLY).await?;
    let mut reader = Reader::new(reply.split_first().map_or(&[], |(_, rest)| rest));
    let mut part = || reader.string().ok_or(Broken::Garbled("a key exchange that cannot be read"));
    let (blob, theirs, signature) = (part()?, part()?, part()?);
    let hash = |shared: &[u8]| {
        let mut hash = Sha256::new();
        for text in [BANNER.as_bytes(), said.banner, said.ours, said.theirs, blob, public.as_ref(), theirs] {
            hash.update(string(text));
        }
        hash.update(wire::mpint(shared));
        <[u8; 32]>::from(hash.finalize())
    };
    let hash = agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, theirs), hash).map_err(unusable)?;
    let key = HostKey::read(blob).ok_or(Broken::Garbled("a host key that cannot be read"))?;
    if key.verify(&hash, signature) {
        Ok(key)
    } else {
        Err(Broken::down("it does not prove that it holds its host key"))
    }
}

/// Waits for a message of `kind`, past those that may always come.
async fn expect(stream: &mut TimedStream, kind: u8) -> Result<Vec<u8>, Broken> {
    for _ in 0..ASIDES_MAX {
        let message = wire::receive(stream).await?;
        match message.first() {
            Some(first) if *first == kind => return Ok(message),
            Some(&IGNORE | &DEBUG) => {}
            Some(&DISCONNECT) => return Err(Broken::down("it ends the connection")),
            _ => return Err(Broken::Garbled("an unexpected message")),
        }
    }
    Err(Broken::Garbled("asides that do not end"))
}

/// What the server offers.
struct Offer {
    key_exchanges: Vec<String>,
    host_keys: Vec<String>,
    ciphers: Vec<String>,
    guessed: bool,
}

impl Offer {
    /// `20 | cookie 16 | ten lists of names | guessed 1 | reserved 4`
    fn read(message: &[u8]) -> Option<Self> {
        let (_, rest) = message.split_first_chunk::<17>()?;
        let mut reader = Reader::new(rest);
        let mut lists = Vec::new();
        for _ in 0..10 {
            lists.push(name_list(reader.string()?)?);
        }
        let guessed = reader.byte()? != 0;
        let mut lists = lists.into_iter();
        let (key_exchanges, host_keys) = (lists.next()?, lists.next()?);
        Some(Self { key_exchanges, host_keys, ciphers: lists.nth(1)?, guessed })
    }

    fn has_common(&self, key_exchanges: &[&str], host_keys: &[&str]) -> bool {
        let common = |ours: &[&str], theirs: &[String]| theirs.iter().any(|name| ours.contains(&name.as_str()));
        common(key_exchanges, &self.key_exchanges) && common(host_keys, &self.host_keys)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::State;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::kind::scripted::{Step, ctx, look, look_many, say};

    fn packet(message: &[u8]) -> Vec<u8> {
        let padding = 4 + (8 - (5 + message.len() + 4) % 8) % 8;
        let length = u32::try_from(1 + message.len() + padding).expect("short");
        let padding = vec![0; padding];
        [&length.to_be_bytes()[..], &[u8::try_from(padding.len()).expect("few")], message, &padding].concat()
    }

    fn offers(key_exchanges: &str, host_keys: &str, guessed: u8) -> Vec<u8> {
        let mut message = vec![KEXINIT];
        message.extend_from_slice(&[7; 16]);
        for list in [key_exchanges, host_keys, "aes128-ctr", "aes128-ctr", "", "", "none", "none", "", ""] {
            message.extend_from_slice(&string(list.as_bytes()));
        }
        message.extend_from_slice(&[guessed, 0, 0, 0, 0]);
        message
    }

    const BANNER_LINE: &str = "SSH-2.0-Test_1\r\n";

    #[tokio::test]
    async fn hostile_and_broken_servers_say_why() {
        let hello = |message: &[u8]| vec![say(BANNER_LINE), Step::Hear, say(packet(message))];
        let common = offers("curve25519-sha256", "ssh-ed25519", 0);
        let replied = |reply: &[u8]| {
            vec![
                say(BANNER_LINE),
                say(packet(&common)),
                Step::HearWith("SSH-2.0-dihya"),
                say(packet(reply)),
                Step::Hear,
            ]
        };
        let part = |text: &[u8]| string(text);
        let other = [&[KEX_ECDH_REPLY][..], &part(b"?"), &part(&[9; 32]), &part(b"")].concat();
        let weak = [&[KEX_ECDH_REPLY][..], &part(b"?"), &part(&[0; 32]), &part(b"")].concat();
        let asides: Vec<u8> = (0..20).flat_map(|_| packet(&[IGNORE, 0, 0, 0, 0])).collect();
        let cases: Vec<(Vec<Step>, &str)> = vec![
            (vec![], "no complete answer: connection closed by the peer"),
            (vec![say("220 mail\r\n".repeat(50))], "not what was expected: no banner"),
            (vec![say("x".repeat(2_000))], "no complete answer: line exceeds 1024 bytes"),
            (vec![say("SSH-1.5-old\r\n")], "it speaks an outdated version of SSH"),
            (vec![say(BANNER_LINE), say([0xff; 8])], "not what was expected: a packet of impossible length"),
            (vec![say(BANNER_LINE), say([0, 0, 0, 2, 9, 1])], "not what was expected: a packet of impossible length"),
            (hello(&[DISCONNECT]), "it ends the connection"),
            (hello(&[99]), "not what was expected: an unexpected message"),
            (hello(&[KEXINIT, 1]), "not what was expected: an offer of algorithms that cannot be read"),
            (hello(&offers("a,\u{7f}", "b", 0)), "not what was expected: an offer of algorithms that cannot be read"),
            (vec![say(BANNER_LINE), say(asides)], "not what was expected: asides that do not end"),
            (replied(&[KEX_ECDH_REPLY, 0]), "not what was expected: a key exchange that cannot be read"),
            (replied(&other), "not what was expected: a host key that cannot be read"),
            (replied(&weak), "not what was expected: a key that cannot be used"),
        ];
        for (script, reason) in cases {
            let seen = look(&KIND, json!({}), script.clone()).await;
            assert_eq!((seen.state, seen.reason.as_str()), (State::Down, reason), "{script:?}");
        }
        let seen = look_many(&KIND, json!({}), vec![vec![Step::Hang]], Duration::from_millis(100)).await;
        assert_eq!(seen.reason, "no complete answer: timed out");
    }

    #[tokio::test]
    async fn nothing_in_common_is_up_unless_a_key_is_expected() {
        let fingerprint = format!("SHA256:{}", STANDARD_NO_PAD.encode([1; 32]));
        let script = || vec![say(BANNER_LINE), say(packet(&offers("sntrup761", "ssh-ed25519", 0))), Step::Hear];
        let seen = look(&KIND, json!({}), script()).await;
        assert_eq!((seen.state, seen.facts.get("fingerprint")), (State::Up, None));
        assert_eq!(seen.facts.get("key_exchanges"), Some(&Fact::from(vec!["sntrup761"])));
        assert_eq!(seen.facts.get("ciphers"), Some(&Fact::from(vec!["aes128-ctr"])));
        let seen = look(&KIND, json!({"fingerprint": fingerprint}), script()).await;
        assert_eq!(seen.state, State::Unknown);
        let guesses = vec![say(BANNER_LINE), say(packet(&offers("curve25519-sha256", "ssh-ed25519", 1))), Step::Hear];
        assert_eq!(look(&KIND, json!({}), guesses).await.state, State::Unknown);
    }

    /// A server that knows the protocol and signs with `key`; it shows `shown` as its host key.
    async fn sshd(listener: TcpListener, key: Ed25519KeyPair, shown: Vec<u8>) {
        use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let theirs = offers("curve25519-sha256", "ssh-ed25519", 0);
        stream.write_all(&[BANNER_LINE.as_bytes(), &packet(&theirs)].concat()).await.expect("written");
        let mut heard = vec![0; BANNER.len() + 2];
        stream.read_exact(&mut heard).await.expect("a banner");
        let mut messages = Vec::new();
        for _ in 0..2 {
            let length = stream.read_u32().await.expect("a length");
            let padding = stream.read_u8().await.expect("a length");
            let mut message = vec![0; usize::try_from(length).expect("short") - 1];
            stream.read_exact(&mut message).await.expect("a message");
            message.truncate(message.len() - usize::from(padding));
            messages.push(message);
        }
        let public = Reader::new(&messages[1][1..]).string().expect("a key").to_vec();
        let random = ring::rand::SystemRandom::new();
        let private = EphemeralPrivateKey::generate(&X25519, &random).expect("a key");
        let ours = private.compute_public_key().expect("a key");
        let hash = agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, &public), |shared| {
            let mut hash = Sha256::new();
            let banner = BANNER_LINE.trim_end().as_bytes();
            for text in [BANNER.as_bytes(), banner, &messages[0], &theirs, &shown, &public, ours.as_ref()] {
                hash.update(string(text));
            }
            hash.update(wire::mpint(shared));
            hash.finalize()
        })
        .expect("agreed");
        let signature = [string(b"ssh-ed25519"), string(key.sign(&hash).as_ref())].concat();
        let reply = [&[KEX_ECDH_REPLY][..], &string(&shown), &string(ours.as_ref()), &string(&signature)].concat();
        stream.write_all(&packet(&reply)).await.expect("written");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }

    #[tokio::test]
    async fn a_key_that_is_shown_and_not_held_is_found_out() {
        let key = |seed: u8| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key");
        let blob = |key: &Ed25519KeyPair| [string(b"ssh-ed25519"), string(key.public_key().as_ref())].concat();
        for (shown, state, reason) in
            [(1, State::Up, ""), (2, State::Down, "it does not prove that it holds its host key")]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("an address").to_string();
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(sshd(listener, key(1), blob(&key(shown))));
            let probe = (KIND.build)(&json!({"address": address})).expect("sound");
            let seen = probe.run(&ctx(Duration::from_secs(5))).await;
            assert_eq!((seen.state, seen.reason.as_str()), (state, reason));
        }
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        for (options, path) in [
            (json!({"address": "x", "fingerprint": "MD5:aa"}), "fingerprint"),
            (json!({"address": "x", "fingerprint": ["SHA256:short"]}), "fingerprint"),
            (json!({"address": "x:y"}), "address"),
        ] {
            let issues = (KIND.build)(&options).map(|_| ()).expect_err("it cannot work");
            assert_eq!(issues[0].path, path, "{issues:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_rfc_4251_shows_them() {
        assert_eq!(wire::mpint(&[0, 0]), [0, 0, 0, 0]);
        assert_eq!(wire::mpint(&[0, 0x80]), [0, 0, 0, 2, 0, 0x80]);
        assert_eq!(wire::mpint(&[0x09, 0xa3]), [0, 0, 0, 2, 0x09, 0xa3]);
        assert_eq!(wire::unpadded(&[]), b"");
    }

    #[test]
    fn keys_and_signatures_that_do_not_fit_are_refused() {
        assert!(HostKey::read(b"").is_none());
        assert!(HostKey::read(&string(b"ssh-dss")).is_none());
        let p256 = [string(b"ecdsa-sha2-nistp256"), string(b"nistp256"), string(&[4; 65])].concat();
        let p384 = [string(b"ecdsa-sha2-nistp384"), string(b"nistp384"), string(&[4; 97])].concat();
        let rsa = [string(b"ssh-rsa"), string(&[1, 0, 1]), string(&[0, 0xc1, 1])].concat();
        let ed = [string(b"ssh-ed25519"), string(&[1; 32])].concat();
        let long = [string(&[1; 60]), string(&[1; 60])].concat();
        let fitting = [string(&[1; 30]), string(&[0, 1])].concat();
        for (blob, kind, names) in [
            (&p256, "ecdsa", &["ecdsa-sha2-nistp256"][..]),
            (&p384, "ecdsa", &["ecdsa-sha2-nistp384"]),
            (&rsa, "rsa", &["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]),
            (&ed, "ed25519", &["ssh-ed25519", "rsa-sha2-512"]),
        ] {
            let key = HostKey::read(blob).expect("a key");
            assert_eq!(key.kind(), kind);
            for name in names {
                for bytes in [&long, &fitting] {
                    let signature = [string(name.as_bytes()), string(bytes)].concat();
                    assert!(!key.verify(b"message", &signature), "{name}");
                }
            }
            assert!(!key.verify(b"message", b""));
        }
    }
}
