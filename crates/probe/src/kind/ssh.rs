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
use crate::fact::{Fact, FactSpec, fact};
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
    fact("banner", "How it introduces itself, such as `SSH-2.0-OpenSSH_9.2p1`."),
    fact("ciphers", "The ciphers that it offers for what it sends."),
    fact(
        "fingerprint",
        "The fingerprint of the host key that it proved to hold; absent where we have no key exchange in common.",
    ),
    fact("host_key_algorithms", "The kinds of host keys that it offers."),
    fact("key_exchanges", "The key exchanges that it offers."),
    fact("key_type", "The kind of the host key."),
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
    #[serde(default, deserialize_with = "config::de::one_or_more")]
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
