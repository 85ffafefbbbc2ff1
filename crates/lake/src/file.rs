//! Data files: how rows are laid out in Parquet, and what the Delta log may know of them.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{
    SortColumn, concat, interleave_record_batch, lexsort_to_indices, max, max_string, min, min_string,
};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use deltalake::kernel::{Add, Remove};
use model::limits::{LAKE_FILE_BYTES_MAX, LAKE_GROUP_BYTES_MAX};
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;
use tracing::warn;

use crate::columns::{file_schema, place};
use crate::error::Error;
use crate::store::{Store, Upload};
use crate::tokens::TokensWriter;

/// Rows of a row group: what is read, and skipped, together.
const GROUP_ROWS: usize = 262_144;
/// As `limits::LAKE_GROUP_BYTES_MAX` for a file that leaves us: as many are made at once as questions are answered.
const EXPORTED_GROUP_BYTES: usize = 16 << 20;
/// Rows that are copied into their order at a time.
const PIECE_ROWS: usize = 1_024;
/// Longest name of a service that goes into the log: whoever sends longer ones gets no files skipped.
const SERVICE_BYTES_MAX: usize = 256;
/// Texts that are long and near unique: their minimum and maximum skip nothing.
const LONG_TEXTS: [&str; 5] = ["body", "body_json", "exception_message", "exception_stacktrace", "cleared"];
/// What people look up by one value.
const LOOKED_UP: [&str; 3] = ["trace_id", "user_id", "session_id"];

/// A data file, as the log knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataFile {
    /// Relative to the table.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Days since 1970 of the rows' admission.
    pub(crate) day: i32,
    pub(crate) rows: u64,
    /// Least and greatest time, in microseconds.
    pub(crate) ts: (i64, i64),
    pub(crate) severity: (i32, i32),
    /// Least and greatest service; `None` when no row has one, or it is too long to be told.
    pub(crate) service: Option<(String, String)>,
    /// How many rows have no service.
    pub(crate) service_nulls: u64,
}

impl DataFile {
    /// Returns the log entry that adds the file. Statistics are of three columns and of no other (invariant E-4).
    pub(crate) fn add(&self, tenant: &str, now_ms: i64, data_change: bool) -> Add {
        let day = day_text(self.day);
        let mut least = serde_json::json!({ "ts": time_text(self.ts.0), "severity": self.severity.0 });
        let mut greatest = serde_json::json!({ "ts": time_text(self.ts.1), "severity": self.severity.1 });
        if let Some((low, high)) = &self.service {
            least["service"] = low.as_str().into();
            greatest["service"] = high.as_str().into();
        }
        let stats = serde_json::json!({
            "numRecords": self.rows,
            "minValues": least,
            "maxValues": greatest,
            "nullCount": { "ts": 0, "severity": 0, "service": self.service_nulls },
        });
        Add {
            path: self.path.clone(),
            partition_values: partition(tenant, &day),
            size: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            modification_time: now_ms,
            data_change,
            stats: Some(stats.to_string()),
            ..Add::default()
        }
    }

    /// Returns the log entry that removes it.
    pub(crate) fn remove(&self, tenant: &str, now_ms: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change,
            deletion_timestamp: Some(now_ms),
            extended_file_metadata: Some(true),
            partition_values: Some(partition(tenant, &day_text(self.day))),
            size: i64::try_from(self.bytes).ok(),
            ..Remove::default()
        }
    }

    /// Reads what [`Self::add`] wrote.
    ///
    /// # Errors
    /// When the entry is not one of ours.
    pub(crate) fn read(path: &str, bytes: i64, stats: Option<&str>) -> Result<Self, Error> {
        let foreign = || Error::Foreign { why: "a file of it is not described as ours are" };
        let stats: serde_json::Value = serde_json::from_str(stats.ok_or_else(foreign)?).map_err(|_| foreign())?;
        let at = |side: &str, column: &str| stats.get(side).and_then(|side| side.get(column));
        let time = |side: &str| at(side, "ts").and_then(|ts| ts.as_str()?.parse::<model::Timestamp>().ok());
        let severity = |side: &str| at(side, "severity").and_then(|n| i32::try_from(n.as_i64()?).ok());
        let service = |side: &str| at(side, "service").and_then(|text| text.as_str()).map(str::to_owned);
        let day = path.split('/').find_map(|part| part.strip_prefix("day=")).and_then(day_of_text);
        let (least, greatest) = ("minValues", "maxValues");
        Ok(Self {
            path: path.to_owned(),
            bytes: u64::try_from(bytes).map_err(|_| foreign())?,
            day: day.ok_or_else(foreign)?,
            rows: stats.get("numRecords").and_then(serde_json::Value::as_u64).ok_or_else(foreign)?,
            ts: (
                time(least).ok_or_else(foreign)?.as_microsecond(),
                time(greatest).ok_or_else(foreign)?.as_microsecond(),
            ),
            severity: (severity(least).ok_or_else(foreign)?, severity(greatest).ok_or_else(foreign)?),
            service: service(least).zip(service(greatest)),
            service_nulls: at("nullCount", "service").and_then(serde_json::Value::as_u64).unwrap_or(0),
        })
    }
}

fn partition(tenant: &str, day: &str) -> HashMap<String, Option<String>> {
    [("tenant", tenant), ("day", day)].map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into()
}

/// Returns a day as the directories have it: `2026-11-27`.
pub(crate) fn day_text(day: i32) -> String {
    let start = model::Timestamp::from_second(i64::from(day) * 86_400).unwrap_or(model::Timestamp::MAX);
    start.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
}

fn day_of_text(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    i32::try_from(start.as_second().div_euclid(86_400)).ok()
}

/// Returns the day, in days since 1970, of a time in microseconds.
pub(crate) fn day_of(us: i64) -> i32 {
    i32::try_from(us.div_euclid(86_400_000_000)).unwrap_or(i32::MAX)
}

/// Returns a time in microseconds as Delta's statistics have it.
fn time_text(us: i64) -> String {
    let time = model::Timestamp::from_microsecond(us).unwrap_or(model::Timestamp::MAX);
    format!("{time:.6}")
}

/// Rows in the order in which they are to be written, without a copy of them all.
pub(crate) struct Sorted {
    batches: Vec<RecordBatch>,
    /// For each row its batch, and its place there.
    order: Vec<(usize, usize)>,
}

impl Sorted {
    /// Sorts rows by stream, then time, then position: rows that are asked for together stand together.
    pub(crate) fn of(batches: Vec<RecordBatch>) -> Result<Self, Error> {
        let by = |name: &str| -> Result<SortColumn, Error> {
            let pieces: Vec<&dyn Array> = batches.iter().map(|rows| rows.column(place(name)).as_ref()).collect();
            Ok(SortColumn { values: concat(&pieces).map_err(Error::arrow("sort rows"))?, options: None })
        };
        let order = lexsort_to_indices(&[by("stream")?, by("ts")?, by("position")?], None);
        let order: UInt32Array = order.map_err(Error::arrow("sort rows"))?;
        let places: Vec<(usize, usize)> =
            batches.iter().enumerate().flat_map(|(at, rows)| (0..rows.num_rows()).map(move |row| (at, row))).collect();
        let order = order.values().iter().filter_map(|at| places.get(*at as usize).copied()).collect();
        Ok(Self { batches, order })
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns the rows in order, some at a time.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Result<RecordBatch, Error>> {
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        let pieces = self.order.chunks(PIECE_ROWS);
        pieces.map(move |places| interleave_record_batch(&batches, places).map_err(Error::arrow("sort rows")))
    }
}

/// How rows of our own files are encoded.
pub(crate) fn properties(rows: usize) -> WriterProperties {
    let sorting = |name| SortingColumn {
        column_idx: i32::try_from(place(name)).unwrap_or(0),
        descending: false,
        nulls_first: true,
    };
    let mut builder = common(LAKE_GROUP_BYTES_MAX).set_sorting_columns(Some(vec![sorting("stream"), sorting("ts")]));
    for name in LOOKED_UP {
        builder = builder
            .set_column_bloom_filter_enabled(column(name), true)
            .set_column_bloom_filter_max_ndv(column(name), rows.clamp(64, GROUP_ROWS) as u64);
    }
    builder.build()
}

/// How rows are encoded that leave us, in no order.
pub(crate) fn exported() -> WriterProperties {
    common(EXPORTED_GROUP_BYTES).build()
}

fn column(name: &str) -> ColumnPath {
    ColumnPath::from(name.to_owned())
}

fn common(group_bytes: usize) -> WriterPropertiesBuilder {
    let level = ZstdLevel::try_new(3).expect("invariant: zstd has a level 3");
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(group_bytes))
        .set_created_by("dihya".to_owned());
    for name in ["ts", "observed", "position"] {
        builder = builder
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in LONG_TEXTS {
        builder = builder.set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    builder
}

/// A data file that is being written.
pub(crate) struct FileWriter {
    parquet: ArrowWriter<Upload>,
    path: String,
    day: i32,
    seen: Seen,
    /// Its token filters; `None` once they could not be written: the file is as good without.
    tokens: Option<TokensWriter>,
}

/// What the log will know of it.
#[derive(Default)]
struct Seen {
    rows: u64,
    ts: Option<(i64, i64)>,
    severity: Option<(i32, i32)>,
    service: Option<(String, String)>,
    service_nulls: u64,
}

fn widen<T: PartialOrd>(range: &mut Option<(T, T)>, low: Option<T>, high: Option<T>) {
    let Some(new) = low.zip(high) else { return };
    *range = Some(match range.take() {
        None => new,
        Some((low, high)) => (if new.0 < low { new.0 } else { low }, if new.1 > high { new.1 } else { high }),
    });
}

impl Seen {
    fn add(&mut self, rows: &RecordBatch) {
        self.rows += rows.num_rows() as u64;
        let ts = rows.column(place("ts")).as_primitive::<TimestampMicrosecondType>();
        widen(&mut self.ts, min(ts), max(ts));
        let severity = rows.column(place("severity")).as_primitive::<Int32Type>();
        widen(&mut self.severity, min(severity), max(severity));
        let service = rows.column(place("service")).as_string::<i32>();
        widen(&mut self.service, min_string(service).map(str::to_owned), max_string(service).map(str::to_owned));
        self.service_nulls += service.null_count() as u64;
    }
}

impl FileWriter {
    /// Begins a file of the table `tenant`, named by `name`, for about `rows` rows.
    pub(crate) fn begin(store: &Store, tenant: &str, day: i32, name: &str, rows: usize) -> Result<Self, Error> {
        let path = format!("tenant={tenant}/day={}/{name}.parquet", day_text(day));
        let upload = store.begin(&Path::from(format!("{tenant}/{path}"))).map_err(object("begin a data file"))?;
        let parquet = ArrowWriter::try_new(upload, file_schema(), Some(properties(rows)))
            .map_err(Error::parquet("begin a data file"))?;
        let tokens = told(TokensWriter::begin(store, tenant, &path));
        Ok(Self { parquet, path, day, seen: Seen::default(), tokens })
    }

    /// Writes rows, which must go on from those before in order of stream and time.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        self.seen.add(rows);
        self.tokens = self.tokens.take().and_then(|mut tokens| told(tokens.add(rows).map(|()| tokens)));
        self.parquet.write(rows).map_err(Error::parquet("write a data file"))
    }

    /// Tells whether the file has the size that files should have.
    pub(crate) fn is_full(&self) -> bool {
        self.parquet.bytes_written() + self.parquet.in_progress_size() >= LAKE_FILE_BYTES_MAX
    }

    /// Makes the file durable. Nothing names it yet.
    pub(crate) fn finish(self) -> Result<DataFile, Error> {
        let Self { parquet, path, day, seen, tokens } = self;
        let mut upload = parquet.into_inner().map_err(Error::parquet("end a data file"))?;
        upload.finish().map_err(object("end a data file"))?;
        if let Some(tokens) = tokens {
            told(tokens.finish(upload.len()));
        }
        Ok(DataFile {
            path,
            bytes: upload.len(),
            day,
            rows: seen.rows,
            ts: seen.ts.unwrap_or_default(),
            severity: seen.severity.unwrap_or_default(),
            service: seen.service.filter(|(low, high)| low.len().max(high.len()) <= SERVICE_BYTES_MAX),
            service_nulls: seen.service_nulls,
        })
    }
}

/// Filters that could not be written are made by upkeep, or rows are read without.
fn told<T>(written: Result<T, Error>) -> Option<T> {
    written.inspect_err(|error| warn!(error = %error, "could not write the token filters of a file")).ok()
}

/// Keeps of an object store's error what was tried.
pub(crate) fn object(doing: &'static str) -> impl FnOnce(object_store::Error) -> Error {
    move |_| Error::Table { doing, why: "the file system refused" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_entry_says_what_it_said() {
        let file = DataFile {
            path: "tenant=a/day=2026-11-27/x.parquet".into(),
            bytes: 7,
            day: day_of_text("2026-11-27").expect("a day"),
            rows: 3,
            ts: (-1, 1_764_200_000_000_001),
            severity: (0, 24),
            service: Some(("a".into(), "z\"".into())),
            service_nulls: 1,
        };
        let none = DataFile { service: None, ..file.clone() };
        for file in [file, none] {
            let add = file.add("a", 1, true);
            let read = DataFile::read(&add.path, add.size, add.stats.as_deref()).expect("reads");
            assert_eq!(read, file);
            assert_eq!(add.partition_values["day"].as_deref(), Some("2026-11-27"));
            assert_eq!(file.remove("a", 1, false).size, Some(7));
        }
        for stats in [None, Some("{"), Some("{}"), Some(r#"{"numRecords":1}"#)] {
            assert!(DataFile::read("tenant=a/day=2026-11-27/x.parquet", 1, stats).is_err());
        }
        assert!(DataFile::read("x.parquet", 1, Some("{}")).is_err());
    }

    /// What is derived stops nothing that is not.
    #[test]
    fn a_file_whose_filters_cannot_be_written_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(std::sync::Arc::new(disk::OsDisk), dir.path().to_owned()).expect("opens");
        let day = dir.path().join("t/tenant=t/day=1970-01-01");
        for (name, in_the_way) in [("a", "_a.tmp"), ("b", "_b.tokens")] {
            std::fs::create_dir_all(day.join(in_the_way)).expect("stands in the way");
            let mut file = FileWriter::begin(&store, "t", 0, name, 1).expect("begins");
            file.write(&RecordBatch::new_empty(file_schema())).expect("writes");
            assert_eq!(file.finish().expect("ends").rows, 0);
            assert!(day.join(format!("{name}.parquet")).is_file());
        }
    }

    #[test]
    fn days_are_utc() {
        assert_eq!((day_of(-1), day_of(0), day_of(86_400_000_000)), (-1, 0, 1));
        assert_eq!((day_text(0).as_str(), day_of_text("1970-01-02")), ("1970-01-01", Some(1)));
        assert_eq!(time_text(1_500_000), "1970-01-01T00:00:01.500000Z");
    }
}
