//! How `pvesh` prints an answer: JSON, or drawn tables.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Answer;
use super::columns::{self, Column, Kind};
use crate::sim::{Io, Parsed};

/// Prints an answer as the call asks.
pub(super) fn print(answer: &Answer, call: &Parsed, version: u8, io: &mut Io<'_>) {
    let Answer::Value(value) = answer else { return };
    if call.is_on("quiet") || call.words.iter().any(|word| word == "--nooutput") {
        return;
    }
    match call.get("output-format") {
        Some("json") => io.line(&value.to_string()),
        Some("json-pretty") => io.line(&pretty(value, 0)),
        _ => text(value, columns::of(call.get("api_path").unwrap_or_default(), version), io),
    }
}

/// JSON as Perl indents it: three blanks, and blanks around colons.
fn pretty(value: &Value, depth: usize) -> String {
    let (inner, outer) = ("   ".repeat(depth + 1), "   ".repeat(depth));
    let joined = |lines: Vec<String>| lines.join(",\n");
    match value {
        Value::Array(items) if !items.is_empty() => {
            let lines = items.iter().map(|item| format!("{inner}{}", pretty(item, depth + 1)));
            format!("[\n{}\n{outer}]", joined(lines.collect()))
        }
        Value::Object(fields) if !fields.is_empty() => {
            let line = |(key, value): (&String, &Value)| {
                format!("{inner}{} : {}", Value::from(key.as_str()), pretty(value, depth + 1))
            };
            format!("{{\n{}\n{outer}}}", joined(fields.iter().map(line).collect()))
        }
        other => other.to_string(),
    }
}

fn text(value: &Value, columns: Option<Vec<Column>>, io: &mut Io<'_>) {
    match value {
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if items.iter().all(Value::is_object) => list(items, columns, io),
        Value::Array(items) => {
            for item in items {
                io.line(&Kind::Text.text(item));
            }
        }
        Value::Object(fields) => {
            let rows = fields.iter().map(|(key, value)| vec![key.clone(), Kind::Text.text(value)]);
            let header = ["key", "value"].map(|title| (title.to_owned(), Kind::Text));
            table(&header, &rows.collect::<Vec<_>>(), io);
        }
        other => io.line(&Kind::Text.text(other)),
    }
}

/// A table of objects; where the API names no columns, one for each field.
fn list(items: &[Value], columns: Option<Vec<Column>>, io: &mut Io<'_>) {
    let fields = || items.iter().filter_map(Value::as_object).flat_map(|item| item.keys());
    let header: Vec<(String, Kind)> = match columns {
        Some(columns) => columns.into_iter().map(|(title, kind)| (title.to_owned(), kind)).collect(),
        None => {
            let titles: BTreeSet<&String> = fields().collect();
            titles.into_iter().map(|title| (title.clone(), Kind::Text)).collect()
        }
    };
    let cell = |item: &Value, (title, kind): &(String, Kind)| {
        item.get(title).map_or_else(String::new, |value| kind.text(value))
    };
    let mut rows: Vec<Vec<String>> =
        items.iter().map(|item| header.iter().map(|column| cell(item, column)).collect()).collect();
    rows.sort();
    table(&header, &rows, io);
}

fn table(header: &[(String, Kind)], rows: &[Vec<String>], io: &mut Io<'_>) {
    let titles: Vec<String> = header.iter().map(|(title, _)| title.clone()).collect();
    let width_of = |cell: &String| cell.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().chain([&titles]).map(|row| width_of(&row[column]));
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let rule = |[left, fill, middle, right]: [&str; 4]| {
        let bars: Vec<_> = widths.iter().map(|width| fill.repeat(width + 2)).collect();
        format!("{left}{}{right}", bars.join(middle))
    };
    let line = |cells: &[String], at: usize| {
        let mut line = String::from("│");
        for ((cell, width), (_, kind)) in cells.iter().zip(&widths).zip(header) {
            let text = cell.lines().nth(at).unwrap_or_default();
            let padded = if kind.is_right() { format!("{text:>width$}") } else { format!("{text:<width$}") };
            line.extend([" ", &padded, " │"]);
        }
        line
    };
    let row = |cells: &[String]| {
        let height = cells.iter().map(|cell| cell.lines().count()).max().unwrap_or(0).max(1);
        (0..height).map(|at| line(cells, at)).collect::<Vec<_>>().join("\n")
    };
    io.line(&rule(["┌", "─", "┬", "┐"]));
    io.line(&row(&titles));
    io.line(&rule(["╞", "═", "╪", "╡"]));
    for (at, cells) in rows.iter().enumerate() {
        if at > 0 {
            io.line(&rule(["├", "─", "┼", "┤"]));
        }
        io.line(&row(cells));
    }
    io.line(&rule(["└", "─", "┴", "┘"]));
}
