//! The description of the API (OpenAPI 3.1), generated from the handlers, and the shapes that it needs for words of
//! `model`, which knows nothing of OpenAPI.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::api::{
    about, alerts, ask, checks, fhir, heartbeats, incidents, intake, journal, ledger, notifications, silences, status,
    tokens,
};

/// The whole description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dihya",
        description = "Watch services, alert people, prove what was recorded. Errors are RFC 9457 problems.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        about::livez, about::readyz, about::metrics, about::openapi, status::status, checks::list, checks::one,
        checks::run, incidents::list, incidents::one, incidents::ack, incidents::resolve, incidents::note,
        silences::list, silences::set, silences::expire, notifications::list, alerts::send, heartbeats::success,
        heartbeats::event, intake::events, fhir::audit_events, fhir::bundle, fhir::metadata, journal::upload, ask::search, ask::histogram, ask::values, ask::context,
        ask::follow, ask::sql, ask::export, ledger::proof, ledger::file, tokens::list, tokens::add, tokens::revoke
    ),
    security(("token" = []), ("password" = [])),
    modifiers(&Schemes)
)]
struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", token);
        let password = SecurityScheme::Http(Http::new(HttpAuthScheme::Basic));
        components.add_security_scheme("password", password);
    }
}

/// Writes the description as JSON.
///
/// # Panics
/// Never: the description holds nothing that JSON cannot.
#[must_use]
pub fn document() -> String {
    let mut text =
        Document::openapi().to_pretty_json().expect("invariant: the description holds nothing that JSON cannot");
    text.push('\n');
    text
}

/// A level.
#[derive(ToSchema)]
#[schema(as = Level, rename_all = "lowercase")]
pub enum LevelWord {
    /// Worth knowing.
    Info,
    /// Will become a problem.
    Warning,
    /// A problem now.
    Error,
    /// A problem that wakes people.
    Critical,
}

/// A sector.
#[derive(ToSchema)]
#[schema(as = Sector, rename_all = "lowercase")]
pub enum SectorWord {
    /// Hospitals, practices, laboratories.
    Health,
    /// Schools and universities.
    Education,
    /// Shops and payment.
    Ecommerce,
    /// No sector in particular.
    None,
}

/// A state.
#[derive(ToSchema)]
#[schema(as = State, rename_all = "lowercase")]
pub enum StateWord {
    /// All conditions hold.
    Up,
    /// It works, and something about it needs attention.
    Degraded,
    /// It does not do what it is for.
    Down,
    /// We cannot tell.
    Unknown,
}

/// A condition on one label.
#[derive(ToSchema)]
#[schema(as = Matcher)]
#[expect(dead_code, reason = "describes model::Matcher in the API's description, never built")]
pub struct MatcherShape {
    /// The label's name.
    #[schema(example = "service")]
    name: String,
    /// How to compare: `=`, `!=`, `=~` or `!~`.
    #[schema(example = "=")]
    op: String,
    /// What to compare with; an anchored regular expression for the last two.
    value: String,
}

/// One term of a check's condition and what it saw.
#[derive(ToSchema)]
#[schema(as = Condition)]
#[expect(dead_code, reason = "describes model::ConditionOutcome in the API's description, never built")]
pub struct ConditionShape {
    /// The CEL text of the term.
    #[schema(example = "status == 200")]
    expr: String,
    /// Whether it held.
    ok: bool,
    /// The actual values, after privacy.
    #[schema(example = "503")]
    actual: String,
}

/// How long each phase took, in milliseconds; phases that did not happen are absent.
#[derive(ToSchema)]
#[schema(as = Timings)]
#[expect(dead_code, reason = "describes model::Timings in the API's description, never built")]
pub struct TimingsShape {
    /// Name resolution.
    resolve: Option<f64>,
    /// Connection.
    connect: Option<f64>,
    /// TLS handshake.
    tls: Option<f64>,
    /// From the request sent to the first byte of the answer.
    first_byte: Option<f64>,
    /// From the first byte to the last.
    transfer: Option<f64>,
    /// The whole probe.
    total: Option<f64>,
}

/// What a sender holds after a record is durable.
#[derive(ToSchema)]
#[schema(as = Receipt)]
#[expect(dead_code, reason = "describes model::Receipt in the API's description, never built")]
pub struct ReceiptShape {
    /// Whose log.
    #[schema(example = "localhost/default")]
    origin: String,
    /// Where in it.
    position: u64,
    /// RFC 6962 hash of the entry, 64 hexadecimal digits.
    leaf_hash: String,
}
