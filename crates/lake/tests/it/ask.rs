//! Searching, counting and looking around, over rows in memory and in files alike.

use expect_test::{Expect, expect};
use futures_util::StreamExt;
use lake::{Error, Limits, Query, RowsOut};
use model::{Clock, Event, Timestamp, Value};

use crate::support::{NOON_US, Place, event, query, run, search, seen, tenant};

fn events() -> Vec<Event> {
    let attributes = |pairs: &[(&str, Value)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    vec![
        Event {
            severity: 17,
            attributes: attributes(&[("user.id", "P7x1".into()), ("tries", Value::U64(12))]),
            ..event(0, "login Time Out after 100%")
        },
        Event { stream: "web-2".into(), severity: 5, ..event(1, "debug: cache_miss") },
        Event {
            stream: "db".into(),
            severity: 21,
            body: Some(Value::Map([("note".to_owned(), Value::from("structured timeout"))].into())),
            resource: [
                ("service.name".to_owned(), "db".into()),
                ("host.name".to_owned(), "h1".into()),
                ("zone".to_owned(), "eu".into()),
            ]
            .into(),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            ..event(2, "")
        },
        Event {
            severity: 0,
            attributes: attributes(&[("http.response.status_code", Value::U64(503)), ("tries", "many".into())]),
            ..event(3, "served")
        },
        Event { severity: 13, body: None, ..event(4, "") },
    ]
}

/// Half of the events in files, half in memory.
async fn lake(place: &Place) -> lake::Lake {
    let lake = place.open().await;
    let all = events();
    for event in &all[..3] {
        place.ledger.append("default", Timestamp::UNIX_EPOCH, event.clone());
    }
    let feed = place.feed(&lake, "default");
    seen(&lake, "default", 3).await;
    lake.flush(&tenant("default")).await.expect("commits");
    for event in &all[3..] {
        place.ledger.append("default", Timestamp::UNIX_EPOCH, event.clone());
    }
    seen(&lake, "default", 5).await;
    drop(feed);
    lake
}

#[test]
fn people_find_what_they_type() {
    run(async {
        let place = Place::new();
        let lake = lake(&place).await;
        let check = async |text: &str, expected: Expect| {
            let found = match search(&lake, &query(text)).await {
                Ok(hits) => format!("{:?}", hits.iter().map(|hit| hit.position).collect::<Vec<_>>()),
                Err(error) => error.to_string(),
            };
            expected.assert_eq(&found);
        };
        check("", expect!["[4, 3, 2, 1, 0]"]).await;
        check("\"time out\"", expect!["[0]"]).await;
        check("timeout", expect!["[2]"]).await;
        check("TIME*out", expect!["[2, 0]"]).await;
        check("100%", expect!["[0]"]).await;
        check("cache_miss", expect!["[1]"]).await;
        check("cachexmiss", expect!["[]"]).await;
        check("-timeout", expect!["[4, 3, 1, 0]"]).await;
        check("service:auth severity>=error", expect!["[0]"]).await;
        check("severity:error OR level:debug", expect!["[1, 0]"]).await;
        check("severity<warning", expect!["[3, 1]"]).await;
        check("severity<=warning severity>debug", expect!["[4]"]).await;
        check("severity:17", expect!["[0]"]).await;
        check("stream:web*", expect!["[4, 3, 1, 0]"]).await;
        check("stream:web", expect!["[4, 3, 0]"]).await;
        check("user.id:P7x*", expect!["[0]"]).await;
        check("-user.id:P7x1 -service.name:db", expect!["[4, 3, 1]"]).await;
        check("tries>10", expect!["[0]"]).await;
        check("tries:*", expect!["[3, 0]"]).await;
        check("attributes.tries:12", expect!["[0]"]).await;
        check("resource.zone:eu zone:eu host:h1", expect!["[2]"]).await;
        check("http.response.status_code>=500", expect!["[3]"]).await;
        check("http_response_status_code:503", expect!["[3]"]).await;
        check("http.response.status_code:5*", expect!["[3]"]).await;
        check("trace_id:0af7651916cd43dd8448eb211c80319c", expect!["[2]"]).await;
        check("ts>=2026-11-22T12:00:03Z", expect!["[4, 3]"]).await;
        check("ts<2026-11-22", expect!["[]"]).await;
        check("sector:none position<2", expect!["[1, 0]"]).await;
        check("nothing.like:this", expect!["[]"]).await;
        check("tries>many", expect!["cannot read the search at column 7: expected a number"]).await;
        check("severity:loud", expect![
            "cannot read the search at column 10: expected a level (trace, debug, info, warning, error, critical) or its number"
        ]).await;
        check(
            "ts:today",
            expect!["cannot read the search at column 4: expected an order before a time: <, <=, > or >="],
        )
        .await;
        check(
            "ts>today",
            expect!["cannot read the search at column 4: expected a time such as 2026-11-27T10:00:00Z or 2026-11-27"],
        )
        .await;
        check("position:x", expect!["cannot read the search at column 10: expected a whole number"]).await;
        check("day:1", expect!["cannot read the search at column 5: expected another field: ts has the time"]).await;
        check("a (b", expect!["cannot read the search at column 5: expected a closing bracket"]).await;
    });
}

#[test]
fn a_hit_says_all_there_is_and_pages_go_on() {
    run(async {
        let place = Place::new();
        let lake = lake(&place).await;
        let hits = search(&lake, &query("")).await.expect("finds");
        let (structured, first) = (&hits[2], &hits[4]);
        assert_eq!(structured.body_json.as_deref(), Some(r#"{"note":"structured timeout"}"#));
        assert_eq!((structured.body.as_deref(), structured.service.as_deref()), (None, Some("db")));
        assert_eq!(structured.resource["zone"], "eu");
        assert_eq!((first.attributes["user.id"].as_str(), first.attributes["tries"].as_str()), ("P7x1", "12"));
        assert_eq!((first.severity, first.ts.as_microsecond(), first.sector.as_str()), (17, NOON_US, "none"));
        assert_eq!(first.observed.as_microsecond(), NOON_US + 5);
        assert_eq!(hits[1].attributes["http.response.status_code"], "503");
        assert!(serde_json::to_string(first).expect("JSON").contains(r#""ts":"2026-11-22T12:00:00Z""#));

        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let page = search(&lake, &Query { after, limit: 2, ..query("") }).await.expect("finds");
            let Some(last) = page.last() else { break };
            after = Some(last.cursor());
            paged.extend(page);
        }
        assert_eq!(paged, hits);
        let second = |n: i64| Some(Timestamp::from_microsecond(NOON_US + n * 1_000_000).expect("a time"));
        let within = search(&lake, &Query { from: second(1), to: second(3), ..query("") }).await.expect("finds");
        assert_eq!(within, hits[2..4]);
    });
}

#[test]
fn counts_over_time_and_of_a_field_and_lines_around() {
    run(async {
        let place = Place::new();
        let lake = lake(&place).await;
        let (default, limits) = (tenant("default"), Limits::default());
        let at = |n: i64| Timestamp::from_microsecond(NOON_US + n * 1_000_000).expect("a time");
        let span = Query { from: Some(at(0)), to: Some(at(60)), ..query("") };
        let buckets = lake.histogram(&default, &span, 2_000_000, limits).await.expect("counts");
        let counts: Vec<_> = buckets.iter().map(|bucket| (bucket.start, bucket.levels)).collect();
        assert_eq!(
            counts,
            [(at(0), [0, 0, 1, 0, 0, 1, 0]), (at(2), [1, 0, 0, 0, 0, 0, 1]), (at(4), [0, 0, 0, 0, 1, 0, 0]),]
        );
        for (query, width) in [(&span, 0), (&span, 1), (&query(""), 1_000_000)] {
            let refused = lake.histogram(&default, query, width, limits).await;
            assert!(matches!(refused, Err(Error::Query { .. })), "{refused:?}");
        }

        let field = lake.field(&default, &query("-timeout"), "stream", 1, limits).await.expect("counts");
        assert_eq!((field.events, field.present, field.distinct), (4, 4, 2));
        assert_eq!(field.top, [("web".to_owned(), 3)]);
        let field = lake.field(&default, &query(""), "tries", 10, limits).await.expect("counts");
        assert_eq!((field.events, field.present), (5, 2));
        assert_eq!(field.top, [("12".to_owned(), 1), ("many".to_owned(), 1)]);
        let field = lake.field(&default, &query(""), "http.response.status_code", 10, limits).await.expect("counts");
        assert_eq!(field.top, [("503".to_owned(), 1)]);

        let hits = search(&lake, &query("stream:web")).await.expect("finds");
        let around = lake.surroundings(&default, hits[1].cursor(), 5, limits).await.expect("looks");
        assert_eq!(around.event.as_ref(), Some(&hits[1]));
        assert_eq!((around.before, around.after), (vec![hits[2].clone()], vec![hits[0].clone()]));
        let nowhere = lake::Cursor { position: 99, ..hits[1].cursor() };
        assert_eq!(lake.surroundings(&default, nowhere, 5, limits).await.expect("looks").event, None);
    });
}

#[test]
fn sql_sees_memory_and_files_as_one_table() {
    run(async {
        let place = Place::new();
        let lake = lake(&place).await;
        let rows = crate::support::sql(
            &lake,
            "default",
            "SELECT stream, count(*) AS n, min(position) AS first, max(attributes['tries']) AS tries FROM events \
             WHERE ts >= '2026-11-22T12:00:00Z' GROUP BY stream ORDER BY stream",
        );
        let rows: Vec<String> = rows.await.expect("answers").iter().map(ToString::to_string).collect();
        expect![[r#"
            {"stream":"db","n":1,"first":2}
            {"stream":"web","n":3,"first":0,"tries":"many"}
            {"stream":"web-2","n":1,"first":1}"#]]
        .assert_eq(&rows.join("\n"));

        let default = tenant("default");
        let text = "SELECT stream, ts, attributes FROM events ORDER BY position";
        let mut answer = lake.sql(&default, text, Limits::default(), RowsOut::ArrowIpc).await.expect("answers");
        let types: Vec<_> =
            answer.columns().iter().map(|column| format!("{} {}", column.name, column.data_type)).collect();
        expect![[r#"["stream Utf8", "ts Timestamp(µs, \"UTC\")", "attributes Map(\"key_value\": non-null Struct(\"key\": non-null Utf8, \"value\": non-null Utf8), unsorted)"]"#]]
            .assert_eq(&format!("{types:?}"));
        let mut bytes = Vec::new();
        while let Some(piece) = answer.next().await {
            bytes.extend_from_slice(&piece.expect("a piece"));
        }
        let reader = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).expect("Arrow IPC");
        let read: usize = reader.map(|batch| batch.expect("a batch").num_rows()).sum();
        assert_eq!((read, answer.rows(), answer.is_truncated()), (5, 5, false));
        assert!(RowsOut::ArrowIpc.media_type().contains("arrow") && RowsOut::Ndjson.media_type().contains("ndjson"));
    });
}

#[test]
fn an_export_is_one_file_of_what_was_asked_for() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let _feed = place.feed(&lake, "default");
        // In files and in memory.
        for half in 0..2 {
            for n in half * 1_500..(half + 1) * 1_500 {
                place.ledger.append("default", place.clock.now(), event(n, &format!("line {n}")));
            }
            seen(&lake, "default", place.ledger.len("default")).await;
            if half == 0 {
                lake.flush(&tenant("default")).await.expect("commits");
            }
        }
        let at = |n: i64| Timestamp::from_microsecond(NOON_US + n * 1_000_000).ok();
        let all = export(&lake, "default", &Query::default()).await.expect("exports");
        let some = Query { search: "service:auth".into(), from: at(1_498), to: at(1_503), ..Query::default() };
        let some = export(&lake, "default", &some).await.expect("exports");
        let none = export(&lake, "other", &Query::default()).await.expect("exports");
        for (file, rows) in [(all, 3_000), (some, 5), (none, 0)] {
            let reader =
                parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 10_000).expect("Parquet");
            let batches: Vec<_> = reader.map(|batch| batch.expect("a batch")).collect();
            assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), rows);
            assert!(batches.iter().all(|batch| batch.column_by_name("tenant").is_some()));
        }
        let wrong = Query { search: "(".into(), ..Query::default() };
        assert!(matches!(export(&lake, "default", &wrong).await, Err(Error::Search(_))));
    });
}

async fn export(lake: &lake::Lake, name: &str, query: &Query) -> Result<bytes::Bytes, Error> {
    let mut answer = lake.export_parquet(&tenant(name), query, Limits::default()).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = answer.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.into())
}

/// What a check counts: by when it reached us, whatever its sender's clock says, in memory and in files.
#[test]
fn events_are_counted_by_when_they_reached_us() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let _feed = place.feed(&lake, "default");
        let at = |n: i64| Timestamp::from_microsecond(NOON_US + n * 1_000_000).expect("a time");
        for n in 0..20 {
            let observed_ns = (NOON_US + n * 1_000_000) * 1_000;
            let severity = if n % 2 == 0 { 17 } else { 9 };
            let event = Event { severity, observed_ns, time_ns: Some(0), ..event(n, "login") };
            place.ledger.append("default", at(n), event);
            if n == 9 {
                seen(&lake, "default", 10).await;
                lake.flush(&tenant("default")).await.expect("commits");
            }
        }
        seen(&lake, "default", 20).await;
        let count = async |name: &str, search: &str, from: i64, until: i64| {
            lake.count(&tenant(name), search, (at(from), at(until)), Limits::default()).await
        };
        assert_eq!(count("default", "", 0, 20).await.expect("counts"), 20);
        assert_eq!(count("default", "severity>=error", 5, 15).await.expect("counts"), 5);
        assert_eq!(count("default", "nothing", 0, 20).await.expect("counts"), 0);
        assert_eq!(count("other", "", 0, 20).await.expect("counts"), 0);
        assert!(matches!(count("default", "(", 0, 20).await, Err(Error::Search(_))));
        let readable = |search: &str| Query { search: search.into(), ..Query::default() }.check().is_ok();
        assert!(readable("service:auth severity>=error") && !readable("severity>=loud") && !readable("\"open"));
    });
}
