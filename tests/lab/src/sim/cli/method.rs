//! `pvesh`: the command word names a verb, and the path the API method whose parameters are options too.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::schema::Errors;
use super::table::{Entry, Kind, Property, Table};
use super::{Accepted, Rejected, usage};

/// Reads a call of an API method.
pub(super) fn call(
    table: Table,
    node: &str,
    command: &Entry,
    argv: &[String],
    args: &[String],
    accepted: &mut Accepted,
) -> Result<(), Rejected> {
    let verb = accepted.words.last().cloned().unwrap_or_default();
    let mut entry = command.clone();
    let mut captured = BTreeMap::new();
    // Only a command word written in full makes the options of the API method known.
    let in_full = argv.get(1) == Some(&verb);
    if let (true, Some(path)) = (in_full && verb != "usage", args.first()) {
        let method = table.method(if verb == "ls" { "get" } else { &verb }, path);
        let Some((method, found)) = method else {
            return Err(Rejected { exit: 1, message: format!("No '{verb}' handler defined for '{path}'") });
        };
        if verb != "ls" {
            entry.options.extend(method.options);
        }
        entry.options.extend(method.captures.clone());
        entry.captures = method.captures;
        captured = found;
    }
    let line = usage::line(&format!("pvesh {verb}"), &entry);
    let mut sorted = entry.clone();
    sorted.options.retain(|name, _| !entry.captures.contains_key(name));
    sorted.options.insert("noproxy".into(), Property { kind: Kind::Boolean, ..Property::default() });
    let mut params = super::values(&sorted, args, &line)?;
    accepted.implied = captured.keys().cloned().collect();
    for (name, value) in captured {
        let value = if name == "node" && value == "localhost" { node.to_owned() } else { value };
        params.insert(name, value.into());
    }
    super::verify(table, &entry, &params, &line)?;
    accepted.path = take(&mut params, "api_path");
    for name in command.options.keys().filter(|_| verb != "usage") {
        accepted.output.extend(take(&mut params, name).map(|value| (name.clone(), value)));
    }
    accepted.params = params;
    Ok(())
}

fn take(params: &mut BTreeMap<String, Value>, name: &str) -> Option<String> {
    params.remove(name).and_then(|value| value.as_str().map(str::to_owned))
}

/// What a backup job demands beyond its schema.
pub(super) fn vzdump(params: &BTreeMap<String, Value>, errors: &mut Errors) {
    let get =
        |name: &str| params.get(name).and_then(Value::as_str).filter(|value| !matches!(*value, "" | "0"));
    if get("vmid").is_some() {
        for name in ["all", "exclude", "pool"] {
            if get(name).is_some() {
                errors.add(name, "option conflicts with option 'vmid'");
                return;
            }
        }
    }
    if params.contains_key("prune-backups") && params.contains_key("maxfiles") {
        errors.add("prune-backups", "option conflicts with option 'maxfiles'");
        return;
    }
    if let Some(problem) = get("notes-template").and_then(notes_problem) {
        errors.add("notes-template", format!("{problem}\n"));
    } else if ["vmid", "all", "exclude", "pool", "stop"].iter().all(|name| get(name).is_none()) {
        errors.add("vmid", "property is missing");
    }
}

/// What is wrong with a template for notes.
fn notes_problem(template: &str) -> Option<String> {
    if template.contains('\n') {
        return Some("contains a line feed".into());
    }
    let at = |byte: usize| template[..byte].chars().count();
    let escapes = Regex::new(r"\\(.)").ok()?;
    let variables = Regex::new(r"\{\{([^\s{}]+)\}\}").ok()?;
    let escapes = escapes.find_iter(template).filter(|found| !matches!(found.as_str(), r"\n" | r"\\"));
    let mut problems: Vec<_> = escapes
        .map(|found| format!("escape sequence '{}' at char {}", found.as_str(), at(found.start())))
        .collect();
    for found in variables.find_iter(template) {
        let name = &found.as_str()[2..found.len() - 2];
        if !matches!(name, "cluster" | "guestname" | "node" | "vmid") {
            let position = at(found.end()) - name.chars().count();
            problems.push(format!("variable '{name}' at char {position}"));
        }
    }
    (!problems.is_empty()).then(|| format!("found unknown: {}", problems.join(", ")))
}
