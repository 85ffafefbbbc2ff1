//! The columns of the table `events`: their one declaration, from which Arrow's, Delta's and the search's names are made.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::{DataType as DeltaType, MapType, PrimitiveType, StructField};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Text,
    Int,
    Long,
    /// Microseconds since 1970, UTC.
    Time,
    /// Days since 1970, UTC.
    Day,
    /// Texts by name.
    Map,
}

impl Holds {
    fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Day => DataType::Date32,
            Self::Map => DataType::Map(Arc::new(entries()), false),
        }
    }

    fn delta(self) -> DeltaType {
        match self {
            Self::Text => DeltaType::Primitive(PrimitiveType::String),
            Self::Int => DeltaType::Primitive(PrimitiveType::Integer),
            Self::Long => DeltaType::Primitive(PrimitiveType::Long),
            Self::Time => DeltaType::Primitive(PrimitiveType::Timestamp),
            Self::Day => DeltaType::Primitive(PrimitiveType::Date),
            Self::Map => MapType::new(
                DeltaType::Primitive(PrimitiveType::String),
                DeltaType::Primitive(PrimitiveType::String),
                false,
            )
            .into(),
        }
    }
}

/// The entries of a map, named as Delta's readers and Arrow's map builder both read them.
fn entries() -> Field {
    let key = Field::new("key", DataType::Utf8, false);
    let value = Field::new("value", DataType::Utf8, false);
    Field::new("key_value", DataType::Struct(Fields::from(vec![key, value])), false)
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) holds: Holds,
    pub(crate) nullable: bool,
}

const fn must(name: &'static str, holds: Holds) -> Column {
    Column { name, holds, nullable: false }
}

const fn may(name: &'static str, holds: Holds) -> Column {
    Column { name, holds, nullable: true }
}

/// The columns before the dedicated ones.
const FIRST: [Column; 12] = [
    must("stream", Holds::Text),
    must("ts", Holds::Time),
    must("observed", Holds::Time),
    must("position", Holds::Long),
    must("severity", Holds::Int),
    may("service", Holds::Text),
    may("host", Holds::Text),
    must("sector", Holds::Text),
    may("body", Holds::Text),
    may("body_json", Holds::Text),
    may("trace_id", Holds::Text),
    may("span_id", Holds::Text),
];

/// The columns after them.
const LAST: [Column; 3] = [may("attributes", Holds::Map), may("resource", Holds::Map), may("cleared", Holds::Text)];

/// The columns that the directory of a file says, last in the table as readers of Delta have them.
const PARTITION: [Column; 2] = [must("tenant", Holds::Text), must("day", Holds::Day)];

/// An attribute that has a column of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dedicated {
    /// OpenTelemetry's name.
    pub(crate) attribute: &'static str,
    /// The column.
    pub(crate) column: &'static str,
    /// Whether it describes the sender: then it is taken from the resource.
    pub(crate) resource: bool,
    pub(crate) holds: Holds,
}

/// Returns the attribute that a dedicated column holds: `user.id` for `user_id`; any other name as it is.
#[must_use]
pub fn attribute_of(name: &str) -> &str {
    DEDICATED.iter().find(|field| field.column == name).map_or(name, |field| field.attribute)
}

/// Tells whether a name is that of an attribute with a column of its own.
#[must_use]
pub fn is_attribute(name: &str) -> bool {
    DEDICATED.iter().any(|field| field.attribute == name)
}

const fn attribute(attribute: &'static str, column: &'static str) -> Dedicated {
    Dedicated { attribute, column, resource: false, holds: Holds::Text }
}

const fn resource(attribute: &'static str, column: &'static str) -> Dedicated {
    Dedicated { attribute, column, resource: true, holds: Holds::Text }
}

/// The commonest attributes of OpenTelemetry's semantic conventions 1.37: a filter on a column costs a tenth of one on
/// a map. A new one goes to the end, for the tables that are there.
pub(crate) const DEDICATED: [Dedicated; 20] = [
    attribute("event.name", "event_name"),
    attribute("error.type", "error_type"),
    attribute("exception.type", "exception_type"),
    attribute("exception.message", "exception_message"),
    attribute("exception.stacktrace", "exception_stacktrace"),
    attribute("http.request.method", "http_request_method"),
    Dedicated {
        attribute: "http.response.status_code",
        column: "http_response_status_code",
        resource: false,
        holds: Holds::Long,
    },
    attribute("http.route", "http_route"),
    attribute("url.full", "url_full"),
    attribute("url.path", "url_path"),
    attribute("client.address", "client_address"),
    attribute("server.address", "server_address"),
    attribute("user.id", "user_id"),
    attribute("session.id", "session_id"),
    attribute("user_agent.original", "user_agent_original"),
    attribute("db.system.name", "db_system_name"),
    attribute("code.function.name", "code_function_name"),
    resource("service.version", "service_version"),
    resource("deployment.environment.name", "deployment_environment_name"),
    resource("k8s.pod.name", "k8s_pod_name"),
];

/// The columns that Delta may keep minimum and maximum of: none that may hold a pseudonym (the log outlives the row).
pub(crate) const STATISTICS: [&str; 3] = ["ts", "service", "severity"];

fn stored() -> impl Iterator<Item = Column> {
    let dedicated = DEDICATED.iter().map(|field| may(field.column, field.holds));
    FIRST.into_iter().chain(dedicated).chain(LAST)
}

static FILE: LazyLock<SchemaRef> = LazyLock::new(|| arrow_schema(stored()));
static TABLE: LazyLock<SchemaRef> = LazyLock::new(|| arrow_schema(stored().chain(PARTITION)));

fn arrow_schema(columns: impl Iterator<Item = Column>) -> SchemaRef {
    let field = |column: Column| Field::new(column.name, column.holds.arrow(), column.nullable);
    Arc::new(Schema::new(columns.map(field).collect::<Vec<_>>()))
}

/// Returns the columns that stand in a data file.
pub(crate) fn file_schema() -> SchemaRef {
    Arc::clone(&FILE)
}

/// Returns all columns, those of the directories last.
pub(crate) fn table_schema() -> SchemaRef {
    Arc::clone(&TABLE)
}

/// Returns all columns for Delta's log.
pub(crate) fn delta_columns() -> Vec<StructField> {
    let field = |column: Column| StructField::new(column.name, column.holds.delta(), column.nullable);
    stored().chain(PARTITION).map(field).collect()
}

/// Returns what the column `name` holds.
pub(crate) fn holds(name: &str) -> Option<Holds> {
    stored().chain(PARTITION).find(|column| column.name == name).map(|column| column.holds)
}

/// Returns the place of a column in a data file.
///
/// # Panics
/// When there is no such column: a bug in us.
pub(crate) fn place(name: &str) -> usize {
    FILE.index_of(name).expect("invariant: columns are named by this crate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_nothing_that_may_be_a_pseudonym_has_statistics() {
        let mut names: Vec<&str> = stored().chain(PARTITION).map(|column| column.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), count), (count, file_schema().fields().len() + 2));
        assert!(DEDICATED.iter().all(|field| !STATISTICS.contains(&field.column)));
        assert!(STATISTICS.iter().all(|name| holds(name).is_some()));
        assert_eq!((holds("day"), holds("nothing"), place("stream")), (Some(Holds::Day), None, 0));
        assert_eq!(delta_columns().len(), table_schema().fields().len());
    }
}
