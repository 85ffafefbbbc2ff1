//! Fed once: seen within a second, committed in time, each row exactly once whatever dies.

use std::sync::Arc;
use std::time::Duration;

use lake::fault::Point;
use lake::{Error, Verified};
use model::limits::LAKE_SILENT_RECORDS_MAX;
use model::{AdminAct, RefusalKind, Timestamp};

use crate::support::{
    Death, NOON_US, Place, count, event, eventually, files, files_of, number, run, seen, sql, tenant,
};

fn noon(second: i64) -> Timestamp {
    Timestamp::from_microsecond(NOON_US + second * 1_000_000).expect("a time")
}

fn fill(place: &Place, from: i64, to: i64) {
    for second in from..to {
        place.ledger.append("default", noon(second), event(second, &format!("line {second}")));
    }
}

fn act() -> AdminAct {
    AdminAct {
        actor: "local".into(),
        act: "test".into(),
        target: String::new(),
        detail: String::new(),
        at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn rows_are_seen_before_they_are_committed_and_committed_in_time() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let _feed = place.feed(&lake, "default");
        let default = tenant("default");
        fill(&place, 0, 1);
        seen(&lake, "default", 1).await;
        fill(&place, 1, 300);
        seen(&lake, "default", 300).await;
        assert_eq!(lake.durable_position(&default).expect("a tenant"), 0);
        assert!(lake.hot_bytes() > 0);
        // Thirty seconds later by the clock, a new row wakes the feed.
        place.clock.advance(Duration::from_secs(31));
        fill(&place, 300, 301);
        eventually("rows are durable", || async { lake.durable_position(&default).expect("a tenant") >= 300 }).await;
        seen(&lake, "default", 301).await;
        lake.flush(&default).await.expect("commits");
        lake.flush(&default).await.expect("has nothing to commit");
        assert_eq!((lake.hot_bytes(), lake.durable_position(&default).expect("a tenant")), (0, 301));
        let verified = lake.verify(&default).await.expect("reads");
        // Whether the last row was in time for the first commit is for the machine to say.
        let files = if verified.files == 1 { 1 } else { 2 };
        assert_eq!(verified, Verified { files, logged_rows: 301, stored_rows: 301, misplaced_rows: 0, next: 301 });
        assert!(verified.is_sound());
        assert!(matches!(lake.position(&tenant("nobody")), Err(Error::UnknownTenant)));
    });
}

#[test]
fn a_day_has_its_own_files_and_is_that_of_the_admission() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let _feed = place.feed(&lake, "default");
        for second in [0, 86_400] {
            // By its sender's clock it is an hour of 1970 or of 2200; that makes no directory.
            for ns in [0, 7_258_118_400_000_000_000] {
                let odd = model::Event { time_ns: Some(ns), ..event(second, "odd") };
                place.ledger.append("default", noon(second), odd);
            }
        }
        seen(&lake, "default", 4).await;
        lake.flush(&tenant("default")).await.expect("commits");
        let days = files_of(&place.table("default"), "parquet");
        let days: Vec<_> = days.iter().filter_map(|file| file.parent()?.file_name()?.to_str()).collect();
        assert_eq!(days, ["day=2026-11-22", "day=2026-11-23"]);
        let rows =
            sql(&lake, "default", "SELECT day, count(*) AS n, max(ts) AS ts FROM events GROUP BY day ORDER BY day");
        let rows = rows.await.expect("answers");
        assert_eq!(rows[0]["day"], "2026-11-22");
        assert_eq!((&rows[1]["n"], &rows[1]["ts"]), (&2.into(), &"2200-01-01T00:00:00Z".into()));
    });
}

/// Whatever step of a flush the process dies at, the next one has each row exactly once (invariant E-2).
#[test]
fn each_row_is_there_exactly_once_whatever_dies() {
    run(async {
        for point in [Point::Written, Point::Committed] {
            let place = Place::new();
            let default = tenant("default");
            fill(&place, 0, 100);
            let death = Arc::new(Death::default());
            let lake = place.open_dying(Arc::clone(&death) as _).await;
            let feed = place.feed(&lake, "default");
            seen(&lake, "default", 100).await;
            lake.flush(&default).await.expect("commits");
            fill(&place, 100, 250);
            seen(&lake, "default", 250).await;
            death.at(point);
            // Due by the clock: the feed itself dies of it.
            place.clock.advance(Duration::from_secs(31));
            fill(&place, 250, 251);
            assert_eq!(feed.ended().await.kind(), RefusalKind::Stop);
            drop(lake);

            let lake = place.open().await;
            let committed = if point == Point::Written { 100 } else { lake.position(&default).expect("a tenant") };
            assert!(point == Point::Written || committed >= 250, "{committed}");
            assert_eq!(lake.position(&default).expect("a tenant"), committed, "{point:?}");
            assert_eq!(count(&lake, "default").await, committed, "{point:?}");
            let orphans = files(&place.table("default"))
                .iter()
                .filter(|file| file.extension().is_some_and(|end| end == "parquet"))
                .count();
            assert_eq!(orphans, if point == Point::Written { 1 } else { 2 }, "what nothing names is gone");
            let _feed = place.feed(&lake, "default");
            fill(&place, 251, 260);
            seen(&lake, "default", 260).await;
            lake.flush(&default).await.expect("commits");
            let distinct = number(&lake, "default", "SELECT count(DISTINCT position) FROM events").await;
            assert_eq!(distinct, 260, "{point:?}");
            assert!(lake.verify(&default).await.expect("reads").is_sound());
        }
    });
}

#[test]
fn a_flush_that_is_given_up_half_way_loses_and_doubles_nothing() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let feed = place.feed(&lake, "default");
        let default = tenant("default");
        let mut rows = 0;
        // Dropped after ever more turns of the runtime: somewhere in each of its steps.
        for turns in (0..60).step_by(3) {
            fill(&place, rows, rows + 5);
            rows += 5;
            seen(&lake, "default", rows.unsigned_abs()).await;
            {
                let mut flush = std::pin::pin!(lake.flush(&default));
                for _ in 0..turns {
                    if futures_util::poll!(flush.as_mut()).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            assert_eq!(count(&lake, "default").await, rows.unsigned_abs());
        }
        lake.flush(&default).await.expect("commits");
        assert_eq!(lake.hot_bytes(), 0);
        let verified = lake.verify(&default).await.expect("reads");
        assert_eq!((verified.stored_rows, verified.is_sound()), (rows.unsigned_abs(), true), "{verified:?}");
        drop((feed, lake));
        let lake = place.open().await;
        assert_eq!(count(&lake, "default").await, rows.unsigned_abs());
    });
}

#[test]
fn records_that_are_no_events_are_passed_over_and_the_position_goes_on() {
    run(async {
        let place = Place::new();
        let default = tenant("default");
        let lake = place.open().await;
        let feed = place.feed(&lake, "default");
        place.ledger.refuse(true);
        for _ in 0..LAKE_SILENT_RECORDS_MAX {
            place.ledger.append("default", noon(0), act());
        }
        // A ledger that cannot be read for now is asked again.
        tokio::task::yield_now().await;
        place.ledger.refuse(false);
        let end = place.ledger.len("default");
        eventually("all are passed over", || async { lake.durable_position(&default).expect("a tenant") == end }).await;
        let entries = || files_of(&place.table("default"), "json").len();
        eventually("the position is written", || async { entries() >= 2 }).await;
        drop((feed, lake));
        let lake = place.open().await;
        assert_eq!(lake.position(&default).expect("a tenant"), end);
        assert_eq!(count(&lake, "default").await, 0);
    });
}

#[test]
fn a_disk_that_refuses_is_waited_for() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let _feed = place.feed(&lake, "default");
        let default = tenant("default");
        fill(&place, 0, 10);
        seen(&lake, "default", 10).await;
        // A file stands where the directory of the data would.
        let obstacle = place.table("default").join("tenant=default");
        #[expect(clippy::disallowed_methods, reason = "a test breaks a directory")]
        std::fs::write(&obstacle, b"").expect("stands in the way");
        let refused = lake.flush(&default).await.expect_err("cannot write");
        assert_eq!((refused.kind(), count(&lake, "default").await), (RefusalKind::Retry, 10));
        std::fs::remove_file(&obstacle).expect("goes away");
        lake.flush(&default).await.expect("commits");
        assert_eq!((lake.hot_bytes(), count(&lake, "default").await), (0, 10));
    });
}

/// Memory is bounded over all tenants (L-1): at the bound the ledger is not read on, and whoever has rows writes them.
#[test]
fn what_does_not_fit_into_memory_waits_in_the_ledger() {
    run(async {
        let mut place = Place::new();
        place.hot_bytes = 256 << 10;
        let lake = place.open().await;
        place.ledger.append("other", noon(0), event(0, "one row"));
        let _others = place.feed(&lake, "other");
        seen(&lake, "other", 1).await;
        for second in 0..5_000 {
            place.ledger.append("default", noon(0), event(second, &"long ".repeat(40)));
        }
        let _feed = place.feed(&lake, "default");
        let most = std::cell::Cell::new(0);
        // No time passes: only the bound makes them write.
        eventually("all rows are seen", || async {
            most.set(most.get().max(lake.hot_bytes()));
            count(&lake, "default").await == 5_000
        })
        .await;
        assert!(most.get() > 0 && most.get() < 1 << 20, "{}", most.get());
        let default = tenant("default");
        assert!(lake.durable_position(&default).expect("a tenant") > 4_000);
        eventually("the other tenant made room", || async {
            lake.durable_position(&tenant("other")).expect("a tenant") == 1
        })
        .await;
        // Of what lies in memory a commit takes a part, and a flush is as many commits as it takes.
        lake.flush(&default).await.expect("commits");
        assert_eq!((lake.hot_bytes(), count(&lake, "default").await), (0, 5_000));
        assert!(lake.verify(&default).await.expect("reads").is_sound());
    });
}

#[test]
fn a_commit_that_the_log_refuses_leaves_no_file_behind() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let _feed = place.feed(&lake, "default");
        let default = tenant("default");
        fill(&place, 0, 10);
        seen(&lake, "default", 10).await;
        // Somebody else has taken the next version.
        let log = place.table("default").join("_delta_log");
        let (first, next) = (log.join(format!("{:020}.json", 0)), log.join(format!("{:020}.json", 1)));
        std::fs::copy(first, &next).expect("stands in the way");
        let refused = lake.flush(&default).await.expect_err("cannot commit");
        assert_eq!(refused.kind(), RefusalKind::Retry);
        std::fs::remove_file(&next).expect("goes away");
        assert_eq!(count(&lake, "default").await, 10);
        lake.flush(&default).await.expect("commits");
        let data = files_of(&place.table("default"), "parquet");
        assert_eq!((data.len(), count(&lake, "default").await), (1, 10));
    });
}

#[test]
fn a_feed_that_begins_too_early_doubles_nothing() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let default = tenant("default");
        fill(&place, 0, 10);
        let feed = place.feed(&lake, "default");
        seen(&lake, "default", 10).await;
        lake.flush(&default).await.expect("commits");
        drop(feed);
        fill(&place, 10, 20);
        let _again = place.feed_from(&lake, "default", 0);
        seen(&lake, "default", 20).await;
        lake.flush(&default).await.expect("commits");
        let verified = lake.verify(&default).await.expect("reads");
        assert_eq!((verified.stored_rows, verified.next, verified.is_sound()), (20, 20, true));
    });
}

/// What a sender makes long is not carried in the log of every later commit.
#[test]
fn a_service_with_a_long_name_is_found_and_not_in_the_log() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let name = "planted".repeat(50);
        let mut long = event(0, "line");
        long.resource.insert("service.name".into(), name.as_str().into());
        place.ledger.append("default", noon(0), long);
        let _feed = place.feed(&lake, "default");
        seen(&lake, "default", 1).await;
        lake.flush(&tenant("default")).await.expect("commits");
        let found = format!("SELECT count(*) FROM events WHERE service = '{name}'");
        assert_eq!(number(&lake, "default", &found).await, 1);
        for file in files(&place.table("default").join("_delta_log")) {
            assert!(!std::fs::read_to_string(&file).expect("text").contains("planted"), "{file:?}");
        }
    });
}

#[test]
fn a_ledger_that_is_broken_ends_the_feed() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        place.ledger.break_down();
        let ended = place.feed(&lake, "default").ended().await;
        assert!(matches!(ended, Error::Feed(_)) && ended.kind() == RefusalKind::Stop, "{ended}");
    });
}
