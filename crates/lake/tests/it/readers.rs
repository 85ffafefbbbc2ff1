//! Others read our table: Polars, delta-rs in Python, DuckDB and ClickHouse count what we count.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use lake::{Lake, Limits, Query};
use model::{Clock, Value};

use crate::support::{Place, event, run, seen, sql, tenant};

const READ: &str = r#"
import glob, sys
import deltalake, duckdb, polars
table, rows = sys.argv[1], int(sys.argv[2])
delta = deltalake.DeltaTable(table)
protocol = delta.protocol()
assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2), protocol
arrow = delta.to_pyarrow_table()
assert arrow.num_rows == rows, arrow.num_rows
frame = polars.scan_delta(table).select("position", "severity", "body", "ts", "tenant", "attributes").collect()
assert frame.height == rows and frame["position"].n_unique() == rows, frame
assert set(frame["tenant"]) == {"default"}
errors = frame.filter(polars.col("severity") >= 17).height
duck = duckdb.connect()
seen = duck.execute(
    "select count(*), count(distinct position), sum((severity >= 17)::int), min(attributes['tries']), max(ts) from read_parquet(?)",
    [delta.file_uris()]).fetchone()
assert seen[:4] == (rows, rows, errors, "0"), seen
print(rows, errors)
"#;

/// ClickHouse's own reader of Delta, over the log and the files.
const CLICKHOUSE: &str = r#"
import sys
import chdb
seen = chdb.query(f"""
    select count(), countDistinct(position), sum(position), countIf(severity >= 17), sum(toUInt64(attributes['tries'])),
        sum(lengthUTF8(body)), toUnixTimestamp64Micro(min(ts)), toUnixTimestamp64Micro(max(ts)),
        countIf(tenant = 'default' and stream = 'web')
    from deltaLakeLocal('{sys.argv[1]}')""", "TabSeparated")
print(str(seen).strip().replace("\t", " "))
"#;

const EXPORTED: &str = r#"
import sys
import duckdb, polars
frame = polars.read_parquet(sys.argv[1])
duck = duckdb.connect().execute("select count(*), min(severity), min(tenant) from read_parquet(?)", [sys.argv[1]]).fetchone()
print(frame.height, *duck)
"#;

fn python() -> PathBuf {
    of_venv("DIHYA_PEERS_VENV", "venv")
}

fn of_venv(variable: &str, name: &str) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where the test's own readers are is said by the environment")]
    let from = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache"))).unwrap_or_default();
    from(variable).unwrap_or_else(|| cache.join("dihya-peers").join(name)).join("bin/python")
}

/// Lets 300 events come, in three files.
async fn fill(place: &Place, lake: &Lake) {
    for round in 0..3 {
        for n in 0..100 {
            let mut event = event(n, &format!("line {n} é"));
            event.severity = if n % 10 == 0 { 17 } else { 9 };
            event.attributes.insert("tries".into(), Value::U64(u64::try_from(n).expect("small") % 7));
            place.ledger.append("default", place.clock.now(), event);
        }
        seen(lake, "default", (round + 1) * 100).await;
        lake.flush(&tenant("default")).await.expect("commits");
    }
}

#[test]
fn polars_delta_rs_and_duckdb_count_what_we_count() {
    let versions = "import polars, deltalake, duckdb
for name, part in [('polars', polars), ('deltalake-py', deltalake), ('duckdb', duckdb)]:
    print(f'real part: {name} {part.__version__}')";
    let version = Command::new(python()).args(["-c", versions]).stderr(Stdio::null()).output();
    let Some(version) = version.ok().filter(|output| output.status.success()) else {
        println!("skipped: polars, deltalake and duckdb are not installed (tests/peers/install)");
        return;
    };
    // CI counts the real parts in what tests print.
    println!("{}", String::from_utf8_lossy(&version.stdout).trim());
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let _feed = place.feed(&lake, "default");
        fill(&place, &lake).await;
        let read = || {
            let table = place.table("default").display().to_string();
            let read = Command::new(python()).args(["-c", READ, &table, "300"]).output().expect("runs");
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), "300 30");
        };
        read();
        // Rewritten, and read from a checkpoint.
        place.clock.advance(Duration::from_secs(86_400));
        assert_eq!(lake.upkeep(&tenant("default")).await.expect("joins").joined_files, 3);
        read();
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("events.parquet");
        let query = Query { search: "severity>=error".into(), ..Query::default() };
        let limits = Limits { rows: 1, time: Duration::from_secs(30) };
        let mut answer = lake.export_parquet(&tenant("default"), &query, limits).await.expect("answers");
        let mut bytes = Vec::new();
        while let Some(piece) = answer.next().await {
            bytes.extend_from_slice(&piece.expect("encodes"));
        }
        assert_eq!((answer.rows(), answer.is_truncated()), (30, false));
        disk::write_atomic(&disk::OsDisk, &file, &bytes).expect("is written");
        let exported = Command::new(python()).args(["-c", EXPORTED]).arg(&file).output().expect("runs");
        assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
        assert_eq!(String::from_utf8_lossy(&exported.stdout).trim(), "30 30 17 default");
    });
}

#[test]
fn clickhouse_counts_what_we_count() {
    let python = of_venv("DIHYA_PEERS_CLICKHOUSE", "clickhouse");
    let version = "import chdb; print('real part: clickhouse', chdb.query('select version()', 'TabSeparated'))";
    let version = Command::new(&python).args(["-c", version]).stderr(Stdio::null()).output();
    let Some(version) = version.ok().filter(|output| output.status.success()) else {
        return crate::skip::skip("chdb is not installed (tests/peers/install)");
    };
    println!("{}", String::from_utf8_lossy(&version.stdout).trim());
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let _feed = place.feed(&lake, "default");
        fill(&place, &lake).await;
        let ours = "SELECT count(*) AS a, count(DISTINCT position) AS b, sum(position) AS c, \
                    sum(CASE WHEN severity >= 17 THEN 1 END) AS d, sum(CAST(attributes['tries'] AS BIGINT)) AS e, \
                    sum(character_length(body)) AS f, min(CAST(ts AS BIGINT)) AS g, max(CAST(ts AS BIGINT)) AS h, \
                    sum(CASE WHEN tenant = 'default' AND stream = 'web' THEN 1 END) AS i FROM events";
        let row = sql(&lake, "default", ours).await.expect("answers").remove(0);
        let values = row.as_object().expect("a row").values().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((values.len(), values[0].as_str()), (9, "300"), "{row}");
        let read = || {
            let table = place.table("default");
            // It reads nothing outside of where it was started.
            let read = Command::new(&python).current_dir(&table).args(["-c", CLICKHOUSE]).arg(&table).output();
            let read = read.expect("runs");
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
            assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), values.join(" "));
        };
        read();
        // Rewritten, and read from a checkpoint: files that are gone from the table still lie there, and do not count.
        place.clock.advance(Duration::from_secs(86_400));
        assert_eq!(lake.upkeep(&tenant("default")).await.expect("joins").joined_files, 3);
        read();
    });
}
