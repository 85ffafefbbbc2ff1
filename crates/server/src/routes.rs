//! Every route and who may use it, in one table: the router is built from it, the reference page is generated from it,
//! and nothing else answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post, put};
use http::{Method, StatusCode};
use model::limits::{CHECK_TIMEOUT_MAX, JOURNAL_UPLOAD_MAX, REQUEST_BODY_BYTES_MAX, REQUEST_TIMEOUT};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{
    about, alerts, ask, checks, fhir, heartbeats, incidents, intake, journal, ledger, notifications, otlp, silences,
    status, tokens,
};
use crate::app::App;
use crate::guard::{guard, stamp};
use crate::page;
use crate::problem::Problem;
use crate::token::Role;

/// A part of the API: what a token's scopes name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// How things stand: `/metrics`, `/openapi.json`, `status`, the status page.
    Status,
    /// Checks.
    Checks,
    /// Incidents.
    Incidents,
    /// Silences.
    Silences,
    /// Notifications.
    Notifications,
    /// Alerts.
    Alerts,
    /// Heartbeats.
    Heartbeats,
    /// The ledger.
    Ledger,
    /// Events: log lines and business events.
    Events,
    /// Tokens.
    Tokens,
}

impl Area {
    /// All areas.
    pub const ALL: [Self; 10] = [
        Self::Status,
        Self::Checks,
        Self::Incidents,
        Self::Silences,
        Self::Notifications,
        Self::Alerts,
        Self::Heartbeats,
        Self::Ledger,
        Self::Events,
        Self::Tokens,
    ];

    /// Returns the word in a token's scopes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Checks => "checks",
            Self::Incidents => "incidents",
            Self::Silences => "silences",
            Self::Notifications => "notifications",
            Self::Alerts => "alerts",
            Self::Heartbeats => "heartbeats",
            Self::Ledger => "ledger",
            Self::Events => "events",
            Self::Tokens => "tokens",
        }
    }
}

impl std::str::FromStr for Area {
    type Err = UnknownArea;

    fn from_str(text: &str) -> Result<Self, UnknownArea> {
        Self::ALL.into_iter().find(|area| area.as_str() == text).ok_or(UnknownArea)
    }
}

/// A text that names no part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown scope, expected status, checks, incidents, silences, notifications, alerts, heartbeats, ledger, events or tokens"
)]
pub struct UnknownArea;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Anybody.
    Open,
    /// Anybody where the status page is public, readers otherwise.
    Page,
    /// Anybody where the log is public; otherwise readers of its tenant.
    Log,
    /// Anybody who knows a heartbeat's secret name; its check's name needs a token that may send.
    Sign,
    /// A token with one of these roles.
    Roles(&'static [Role]),
}

/// A route.
pub struct Route {
    /// The method; `GET` answers `HEAD` too.
    pub method: Method,
    /// The template of the path.
    pub path: &'static str,
    /// Who may use it.
    pub need: Need,
    /// The part of the API that it belongs to.
    pub area: Area,
    /// What reaches the ledger before it answers or takes effect.
    pub recorded: Recorded,
    /// What it is for.
    pub doc: &'static str,
    pub(crate) timeout: Duration,
    pub(crate) shape: Shape,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// Whose errors a route's look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Ours: RFC 9457.
    Ours,
    /// Elasticsearch's.
    Elastic,
    /// OTLP's over HTTP: `google.rpc.Status`, in the format of the request.
    Otlp,
    /// gRPC's: in headers or trailers, under HTTP status 200.
    Grpc,
    /// Loki's: plain text.
    Loki,
    /// FHIR's: `OperationOutcome`.
    Fhir,
    /// systemd-journal-remote's: plain text.
    Journal,
}

/// What of a request reaches the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing of its own.
    No,
    /// `Access`: who read how much, before the first byte of the answer.
    Access,
    /// `Admin`: who did what, before it takes effect.
    Act,
    /// What it brings is itself a record.
    Itself,
}

/// All that may see how things stand: everybody but those who may only write.
pub const READERS: &[Role] =
    &[Role::Viewer, Role::Operator, Role::Analyst, Role::PrivacyOfficer, Role::Auditor, Role::Admin];
const OPERATORS: &[Role] = &[Role::Operator, Role::Admin];
pub(crate) const SENDERS: &[Role] = &[Role::Ingest, Role::Operator, Role::Admin];
/// Who may read what was logged: not whoever may only see how things stand.
const ASKERS: &[Role] = &[Role::Operator, Role::Analyst, Role::PrivacyOfficer, Role::Auditor, Role::Admin];
const ADMINS: &[Role] = &[Role::Admin];

type Handler = fn() -> MethodRouter<Arc<App>>;

const fn read(path: &'static str, need: Need, area: Area, handler: Handler, doc: &'static str) -> Route {
    Route {
        method: Method::GET,
        path,
        need,
        area,
        recorded: Recorded::No,
        doc,
        timeout: REQUEST_TIMEOUT,
        shape: Shape::Ours,
        handler,
    }
}

const fn act(
    method: Method,
    path: &'static str,
    roles: &'static [Role],
    area: Area,
    recorded: Recorded,
    handler: Handler,
    doc: &'static str,
) -> Route {
    Route {
        method,
        path,
        need: Need::Roles(roles),
        area,
        recorded,
        doc,
        timeout: REQUEST_TIMEOUT,
        shape: Shape::Ours,
        handler,
    }
}

/// A question about events: always POST, so that what is asked stands in no URL.
const fn ask(path: &'static str, handler: Handler, doc: &'static str) -> Route {
    act(Method::POST, path, ASKERS, Area::Events, Recorded::Access, handler, doc)
}

/// A job may POST as well, whatever its HTTP client prefers.
const fn beat(path: &'static str, handler: Handler) -> Route {
    Route {
        method: Method::POST,
        path,
        need: Need::Sign,
        area: Area::Heartbeats,
        recorded: Recorded::Itself,
        doc: "The same.",
        timeout: REQUEST_TIMEOUT,
        shape: Shape::Ours,
        handler,
    }
}

/// What an Elasticsearch 8 answers to agents that send.
const fn elastic(method: Method, path: &'static str, handler: Handler, doc: &'static str) -> Route {
    let mut route = act(method, path, SENDERS, Area::Events, Recorded::No, handler, doc);
    route.shape = Shape::Elastic;
    route
}

/// What another product's agents send events to.
const fn foreign(path: &'static str, shape: Shape, handler: Handler, doc: &'static str) -> Route {
    let mut route = act(Method::POST, path, SENDERS, Area::Events, Recorded::Itself, handler, doc);
    route.shape = shape;
    route
}

impl Route {
    const fn accessed(mut self) -> Self {
        self.recorded = Recorded::Access;
        self
    }

    const fn itself(mut self) -> Self {
        self.recorded = Recorded::Itself;
        self
    }

    const fn shaped(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Takes as long as a sender sends.
    const fn lasting(mut self) -> Self {
        self.timeout = JOURNAL_UPLOAD_MAX;
        self
    }

    const fn slow(mut self) -> Self {
        self.timeout = Duration::from_secs(CHECK_TIMEOUT_MAX.as_secs() + 10);
        self
    }
}

/// All routes, in the order of the reference page.
pub static ROUTES: &[Route] = &[
    read("/", Need::Open, Area::Status, || get(about::root), "Elasticsearch's banner; a browser is sent to `/status`."),
    read("/livez", Need::Open, Area::Status, || get(about::livez), "Whether the process answers."),
    read("/readyz", Need::Open, Area::Status, || get(about::readyz), "Whether it can be relied on: the status alone."),
    read(
        "/metrics",
        Need::Roles(READERS),
        Area::Status,
        || get(about::metrics),
        "OpenMetrics of the instance and of the token's tenant.",
    ),
    read("/openapi.json", Need::Open, Area::Status, || get(about::openapi), "The description of this API."),
    read("/status", Need::Page, Area::Status, || get(page::status), "The status page, in French or English."),
    read("/status/style.css", Need::Open, Area::Status, || get(page::style), "Its style sheet."),
    read("/status/icon.svg", Need::Open, Area::Status, || get(page::icon), "Its icon."),
    read("/status/feed.atom", Need::Page, Area::Status, || get(page::feed), "Its incidents as an Atom feed."),
    read("/status/badge/{check}", Need::Page, Area::Status, || get(page::badge), "A check's state as `<check>.svg`."),
    read("/status/incidents/{id}", Need::Page, Area::Status, || get(page::incident), "An incident, for the public."),
    read(
        "/ledger/{*path}",
        Need::Log,
        Area::Ledger,
        || get(ledger::file),
        "C2SP tlog tiles: `<origin>/checkpoint`, `<origin>/tile/...`, `<origin>/vkey[.<n>]`, `<origin>/mldsa.pub[.<n>]`, `<origin>/rotation/<n>`.",
    ),
    read(
        "/api/dihya/v1/status",
        Need::Roles(READERS),
        Area::Status,
        || get(status::status),
        "How all checks stand, in the one result schema.",
    ),
    read("/api/dihya/v1/checks", Need::Roles(READERS), Area::Checks, || get(checks::list), "The checks, page by page."),
    read("/api/dihya/v1/checks/{id}", Need::Roles(READERS), Area::Checks, || get(checks::one), "One check."),
    act(
        Method::POST,
        "/api/dihya/v1/checks/{id}/run",
        OPERATORS,
        Area::Checks,
        Recorded::Act,
        || post(checks::run),
        "Runs a check now.",
    )
    .slow(),
    read("/api/dihya/v1/incidents", Need::Roles(READERS), Area::Incidents, || get(incidents::list), "The incidents.")
        .accessed(),
    read(
        "/api/dihya/v1/incidents/{id}",
        Need::Roles(READERS),
        Area::Incidents,
        || get(incidents::one),
        "One incident with its timeline.",
    )
    .accessed(),
    act(
        Method::POST,
        "/api/dihya/v1/incidents/{id}/ack",
        OPERATORS,
        Area::Incidents,
        Recorded::Itself,
        || post(incidents::ack),
        "Takes an incident.",
    ),
    act(
        Method::POST,
        "/api/dihya/v1/incidents/{id}/resolve",
        OPERATORS,
        Area::Incidents,
        Recorded::Itself,
        || post(incidents::resolve),
        "Closes an incident of which nothing fires any more.",
    ),
    act(
        Method::POST,
        "/api/dihya/v1/incidents/{id}/notes",
        OPERATORS,
        Area::Incidents,
        Recorded::Itself,
        || post(incidents::note),
        "Writes a note, for colleagues or for the public.",
    ),
    read("/api/dihya/v1/silences", Need::Roles(READERS), Area::Silences, || get(silences::list), "The silences."),
    act(
        Method::POST,
        "/api/dihya/v1/silences",
        OPERATORS,
        Area::Silences,
        Recorded::Act,
        || post(silences::set),
        "Sets a silence.",
    ),
    act(
        Method::DELETE,
        "/api/dihya/v1/silences/{id}",
        OPERATORS,
        Area::Silences,
        Recorded::Act,
        || delete(silences::expire),
        "Ends a silence.",
    ),
    read(
        "/api/dihya/v1/notifications",
        Need::Roles(READERS),
        Area::Notifications,
        || get(notifications::list),
        "Who was told what, and each attempt.",
    )
    .accessed(),
    act(
        Method::POST,
        "/api/dihya/v1/alerts",
        SENDERS,
        Area::Alerts,
        Recorded::Itself,
        || post(alerts::send),
        "Sends an alert and answers with its receipt.",
    ),
    act(
        Method::POST,
        "/api/dihya/v1/events",
        SENDERS,
        Area::Events,
        Recorded::Itself,
        || post(intake::events),
        "Takes events as NDJSON, one object or an array, and CloudEvents; answers when they are durable.",
    ),
    ask("/api/dihya/v1/search", || post(ask::search), "Finds events, newest first."),
    ask("/api/dihya/v1/search/histogram", || post(ask::histogram), "Counts events over time."),
    ask("/api/dihya/v1/search/values", || post(ask::values), "Counts the values of a field."),
    ask("/api/dihya/v1/search/context", || post(ask::context), "The events around one, in its stream."),
    ask("/api/dihya/v1/search/follow", || post(ask::follow), "Events as they come, as server-sent events."),
    ask("/api/dihya/v1/sql", || post(ask::sql), "Asks in SQL: rows as JSON lines, or as an Arrow stream."),
    ask("/api/dihya/v1/exports", || post(ask::export), "Exports events as a Parquet file."),
    elastic(Method::POST, "/_bulk", || post(intake::bulk), "Takes events as Elasticsearch's `_bulk`.").itself(),
    elastic(Method::PUT, "/_bulk", || put(intake::bulk), "The same.").itself(),
    elastic(Method::POST, "/{index}/_bulk", || post(intake::bulk), "The same, with the index of items that name none.")
        .itself(),
    elastic(Method::PUT, "/{index}/_bulk", || put(intake::bulk), "The same.").itself(),
    elastic(Method::GET, "/_license", || get(intake::licence), "A basic licence, which agents ask for."),
    elastic(Method::GET, "/_xpack", || get(intake::features), "What is built in: no lifecycle policies are needed."),
    elastic(Method::GET, "/_ilm/policy/{name}", || get(intake::policy), "A lifecycle policy: there is always one."),
    elastic(Method::PUT, "/_ilm/policy/{name}", || put(intake::policy), "Acknowledged, and not kept."),
    elastic(Method::GET, "/_index_template/{name}", || get(intake::template), "A template: there is always one."),
    elastic(Method::PUT, "/_index_template/{name}", || put(intake::template), "Acknowledged, and not kept."),
    elastic(Method::GET, "/_template/{name}", || get(intake::template), "A template of the older kind: the same."),
    elastic(Method::PUT, "/_template/{name}", || put(intake::template), "Acknowledged, and not kept."),
    elastic(Method::GET, "/_data_stream/{name}", || get(intake::template), "A data stream: there is always one."),
    elastic(Method::PUT, "/_data_stream/{name}", || put(intake::template), "Acknowledged, and not kept."),
    foreign(
        "/v1/logs",
        Shape::Otlp,
        || post(otlp::logs),
        "Takes log records as OTLP over HTTP, protobuf or JSON; answers when they are durable.",
    ),
    foreign(
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Shape::Grpc,
        || post(otlp::export),
        "The same over gRPC.",
    ),
    foreign(
        "/loki/api/v1/push",
        Shape::Loki,
        || post(otlp::push),
        "Takes lines as Loki does, protobuf with snappy or JSON; answers when they are durable.",
    ),
    foreign(
        "/api/dihya/v1/fhir/AuditEvent",
        Shape::Fhir,
        || post(fhir::audit_events),
        "Takes a FHIR R4 `AuditEvent`, or a `Bundle` of them, as JSON; answers when they are durable.",
    ),
    foreign("/api/dihya/v1/fhir", Shape::Fhir, || post(fhir::bundle), "The same: a `Bundle` is sent here."),
    foreign("/api/dihya/v1/fhir/", Shape::Fhir, || post(fhir::bundle), "The same."),
    read("/api/dihya/v1/fhir/metadata", Need::Open, Area::Events, || get(fhir::metadata), "Its CapabilityStatement.")
        .shaped(Shape::Fhir),
    foreign(
        "/upload",
        Shape::Journal,
        || post(journal::upload),
        "Takes a journal as `systemd-journal-upload` sends it, each entry once; answers when the last one is durable.",
    )
    .lasting(),
    read(
        "/api/dihya/v1/heartbeats/{id}",
        Need::Sign,
        Area::Heartbeats,
        || get(heartbeats::success),
        "A job ended well; the id in the path is its secret `ping_id`.",
    )
    .itself(),
    beat("/api/dihya/v1/heartbeats/{id}", || post(heartbeats::success)),
    read(
        "/api/dihya/v1/heartbeats/{id}/{event}",
        Need::Sign,
        Area::Heartbeats,
        || get(heartbeats::event),
        "`start`, `fail`, or the exit code of the job.",
    )
    .itself(),
    beat("/api/dihya/v1/heartbeats/{id}/{event}", || post(heartbeats::event)),
    read(
        "/api/dihya/v1/ledger/proof",
        Need::Roles(READERS),
        Area::Ledger,
        || get(ledger::proof),
        "The tlog-proof of the record at `position`.",
    ),
    read("/api/dihya/v1/tokens", Need::Roles(ADMINS), Area::Tokens, || get(tokens::list), "The tenant's tokens.")
        .accessed(),
    act(
        Method::POST,
        "/api/dihya/v1/tokens",
        ADMINS,
        Area::Tokens,
        Recorded::Act,
        || post(tokens::add),
        "Makes a token, which is shown this once.",
    ),
    act(
        Method::DELETE,
        "/api/dihya/v1/tokens/{id}",
        ADMINS,
        Area::Tokens,
        Recorded::Act,
        || delete(tokens::revoke),
        "Revokes a token.",
    ),
];

/// The route that stands for whatever has none, in metrics.
pub(crate) const NOWHERE: &str = "none";

/// Builds the router from the table.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let guarded = (route.handler)().layer(from_fn_with_state((Arc::clone(app), route), guard));
        router = router.route(route.path, guarded);
    }
    router
        .fallback(|| async { Problem::missing("route") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the route does not know this method")
        })
        .layer(axum::extract::DefaultBodyLimit::max(REQUEST_BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(app), stamp))
        .with_state(Arc::clone(app))
}

/// Writes the reference page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Routes\n\n\
         Generated from `crates/server/src/routes.rs`; a test compares them. Nothing else answers.\n\n\
         A token is accepted as `Authorization: Bearer TOKEN`, as the password of `Authorization: Basic` with any user, \
         and as `Authorization: ApiKey TOKEN` (or base64 of `id:TOKEN`, as Elasticsearch clients send it). Each token \
         belongs to one tenant, and sees and changes that tenant only; headers that name a tenant are ignored.\n\n\
         `Recorded`: *access* means that who read how much is durable in the ledger before the first byte of the \
         answer (503 if it cannot be); *act* that who did what is durable before it takes effect; *itself* that what \
         the request brings is a record.\n\n\
         | Method | Path | Who | Scope | Recorded | What |\n|---|---|---|---|---|---|\n",
    );
    for route in ROUTES {
        let who = match route.need {
            Need::Open => "anybody".to_owned(),
            Need::Page => "anybody if the status page is public, otherwise readers".to_owned(),
            Need::Sign => "anybody who knows the `ping_id`; with a check's id, ingest, operator, admin".to_owned(),
            Need::Log => "anybody if the log is public, otherwise readers of its tenant".to_owned(),
            Need::Roles(roles) if roles == READERS => "readers".to_owned(),
            Need::Roles(roles) => roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", "),
        };
        let recorded = match route.recorded {
            Recorded::No => "",
            Recorded::Access => "access",
            Recorded::Act => "act",
            Recorded::Itself => "itself",
        };
        page.push_str(&format!(
            "| {} | `{}` | {who} | {} | {recorded} | {} |\n",
            route.method,
            route.path,
            route.area.as_str(),
            route.doc
        ));
    }
    let readers: Vec<&str> = READERS.iter().map(|role| role.as_str()).collect();
    page.push_str(&format!("\nReaders: {}.\n", readers.join(", ")));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi;

    /// Compares a page with what the code generates. The fresh page is left for a person to read and copy, so that
    /// nobody commits one unread.
    fn same(path: &str, generated: &str) {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/").to_owned() + path;
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        if kept != generated {
            let fresh = std::env::temp_dir().join(path.replace('/', "-"));
            #[expect(clippy::disallowed_methods, reason = "leaves the fresh page beside the message")]
            std::fs::write(&fresh, generated).expect("writes to the temporary directory");
            panic!("docs/{path} is not what the code says; read {} and copy it there", fresh.display());
        }
    }

    #[test]
    fn the_reference_pages_are_those_of_the_code() {
        same("reference/routes.md", &page());
        same("reference/metrics.md", &crate::metrics::reference::page());
        same("openapi.json", &openapi::document());
    }

    #[test]
    fn every_route_of_the_api_is_described() {
        let document: serde_json::Value = serde_json::from_str(&openapi::document()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        for route in ROUTES {
            // What others specify they describe, but for what FHIR and journals come to; a slash more says nothing.
            let foreign = !matches!(route.shape, Shape::Ours | Shape::Fhir | Shape::Journal);
            let public_page =
                route.path == "/" || route.path.starts_with("/status") || foreign || route.path.ends_with("fhir/");
            // Heartbeats answer GET as they do POST; one of the two is described.
            let path = route.path.replace("{*path}", "{path}");
            let method = if route.path.contains("heartbeats") { "post" } else { &route.method.as_str().to_lowercase() };
            let described = paths.get(&path).is_some_and(|methods| methods.get(method).is_some());
            assert_eq!(described, !public_page, "{} {}", route.method, route.path);
        }
        for path in paths.keys() {
            assert!(ROUTES.iter().any(|route| route.path.replace("{*path}", "{path}") == *path), "{path}");
        }
    }

    #[test]
    fn scopes_survive_their_spelling() {
        for area in Area::ALL {
            assert_eq!(area.as_str().parse(), Ok(area));
            assert_eq!(serde_json::to_value(area).expect("serialises"), area.as_str());
        }
        assert!("all".parse::<Area>().is_err());
    }
}
