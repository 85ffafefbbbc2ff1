//! Tenants and hostile SQL: nobody sees, names, writes or fills what is not theirs (invariant E-3).

use std::time::Duration;

use futures_util::StreamExt;
use lake::{Error, Limits, RowsOut};
use model::Timestamp;
use model::limits::QUERIES_MAX;

use crate::support::{Place, count, event, eventually, files, run, seen, sql, tenant};

async fn two_tenants(place: &Place) -> lake::Lake {
    let lake = place.open().await;
    for (name, secret) in [("default", "ours"), ("other", "planted-secret")] {
        place.ledger.append(name, Timestamp::UNIX_EPOCH, event(0, secret));
        let _feed = place.feed(&lake, name);
        seen(&lake, name, 1).await;
        lake.flush(&tenant(name)).await.expect("commits");
        place.ledger.append(name, Timestamp::UNIX_EPOCH, event(1, secret));
        seen(&lake, name, 2).await;
    }
    lake
}

#[test]
fn no_sql_sees_another_tenant() {
    run(async {
        let place = Place::new();
        let lake = two_tenants(&place).await;
        let other =
            files(&place.table("other")).into_iter().find(|file| file.extension().is_some_and(|end| end == "parquet"));
        let other = other.expect("a data file").display().to_string();
        let attempts = [
            "SELECT * FROM events".to_owned(),
            "SELECT * FROM events WHERE tenant = 'other' OR 1 = 1".to_owned(),
            "SELECT * FROM dihya.lake.events".to_owned(),
            "SELECT * FROM events UNION ALL SELECT * FROM events".to_owned(),
            "EXPLAIN VERBOSE SELECT * FROM events".to_owned(),
            "EXPLAIN ANALYZE SELECT * FROM events".to_owned(),
            format!("SELECT * FROM '{other}'"),
            format!("SELECT * FROM \"file://{other}\""),
            format!("SELECT * FROM read_parquet('{other}')"),
            format!("SELECT * FROM parquet_metadata('{other}')"),
            "SELECT * FROM other.events".to_owned(),
            "SELECT * FROM information_schema.tables".to_owned(),
            "SELECT * FROM \"dihya-lake://events/other\"".to_owned(),
            format!("COPY (SELECT 1) TO '{other}'"),
            format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{other}'"),
            "SET datafusion.catalog.information_schema = true".to_owned(),
            "SELECT * INTO t FROM events".to_owned(),
            "WITH t AS (SELECT 1) INSERT INTO events SELECT * FROM events".to_owned(),
            "INSERT INTO events SELECT * FROM events".to_owned(),
            "UPDATE events SET body = 'x'".to_owned(),
            "DELETE FROM events".to_owned(),
            "TRUNCATE events".to_owned(),
            "DROP TABLE events".to_owned(),
            "SHOW ALL".to_owned(),
            "SELECT 1; DROP TABLE events".to_owned(),
        ];
        let mut answered = 0;
        for attempt in &attempts {
            match sql(&lake, "default", attempt).await {
                Ok(rows) => {
                    answered += 1;
                    let text = serde_json::to_string(&rows).expect("JSON");
                    assert!(!text.contains("planted-secret") && !text.contains("other/"), "{attempt}: {text}");
                }
                Err(error) => {
                    assert!(matches!(error, Error::Query { .. }), "{attempt}: {error}");
                    assert!(!format!("{error:?}").contains("planted-secret"), "{attempt}");
                }
            }
        }
        assert_eq!(answered, 6, "only what reads our own events is answered");
        for name in ["default", "other"] {
            assert_eq!(count(&lake, name).await, 2);
        }
        let nobody = lake.sql(&tenant("nobody"), "SELECT 1", Limits::default(), RowsOut::Ndjson).await;
        assert!(matches!(nobody, Err(Error::UnknownTenant)));
    });
}

#[test]
fn what_makes_much_of_little_is_not_there() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        for attempt in [
            "SELECT repeat('a', 2000000000)",
            "SELECT lpad('a', 2000000000)",
            "SELECT range(0, 10000000000)",
            "SELECT * FROM generate_series(1, 10000000000)",
            "SELECT array_repeat(1, 2000000000)",
        ] {
            let refused = sql(&lake, "default", attempt).await.expect_err(attempt);
            assert!(matches!(refused, Error::Query { .. }), "{attempt}: {refused}");
        }
        let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(matches!(sql(&lake, "default", &deep).await, Err(Error::Query { .. })));
        // As deep as may be, in every way that is known: an answer or a refusal, and never the end of the process.
        for (times, fits) in [(300, true), (9_000, false)] {
            for (first, piece) in [
                ("SELECT 1", " + 1"),
                ("SELECT 1 WHERE true", " OR true"),
                ("SELECT 1", " UNION ALL SELECT 1"),
                ("SELECT 'a'", " || 'a'"),
                ("SELECT count(*) FROM events", ", events"),
                ("SELECT 1", "::int"),
            ] {
                let text = format!("{first}{}", piece.repeat(times));
                let answer = sql(&lake, "default", &text).await;
                assert!(fits || matches!(answer, Err(Error::Query { .. })), "{first}{piece}");
            }
        }
        let list = format!("SELECT 1 AS one WHERE 1 IN ({})", vec!["1"; 9_000].join(","));
        assert_eq!(sql(&lake, "default", &list).await.expect("answers").len(), 1);
    });
}

#[test]
fn rows_time_and_number_of_queries_are_bounded() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let default = tenant("default");
        for second in 0..100 {
            place.ledger.append("default", Timestamp::UNIX_EPOCH, event(second, "line"));
        }
        let _feed = place.feed(&lake, "default");
        seen(&lake, "default", 100).await;
        let few = Limits { rows: 10, ..Limits::default() };
        let mut answer =
            lake.sql(&default, "SELECT position FROM events", few, RowsOut::Ndjson).await.expect("answers");
        while let Some(piece) = answer.next().await {
            piece.expect("a piece");
        }
        assert_eq!((answer.rows(), answer.is_truncated()), (10, true));
        let all = "SELECT position FROM events LIMIT 10";
        let mut answer = lake.sql(&default, all, few, RowsOut::Ndjson).await.expect("answers");
        while let Some(piece) = answer.next().await {
            piece.expect("a piece");
        }
        assert_eq!((answer.rows(), answer.is_truncated()), (10, false));

        // 100^5 rows: nobody waits for that.
        let heavy = "SELECT count(*) FROM events a, events b, events c, events d, events e WHERE e.position + a.position + b.position > c.position * d.position";
        let short = Limits { time: Duration::from_millis(200), ..Limits::default() };
        let mut answer = lake.sql(&default, heavy, short, RowsOut::Ndjson).await.expect("begins");
        let ended = answer.next().await.expect("an end");
        assert!(matches!(ended, Err(Error::TooSlow { .. })), "{ended:?}");
        assert!(answer.next().await.is_none());

        // What is dropped stops: otherwise these eight would keep the threads.
        // As many as may, and one more; what is dropped makes room.
        let mut running = Vec::new();
        for _ in 0..QUERIES_MAX {
            running.push(lake.sql(&default, heavy, Limits::default(), RowsOut::Ndjson).await.expect("begins"));
        }
        let more = lake.sql(&default, "SELECT 1", Limits::default(), RowsOut::Ndjson).await;
        assert!(matches!(more, Err(Error::Busy)), "{more:?}");
        drop(running);
        eventually("there is room again", || async { sql(&lake, "default", "SELECT 1 AS one").await.is_ok() }).await;
    });
}

/// Joins of each with each are for small sides; those with an equality, and scalar subqueries, are for all.
#[test]
fn two_large_sides_are_joined_by_an_equality_alone() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        for second in 0..1_500 {
            place.ledger.append("default", Timestamp::UNIX_EPOCH, event(second, "line"));
        }
        let _feed = place.feed(&lake, "default");
        seen(&lake, "default", 1_500).await;
        lake.flush(&tenant("default")).await.expect("commits");
        for attempt in [
            "SELECT count(*) FROM events a, events b",
            "SELECT count(*) FROM events a JOIN events b ON a.position < b.position",
        ] {
            let refused = sql(&lake, "default", attempt).await.expect_err(attempt);
            assert!(matches!(&refused, Error::Query { why } if why.contains("equality")), "{attempt}: {refused}");
        }
        for (fits, n) in [
            ("SELECT count(*) FROM events a JOIN events b ON a.position = b.position", 1_500),
            ("SELECT count(*) FROM events WHERE position > (SELECT avg(position) FROM events)", 750),
            ("SELECT count(*) FROM events a, (VALUES (1), (2)) b(n) WHERE a.position > b.n", 1_498 + 1_497),
        ] {
            assert_eq!(crate::support::number(&lake, "default", fits).await, n, "{fits}");
        }
    });
}

#[test]
fn a_value_that_does_not_fit_is_not_repeated() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        place.ledger.append("default", Timestamp::UNIX_EPOCH, event(0, "planted-secret"));
        let _feed = place.feed(&lake, "default");
        seen(&lake, "default", 1).await;
        for attempt in ["SELECT CAST(body AS BIGINT) FROM events", "SELECT 1 / (position - position) FROM events"] {
            let failed = sql(&lake, "default", attempt).await.expect_err(attempt);
            assert!(matches!(failed, Error::Failed { .. }), "{attempt}: {failed:?}");
            assert!(!format!("{failed} {failed:?}").contains("planted-secret"), "{failed:?}");
        }
    });
}
