//! The history against a real database.

use std::sync::Arc;
use std::time::Duration;

use model::{IncidentAction, Recorded, Refusal, RefusalKind, StepClock};

use super::*;
use crate::doubles::{Script, change, check, follow, now, pool, recorded, transition};

async fn open(pool: &SqlitePool) -> Result<Arc<History>, Error> {
    Ok(Arc::new(History::open(pool.clone(), Arc::new(StepClock::new(now()))).await?))
}

fn records() -> Vec<Recorded> {
    let at = |s: i64| now() + Duration::from_secs(u64::try_from(s).expect("from 0"));
    let result = |position, s, state| recorded(position, at(s), check("web", "Web", state).result);
    vec![
        result(0, 0, State::Up),
        result(1, 10, State::Up),
        recorded(2, at(15), change("web", State::Down, at(15))),
        recorded(3, at(15), transition("01A", IncidentAction::Opened, "web", "")),
        result(5, 20, State::Down),
        recorded(6, at(21), transition("01A", IncidentAction::Published, "web", "we look")),
        recorded(7, at(22), transition("01A", IncidentAction::Resolved, "web", "")),
        recorded(8, at(23), transition("01A", IncidentAction::Reopened, "web", "")),
        recorded(9, at(24), transition("01A", IncidentAction::Joined, "db", "")),
        recorded(10, at(25), transition("02B", IncidentAction::Opened, "db", "")),
        recorded(11, at(26), transition("02B", IncidentAction::Resolved, "db", "")),
    ]
}

async fn dump(pool: &SqlitePool) -> Vec<String> {
    let mut rows = Vec::new();
    for sql in [
        "SELECT check_id || state || at_ms || ' ' || gap_ms FROM status_check ORDER BY 1",
        "SELECT check_id || day || ' ' || up_ms || ' ' || down_ms || ' ' || unknown_ms FROM status_day ORDER BY 1",
        "SELECT id || severity || opened_at_ms || ' ' || coalesce(resolved_at_ms, 'open') FROM status_incident ORDER BY 1",
        "SELECT id || check_id FROM status_incident_check ORDER BY 1",
        "SELECT id || position || action || note FROM status_incident_step ORDER BY 1",
        "SELECT tenant || next FROM status_cursor",
    ] {
        for row in sqlx::query(sql).fetch_all(pool).await.expect("reads") {
            rows.push(row.get(0));
        }
    }
    rows
}

#[tokio::test]
async fn what_was_folded_is_read_back() {
    let pool = pool().await;
    let history = open(&pool).await.expect("opens");
    let tenant = Tenant::default();
    assert_eq!(history.position(&tenant).await.expect("reads"), 0);
    follow(&history, records()).await;
    assert_eq!(history.position(&tenant).await.expect("reads"), 12);
    let days = history.days(&tenant, &["web", "nope"], 90).await.expect("reads");
    let today = now().as_millisecond().div_euclid(DAY_MS);
    assert_eq!(days["web"][&today], Day { up_ms: 15_000, down_ms: 5_000, ..Day::default() });
    assert!(history.days(&tenant, &["we", "\"]"], 90).await.expect("reads").is_empty());
    let incidents = history.incidents(&tenant).await.expect("reads");
    let seen: Vec<(&str, bool, usize)> = incidents
        .iter()
        .map(|incident| (incident.id.as_str(), incident.resolved_at.is_some(), incident.steps.len()))
        .collect();
    assert_eq!(seen, [("02B", true, 2), ("01A", false, 4)]);
    assert_eq!(incidents[1].checks, ["db", "web"]);
    assert_eq!(incidents[1].steps[1].note, "we look");
    assert_eq!(incidents[1].updated_at(), now() + Duration::from_secs(23));
    assert_eq!(history.incidents(&Tenant::new("other").expect("valid")).await.expect("reads"), []);
}

#[tokio::test]
async fn a_history_folded_in_pieces_is_the_same_row_for_row() {
    let whole = pool().await;
    follow(&open(&whole).await.expect("opens"), records()).await;
    let expected = dump(&whole).await;
    for cut in 1..records().len() {
        let pieces = pool().await;
        // A crash between the pieces: the second process sees what the first wrote, and some records again.
        let mut first = records();
        first.truncate(cut);
        let history = open(&pieces).await.expect("opens");
        let mut revisions = history.revisions();
        let feed = Script { tenant: Tenant::default(), batches: vec![Ok(first)] };
        tokio::select! {
            _ = history.follow(Box::new(feed)) => unreachable!("the feed does not end"),
            // Results alone are written when they are due, which this clock never says: then there is nothing to keep.
            _ = tokio::time::timeout(Duration::from_millis(50), revisions.changed()) => {}
        }
        drop(history);
        follow(&open(&pieces).await.expect("opens"), records()).await;
        assert_eq!(dump(&pieces).await, expected, "cut at {cut}");
    }
}

#[tokio::test]
async fn results_wait_to_be_written_together() {
    let pool = pool().await;
    let clock = Arc::new(StepClock::new(now()));
    let history = Arc::new(History::open(pool.clone(), clock.clone()).await.expect("opens"));
    let mut revisions = history.revisions();
    let quiet = records().into_iter().take(2).collect();
    let feed = Script { tenant: Tenant::default(), batches: vec![Ok(quiet)] };
    let follower = history.follow(Box::new(feed));
    tokio::pin!(follower);
    tokio::select! {
        _ = &mut follower => unreachable!("the feed does not end"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    assert_eq!(history.revision(), 0);
    clock.advance(WRITE_EVERY);
    tokio::select! {
        _ = &mut follower => unreachable!("the feed does not end"),
        changed = revisions.changed() => changed.expect("the history lives"),
    }
    assert_eq!(history.position(&Tenant::default()).await.expect("reads"), 2);
}

#[tokio::test]
async fn a_feed_that_stops_ends_the_fold_and_one_that_is_busy_does_not() {
    let history = open(&pool().await).await.expect("opens");
    let refusal = |kind| Err(Refusal { kind, reason: "x".into() });
    let feed =
        Script { tenant: Tenant::default(), batches: vec![refusal(RefusalKind::Retry), refusal(RefusalKind::Stop)] };
    assert!(matches!(history.follow(Box::new(feed)).await, Err(Error::Feed(_))));
}

#[tokio::test]
async fn old_days_and_old_incidents_are_forgotten() {
    let pool = pool().await;
    let history = open(&pool).await.expect("opens");
    let long_ago = now() - Duration::from_secs(86_400 * 91);
    let mut records = vec![
        recorded(0, long_ago, check("web", "Web", State::Up).result),
        recorded(1, long_ago + Duration::from_secs(60), check("web", "Web", State::Up).result),
    ];
    for at in 0..(STATUS_INCIDENTS_MAX as u64 + 5) {
        let id = format!("{at:05}");
        records.push(recorded(at + 2, now(), transition(&id, IncidentAction::Opened, "web", "")));
    }
    follow(&history, records).await;
    let tenant = Tenant::default();
    assert!(history.days(&tenant, &["web"], 1_000).await.expect("reads").is_empty());
    let incidents = history.incidents(&tenant).await.expect("reads");
    assert_eq!((incidents.len(), incidents.last().map(|incident| incident.id.as_str())), (1_000, Some("00005")));
    let steps = sqlx::query("SELECT count(*) FROM status_incident_step").fetch_one(&pool).await.expect("reads");
    assert_eq!(steps.get::<i64, _>(0), 1_000);
}

#[tokio::test]
async fn what_cannot_be_read_is_said() {
    let pool = pool().await;
    let history = open(&pool).await.expect("opens");
    follow(&history, records()).await;
    let tenant = Tenant::default();
    for (sql, undo) in [
        ("UPDATE status_incident SET severity = 'loud'", "UPDATE status_incident SET severity = 'error'"),
        ("UPDATE status_incident_step SET action = 'sang'", "UPDATE status_incident_step SET action = 'opened'"),
        ("UPDATE status_incident SET opened_at_ms = 9e17", "UPDATE status_incident SET opened_at_ms = 0"),
    ] {
        sqlx::query(sql).execute(&pool).await.expect("updates");
        assert!(matches!(history.incidents(&tenant).await, Err(Error::Unreadable { .. })), "{sql}");
        sqlx::query(undo).execute(&pool).await.expect("updates");
    }
    sqlx::query("UPDATE status_check SET state = 'tired'").execute(&pool).await.expect("updates");
    let feed = || Box::new(Script { tenant: Tenant::default(), batches: Vec::new() });
    assert!(matches!(history.follow(feed()).await, Err(Error::Unreadable { .. })));
    pool.close().await;
    assert!(matches!(history.follow(feed()).await, Err(Error::State { .. })));
    assert!(matches!(history.days(&tenant, &["web", "nope"], 90).await, Err(Error::State { .. })));
    assert!(matches!(open(&pool).await, Err(Error::State { .. })));
}
