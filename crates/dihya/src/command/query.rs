//! `dihya query`: ask for events in SQL.

use std::io::Write as _;

use serde_json::{Map, Value, json};

use super::block_on;
use crate::cli::{QueryArgs, RowFormat};
use crate::client::Client;
use crate::failure::{DONE, misuse};
use crate::terminal;

const PATH: &str = "/api/dihya/v1/sql";

/// Runs the command against the server.
pub(super) fn run(args: &QueryArgs) -> anyhow::Result<u8> {
    if args.format == RowFormat::Arrow && terminal::is_interactive() {
        return Err(misuse("--format arrow: expected standard output to be a file or a pipe, not a terminal"));
    }
    let client = Client::new(&args.remote)?;
    let asked = json!({"query": args.sql, "limit": args.limit});
    let accept = match args.format {
        RowFormat::Arrow => "application/vnd.apache.arrow.stream",
        _ => "application/x-ndjson",
    };
    let mut kept = Vec::new();
    let mut each = |bytes: &[u8]| {
        match args.format {
            RowFormat::Text => kept.extend_from_slice(bytes),
            _ => std::io::stdout().lock().write_all(bytes)?,
        }
        Ok(())
    };
    block_on(client.stream(PATH, &asked, accept, &mut each))?;
    if args.format == RowFormat::Text {
        terminal::out(&table(&kept)?);
    }
    Ok(DONE)
}

/// Lays out rows in the order of their columns.
fn table(ndjson: &[u8]) -> anyhow::Result<String> {
    let lines = ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let rows: Vec<Map<String, Value>> = lines.map(serde_json::from_slice).collect::<Result<_, _>>()?;
    // A column without a value is left out of a row, so each row may know of others.
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(Map::keys) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    if rows.is_empty() {
        return Ok("no rows\n".to_owned());
    }
    let mut cells = vec![columns.iter().map(|name| name.to_uppercase()).collect::<Vec<String>>()];
    for row in &rows {
        let cell = |name: &&str| match row.get(*name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        cells.push(columns.iter().map(cell).collect());
    }
    Ok(terminal::table(&cells))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_laid_out_whatever_columns_each_has() {
        let text =
            table(b"{\"service\":\"auth\",\"n\":3}\n{\"service\":\"shop\",\"last\":null,\"x\":[1]}\n").expect("reads");
        assert_eq!(text, "SERVICE  N  LAST  X\nauth     3\nshop              [1]\n");
        assert_eq!(table(b"").expect("reads"), "no rows\n");
        assert!(table(b"{").is_err());
    }
}
