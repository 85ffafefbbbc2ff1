//! The rest of the program, in memory, for tests: each double does what its seam promises and can be told to refuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use model::{
    Admit, Body, BoxFuture, CheckChange, CheckResult, Feed, IncidentAction, IncidentId, IncidentTransition, Labels,
    Level, MatchOp, Matcher, Origin, Outcome, Position, Receipt, Recorded, Refusal, RefusalKind, Sector, SeededRng,
    Severity, Signal, State, StepClock, Tenant, Timings,
};
use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;
use tower::ServiceExt;

use crate::app::{App, Parts};
use crate::ask;
use crate::config::Config;
use crate::history::History;
use crate::metrics::Metrics;
use crate::path::LedgerFile;
use crate::routes;
use crate::seam::*;
use crate::token::Role;
use crate::tokens::{TokenDraft, Tokens};

/// The moment at which the tests' clock stands.
pub(crate) const NOW: &str = "2026-11-22T18:00:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

pub(crate) async fn pool() -> SqlitePool {
    // One connection: each connection to `:memory:` is a database of its own.
    let options = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    options.connect("sqlite::memory:").await.expect("SQLite opens in memory")
}

/// Takes every signal down, or refuses.
#[derive(Default)]
pub(crate) struct Ledger {
    /// What was lost, by cause.
    pub(crate) lost: Mutex<std::collections::BTreeMap<&'static str, u64>>,
    pub(crate) signals: Mutex<Vec<Signal>>,
    pub(crate) refuse: Mutex<Option<RefusalKind>>,
}

impl Ledger {
    pub(crate) fn refuse(&self, kind: Option<RefusalKind>) {
        *self.refuse.lock().expect("not poisoned") = kind;
    }

    pub(crate) fn take(&self) -> Vec<Signal> {
        std::mem::take(&mut self.signals.lock().expect("not poisoned"))
    }

    fn check(&self) -> Result<(), Refusal> {
        match *self.refuse.lock().expect("not poisoned") {
            Some(kind) => Err(Refusal { kind, reason: "the ledger is full".into() }),
            None => Ok(()),
        }
    }
}

impl model::Lose for Ledger {
    fn lose(&self, _: &Tenant, cause: &'static str, _: model::Kind, count: u64) {
        *self.lost.lock().expect("not poisoned").entry(cause).or_default() += count;
    }
}

impl Admit for Ledger {
    fn admit(&self, signals: Vec<Signal>, _: Level) -> BoxFuture<'_, Result<Vec<Receipt>, Refusal>> {
        Box::pin(async move {
            self.check()?;
            let mut kept = self.signals.lock().expect("not poisoned");
            let receipts = signals.iter().enumerate().map(|(at, signal)| Receipt {
                origin: Origin::of("localhost", &signal.tenant).expect("valid"),
                position: (kept.len() + at) as u64,
                leaf_hash: [7; 32],
            });
            let receipts = receipts.collect();
            kept.extend(signals);
            Ok(receipts)
        })
    }
}

/// Two events that happened; a query of `broken` cannot be read, and whoever follows is told of the first.
pub(crate) struct Past;

impl Past {
    fn hits() -> Vec<ask::Hit> {
        let hit = |position, body: &str| ask::Hit {
            position,
            time: now(),
            observed: now(),
            stream: "app".into(),
            severity: 9,
            body: body.into(),
            ..ask::Hit::default()
        };
        vec![hit(8, "second"), hit(7, "first")]
    }

    fn read(query: &ask::Query) -> Result<(), Declined> {
        if query.text == "broken" {
            return Err(Declined::Invalid { field: "query".into(), reason: "column 1: expected a word".into() });
        }
        Ok(())
    }
}

impl ask::Events for Past {
    fn search<'a>(
        &'a self,
        _: &'a Tenant,
        query: ask::Query,
        limit: usize,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<ask::Found, Declined>> {
        Box::pin(async move {
            Self::read(&query)?;
            let items = Self::hits().into_iter().skip(usize::from(after.is_some())).take(limit).collect();
            Ok(ask::Found { items, next: after.is_none().then(|| "8".to_owned()) })
        })
    }

    fn histogram<'a>(
        &'a self,
        _: &'a Tenant,
        query: ask::Query,
        steps: usize,
    ) -> BoxFuture<'a, Result<Vec<ask::Bucket>, Declined>> {
        Box::pin(async move {
            let at = query.from.expect("the handler says from when");
            assert_eq!(query.until.map(|until| until.duration_since(at).as_secs()), Some(3_600));
            Ok(vec![ask::Bucket { at, count: 2, levels: BTreeMap::from([("info", 2)]) }; steps])
        })
    }

    fn values<'a>(
        &'a self,
        _: &'a Tenant,
        _: ask::Query,
        field: String,
        _: usize,
    ) -> BoxFuture<'a, Result<ask::Values, Declined>> {
        Box::pin(async move {
            Ok(ask::Values {
                values: vec![ask::Counted { value: field, count: 2 }],
                events: 2,
                present: 2,
                distinct: 1,
            })
        })
    }

    fn context<'a>(
        &'a self,
        _: &'a Tenant,
        position: Position,
        before: usize,
        after: usize,
    ) -> BoxFuture<'a, Result<Vec<ask::Hit>, Declined>> {
        Box::pin(async move {
            assert_eq!((before, after), (0, 10));
            if position == 7 { Ok(Self::hits()) } else { Err(Declined::Missing { what: "event" }) }
        })
    }

    fn follow<'a>(&'a self, _: &'a Tenant, query: ask::Query) -> BoxFuture<'a, Result<ask::Followed, Declined>> {
        Box::pin(async move {
            Self::read(&query)?;
            let told = [Ok(Self::hits()), Err(Declined::broken("the lake stops"))];
            Ok(futures_util::stream::iter(told).boxed())
        })
    }

    fn sql<'a>(
        &'a self,
        _: &'a Tenant,
        sql: String,
        limit: usize,
        rows: ask::Rows,
    ) -> BoxFuture<'a, Result<ask::Stream, Declined>> {
        Box::pin(async move {
            let text = format!("{sql} {limit} {rows:?}");
            Ok(futures_util::stream::iter([Ok(Bytes::from(text))]).boxed())
        })
    }

    fn recorded(&self, _: &Tenant, text: &str, _: ask::Language) -> (String, Option<model::Question>) {
        let question = text.contains("user.id:jdupont42").then(|| model::Question {
            text: model::Private::new(text.to_owned()),
            identifiers: vec![("user.id".to_owned(), model::Private::new("jdupont42".to_owned()))],
        });
        (text.replace("user.id:jdupont42", "user.id:P7x"), question)
    }

    fn export<'a>(&'a self, _: &'a Tenant, query: ask::Query) -> BoxFuture<'a, Result<ask::Stream, Declined>> {
        Box::pin(async move {
            Self::read(&query)?;
            let text = format!("PAR1 {} {:?}", query.text, query.from.map(|from| from.to_string()));
            Ok(futures_util::stream::iter([Ok(Bytes::from(text))]).boxed())
        })
    }
}

/// A board that tests write on.
#[derive(Default)]
pub(crate) struct Board(pub(crate) Mutex<BTreeMap<(Tenant, String), Check>>);

impl Board {
    pub(crate) fn put(&self, check: Check) {
        let key = (Tenant::default(), check.result.id.clone());
        self.0.lock().expect("not poisoned").insert(key, check);
    }
}

impl Checks for Board {
    fn board(&self, tenant: &Tenant) -> Vec<Check> {
        let checks = self.0.lock().expect("not poisoned");
        checks.iter().filter(|((of, _), _)| of == tenant).map(|(_, check)| check.clone()).collect()
    }

    fn find(&self, tenant: &Tenant, id: &str) -> Option<Check> {
        self.0.lock().expect("not poisoned").get(&(tenant.clone(), id.to_owned())).cloned()
    }

    fn run<'a>(&'a self, tenant: &'a Tenant, id: &'a str) -> BoxFuture<'a, Result<Check, Declined>> {
        Box::pin(async move {
            assert_ne!(id, "panics", "a handler that breaks");
            self.find(tenant, id).ok_or(Declined::Missing { what: "check" })
        })
    }
}

pub(crate) fn check(id: &str, name: &str, state: State) -> Check {
    Check {
        result: CheckResult {
            id: id.into(),
            name: name.into(),
            kind: "http".into(),
            state,
            observed: state,
            reason: if state == State::Up { String::new() } else { "internal reason".into() },
            since: now() - Duration::from_secs(7_200),
            checked_at: now(),
            conditions: Vec::new(),
            timings_ms: Timings { connect: Some(1.5), total: Some(20.0), ..Timings::default() },
            figures: [].into(),
            maintenance: false,
        },
        group: String::new(),
        sector: Sector::None,
        flapping: false,
        interval: Duration::from_secs(10),
    }
}

/// Incidents that tests write down, and that people act on.
#[derive(Default)]
pub(crate) struct Cases(pub(crate) Mutex<Vec<Incident>>);

pub(crate) fn incident(id: &str) -> Incident {
    Incident {
        id: IncidentId(id.into()),
        state: IncidentState::Open,
        title: "Web: connection refused".into(),
        severity: Severity::Critical,
        sector: Sector::None,
        key: "check=web".into(),
        labels: Labels::from([("check".into(), "web".into())]),
        opened_at: now(),
        updated_at: now(),
        acknowledged_at: None,
        acknowledged_by: None,
        resolved_at: None,
        alerts_firing: 1,
        timeline: vec![Step { at: now(), action: IncidentAction::Opened, by: "dihya".into(), note: String::new() }],
    }
}

impl Incidents for Cases {
    fn list<'a>(
        &'a self,
        _: &'a Tenant,
        filter: IncidentFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Incident>, Declined>> {
        Box::pin(async move {
            let rows = self.0.lock().expect("not poisoned").clone();
            let keep = |incident: &Incident| filter.state.is_none_or(|state| incident.state == state);
            let rows = rows.into_iter().filter(keep).map(|incident| Incident { timeline: Vec::new(), ..incident });
            Ok(Listing::cut(rows, &page, |incident| incident.id.0.clone()))
        })
    }

    fn find<'a>(&'a self, _: &'a Tenant, id: &'a IncidentId) -> BoxFuture<'a, Result<Incident, Declined>> {
        Box::pin(async move {
            let rows = self.0.lock().expect("not poisoned");
            rows.iter().find(|row| row.id == *id).cloned().ok_or(Declined::Missing { what: "incident" })
        })
    }

    fn act<'a>(
        &'a self,
        _: &'a Tenant,
        id: &'a IncidentId,
        act: IncidentAct,
        by: &'a str,
    ) -> BoxFuture<'a, Result<Incident, Declined>> {
        Box::pin(async move {
            let mut rows = self.0.lock().expect("not poisoned");
            let row = rows.iter_mut().find(|row| row.id == *id).ok_or(Declined::Missing { what: "incident" })?;
            let (action, note) = match act {
                IncidentAct::Acknowledge { note } => {
                    row.state = IncidentState::Acknowledged;
                    (IncidentAction::Acknowledged, note)
                }
                IncidentAct::Resolve { .. } if row.alerts_firing > 0 => {
                    return Err(Declined::Conflict { reason: "1 alert still fires".into() });
                }
                IncidentAct::Resolve { note } => {
                    row.state = IncidentState::Resolved;
                    (IncidentAction::Resolved, note)
                }
                IncidentAct::Note { text, public: true } => (IncidentAction::Published, text),
                IncidentAct::Note { text, public: false } => (IncidentAction::Noted, text),
            };
            row.timeline.push(Step { at: now(), action, by: by.to_owned(), note });
            Ok(row.clone())
        })
    }
}

/// Silences that people set.
#[derive(Default)]
pub(crate) struct Quiet(pub(crate) Mutex<Vec<Silence>>);

impl Silences for Quiet {
    fn list<'a>(
        &'a self,
        _: &'a Tenant,
        state: Option<SilenceState>,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Silence>, Declined>> {
        Box::pin(async move {
            let rows = self.0.lock().expect("not poisoned").clone();
            let rows = rows.into_iter().filter(|row| state.is_none_or(|state| row.state == state));
            Ok(Listing::cut(rows, &page, |row| row.id.clone()))
        })
    }

    fn set<'a>(&'a self, _: &'a Tenant, draft: SilenceDraft, by: &'a str) -> BoxFuture<'a, Result<Silence, Declined>> {
        Box::pin(async move {
            if draft.matchers.iter().any(|matcher| matcher.op == MatchOp::Matches && matcher.value == "(") {
                let reason = "expected a regular expression".to_owned();
                return Err(Declined::Invalid { field: "matchers[0].value".into(), reason });
            }
            let mut rows = self.0.lock().expect("not poisoned");
            let silence = Silence {
                id: draft.id.unwrap_or_else(|| format!("silence-{}", rows.len())),
                state: SilenceState::Active,
                matchers: draft.matchers,
                starts_at: draft.starts_at,
                ends_at: draft.ends_at,
                created_by: by.to_owned(),
                comment: draft.comment,
                updated_at: now(),
            };
            rows.push(silence.clone());
            Ok(silence)
        })
    }

    fn expire<'a>(&'a self, _: &'a Tenant, id: &'a str, _: &'a str) -> BoxFuture<'a, Result<Silence, Declined>> {
        Box::pin(async move {
            let mut rows = self.0.lock().expect("not poisoned");
            let row = rows.iter_mut().find(|row| row.id == id).ok_or(Declined::Missing { what: "silence" })?;
            row.state = SilenceState::Expired;
            Ok(row.clone())
        })
    }
}

/// One notification, to whoever asks for its receiver.
#[derive(Default)]
pub(crate) struct Told;

impl Notifications for Told {
    fn channels(&self, _: &Tenant) -> Vec<String> {
        ["log", "mail"].map(str::to_owned).into()
    }

    fn list<'a>(
        &'a self,
        _: &'a Tenant,
        filter: NotificationFilter,
        page: Page,
    ) -> BoxFuture<'a, Result<Listing<Notification>, Declined>> {
        Box::pin(async move {
            let row = Notification {
                id: "n1".into(),
                incident: Some("I1".into()),
                receiver: "ops".into(),
                channel: "mail".into(),
                firing: true,
                state: NotificationState::Delivered,
                at: now(),
                give_up_at: now(),
                attempts: vec![Attempt {
                    attempt: 1,
                    outcome: Outcome::Delivered,
                    at: now(),
                    reason: String::new(),
                    next_at: None,
                }],
            };
            let keep = filter.receiver.is_none_or(|receiver| receiver == row.receiver)
                && filter.incident.is_none_or(|incident| Some(incident) == row.incident)
                && filter.state.is_none_or(|state| state == row.state);
            Ok(Listing::cut(keep.then_some(row), &page, |row| row.id.clone()))
        })
    }
}

/// Knows the heartbeat `backup-4f6c`.
#[derive(Default)]
pub(crate) struct Hearts(pub(crate) Mutex<Vec<Beat>>, pub(crate) Arc<Ledger>);

impl Heartbeats for Hearts {
    fn beat<'a>(&'a self, id: &'a str, beat: Beat, sender: Option<&'a Tenant>) -> BoxFuture<'a, Result<(), Declined>> {
        Box::pin(async move {
            self.1.check()?;
            let known = match id {
                "backup-4f6c" | "backup-4f6c.~x" => true,
                "nightly" => sender == Some(&Tenant::default()),
                _ => false,
            };
            if !known {
                return Err(Declined::Missing { what: "heartbeat" });
            }
            self.0.lock().expect("not poisoned").push(beat);
            Ok(())
        })
    }
}

/// Logs: `localhost/open` is public, `localhost/default` is not, `localhost/other` is another tenant's.
#[derive(Default)]
pub(crate) struct Logs;

impl Ledgers for Logs {
    fn tenants(&self) -> Vec<Tenant> {
        ["default", "open", "other"].map(|name| Tenant::new(name).expect("valid")).into()
    }

    fn owner(&self, origin: &Origin) -> Option<LogOwner> {
        let tenant = |name| Tenant::new(name).ok();
        match origin.as_str() {
            "localhost/open" => Some(LogOwner { tenant: tenant("open"), public: true }),
            "localhost/default" => Some(LogOwner { tenant: tenant("default"), public: false }),
            "localhost/other" => Some(LogOwner { tenant: tenant("other"), public: false }),
            "localhost/meta" => Some(LogOwner { tenant: None, public: false }),
            _ => None,
        }
    }

    fn read<'a>(&'a self, _: &'a Origin, file: LedgerFile) -> BoxFuture<'a, Result<Bytes, Declined>> {
        Box::pin(async move {
            match file {
                LedgerFile::Tile { level: 9, .. } => Err(Declined::Missing { what: "tile" }),
                file => Ok(Bytes::from(file.relative())),
            }
        })
    }

    fn prove<'a>(&'a self, tenant: &'a Tenant, position: Position) -> BoxFuture<'a, Result<String, Declined>> {
        Box::pin(async move {
            match position {
                0..10 => Ok(format!("c2sp.org/tlog-proof@v1 {tenant} {position}\n")),
                _ => Err(Declined::Missing { what: "record" }),
            }
        })
    }
}

/// A program that is well until told otherwise.
#[derive(Default)]
pub(crate) struct Health(pub(crate) Mutex<Vec<String>>);

impl Vitals for Health {
    fn ailments(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }

    fn ledgers(&self) -> Vec<LedgerGauge> {
        let of = |name| LedgerGauge {
            tenant: Tenant::new(name).expect("valid"),
            records: 9,
            committed: 7,
            commit_lag: Duration::from_millis(250),
        };
        vec![of("default"), of("other")]
    }

    fn lake_is_open(&self) -> bool {
        self.ailments().is_empty()
    }

    fn outboxes(&self) -> Vec<OutboxGauge> {
        vec![OutboxGauge { tenant: Tenant::default(), channel: "mail".into(), pending: 3 }]
    }

    fn outputs(&self) -> Vec<OutputGauge> {
        let events = [("sent", 5), ("known", 1), ("refused", 2), ("expired", 0)];
        let lag = Duration::from_secs(3);
        vec![OutputGauge { tenant: Tenant::default(), output: "es".into(), events, bytes: 90, failures: 4, lag }]
    }

    fn scheduler(&self) -> Option<SchedulerGauge> {
        let lag = vec![(0.001, 5), (0.1, 1), (f64::INFINITY, 1)];
        Some(SchedulerGauge { running: 2, runs: 7, skipped: 1, lag, lag_sum: 1.5 })
    }
}

/// A server without a socket, and everything behind it.
pub(crate) struct Fixture {
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
    pub(crate) parts: Parts,
    pub(crate) pool: SqlitePool,
    pub(crate) clock: Arc<StepClock>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) board: Arc<Board>,
    pub(crate) cases: Arc<Cases>,
    pub(crate) hearts: Arc<Hearts>,
    pub(crate) vitals: Arc<Health>,
    pub(crate) admin: String,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let pool = pool().await;
        let clock = Arc::new(StepClock::new(now()));
        let rng = Arc::new(SeededRng::new(42));
        let ledger = Arc::new(Ledger::default());
        let (board, cases) = (Arc::new(Board::default()), Arc::new(Cases::default()));
        let hearts = Arc::new(Hearts(Mutex::default(), Arc::clone(&ledger)));
        let vitals = Arc::new(Health::default());
        let tokens = Tokens::open(pool.clone(), clock.clone(), rng.clone()).await.expect("opens");
        let receiver = Arc::new(intake::Receiver::new(ledger.clone(), clock.clone()));
        let parts = Parts {
            admit: ledger.clone(),
            losses: ledger.clone(),
            journals: Arc::new(intake::journal::Journals::forgetful(Arc::clone(&receiver))),
            receiver,
            events: Arc::new(Past),
            checks: board.clone(),
            incidents: cases.clone(),
            silences: Arc::new(Quiet::default()),
            notifications: Arc::new(Told),
            heartbeats: hearts.clone(),
            ledgers: Arc::new(Logs),
            vitals: vitals.clone(),
            tokens: Arc::new(tokens),
            history: Arc::new(History::open(pool.clone(), clock.clone()).await.expect("opens")),
            metrics: Arc::new(Metrics::new()),
            clock: clock.clone(),
            rng,
        };
        let app = App::new(config, "127.0.0.1:8970".parse().expect("an address"), parts.clone());
        let router = routes::router(&app);
        let mut fixture =
            Self { app, router, parts, pool, clock, ledger, board, cases, hearts, vitals, admin: String::new() };
        fixture.admin = fixture.token(&[Role::Admin]).await;
        fixture
    }

    pub(crate) async fn token(&self, roles: &[Role]) -> String {
        self.token_of(Tenant::default(), roles, &[]).await
    }

    pub(crate) async fn token_of(&self, tenant: Tenant, roles: &[Role], scopes: &[crate::routes::Area]) -> String {
        let tokens = &self.parts.tokens;
        let name = format!("token-{}", tokens.list(&tenant).len());
        let draft = TokenDraft {
            tenant,
            name,
            roles: roles.iter().copied().collect(),
            scopes: scopes.iter().copied().collect(),
            expires_at: None,
        };
        tokens.add(draft, "test").await.expect("adds").0.expose().clone()
    }

    pub(crate) async fn send(&self, request: Request<HttpBody>) -> Answered {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        Answered::read(response).await
    }

    /// Asks as the administrator.
    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.send(request("GET", path, &self.admin, "")).await
    }

    /// Asks as nobody.
    pub(crate) async fn open(&self, path: &str) -> Answered {
        self.send(request("GET", path, "", "")).await
    }

    pub(crate) async fn post(&self, path: &str, json: &str) -> Answered {
        self.send(request("POST", path, &self.admin, json)).await
    }
}

pub(crate) fn request(method: &str, path: &str, token: &str, json: &str) -> Request<HttpBody> {
    let mut builder = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    if !json.is_empty() {
        builder = builder.header("content-type", "application/json");
    }
    builder.body(HttpBody::from(json.to_owned())).expect("a request")
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answered {
    pub(crate) async fn read(response: Response<HttpBody>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("reads").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Self { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ascii"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// A feed that gives what it was made of, then waits for ever, or refuses.
pub(crate) struct Script {
    pub(crate) tenant: Tenant,
    pub(crate) batches: Vec<Result<Vec<Recorded>, Refusal>>,
}

impl Feed for Script {
    fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    fn read(&mut self, _: usize) -> BoxFuture<'_, Result<Vec<Recorded>, Refusal>> {
        Box::pin(async move { if self.batches.is_empty() { Ok(Vec::new()) } else { self.batches.remove(0) } })
    }

    fn wait(&mut self) -> BoxFuture<'_, ()> {
        let done = self.batches.is_empty();
        Box::pin(async move {
            if done {
                std::future::pending::<()>().await;
            }
        })
    }
}

pub(crate) fn recorded(position: Position, at: Timestamp, body: impl Into<Body>) -> Recorded {
    Recorded { position, admitted_at: at, signal: Signal::ours(Tenant::default(), body) }
}

pub(crate) fn change(id: &str, to: State, at: Timestamp) -> CheckChange {
    CheckChange {
        id: id.into(),
        kind: "http".into(),
        from: State::Unknown,
        to,
        reason: "internal reason".into(),
        at,
        flapping: false,
    }
}

pub(crate) fn transition(id: &str, action: IncidentAction, check: &str, note: &str) -> IncidentTransition {
    IncidentTransition {
        incident: IncidentId(id.into()),
        action,
        at: now(),
        by: "ana".into(),
        key: format!("check={check}"),
        title: "internal title".into(),
        severity: Severity::Critical,
        sector: Sector::None,
        labels: Labels::new(),
        note: note.into(),
    }
}

pub(crate) fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher { name: name.into(), op, value: value.into() }
}

/// Folds records into a history and waits until they are written.
pub(crate) async fn follow(history: &Arc<History>, records: Vec<Recorded>) {
    let mut revisions = history.revisions();
    let feed = Script { tenant: Tenant::default(), batches: vec![Ok(records)] };
    tokio::select! {
        ended = history.follow(Box::new(feed)) => panic!("the feed does not end: {ended:?}"),
        changed = revisions.changed() => changed.expect("the history lives"),
    }
}
