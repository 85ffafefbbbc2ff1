//! `kind: email`: one message per notification, text and HTML, threaded by incident.
//!
//! The SMTP dialogue is lettre's, command by command: so that a recipient who is refused does not keep the mail from
//! the others, and a connection is used again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use model::{BoxFuture, Clock, IntentId, Severity};
use privacy::Redactor;
use sha2::{Digest as _, Sha256};

use super::build::{BuildError, Parts};
use super::config::{EmailConfig, SmtpTls, is_local, split_address};
use super::{Channel, SendError};
use crate::message::{self, Message};
use crate::notification::{Notification, Status};

/// Idle connections that are kept, and for how long: servers close them after some minutes.
const IDLE_MAX: usize = 2;
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// What MAIL FROM is about, in reasons.
const SENDER: &str = "the sender";

/// Sends e-mail.
pub(super) struct Email {
    host: String,
    port: u16,
    hello: ClientId,
    tls: SmtpTls,
    parameters: Option<TlsParameters>,
    credentials: Option<Credentials>,
    from: Mailbox,
    to: Vec<Mailbox>,
    reply_to: Option<Mailbox>,
    timeout: Duration,
    zone: TimeZone,
    clock: Arc<dyn Clock>,
    redactor: Arc<Redactor>,
    idle: Mutex<Vec<(AsyncSmtpConnection, Duration)>>,
}

impl Email {
    pub(super) fn new(config: &EmailConfig, parts: &Parts) -> Result<Self, BuildError> {
        let (host, port) = split_address(&config.server).ok_or(BuildError::Email("server"))?;
        let parameters = match config.tls {
            SmtpTls::None => None,
            _ => Some(tls_parameters(host, config, parts)?),
        };
        let mailbox = |text: &str, key| text.parse::<Mailbox>().map_err(|_| BuildError::Email(key));
        let credentials = match (&config.username, &config.password) {
            (Some(user), Some(password)) => Some(Credentials::new(user.clone(), password.expose().clone())),
            _ => None,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            hello: ClientId::Domain(config.hello.clone()),
            tls: config.tls,
            parameters,
            credentials,
            from: mailbox(&config.from, "from")?,
            to: config.to.iter().map(|to| mailbox(to, "to")).collect::<Result<_, _>>()?,
            reply_to: config.reply_to.as_deref().map(|text| mailbox(text, "reply_to")).transpose()?,
            timeout: config.timeout,
            zone: config.time_zone.clone(),
            clock: Arc::clone(&parts.clock),
            redactor: Arc::clone(&parts.redactor),
            idle: Mutex::new(Vec::new()),
        })
    }

    async fn attempt(&self, notification: &Notification) -> Result<(), SendError> {
        let message = message::render(notification, self.clock.now(), &self.zone, &self.redactor);
        let mail = self.compose(notification, &message)?.formatted();
        let mut connection = self.connection().await?;
        let (clean, result) = match self.transact(&mut connection, notification, &mail).await {
            Ok((clean, told)) => (clean, told),
            Err(error) => (false, Err(error)),
        };
        self.put_back(connection, clean).await;
        result
    }

    /// Keeps a connection for the next mail. One whose transaction did not end with DATA is reset first: MAIL within a
    /// transaction is answered with 503, and would cost the next mail.
    async fn put_back(&self, mut connection: AsyncSmtpConnection, clean: bool) {
        let clean = !connection.has_broken() && (clean || connection.command(Rset).await.is_ok());
        if !clean {
            return connection.abort().await;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((connection, self.clock.monotonic()));
        }
    }

    /// Does all that a mail needs but DATA. A recipient who is put off says nothing against the server.
    async fn rehearse(&self) -> Result<(), SendError> {
        let mut connection = self.connection().await?;
        let mut rehearsed = self.begin(&mut connection).await;
        if rehearsed.is_ok() {
            for to in &self.to {
                if let Err(error) = connection.command(Rcpt::new(to.email.clone(), Vec::new())).await
                    && (error.status().is_none() || error.is_permanent())
                {
                    rehearsed = Err(refusal("a recipient", &error));
                    break;
                }
            }
        }
        self.put_back(connection, false).await;
        rehearsed
    }

    /// Begins a mail.
    async fn begin(&self, connection: &mut AsyncSmtpConnection) -> Result<(), SendError> {
        let foreign = self.to.iter().chain([&self.from]).any(|mailbox| !mailbox.email.to_string().is_ascii());
        let mut parameters = Vec::new();
        if foreign {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(SendError::never("the mail server takes no addresses beyond ASCII"));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let sender = Mail::new(Some(self.from.email.clone()), parameters);
        connection.command(sender).await.map_err(|error| refusal(SENDER, &error))?;
        Ok(())
    }

    /// Takes an idle connection that still answers, or opens one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, SendError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some((mut connection, since)) if self.clock.monotonic().saturating_sub(since) < IDLE_TIME_MAX => {
                    if connection.test_connected().await {
                        return Ok(connection);
                    }
                }
                Some(_) => {}
                None => return self.open().await,
            }
        }
    }

    async fn open(&self) -> Result<AsyncSmtpConnection, SendError> {
        let implicit = self.parameters.clone().filter(|_| self.tls == SmtpTls::Implicit);
        let address = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(self.timeout), &self.hello, implicit, None)
                .await
                .map_err(|error| SendError::later(reason_of("connecting", &error)))?;
        if let Some(parameters) = self.parameters.clone().filter(|_| self.tls != SmtpTls::Implicit) {
            if connection.can_starttls() {
                let started = connection.starttls(parameters, &self.hello).await;
                started.map_err(|error| SendError::later(reason_of("STARTTLS", &error)))?;
            } else if self.tls == SmtpTls::Required {
                connection.abort().await;
                return Err(SendError::later("the mail server offers no STARTTLS, and tls is required"));
            }
        }
        if let Some(credentials) = &self.credentials {
            if !connection.is_encrypted() && !is_local(&self.host) {
                connection.abort().await;
                return Err(SendError::later("the mail server offers no TLS, and the password is not sent in clear"));
            }
            // A wrong password is mended in the configuration, not by giving up on the message.
            let authenticated = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            authenticated.map_err(|error| SendError::later(reason_of("AUTH", &error)))?;
        }
        Ok(connection)
    }

    /// Hands the mail over for all recipients that have not had it. Tells whether the transaction is over, and how it
    /// went.
    async fn transact(
        &self,
        connection: &mut AsyncSmtpConnection,
        notification: &Notification,
        mail: &[u8],
    ) -> Result<(bool, Result<(), SendError>), SendError> {
        self.begin(connection).await?;
        let mut taken = notification.had.clone();
        let mut sent = false;
        let mut refused: Vec<SendError> = Vec::new();
        for to in &self.to {
            let mark = mark(&notification.id, to);
            if notification.had.contains(&mark) {
                continue;
            }
            match connection.command(Rcpt::new(to.email.clone(), Vec::new())).await {
                Ok(_) => {
                    taken.insert(mark);
                    sent = true;
                }
                Err(error) if error.status().is_some() => refused.push(refusal("a recipient", &error)),
                Err(error) => return Err(refusal("a recipient", &error)),
            }
        }
        if sent {
            connection.command(Data).await.map_err(|error| refusal("the message", &error))?;
            connection.message(mail).await.map_err(|error| refusal("the message", &error))?;
        }
        Ok((sent, conclude(taken, refused)))
    }

    fn compose(&self, notification: &Notification, message: &Message) -> Result<lettre::Message, SendError> {
        let domain = ascii_domain(&self.from);
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .date(SystemTime::from(self.clock.now()))
            .message_id(Some(format!("<{}@{domain}>", digest(&notification.id.0))))
            .subject(message.subject.as_str());
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        if let Some(incident) = &notification.incident {
            // No message has this id: all of an incident's answer it, so that mail programs show them as one thread,
            // whichever of them came first or was lost.
            let root = format!("<incident-{}@{domain}>", word(incident.id.as_str()));
            builder = builder.in_reply_to(root.clone()).references(root);
            builder =
                builder.raw_header(raw(HeaderName::new_from_ascii_str("Dihya-Incident"), word(incident.id.as_str())));
        }
        let list = format!("Dihya <alerts.dihya.{domain}>");
        builder = builder
            .raw_header(raw(HeaderName::new_from_ascii_str("List-Id"), list))
            .raw_header(raw(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
            .raw_header(raw(HeaderName::new_from_ascii_str("X-Auto-Response-Suppress"), "All".to_owned()))
            .raw_header(raw(HeaderName::new_from_ascii_str("Dihya-Notification"), word(&notification.id.0)));
        if notification.status == Status::Firing && notification.severity >= Severity::Critical {
            builder = builder.raw_header(raw(HeaderName::new_from_ascii_str("Importance"), "high".to_owned()));
        }
        builder
            .multipart(MultiPart::alternative_plain_html(message.text(), message.html()))
            .map_err(|_| SendError::never("cannot compose the message"))
    }
}

/// Marks a recipient of one notification by a hash: whoever reads the mark learns no address, and two notifications have
/// no mark in common.
fn mark(id: &IntentId, to: &Mailbox) -> String {
    digest(&format!("{id}\n{}", to.email))
}

/// Decides what refused recipients mean once the others have the mail.
fn conclude(taken: BTreeSet<String>, refused: Vec<SendError>) -> Result<(), SendError> {
    let (never, later): (Vec<_>, Vec<_>) = refused.into_iter().partition(|error| error.permanent);
    if let Some(error) = later.into_iter().next() {
        return Err(if taken.is_empty() { error } else { SendError::partly(taken, error.reason) });
    }
    match never.into_iter().next() {
        Some(error) if taken.is_empty() => Err(error),
        Some(error) => {
            // Somebody was told; the others' addresses are for the operator to mend.
            tracing::warn!(reason = %error, "mail server refused some recipients");
            Ok(())
        }
        None => Ok(()),
    }
}

impl Channel for Email {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            match tokio::time::timeout(self.timeout, self.attempt(notification)).await {
                Ok(result) => result,
                Err(_) => Err(SendError::later(format!("no answer within {} s", self.timeout.as_secs_f64()))),
            }
        })
    }

    fn probe(&self) -> Option<BoxFuture<'_, Result<(), SendError>>> {
        Some(Box::pin(async move {
            let late = |_| Err(SendError::later(format!("no answer within {} s", self.timeout.as_secs_f64())));
            tokio::time::timeout(self.timeout, self.rehearse()).await.unwrap_or_else(late)
        }))
    }

    fn kind(&self) -> &'static str {
        "email"
    }
}

fn tls_parameters(host: &str, config: &EmailConfig, parts: &Parts) -> Result<TlsParameters, BuildError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &config.ca_file {
        let pem = disk::read(&*parts.disk, path)?;
        let certificate = Certificate::from_pem(&pem).map_err(|_| BuildError::Certificates)?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().map_err(|_| BuildError::Certificates)
}

/// Says what the server refused, by its code alone: its words may quote addresses.
fn refusal(what: &str, error: &lettre::transport::smtp::Error) -> SendError {
    match error.status() {
        Some(code) => {
            let reason = format!("the mail server answered {code} to {what}");
            // What concerns the account, or the order of commands, is no fault of the message's: 530 to 538 ask for
            // authentication or encryption, and who may not send may do so once the account is mended.
            let number = code.to_string().parse::<u16>().unwrap_or(0);
            let account = number == 503
                || (530..=538).contains(&number)
                || (what == SENDER && !matches!(number, 500 | 501 | 504 | 555));
            if error.is_permanent() && !account { SendError::never(reason) } else { SendError::later(reason) }
        }
        None => SendError::later(reason_of(what, error)),
    }
}

fn reason_of(during: &str, error: &lettre::transport::smtp::Error) -> String {
    if let Some(code) = error.status() {
        return format!("the mail server answered {code} ({during})");
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return format!("could not agree on TLS with the mail server: {}", super::tls::explain(tls));
            }
            return format!("could not talk to the mail server: {} ({during})", io.kind());
        }
        source = cause.source();
    }
    let kind = match error {
        error if error.is_tls() => "could not agree on TLS with the mail server",
        error if error.is_client() => "the mail server does not offer what is needed",
        error if error.is_response() => "the mail server did not speak SMTP",
        _ => "could not talk to the mail server",
    };
    format!("{kind} ({during})")
}

fn raw(name: HeaderName, value: String) -> HeaderValue {
    HeaderValue::new(name, value)
}

/// Keeps what may stand in an id or a header of ours: no line ends, no spaces, no brackets.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/')).take(200).collect()
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn ascii_domain(from: &Mailbox) -> String {
    let domain = word(from.email.domain());
    if domain.is_empty() || !from.email.domain().is_ascii() { "dihya.invalid".to_owned() } else { domain }
}

#[cfg(test)]
mod tests {
    use model::StepClock;
    use serde_json::json;

    use super::*;
    use crate::message::tests::sample;

    fn email(extra: &serde_json::Value) -> Result<Email, BuildError> {
        let mut config = json!({"server": "smtp.example.org:587", "from": "Dihya <dihya@example.org>", "to": ["ops@example.org", "b@example.org"]});
        for (key, value) in extra.as_object().expect("is an object") {
            config[key] = value.clone();
        }
        let config: EmailConfig = serde_json::from_value(config).expect("reads");
        let parts = Parts {
            disk: Arc::new(disk::OsDisk),
            clock: Arc::new(StepClock::new("2026-11-22T18:00:00Z".parse().expect("is a time"))),
            redactor: Arc::new(Redactor::new()),
            directory: ".".into(),
        };
        Email::new(&config, &parts)
    }

    fn composed(email: &Email, notification: &Notification) -> String {
        let at = "2026-11-22T18:00:00Z".parse().expect("is a time");
        let message = message::render(notification, at, &TimeZone::UTC, &Redactor::new());
        String::from_utf8(email.compose(notification, &message).expect("composes").formatted()).expect("is text")
    }

    #[test]
    fn messages_of_an_incident_are_one_thread() {
        let email = email(&json!({"tls": "none", "reply_to": "team@example.org"})).expect("builds");
        let first = sample();
        let mut second = sample();
        second.id = IntentId("other".into());
        let header = |mail: &str, name: &str| {
            mail.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned)).unwrap_or_default()
        };
        let (first, second) = (composed(&email, &first), composed(&email, &second));
        for name in ["References", "In-Reply-To"] {
            assert_eq!(header(&first, name), "<incident-01ARYZ6S41ZZZZZZZZZZZZZZZZ@example.org>");
            assert_eq!(header(&first, name), header(&second, name));
        }
        assert_ne!(header(&first, "Message-ID"), header(&second, "Message-ID"));
        assert_eq!(header(&first, "Date"), "Sun, 22 Nov 2026 18:00:00 +0000");
        assert_eq!(header(&first, "List-Id"), "Dihya <alerts.dihya.example.org>");
        assert_eq!(header(&first, "Auto-Submitted"), "auto-generated");
        assert_eq!(header(&first, "Importance"), "high");
        assert_eq!(header(&first, "Reply-To"), "team@example.org");
        assert!(header(&first, "Subject").contains("certificate expired"), "{first}");
        assert!(first.contains("text/plain") && first.contains("text/html"));
    }

    #[test]
    fn no_text_becomes_a_header() {
        let email = email(&json!({"tls": "none"})).expect("builds");
        let mut notification = sample();
        let evil = "x\r\nBcc: evil@example.org\r\n\r\nbody";
        notification.id = IntentId(evil.into());
        notification.incident.as_mut().expect("has one").title = evil.into();
        notification.incident.as_mut().expect("has one").id = model::IncidentId(evil.into());
        notification.alerts[0].annotations.insert("reason".into(), evil.into());
        notification.receiver = evil.into();
        let mail = composed(&email, &notification);
        let head = mail.split("\r\n\r\n").next().expect("has a head");
        assert!(!head.lines().any(|line| line.to_ascii_lowercase().starts_with("bcc")), "{head}");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (extra, expected) in [
            (json!({"from": "nobody"}), "from"),
            (json!({"to": "nobody"}), "to"),
            (json!({"reply_to": "nobody"}), "reply_to"),
            (json!({"server": "nowhere"}), "server"),
            (json!({"ca_file": "/nonexistent/ca.pem"}), "open"),
        ] {
            let error = email(&extra).err().expect("is refused");
            assert!(error.to_string().contains(expected), "{error}");
        }
        let foreign: Mailbox = "a@exämple.org".parse().expect("is one");
        assert_eq!(ascii_domain(&foreign), "dihya.invalid");
    }

    #[test]
    fn refused_recipients_are_told_apart() {
        let took = |all: &[&str]| all.iter().map(|mark| (*mark).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(conclude(took(&["a"]), vec![SendError::never("550")]), Ok(()));
        assert!(conclude(took(&[]), vec![SendError::never("550")]).expect_err("nobody").permanent);
        let later = conclude(took(&["a"]), vec![SendError::never("550"), SendError::later("450")]);
        assert_eq!(later, Err(SendError::partly(took(&["a"]), "450")));
        let nobody = conclude(took(&[]), vec![SendError::later("450")]).expect_err("nobody");
        assert!(!nobody.permanent && !nobody.partial);
        assert_eq!(conclude(took(&["a", "b"]), vec![]), Ok(()));
    }

    #[test]
    fn a_mark_names_nobody() {
        let to: Mailbox = "Ana <ana@example.org>".parse().expect("is one");
        let id = |id: &str| IntentId(id.to_owned());
        assert_eq!(mark(&id("i"), &to), mark(&id("i"), &"ana@example.org".parse().expect("is one")));
        assert_ne!(mark(&id("i"), &to), mark(&id("j"), &to));
        assert!(!mark(&id("i"), &to).contains("ana"));
    }
}
