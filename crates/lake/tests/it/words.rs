//! Words are found by the token filters of files: everything that a scan finds, whatever becomes of the filters.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lake::{Lake, Query, Upkeep};
use model::limits::{LAKE_REMOVED_KEPT, LAKE_TOKENS_MADE_MAX};
use model::{Clock, Event, SeededRng, Value};

use crate::support::{NOON_US, Place, count, event, files_of, number, query, run, search, seen, tenant};

/// Pieces of lines: cases, punctuation, scripts, identifiers, line breaks as they are and in writing.
const PIECES: [&str; 28] = [
    "timeout",
    "Timeout",
    "TIME",
    "out",
    "time_out",
    "request_id=",
    "7f3a",
    "10.0.0.1",
    "Straße",
    "STRASSE",
    "naïve",
    "Ω",
    "ω",
    "東京",
    "100%",
    "C:\\new",
    "\\nfoo",
    "foo",
    "\n",
    " ",
    " ",
    " ",
    "-",
    "/",
    "\"",
    "'",
    "ſs",
    "\u{212a}",
];
const WORDS: [&str; 26] = [
    "timeout",
    "TIME",
    "time*",
    "*out",
    "*im*",
    "time_out",
    "request_id",
    "7f3a",
    "7F3A",
    "7f*",
    "10.0.0.1",
    "strasse",
    "Straße",
    "naïve",
    "ω",
    "東京",
    "100%",
    "foo",
    "nfoo",
    "\\\\nfoo",
    "new",
    "k",
    "ss",
    "time*foo",
    "absent",
    "out-time",
];
const TEXTS: [&str; 9] =
    ["timeout", "ime", " time ", "out 10.0.0.1 ", "/time/", "straße", "\\nfoo ", "C:\\new ", "k ω k"];

/// Whether the line has the word, by another way: each place is tried.
fn has(line: &str, word: &str) -> bool {
    let fold = |text: &str| text.to_lowercase().to_uppercase().to_lowercase();
    let (line, word) = (fold(line), fold(&word.replace("\\\\", "\\")));
    let of_word = |c: char| c == '_' || c.is_alphanumeric();
    let begins = |at: usize| {
        let (before, _) = line.split_at(at);
        !before.ends_with(of_word) || ["\\n", "\\r", "\\t"].iter().any(|escape| before.ends_with(escape))
    };
    let (first, last) = word.split_once('*').map_or((word.as_str(), None), |(first, last)| (first, Some(last)));
    let places = |text: &str, from: usize| {
        let places = line.char_indices().map(|(at, _)| at).chain([line.len()]);
        places.filter(|at| *at >= from && line.split_at(*at).1.starts_with(text)).collect::<Vec<_>>()
    };
    let starts = places(first, 0).into_iter().filter(|at| !first.starts_with(of_word) || begins(*at));
    let ends =
        |text: &str, at: usize| !text.ends_with(of_word) || !line.split_at(at + text.len()).1.starts_with(of_word);
    match last {
        None => starts.into_iter().any(|at| ends(first, at)),
        Some(last) if first.is_empty() && last.ends_with('*') => line.contains(last.trim_end_matches('*')),
        Some(last) => starts.into_iter().any(|at| places(last, at + first.len()).into_iter().any(|at| ends(last, at))),
    }
}

fn line(rng: &SeededRng) -> String {
    let pieces = 1 + rng.below(6);
    (0..pieces).map(|_| PIECES[usize::try_from(rng.below(PIECES.len() as u64)).expect("small")]).collect()
}

/// Fills three files and memory with lines, some of them within a structure, and returns the lines.
async fn fill(place: &Place, lake: &Lake, rows: usize) -> Vec<String> {
    let (rng, mut lines) = (SeededRng::new(11), Vec::new());
    let _feed = place.feed(lake, "default");
    for part in 0..4 {
        for n in 0..rows {
            let text = line(&rng);
            let mut event = event(i64::try_from(lines.len()).expect("small"), &text);
            if n % 5 == 0 {
                event.body = Some(Value::Map([("text".to_owned(), Value::from(text.as_str()))].into()));
                lines.push(format!("{{\"text\":{}}}", serde_json::to_string(&text).expect("JSON")));
            } else {
                lines.push(text);
            }
            place.ledger.append("default", place.clock.now(), event);
        }
        seen(lake, "default", lines.len() as u64).await;
        if part < 3 {
            lake.flush(&tenant("default")).await.expect("commits");
        }
    }
    lines
}

async fn found(lake: &Lake, text: &str) -> Vec<u64> {
    let mut found: Vec<u64> =
        search(lake, &query(text)).await.expect("searches").iter().map(|hit| hit.position).collect();
    found.sort_unstable();
    found
}

/// Compares what searches find with what stands in the lines.
async fn agrees(lake: &Lake, lines: &[String], when: &str) {
    let of = |has: &dyn Fn(&str) -> bool| {
        let found = lines.iter().enumerate().filter(|(_, line)| has(line));
        found.map(|(at, _)| at as u64).collect::<Vec<_>>()
    };
    for word in WORDS {
        assert_eq!(found(lake, word).await, of(&|line| has(line, word)), "{when}: {word}");
        assert_eq!(found(lake, &format!("-{word}")).await, of(&|line| !has(line, word)), "{when}: -{word}");
    }
    for text in TEXTS {
        let typed = format!("\"{}\"", text.replace('\\', "\\\\"));
        let expected = regex::Regex::new(&format!("(?i){}", regex::escape(text))).expect("a text");
        assert_eq!(found(lake, &typed).await, of(&|line| expected.is_match(line)), "{when}: {typed}");
    }
    let both = of(&|line| has(line, "timeout") && (has(line, "foo") || has(line, "東京")));
    assert_eq!(found(lake, "timeout (foo OR 東京)").await, both, "{when}");
}

fn filters(place: &Place) -> Vec<PathBuf> {
    files_of(&place.table("default"), "tokens")
}

fn data_of(filters: &Path) -> PathBuf {
    let name = filters.file_stem().expect("a name").to_string_lossy();
    filters.with_file_name(format!("{}.parquet", name.strip_prefix('_').expect("begins so")))
}

#[test]
fn filters_hide_nothing_whatever_becomes_of_them() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let default = tenant("default");
        let lines = fill(&place, &lake, 60).await;
        let all = filters(&place);
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|file| data_of(file).is_file()));
        agrees(&lake, &lines, "as written").await;
        assert_eq!(lake.upkeep(&default).await.expect("rests"), Upkeep::default());

        // One is missing, one damaged, one another's.
        std::fs::remove_file(&all[0]).expect("removes");
        let mut bytes = std::fs::read(&all[1]).expect("reads");
        bytes[40..80].fill(0);
        disk::write_atomic(&disk::OsDisk, &all[1], &bytes).expect("writes");
        std::fs::copy(&all[1], &all[2]).expect("copies");
        agrees(&lake, &lines, "damaged").await;
        assert_eq!(lake.upkeep(&default).await.expect("mends").filtered_files, 3);
        assert_eq!(filters(&place), all);
        agrees(&lake, &lines, "made again").await;
        assert_eq!(lake.upkeep(&default).await.expect("rests"), Upkeep::default());

        // SQL has the same function, and a phrase is narrowed by its whole words.
        let sql = "SELECT count(*) FROM events WHERE has_word(body, 'strasse') OR has_word(body_json, 'strasse')";
        let expected = lines.iter().filter(|line| has(line, "strasse")).count() as u64;
        assert!(expected > 0);
        assert_eq!(number(&lake, "default", sql).await, expected);
        let limits = lake::Limits::default();
        let day = |day: i64| model::Timestamp::from_microsecond(NOON_US + day * 86_400_000_000).ok();
        let span = Query { from: day(-1), to: day(1), ..query("timeout") };
        let buckets = lake.histogram(&default, &span, 86_400_000_000, limits).await.expect("counts");
        let expected = lines.iter().filter(|line| has(line, "timeout")).count() as u64;
        assert_eq!(buckets.iter().flat_map(|bucket| bucket.levels).sum::<u64>(), expected);
    });
}

/// What reads fewer rows reads the right ones: the filters skip all but a stretch of a large file.
#[test]
fn a_word_is_found_in_the_middle_of_a_large_file() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let rows = 70_000;
        let _feed = place.feed(&lake, "default");
        for n in 0..rows {
            place.ledger.append("default", place.clock.now(), event(n, &format!("line n{n} of many")));
        }
        seen(&lake, "default", 70_000).await;
        lake.flush(&tenant("default")).await.expect("commits");
        for n in [0, 1, 32_767, 32_768, 40_000, 65_535, 65_536, 69_999] {
            assert_eq!(found(&lake, &format!("N{n}")).await, [n], "{n}");
            assert_eq!(found(&lake, &format!("n{n} line")).await, [n], "{n}");
            assert_eq!(found(&lake, &format!("\"line n{n} of\"")).await, [n], "{n}");
        }
        assert_eq!(found(&lake, "n1 OR n69999").await, [1, 69_999]);
        assert_eq!(found(&lake, "n70000").await, [0; 0]);
        let newest = search(&lake, &Query { limit: 2, ..query("line") }).await.expect("searches");
        assert_eq!(newest.iter().map(|hit| hit.position).collect::<Vec<_>>(), [69_999, 69_998]);
        // All of it is read where a word is everywhere; nothing where it is nowhere.
        let plan = async |word: &str| {
            let sql = format!("EXPLAIN SELECT position FROM events WHERE has_word(body, '{word}')");
            let rows = crate::support::sql(&lake, "default", &sql).await.expect("explains");
            rows.iter().map(ToString::to_string).collect::<String>()
        };
        assert!(plan("line").await.contains(".parquet") && !plan("absent").await.contains(".parquet"));
    });
}

/// A table of a version that knew no filters, and one that was killed between a data file and its filters.
#[test]
fn a_table_without_filters_gets_them() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let default = tenant("default");
        let lines = fill(&place, &lake, 20).await;
        lake.flush(&default).await.expect("commits");
        drop(lake);
        let all = filters(&place);
        all.iter().for_each(|file| std::fs::remove_file(file).expect("removes"));
        let stray = all[0].with_file_name("_00000000000000000000000000000000.tokens");
        disk::write_atomic(&disk::OsDisk, &stray, b"of no file").expect("writes");
        disk::write_atomic(&disk::OsDisk, &all[0].with_extension("tmp"), b"half").expect("writes");
        let lake = place.open().await;
        assert_eq!(filters(&place), Vec::<PathBuf>::new(), "what is of no file goes");
        assert!(!all[0].with_extension("tmp").exists());
        agrees(&lake, &lines, "without").await;
        assert!(all.len() <= LAKE_TOKENS_MADE_MAX);
        assert_eq!(lake.upkeep(&default).await.expect("makes them").filtered_files, all.len() as u64);
        assert_eq!(filters(&place), all);
        agrees(&lake, &lines, "with").await;
    });
}

#[test]
fn a_file_that_cannot_be_read_gets_no_filters_and_stops_no_upkeep() {
    run(async {
        let place = Place::new();
        let lake = place.open().await;
        let feed = place.feed(&lake, "default");
        place.ledger.append("default", place.clock.now(), event(0, "line"));
        seen(&lake, "default", 1).await;
        lake.flush(&tenant("default")).await.expect("commits");
        drop((feed, lake));
        let filters = filters(&place);
        std::fs::remove_file(&filters[0]).expect("removes");
        disk::write_atomic(&disk::OsDisk, &data_of(&filters[0]), b"PAR1 and no more").expect("writes");
        let lake = place.open().await;
        assert_eq!(lake.upkeep(&tenant("default")).await.expect("goes on"), Upkeep::default());
    });
}

/// Filters tell whether a word was there: they go with the rows.
#[test]
fn filters_go_with_their_file() {
    run(async {
        let mut place = Place::new();
        place.retention = lake::Retention::new(30).rule(None, "short", 7);
        let lake = place.open().await;
        let default = tenant("default");
        {
            let _feed = place.feed(&lake, "default");
            for n in 0..3 {
                for stream in ["short", "long"] {
                    let event = Event { stream: stream.into(), ..event(n, &format!("planted{stream}")) };
                    place.ledger.append("default", place.clock.now(), event);
                }
                seen(&lake, "default", place.ledger.len("default")).await;
                lake.flush(&default).await.expect("commits");
            }
        }
        let first = filters(&place);
        assert_eq!(first.len(), 3);
        place.clock.advance(Duration::from_secs(9 * 86_400));
        let done = lake.upkeep(&default).await.expect("expires and joins");
        assert_eq!((done.expired_rows, done.filtered_files), (3, 0));
        place.clock.advance(LAKE_REMOVED_KEPT + Duration::from_secs(1));
        lake.upkeep(&default).await.expect("deletes");
        let second = filters(&place);
        assert!(second.len() == 1 && !first.contains(&second[0]), "{second:?}");
        assert_eq!((found(&lake, "plantedshort").await.len(), found(&lake, "plantedlong").await.len()), (0, 3));
        place.clock.advance(Duration::from_secs(30 * 86_400));
        lake.upkeep(&default).await.expect("expires");
        place.clock.advance(LAKE_REMOVED_KEPT + Duration::from_secs(1));
        lake.upkeep(&default).await.expect("deletes");
        assert_eq!((filters(&place).len(), count(&lake, "default").await), (0, 0));
    });
}
