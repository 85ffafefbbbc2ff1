//! What the kinds with a login share: where the service is, when TLS starts, whose account is used.

use std::sync::Arc;

use model::config::{FieldSpec, Ty};
use model::{Private, Timings};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::config::{self, Issue};
use crate::connect::{Error, NetOptions, Target, TimedStream, TlsOptions, TlsSeen};
use crate::fact::Fact;
use crate::kind::{Ctx, Fault, Observation};

/// Longest text of a service that becomes a fact: a version, a banner.
const TEXT_CHARS_MAX: usize = 200;

/// `tls` of protocols that switch to TLS when asked to.
pub(super) const UPGRADE: FieldSpec = FieldSpec::optional(
    "tls",
    Ty::Enum(&["auto", "starttls", "none"]),
    "auto",
    "Whether to ask for TLS: `auto` goes on without where the service has none, `starttls` does not.",
);
/// `tls` of protocols that have a second port for it.
pub(super) const ANY_TLS: FieldSpec = FieldSpec::optional(
    "tls",
    Ty::Enum(&["auto", "starttls", "implicit", "none"]),
    "auto",
    "When TLS starts: from the first byte (`implicit`, what `auto` means on the port reserved for that), when both agree (`auto`), on our demand (`starttls`), or never.",
);
/// `tls` of protocols that speak it from the first byte or not at all.
pub(super) const IMPLICIT: FieldSpec = FieldSpec::optional(
    "tls",
    Ty::Enum(&["implicit", "none"]),
    "none",
    "Whether the service speaks TLS, from the first byte on.",
);
/// `user`.
pub(super) const USER: FieldSpec = FieldSpec::optional("user", Ty::Text, "", "User to log in as.");
/// `password`.
pub(super) const PASSWORD: FieldSpec = FieldSpec::optional("password", Ty::Secret, "", "Password to log in with.");

/// When TLS starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encrypt {
    /// When the service offers it.
    Auto,
    /// After the protocol's own request, which must be granted.
    StartTls,
    /// From the first byte.
    Implicit,
    /// Never.
    None,
}

/// A service with an address, TLS and an account.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) target: Target,
    pub(super) encrypt: Encrypt,
    pub(super) user: Option<String>,
    pub(super) password: Option<Private<String>>,
    pub(super) net: NetOptions,
    pub(super) tls: TlsOptions,
}

#[derive(Deserialize)]
struct Options {
    address: String,
    #[serde(default, rename = "tls")]
    encrypt: Option<Encrypt>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default, deserialize_with = "model::config::de::secret_opt")]
    password: Option<Private<String>>,
    #[serde(flatten)]
    net: NetOptions,
    #[serde(flatten)]
    tls: TlsOptions,
}

impl Service {
    /// Reads the keys; `encrypt` says what holds for a port where `tls` is left out or `auto`.
    pub(super) fn read(json: &Json, port: u16, encrypt: fn(u16) -> Encrypt) -> Result<Self, Vec<Issue>> {
        let options: Options = config::read(json)?;
        let target = Target::parse(&options.address, Some(port)).map_err(|why| vec![Issue::new("address", why)])?;
        let encrypt = match options.encrypt {
            None | Some(Encrypt::Auto) => encrypt(target.port),
            Some(said) => said,
        };
        let Options { user, password, net, tls, .. } = options;
        Ok(Self { target, encrypt, user, password, net, tls })
    }

    /// Checks that user and password come together, for protocols in which one alone is nothing.
    pub(super) fn check_account(&self) -> Result<(), Vec<Issue>> {
        match (&self.user, &self.password) {
            (Some(_), None) => Err(vec![
                Issue::new("user", "a user needs a password")
                    .suggest("add `password: ${file:PATH}`")
                    .rests_on("password"),
            ]),
            (None, Some(_)) => {
                Err(vec![Issue::new("password", "a password needs a user").suggest("add `user:`").rests_on("user")])
            }
            _ => Ok(()),
        }
    }

    /// Returns user and password, where there are both.
    pub(super) fn account(&self) -> Option<(&str, &Private<String>)> {
        self.user.as_deref().zip(self.password.as_ref())
    }

    /// Connects, with TLS where that starts with the first byte.
    pub(super) async fn connect(&self, ctx: &Ctx) -> Result<TimedStream, Error> {
        let stream = ctx.connector().tcp(&self.target, &self.net, ctx.deadline).await?;
        if self.encrypt == Encrypt::Implicit { self.upgrade(ctx, stream).await } else { Ok(stream) }
    }

    /// Starts TLS on a connection.
    pub(super) async fn upgrade(&self, ctx: &Ctx, stream: TimedStream) -> Result<TimedStream, Error> {
        ctx.connector().start_tls(stream, &self.target.host, &self.tls).await
    }
}

/// Why a conversation ended early.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection failed.
    Wire(Error),
    /// What came over it was not the protocol.
    Garbled(&'static str),
    /// The service said no: its code, and what that means in our words.
    Says(String, String),
    /// It wants something that the check does not have: we cannot tell how it is.
    Wants(&'static str),
    /// A fault of ours.
    Ours(Fault, String),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Wire(error)
    }
}

impl Broken {
    /// The service does not do what it should, for a reason that needs no code.
    pub(super) fn down(reason: impl Into<String>) -> Self {
        Self::Says(String::new(), reason.into())
    }
}

/// Makes an observation of how a conversation over `stream` went.
pub(super) fn seen(told: Result<Observation, Broken>, ctx: &Ctx, stream: &TimedStream) -> Observation {
    concluded(told, ctx, stream.timings(), stream.tls())
}

/// Makes an observation of how a conversation went: adds the phases and what TLS showed.
pub(super) fn concluded(
    told: Result<Observation, Broken>,
    ctx: &Ctx,
    timings: Timings,
    tls: Option<&Arc<TlsSeen>>,
) -> Observation {
    let observation = match told {
        Ok(observation) => observation,
        Err(Broken::Wire(error)) => error.into(),
        Err(Broken::Garbled(what)) => Observation::down(format!("not what was expected: {what}")),
        Err(Broken::Says(_, reason)) => Observation::down(reason),
        Err(Broken::Wants(what)) => Observation::unknown(Fault::Setup, what),
        Err(Broken::Ours(fault, reason)) => Observation::unknown(fault, reason),
    };
    let observation = observation.timed(timings);
    match tls {
        Some(tls) => observation.tls(ctx, tls),
        None => observation,
    }
}

/// Returns the milliseconds until the deadline, at least one.
pub(super) fn millis_left(ctx: &Ctx) -> u64 {
    let left = ctx.deadline.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Returns what a service says of itself as a short text without control characters.
pub(super) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

/// Returns a column's value: a number as such where its type says so, else text that results do not show.
pub(super) fn number_or_hidden(text: String, numeric: bool) -> Fact {
    if !numeric {
        return Fact::Hidden(text);
    }
    match (text.parse(), text.parse()) {
        (Ok(int), _) => Fact::Int(int),
        (_, Ok(float)) => Fact::Float(float),
        _ => Fact::Hidden(text),
    }
}
