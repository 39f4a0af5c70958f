//! How `pvesh` prints an answer: JSON, or drawn tables.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Answer;
use crate::sim::{Io, Parsed};

/// Prints an answer as the call asks.
pub(super) fn print(answer: &Answer, call: &Parsed, io: &mut Io<'_>) {
    let Answer::Value(value) = answer else { return };
    if call.is_on("quiet") || call.words.iter().any(|word| word == "--nooutput") {
        return;
    }
    match call.get("output-format") {
        Some("json") => io.line(&value.to_string()),
        Some("json-pretty") => io.line(&pretty(value, 0)),
        _ => text(value, io),
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

fn text(value: &Value, io: &mut Io<'_>) {
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if items.iter().all(Value::is_object) => {
            let keys: BTreeSet<&String> =
                items.iter().filter_map(Value::as_object).flat_map(|item| item.keys()).collect();
            let header: Vec<String> = keys.iter().map(|key| (*key).clone()).collect();
            let mut rows: Vec<Vec<String>> = items
                .iter()
                .map(|item| header.iter().map(|key| item.get(key).map_or_else(String::new, cell)).collect())
                .collect();
            rows.sort();
            table(&header, &rows, &|_| false, io);
        }
        Value::Array(items) => items.iter().for_each(|item| io.line(&cell(item))),
        Value::Object(fields) => {
            let rows: Vec<_> = fields.iter().map(|(key, value)| vec![key.clone(), cell(value)]).collect();
            table(&["key".into(), "value".into()], &rows, &|_| false, io);
        }
        other => io.line(&cell(other)),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Draws a table; `to_the_right` tells which columns are numbers.
fn table(header: &[String], rows: &[Vec<String>], to_the_right: &dyn Fn(usize) -> bool, io: &mut Io<'_>) {
    let lines = |cell: &String| cell.lines().map(str::to_owned).collect::<Vec<_>>();
    let width_of = |cell: &String| lines(cell).iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().map(|row| &row[column]).chain([&header[column]]);
            cells.map(width_of).max().unwrap_or(0)
        })
        .collect();
    let rule = |left: char, fill: &str, middle: &str, right: char| {
        let bars: Vec<_> = widths.iter().map(|width| fill.repeat(width + 2)).collect();
        format!("{left}{}{right}", bars.join(middle))
    };
    let row = |cells: &[String]| {
        let cells: Vec<Vec<String>> = cells.iter().map(lines).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let mut drawn = Vec::new();
        for at in 0..height {
            let mut line = String::from("│");
            for (column, width) in widths.iter().enumerate() {
                let text = cells[column].get(at).map_or("", String::as_str);
                let cell =
                    if to_the_right(column) { format!("{text:>width$}") } else { format!("{text:<width$}") };
                line.extend([" ", &cell, " │"]);
            }
            drawn.push(line);
        }
        drawn.join("\n")
    };
    io.line(&rule('┌', "─", "┬", '┐'));
    io.line(&row(header));
    io.line(&rule('╞', "═", "╪", '╡'));
    for (at, cells) in rows.iter().enumerate() {
        if at > 0 {
            io.line(&rule('├', "─", "┼", '┤'));
        }
        io.line(&row(cells));
    }
    io.line(&rule('└', "─", "┴", '┘'));
}
