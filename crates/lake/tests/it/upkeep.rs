//! Small files become large ones, old rows go, and nothing of them stays in Delta's log.

use std::sync::Arc;
use std::time::Duration;

use lake::fault::Point;
use lake::{Retention, Upkeep};
use model::limits::{LAKE_REMOVED_KEPT, LAKE_SMALL_FILES_MAX};
use model::{Clock, Event};

use crate::support::{Death, Place, count, event, eventually, files, files_of, number, run, seen, sql, tenant};

fn commit_files(place: &Place) -> usize {
    files_of(&place.table("default").join("tenant=default"), "parquet").len()
}

/// Commits `files` times `rows` rows.
async fn fill(place: &Place, lake: &lake::Lake, files: u64, rows: u64, make: impl Fn(i64) -> Event) {
    let _feed = place.feed(lake, "default");
    for _ in 0..files {
        for _ in 0..rows {
            let n = i64::try_from(place.ledger.len("default")).expect("small");
            place.ledger.append("default", place.clock.now(), make(n));
        }
        seen(lake, "default", place.ledger.len("default")).await;
        lake.flush(&tenant("default")).await.expect("commits");
    }
}

#[test]
fn small_files_become_one_and_the_old_ones_go_after_the_queries() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let default = tenant("default");
        fill(&place, &lake, LAKE_SMALL_FILES_MAX as u64, 3, |n| event(-n, "line")).await;
        assert_eq!(commit_files(&place), LAKE_SMALL_FILES_MAX);
        let done = lake.upkeep(&default).await.expect("joins");
        let joined_files = LAKE_SMALL_FILES_MAX as u64;
        assert_eq!(done, Upkeep { joined_files, ..Upkeep::default() });
        assert_eq!(commit_files(&place), LAKE_SMALL_FILES_MAX + 1, "old files stay for queries that began");
        place.clock.advance(LAKE_REMOVED_KEPT + Duration::from_secs(1));
        let done = lake.upkeep(&default).await.expect("deletes");
        assert_eq!((done.deleted_files, commit_files(&place)), (joined_files, 1));
        let verified = lake.verify(&default).await.expect("reads");
        assert_eq!((verified.files, verified.stored_rows, verified.is_sound()), (1, 48, true));
        // The log begins anew at the checkpoint.
        let log = files(&place.table("default").join("_delta_log"));
        let versions = log.iter().filter(|file| file.extension().is_some_and(|end| end == "json")).count();
        assert_eq!(versions, 1, "{log:?}");
        let first = "SELECT position FROM events LIMIT 1";
        assert_eq!(sql(&lake, "default", first).await.expect("answers")[0]["position"], 47, "sorted by time");
        assert_eq!(lake.upkeep(&default).await.expect("rests"), Upkeep::default());
        drop(lake);
        let lake = place.open().await;
        assert_eq!((count(&lake, "default").await, lake.position(&default).expect("a tenant")), (48, 48));
        // On the next day, a handful of files is joined as well.
        fill(&place, &lake, 2, 1, |n| event(n, "line")).await;
        place.clock.advance(Duration::from_secs(86_400));
        assert_eq!(lake.upkeep(&default).await.expect("joins").joined_files, 3);
        assert_eq!(count(&lake, "default").await, 50);
    });
}

#[test]
fn upkeep_that_dies_half_way_changes_no_row() {
    run(async {
        for point in [Point::Rewritten, Point::Removed] {
            let place = Place::new();
            let death = Arc::new(Death::default());
            let lake = place.open_dying(Arc::clone(&death) as _).await;
            fill(&place, &lake, LAKE_SMALL_FILES_MAX as u64, 1, |n| event(n, "line")).await;
            death.at(point);
            lake.upkeep(&tenant("default")).await.expect_err("dies");
            drop(lake);
            let lake = place.open().await;
            let verified = lake.verify(&tenant("default")).await.expect("reads");
            assert_eq!((verified.stored_rows, verified.is_sound()), (16, true), "{point:?}");
            assert_eq!(commit_files(&place), if point == Point::Rewritten { 16 } else { 1 }, "{point:?}");
        }
    });
}

/// An expired value is neither in the data nor in Delta's log: that is what retention promises.
#[test]
fn what_has_expired_is_nowhere() {
    run(async {
        let mut place = Place::new();
        place.retention = Retention::new(30).rule(None, "short*", 7);
        let lake = place.open().await;
        let default = tenant("default");
        fill(&place, &lake, 3, 4, |n| {
            let short = n % 2 == 0;
            let service = if short { "planted-short" } else { "planted-long" };
            let mut event = event(n, service);
            event.stream = if short { "short-lived".into() } else { "long".into() };
            event.resource.insert("service.name".into(), service.into());
            event
        })
        .await;
        assert_eq!(lake.upkeep(&default).await.expect("rests"), Upkeep::default());
        let has = |needle: &str| {
            let found = files(&place.table("default")).into_iter().filter(|file| {
                let bytes = std::fs::read(file).expect("reads");
                bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
            });
            found.count()
        };
        assert!(has("planted-short") > 3 && has("planted-long") > 3, "in data and log");

        place.clock.advance(Duration::from_secs(9 * 86_400));
        let done = lake.upkeep(&default).await.expect("expires");
        assert_eq!((done.expired_rows, count(&lake, "default").await), (6, 6));
        // What was looked into and not too old yet is not looked into again, until it is.
        for _ in 0..2 {
            assert_eq!(lake.upkeep(&default).await.expect("rests").expired_rows, 0);
        }
        assert_eq!(number(&lake, "default", "SELECT count(*) FROM events WHERE stream = 'short-lived'").await, 0);
        place.clock.advance(LAKE_REMOVED_KEPT + Duration::from_secs(1));
        assert!(lake.upkeep(&default).await.expect("deletes").deleted_files >= 3);
        assert_eq!(has("planted-short"), 0);
        assert!(has("planted-long") > 0);

        place.clock.advance(Duration::from_secs(30 * 86_400));
        assert_eq!(lake.upkeep(&default).await.expect("expires").expired_rows, 6);
        drop(lake);
        let lake = place.open().await;
        assert_eq!((has("planted-long"), count(&lake, "default").await), (0, 0));
        assert_eq!(lake.position(&default).expect("a tenant"), 12, "the position outlives the rows");
    });
}

/// By its timer, and by the rules of a configuration that was read again: those of one tenant touch no other's.
#[test]
fn what_is_too_old_goes_by_itself_and_by_new_rules() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        for name in ["default", "other"] {
            let _feed = place.feed(&lake, name);
            for (n, stream) in ["web-1", "web-2", "audit"].into_iter().enumerate() {
                let event = Event { stream: stream.into(), ..event(n as i64, "line") };
                place.ledger.append(name, place.clock.now(), event);
            }
            seen(&lake, name, 3).await;
            lake.flush(&tenant(name)).await.expect("commits");
        }
        place.clock.advance(Duration::from_secs(9 * 86_400));
        let mut upkeep = tokio::task::JoinSet::new();
        let kept = lake.clone();
        upkeep.spawn(async move { kept.run_upkeep().await });
        // The rules before have been asked about these files by then.
        assert_eq!(lake.upkeep(&tenant("other")).await.expect("rests"), Upkeep::default());
        let rules = Retention::new(30).rule(Some(tenant("default")), "audit", 60).rule(Some(tenant("default")), "*", 7);
        lake.keep(Duration::from_secs(10), rules);
        assert_eq!(count(&lake, "default").await, 3, "a minute has not passed");
        place.clock.advance(Duration::from_secs(61));
        let left = || async { count(&lake, "default").await == 1 };
        eventually("upkeep", left).await;
        assert_eq!(number(&lake, "default", "SELECT count(*) FROM events WHERE stream = 'audit'").await, 1);
        assert_eq!(count(&lake, "other").await, 3);
        lake.keep(Duration::from_secs(10), Retention::new(5));
        place.clock.advance(Duration::from_secs(61));
        let gone = || async { count(&lake, "default").await + count(&lake, "other").await == 0 };
        eventually("upkeep by newer rules", gone).await;
        assert!(!upkeep.is_empty());
    });
}

/// Delta's log outlives what is removed, so no statistics of what may be a pseudonym may be in it (invariant E-4).
#[test]
fn statistics_in_the_log_are_of_three_columns() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        fill(&place, &lake, 2, 5, |n| {
            let mut event = event(n, "planted-body");
            event.attributes.insert("user.id".into(), "planted-user".into());
            event.attributes.insert("client.address".into(), "planted-address".into());
            event.resource.insert("host.name".into(), "planted-host".into());
            event.trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
            event
        })
        .await;
        let default = tenant("default");
        place.clock.advance(Duration::from_secs(86_400));
        lake.upkeep(&default).await.expect("joins and writes a checkpoint");
        fill(&place, &lake, 1, 5, |n| event(n, "planted-body")).await;
        let mut columns = std::collections::BTreeSet::new();
        let log = files(&place.table("default").join("_delta_log"));
        assert!(log.iter().any(|file| file.to_string_lossy().ends_with("checkpoint.parquet")), "{log:?}");
        for file in log {
            let bytes = std::fs::read(&file).expect("reads");
            let planted = [&b"planted"[..], b"0af7651916cd43dd"];
            assert!(planted.iter().all(|needle| !bytes.windows(needle.len()).any(|at| at == *needle)), "{file:?}");
            if file.extension().is_none_or(|end| end != "json") {
                continue;
            }
            for line in String::from_utf8(bytes).expect("text").lines() {
                let action: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let Some(stats) = action["add"]["stats"].as_str() else { continue };
                let stats: serde_json::Value = serde_json::from_str(stats).expect("JSON");
                for side in ["minValues", "maxValues", "nullCount"] {
                    columns.extend(stats[side].as_object().expect("an object").keys().cloned());
                }
            }
        }
        assert_eq!(columns.into_iter().collect::<Vec<_>>(), ["service", "severity", "ts"]);
        let protocol = number(&lake, "default", "SELECT count(*) FROM events WHERE severity < 24 AND service = 'auth'");
        assert_eq!(protocol.await, 15);
    });
}
