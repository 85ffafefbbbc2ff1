//! What lies in `integrations/elk` for other programs, held against the fields that documents really have.

use std::collections::BTreeSet;

use expect_test::expect_file;
use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value, json};

use crate::ecs::{OURS, fields};

const DASHBOARD: &str = include_str!("../../../integrations/elk/dashboard.ndjson");
const PIPELINE: &str = include_str!("../../../integrations/elk/ingest-pipeline.json");
const LOGSTASH: &str = include_str!("../../../integrations/elk/logstash.conf");
const TO_DIHYA: &str = include_str!("../../../integrations/elk/filebeat-to-dihya.yml");
const FROM_DIHYA: &str = include_str!("../../../integrations/elk/filebeat-from-dihya.yml");

fn known() -> BTreeSet<String> {
    fields().into_keys().chain(OURS.map(|(name, _)| name.to_owned())).chain(["labels".to_owned()]).collect()
}

/// Returns a field's mapping in an index.
fn mapping(ty: &str) -> Value {
    match ty {
        "keyword" => json!({"type": "keyword", "ignore_above": 8_191}),
        "text" => json!({"type": "match_only_text"}),
        "flattened" => json!({"type": "flattened", "ignore_above": 8_191}),
        ty => json!({"type": ty}),
    }
}

fn put(properties: &mut Map<String, Value>, name: &str, ty: &str) {
    match name.split_once('.') {
        None => {
            properties.insert(name.to_owned(), mapping(ty));
        }
        Some((set, rest)) => {
            let below = properties.entry(set).or_insert_with(|| json!({"properties": {}}));
            if let Value::Object(below) = &mut below["properties"] {
                put(below, rest, ty);
            }
        }
    }
}

#[test]
fn the_index_template_has_the_types_of_all_fields() {
    let mut sorted: Vec<(String, &str)> = fields().into_iter().collect();
    sorted.extend(OURS.map(|(name, ty)| (name.to_owned(), ty)));
    sorted.push(("labels".to_owned(), "flattened"));
    sorted.sort();
    let mut properties = Map::new();
    for (name, ty) in &sorted {
        put(&mut properties, name, ty);
    }
    let template = json!({
        "index_patterns": ["dihya-*"],
        "priority": 500,
        "template": {
            "settings": {"index": {"mapping": {"total_fields": {"limit": 2_000}}, "codec": "best_compression"}},
            "mappings": {"dynamic": false, "properties": properties},
        },
        "_meta": {"description": "Events from Dihya: the types of the Elastic Common Schema. What is no field of it is a label."},
    });
    expect_file!["../../../integrations/elk/index-template.json"].assert_eq(&format!("{template:#}\n"));
}

/// Gathers the texts that stand under a key, wherever it is.
fn under<'a>(json: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match json {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    value => under(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, key, found)),
        _ => {}
    }
}

fn assert_known<'a>(names: impl IntoIterator<Item = &'a str>, file: &str) {
    let known = known();
    for name in names {
        assert!(known.contains(name), "{file} names {name}, which no document has");
    }
}

#[test]
fn the_dashboard_parses_refers_to_what_is_there_and_asks_for_fields_that_are() {
    let objects: Vec<Value> =
        DASHBOARD.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let ids: BTreeSet<(&str, &str)> = objects
        .iter()
        .map(|object| (object["type"].as_str().expect("a type"), object["id"].as_str().expect("an id")))
        .collect();
    assert_eq!(ids.len(), objects.len());
    let mut asked = 0;
    for object in &objects {
        let references = object["references"].as_array().expect("references");
        for to in references {
            let to = (to["type"].as_str().expect("a type"), to["id"].as_str().expect("an id"));
            assert!(ids.contains(&to), "{to:?} is not there");
        }
        let attributes = &object["attributes"];
        let mut inner = Vec::new();
        for key in ["visState", "panelsJSON", "optionsJSON", "searchSourceJSON", "uiStateJSON"] {
            let mut texts = Vec::new();
            under(attributes, key, &mut texts);
            inner.extend(texts.into_iter().map(|text| serde_json::from_str::<Value>(text).expect("is JSON in JSON")));
        }
        for json in &inner {
            let (mut names, mut queries, mut panels) = (Vec::new(), Vec::new(), Vec::new());
            under(json, "field", &mut names);
            under(json, "query", &mut queries);
            under(json, "panelRefName", &mut panels);
            asked += names.len();
            assert_known(names, "dashboard.ndjson");
            assert_known(
                queries.iter().filter_map(|query| query.split(' ').next()).filter(|q| !q.is_empty()),
                "a query",
            );
            for panel in panels {
                assert!(references.iter().any(|reference| reference["name"] == panel), "{panel}");
            }
        }
        let columns = attributes["columns"].as_array().into_iter().flatten().filter_map(Value::as_str);
        assert_known(columns, "dashboard.ndjson");
    }
    assert!(asked >= 7, "{asked}");
}

#[test]
fn the_pipeline_and_logstash_touch_fields_that_are_there() {
    let pipeline: Value = serde_json::from_str(PIPELINE).expect("is JSON");
    let mut names = Vec::new();
    under(&pipeline, "field", &mut names);
    assert_eq!(names.len(), 4);
    assert_known(names, "ingest-pipeline.json");

    let references: Vec<String> = LOGSTASH
        .split("%{[")
        .skip(1)
        .map(|rest| rest.split("]}").next().unwrap_or_default().replace("][", "."))
        .collect();
    assert_eq!(references, ["event.dataset", "event.id"]);
    assert_known(references.iter().map(String::as_str), "logstash.conf");
    assert_eq!(LOGSTASH.matches('{').count(), LOGSTASH.matches('}').count());
}

#[test]
fn filebeats_files_are_yaml_and_name_fields_that_are_there() {
    for (file, text) in [("filebeat-to-dihya.yml", TO_DIHYA), ("filebeat-from-dihya.yml", FROM_DIHYA)] {
        let mut scalars = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, _) = event.unwrap_or_else(|error| panic!("{file}: {error}"));
            if let Event::Scalar(scalar, ..) = event {
                scalars.push(scalar.into_owned());
            }
        }
        assert!(scalars.iter().any(|key| key == "output.elasticsearch"), "{file}");
        let after = |key: &str| scalars.windows(2).find(|pair| pair[0] == key).map(|pair| pair[1].clone());
        if file == "filebeat-from-dihya.yml" {
            assert_known(after("document_id").as_deref(), file);
            let index = after("index").expect("an index");
            let name = index.split("%{[").nth(1).and_then(|rest| rest.split(']').next());
            assert_eq!(name, Some("event.dataset"));
        } else {
            assert_eq!(after("hosts").as_deref(), Some("http://127.0.0.1:8970"));
        }
    }
}
