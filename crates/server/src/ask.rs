//! What the server asks of whoever keeps the events: found, counted, followed, and asked in SQL.
//!
//! `dihya` implements it over `lake`; tests implement it in memory, so that they never compile what reads Parquet. Whoever
//! implements it may assume that the caller was authenticated and its role checked. What is asked never stands in a URL, and who
//! asked what is durable before the first byte of an answer leaves.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use model::{BoxFuture, Position, Question, Tenant};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::seam::Declined;

/// Which events are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// In the language of the search: `service:auth severity>=error "time out" -debug`; empty for all.
    pub text: String,
    /// From when on.
    pub from: Option<Timestamp>,
    /// Until when, itself excluded.
    pub until: Option<Timestamp>,
}

/// An event that was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Hit {
    /// Where it stands in the tenant's log: what a proof is asked for by.
    pub position: Position,
    /// When it happened, by its sender's clock where that said so.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// When it reached us.
    #[schema(value_type = String, format = DateTime)]
    pub observed: Timestamp,
    /// Its stream.
    pub stream: String,
    /// How grave, in OpenTelemetry's numbers; 0 unsaid.
    pub severity: u8,
    /// Which service said so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// What it says, after privacy: text, or a structure.
    #[schema(value_type = Object)]
    pub body: Value,
    /// What its sender says of it, after privacy.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
    /// What its sender says of itself, after privacy.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub resource: Map<String, Value>,
    /// The trace it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The span it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

/// How many events fell into one step of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Bucket {
    /// When the step begins.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// How many events.
    pub count: u64,
    /// How many of each level: `trace`, `debug`, `info`, `warning`, `error`, `fatal`, `none`; levels without one are absent.
    pub levels: BTreeMap<&'static str, u64>,
}

/// What values a field has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Values {
    /// The commonest, and how many events have each.
    pub values: Vec<Counted>,
    /// How many events were looked at.
    pub events: u64,
    /// How many of them have the field.
    pub present: u64,
    /// How many different values, about.
    pub distinct: u64,
}

/// A value and how many events have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counted {
    /// The value as text, after privacy.
    pub value: String,
    /// How many events.
    pub count: u64,
}

/// In which language a question is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The search's.
    Search,
    /// SQL.
    Sql,
    /// That of the server, which names a place in the log and nothing that was typed.
    Place,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// A JSON object a line.
    Ndjson,
    /// Arrow's streaming IPC format.
    Arrow,
}

/// A part of the events, and where the next part begins.
pub type Found = crate::seam::Listing<Hit>;

/// Bytes of an answer as they come; dropping it stops the work.
pub type Stream = BoxStream<'static, Result<Bytes, Declined>>;

/// Events as they become durable; dropping it ends the following. Each item holds those that came together.
pub type Followed = BoxStream<'static, Result<Vec<Hit>, Declined>>;

/// The events of each tenant, to be asked.
pub trait Events: Send + Sync {
    /// Finds events, newest first: at most `limit` from after `after` on, which is the `next` of an earlier answer.
    fn search<'a>(
        &'a self,
        tenant: &'a Tenant,
        query: Query,
        limit: usize,
        after: Option<String>,
    ) -> BoxFuture<'a, Result<Found, Declined>>;

    /// Counts events in at most `steps` equal steps of time, oldest first; steps without an event are there with 0.
    fn histogram<'a>(
        &'a self,
        tenant: &'a Tenant,
        query: Query,
        steps: usize,
    ) -> BoxFuture<'a, Result<Vec<Bucket>, Declined>>;

    /// Counts the values of a field: the `limit` commonest.
    fn values<'a>(
        &'a self,
        tenant: &'a Tenant,
        query: Query,
        field: String,
        limit: usize,
    ) -> BoxFuture<'a, Result<Values, Declined>>;

    /// Returns the events around one in its stream, itself among them, oldest first.
    fn context<'a>(
        &'a self,
        tenant: &'a Tenant,
        position: Position,
        before: usize,
        after: usize,
    ) -> BoxFuture<'a, Result<Vec<Hit>, Declined>>;

    /// Follows the events that come from now on.
    fn follow<'a>(&'a self, tenant: &'a Tenant, query: Query) -> BoxFuture<'a, Result<Followed, Declined>>;

    /// Asks in SQL, over one table `events` that holds the tenant's and nothing else: at most `limit` rows, as they come.
    fn sql<'a>(
        &'a self,
        tenant: &'a Tenant,
        sql: String,
        limit: usize,
        rows: Rows,
    ) -> BoxFuture<'a, Result<Stream, Declined>>;

    /// Returns what may be recorded of a question in clear: its shape, in which persons stand by the names under which events
    /// have them and no other word is that could be somebody's; and, where that is not all, what was typed, for privacy to seal.
    fn recorded(&self, tenant: &Tenant, text: &str, language: Language) -> (String, Option<Question>);

    /// Exports events with all that is known of them, as a Parquet file that is whole once the stream has ended.
    fn export<'a>(&'a self, tenant: &'a Tenant, query: Query) -> BoxFuture<'a, Result<Stream, Declined>>;
}
