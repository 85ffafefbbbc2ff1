//! The JSON schema and the reference page, generated from the tables that validate.

use std::fmt::Write as _;

use model::config::{FieldSpec, Spec, Ty};
use serde_json::{Map, Value, json};

use super::validate::{describe, duration_text};

/// A duration as the schema knows it; `0` is one without a unit.
const DURATION_PATTERN: &str = r"^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w|y))+)$";
const SIZE_PATTERN: &str = r"^[0-9]+(\.[0-9]+)? ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$";
/// What stands for a value that comes from elsewhere.
const REFERENCE_PATTERN: &str = r"\$\{(env|file):[^}]+\}";

/// Returns the JSON schema (draft 2020-12) of the whole file.
pub(crate) fn json_schema(root: &'static Spec) -> Value {
    let mut defs = Map::new();
    let mut schema = object(root, &mut defs);
    if let Value::Object(map) = &mut schema {
        map.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        map.insert("title".into(), "dihya.yaml".into());
        map.insert("$defs".into(), Value::Object(defs));
    }
    schema
}

fn reference_or(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "string", "pattern": REFERENCE_PATTERN}]})
}

fn schema_of(ty: &'static Ty, defs: &mut Map<String, Value>) -> Value {
    match ty {
        Ty::Text | Ty::Cel | Ty::Regex | Ty::TimeZone => json!({"type": "string"}),
        Ty::Path => json!({"type": "string", "minLength": 1}),
        Ty::Secret => json!({"type": "string", "pattern": format!("^{REFERENCE_PATTERN}$")}),
        Ty::Bool => json!({"type": "boolean"}),
        Ty::Int { min, max } => reference_or(json!({"type": "integer", "minimum": min, "maximum": max})),
        Ty::Float { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Ty::Duration { min_ms, max_ms } => {
            let about = format!("from {} to {}", duration_text(*min_ms), duration_text(*max_ms));
            let text = json!({"type": "string", "pattern": DURATION_PATTERN, "description": about});
            if *min_ms == 0 { reference_or(json!({"anyOf": [text, {"const": 0}]})) } else { reference_or(text) }
        }
        Ty::Size => json!({"anyOf": [
            {"type": "string", "pattern": SIZE_PATTERN}, {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": REFERENCE_PATTERN},
        ]}),
        Ty::Url(_) | Ty::Address => json!({"type": "string", "minLength": 1}),
        Ty::Enum(words) => reference_or(json!({"enum": words})),
        Ty::List(item) => json!({"type": ["array", "null"], "items": schema_of(item, defs)}),
        Ty::OneOrMore(item) => {
            let one = schema_of(item, defs);
            json!({"anyOf": [one.clone(), {"type": "array", "items": one}]})
        }
        Ty::Map(item) => json!({"type": ["object", "null"], "additionalProperties": schema_of(item, defs)}),
        Ty::Object(spec) => define(spec.name, defs, |defs| object(spec, defs)),
        Ty::Tagged { tag, common, variants } => define(common.name, defs, |defs| tagged(tag, common, variants, defs)),
        Ty::Any => json!(true),
    }
}

/// Puts an object under `$defs` once and refers to it, so that objects may contain themselves.
fn define(name: &str, defs: &mut Map<String, Value>, make: impl FnOnce(&mut Map<String, Value>) -> Value) -> Value {
    if !defs.contains_key(name) {
        defs.insert(name.to_owned(), Value::Null);
        let made = make(defs);
        defs.insert(name.to_owned(), made);
    }
    json!({"$ref": format!("#/$defs/{}", name.replace('~', "~0").replace('/', "~1"))})
}

fn field_schema(field: &'static FieldSpec, defs: &mut Map<String, Value>) -> Value {
    let mut schema = schema_of(&field.ty, defs);
    if let Value::Object(map) = &mut schema {
        map.insert("description".into(), field.doc.into());
        if !field.default.is_empty() {
            let default = super::yaml::parse(&format!("x: {}", field.default)).ok();
            let default = default.and_then(|node| node.get("x").map(model::config::Node::to_json));
            map.insert("default".into(), default.unwrap_or_else(|| field.default.into()));
        }
    }
    schema
}

fn object(spec: &'static Spec, defs: &mut Map<String, Value>) -> Value {
    let properties: Map<String, Value> =
        spec.fields.iter().map(|field| (field.key.to_owned(), field_schema(field, defs))).collect();
    let required: Vec<&str> = spec.fields.iter().filter(|field| field.required).map(|field| field.key).collect();
    json!({
        "type": if required.is_empty() { json!(["object", "null"]) } else { json!("object") },
        "description": spec.doc,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn tagged(
    tag: &str,
    common: &'static Spec,
    variants: &'static [(&'static str, &'static Spec)],
    defs: &mut Map<String, Value>,
) -> Value {
    let variants: Vec<Value> = variants
        .iter()
        .map(|(word, spec)| {
            let mut schema = object(spec, defs);
            if let Value::Object(map) = &mut schema {
                map.insert("type".into(), "object".into());
                if let Some(Value::Object(properties)) = map.get_mut("properties") {
                    for field in common.fields.iter().filter(|field| field.key != tag) {
                        properties.insert(field.key.to_owned(), field_schema(field, defs));
                    }
                    properties.insert(tag.to_owned(), json!({"const": word}));
                }
                if let Some(Value::Array(required)) = map.get_mut("required") {
                    let of_all = common.fields.iter().filter(|field| field.required && field.key != tag);
                    required.extend(of_all.map(|field| Value::from(field.key)));
                    required.push(tag.into());
                }
            }
            schema
        })
        .collect();
    json!({"description": common.doc, "oneOf": variants})
}

/// Returns the reference page: one table per object, in the order in which people meet them.
pub(crate) fn reference_page(root: &'static Spec) -> String {
    let mut page = Page { text: String::new(), seen: Vec::new(), queue: Vec::new() };
    page.text.push_str(
        "# Configuration: `dihya.yaml`\n\nGenerated from the tables that validate the file; `dihya config schema` \
         prints the same as a JSON schema.\n\nDurations are written `30s`, `1h30m`, `250ms`; sizes `64MiB`, `10MB`. \
         Any text may contain `${env:NAME}` or `${file:PATH}` (`$${` stands for `${`); a secret must be one of the two \
         and nothing else. Relative paths start from the directory of the file. Unknown keys are refused.\n",
    );
    page.object(root.name, root.doc, &[root.fields]);
    while !page.queue.is_empty() {
        match page.queue.remove(0) {
            Ty::Object(spec) => page.object(spec.name, spec.doc, &[spec.fields]),
            Ty::Tagged { tag, common, variants } => page.tagged(tag, common, variants),
            _ => {}
        }
    }
    page.text
}

struct Page {
    text: String,
    seen: Vec<&'static str>,
    queue: Vec<&'static Ty>,
}

impl Page {
    fn object(&mut self, name: &str, doc: &str, parts: &[&'static [FieldSpec]]) {
        let _ = write!(self.text, "\n## {name}\n\n{doc}\n");
        self.table(parts);
    }

    fn table(&mut self, parts: &[&'static [FieldSpec]]) {
        let fields: Vec<&'static FieldSpec> = parts.iter().flat_map(|part| part.iter()).collect();
        if fields.is_empty() {
            self.text.push_str("\nNo keys of its own.\n");
            return;
        }
        self.text.push_str("\n| Key | Takes | Default | Meaning |\n|---|---|---|---|\n");
        for field in fields {
            let default = match (field.required, field.default) {
                (true, _) => "**required**".to_owned(),
                (false, "") => "none".to_owned(),
                (false, default) => format!("`{default}`"),
            };
            let row = format!("| `{}` | {} | {default} | {} |\n", field.key, takes(&field.ty), field.doc);
            self.text.push_str(&row);
            self.visit(&field.ty);
        }
    }

    fn tagged(&mut self, tag: &str, common: &'static Spec, variants: &'static [(&'static str, &'static Spec)]) {
        self.object(common.name, common.doc, &[common.fields]);
        for (word, spec) in variants {
            let _ = write!(self.text, "\n### {} with `{tag}: {word}`\n\n{}\n", common.name, spec.doc);
            self.table(&[spec.fields]);
        }
    }

    /// Queues the objects that a type leads to.
    fn visit(&mut self, ty: &'static Ty) {
        match ty {
            Ty::List(item) | Ty::OneOrMore(item) | Ty::Map(item) => self.visit(item),
            Ty::Object(spec) | Ty::Tagged { common: spec, .. } if !self.seen.contains(&spec.name) => {
                self.seen.push(spec.name);
                self.queue.push(ty);
            }
            _ => {}
        }
    }
}

/// The anchor that a heading gets where Markdown is shown: letters, digits, `-` and `_`, spaces as dashes.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

fn takes(ty: &Ty) -> String {
    match ty {
        Ty::Object(spec) | Ty::Tagged { common: spec, .. } => {
            format!("[{}](#{})", spec.name, anchor(spec.name))
        }
        Ty::List(item) => format!("list of: {}", takes(item)),
        Ty::OneOrMore(item) => format!("one or a list of: {}", takes(item)),
        Ty::Map(item) => format!("names, each with: {}", takes(item)),
        other => describe(other).replace('|', "\\|"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LEAF: Spec = Spec {
        name: "leaf",
        doc: "A leaf.",
        fields: &[
            FieldSpec::required("url", Ty::Url(&["http"]), "Where."),
            FieldSpec::optional("password", Ty::Secret, "", "Secret."),
        ],
    };
    static EMPTY: Spec = Spec { name: "none", doc: "Nothing more.", fields: &[] };
    static COMMON: Spec = Spec {
        name: "check",
        doc: "A check.",
        fields: &[
            FieldSpec::required("name", Ty::Text, "What people read."),
            FieldSpec::optional("wait", Ty::Duration { min_ms: 0, max_ms: 1_000 }, "1s", "How long."),
        ],
    };
    static TREE: Spec = Spec {
        name: "tree",
        doc: "All.",
        fields: &[
            FieldSpec::optional("self", Ty::Object(&TREE), "", "Itself."),
            FieldSpec::optional(
                "checks",
                Ty::Map(&Ty::Tagged { tag: "kind", common: &COMMON, variants: &[("leaf", &LEAF), ("none", &EMPTY)] }),
                "",
                "Checks.",
            ),
            FieldSpec::optional("words", Ty::OneOrMore(&Ty::Enum(&["a", "b"])), "a", "Words."),
            FieldSpec::optional("list", Ty::List(&Ty::Bool), "", "List."),
            FieldSpec::optional("n", Ty::Int { min: 1, max: 5 }, "3", "Number."),
            FieldSpec::optional("f", Ty::Float { min: 0.0, max: 1.0 }, "0.5", "Number."),
            FieldSpec::optional("size", Ty::Size, "64MiB", "Size."),
            FieldSpec::optional("long", Ty::Duration { min_ms: 1, max_ms: 2 }, "", "Time."),
            FieldSpec::optional("any", Ty::Any, "", "Any."),
            FieldSpec::optional("path", Ty::Path, "", "Path."),
        ],
    };

    #[test]
    fn the_schema_and_the_page_follow_the_tables() {
        let schema = json_schema(&TREE);
        let text = serde_json::to_string(&schema).expect("serialises");
        assert_eq!(schema["properties"]["n"]["default"], 3);
        assert_eq!(schema["properties"]["self"]["$ref"], "#/$defs/tree");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["checks"]["additionalProperties"]["$ref"], "#/$defs/check");
        let leaf = &schema["$defs"]["check"]["oneOf"][0];
        assert_eq!(leaf["required"], json!(["url", "name", "kind"]));
        assert_eq!(leaf["properties"]["kind"]["const"], "leaf");
        assert!(text.contains(r#""const":0"#) && text.contains("minLength"), "{text}");

        let page = reference_page(&TREE);
        for expected in [
            "## tree",
            "| `checks` | names, each with: [check](#check) | none | Checks. |",
            "### check with `kind: leaf`",
            "| `url` | a URL that starts with http | **required** | Where. |",
            "No keys of its own.",
            "| `n` | a whole number from 1 to 5 | `3` | Number. |",
        ] {
            assert!(page.contains(expected), "{expected} in {page}");
        }
    }

    #[test]
    fn the_published_pages_are_those_of_the_tables() {
        let schema = serde_json::to_string_pretty(&json_schema(&super::super::spec::ROOT)).expect("serialises");
        expect_test::expect_file!["../../../../docs/dihya.schema.json"].assert_eq(&format!("{schema}\n"));
        let page = reference_page(&super::super::spec::ROOT);
        expect_test::expect_file!["../../../../docs/reference/config.md"].assert_eq(&page);
    }
}
