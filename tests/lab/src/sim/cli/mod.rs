//! The command-line parser of PVE's programs, driven by a table of what PVE 8 and 9 accept.
//!
//! [`parse`] judges a command line as the real programs do before they act: it names the command, completes
//! abbreviated words and options, and checks every value. [`Accepted::into_parsed`] gives what the simulated
//! programs work on.

mod ask;
mod devices;
mod format;
mod getopt;
mod method;
mod schema;
mod table;
mod together;
mod usage;
pub mod verdicts;

use std::collections::BTreeMap;

use serde_json::Value;

use self::schema::Errors;
use self::table::{Entry, Kind, Schema, Table};
use super::Parsed;

/// A command line that the real programs accept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The program and its sub-commands, in full.
    pub words: Vec<String>,
    /// The parameters of the command or API method; what takes many values is an array.
    pub params: BTreeMap<String, Value>,
    /// The API path of `pvesh`.
    pub path: Option<String>,
    /// The parameters that were not given as options or arguments: the program's own, and those in an API path.
    pub implied: Vec<String>,
    /// Options about the output, such as `output-format`.
    pub output: BTreeMap<String, String>,
}

impl Accepted {
    /// What the simulated programs work on: what was given.
    pub fn into_parsed(self) -> Parsed {
        let mut parsed = Parsed { words: self.words, ..Parsed::default() };
        let given = self.params.into_iter().filter(|(name, _)| !self.implied.contains(name));
        for (name, value) in given {
            match value {
                // Only the words after the arguments are an array without a name.
                Value::Array(values) if name != "extra-args" => {
                    let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
                    parsed.params.insert(name, values.join(","));
                }
                Value::Array(values) => {
                    parsed.rest =
                        values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect();
                }
                Value::String(value) => drop(parsed.params.insert(name, value)),
                other => drop(parsed.params.insert(name, other.to_string())),
            }
        }
        parsed.params.extend(self.output);
        parsed.params.extend(self.path.map(|path| ("api_path".to_owned(), path)));
        parsed
    }
}

/// A command line that the real programs refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The exit status.
    pub exit: i32,
    /// What goes to standard error, without the last line feed.
    pub message: String,
}

impl Rejected {
    fn usage(message: String) -> Self {
        Self { exit: 255, message }
    }
}

/// Reads a command line of a node of PVE `version`.
///
/// # Errors
///
/// What the real program says when it refuses the command line.
pub fn parse(version: u8, node: &str, argv: &[String]) -> Result<Accepted, Rejected> {
    let table = Table::of(version);
    // `pvesh` takes two switches of its own in front of its command word.
    let skip = |arg: &&String| matches!(arg.as_str(), "--noproxy" | "--nooutput");
    let switches = if argv.first().is_some_and(|name| name == "pvesh") {
        argv.iter().skip(1).take_while(skip).cloned().collect()
    } else {
        Vec::new()
    };
    let argv: Vec<String> =
        argv.iter().take(1).chain(argv.iter().skip(1 + switches.len())).cloned().collect();
    let (name, args) = usage::command(table, &argv)?;
    let mut entry = table.command(&name).unwrap_or_default();
    let name = entry.alias.take().unwrap_or(name);
    let mut accepted =
        Accepted { words: name.split(' ').map(str::to_owned).collect(), ..Accepted::default() };
    if entry.format_options {
        method::call(table, node, &entry, &argv, args, &mut accepted)?;
        accepted.words.splice(1..1, switches);
        return Ok(accepted);
    }
    let usage = usage::line(&name, &entry);
    let mut params = values(&entry, args, &usage)?;
    params.extend(preset(&entry.preset, node));
    accepted.implied = entry.preset.keys().cloned().collect();
    verify(table, &entry, &params, &usage)?;
    accepted.params = params;
    Ok(accepted)
}

fn preset(preset: &BTreeMap<String, String>, node: &str) -> BTreeMap<String, Value> {
    let value = |value: &String| if value.is_empty() { node.into() } else { value.as_str().into() };
    preset.iter().map(|(name, text)| (name.clone(), value(text))).collect()
}

/// The options with a family such as `net[n]` written out.
fn written_out(options: &Schema) -> Schema {
    let mut all = Schema::new();
    for (name, property) in options {
        match (name.strip_suffix("[n]"), property.last) {
            (Some(stem), Some(last)) => {
                all.extend((0..=last).map(|index| (format!("{stem}{index}"), property.clone())));
            }
            _ => drop(all.insert(name.clone(), property.clone())),
        }
    }
    all
}

/// Sorts the words after the command into parameters.
fn values(entry: &Entry, args: &[String], usage: &str) -> Result<BTreeMap<String, Value>, Rejected> {
    let bad = |text: &str| Rejected::usage(format!("400 {text}\n{usage}"));
    let mut options = written_out(&entry.options);
    if entry.list {
        options.retain(|name, _| !entry.args.contains(name));
    }
    // `qm` alone runs with `no_getopt_compat`.
    let words = getopt::sort(args, &options, !usage.starts_with("qm "));
    if !words.problems.is_empty() {
        let problems = words.problems.join("\n");
        return Err(Rejected::usage(format!("{problems}\n400 unable to parse option\n{usage}")));
    }
    let mut params = BTreeMap::new();
    for (name, values) in words.options {
        let property = &options[&name];
        let value = match property.kind {
            Kind::Array => values.into(),
            _ if property.is_list() => values.join(",").into(),
            _ => values.last().cloned().unwrap_or_default().into(),
        };
        params.insert(name, value);
    }
    positional(entry, words.positional, &mut params).map_err(bad)?;
    ask::passwords(&options, &params)?;
    for (name, value) in &mut params {
        let is_boolean = options.get(name).is_some_and(|property| property.kind == Kind::Boolean);
        if let (true, Value::String(text)) = (is_boolean, &mut *value) {
            let on = if text.is_empty() { Some(true) } else { schema::boolean(text) };
            *value = schema::digit(on.ok_or_else(|| bad("unable to parse boolean option"))?).into();
        }
    }
    ask::files(&options, &params)?;
    Ok(params)
}

/// Gives the positional arguments their names.
fn positional(
    entry: &Entry,
    words: Vec<String>,
    params: &mut BTreeMap<String, Value>,
) -> Result<(), &'static str> {
    if entry.list {
        if let (Some(name), false) = (entry.args.first(), words.is_empty()) {
            params.insert(name.clone(), words.join(",").into());
        }
        return Ok(());
    }
    let mut words = words.into_iter();
    for name in &entry.args {
        if name == "extra-args" {
            params.insert(name.clone(), words.by_ref().collect());
        } else {
            params.insert(name.clone(), words.next().ok_or("not enough arguments")?.into());
        }
    }
    if words.next().is_some() { Err("too many arguments") } else { Ok(()) }
}

/// Checks parameters against the command's schema and what the command itself demands.
fn verify(
    table: Table,
    entry: &Entry,
    params: &BTreeMap<String, Value>,
    usage: &str,
) -> Result<(), Rejected> {
    let mut schema = written_out(&entry.options);
    // The program's own parameters need no description.
    for name in entry.preset.keys() {
        schema.entry(name.clone()).or_default();
    }
    let mut errors = Errors::default();
    schema::check(table, "", &schema, params, &mut errors);
    if errors.is_empty() {
        let known = params.iter().filter(|(name, _)| entry.then.contains_key(*name));
        let known = known.map(|(name, value)| (name.clone(), value.clone())).collect();
        schema::check(table, "", &entry.then, &known, &mut errors);
    }
    if errors.is_empty() && entry.options.contains_key("notes-template") {
        method::vzdump(params, &mut errors);
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Rejected::usage(format!("400 Parameter verification failed.\n{}{usage}", errors.text())))
}
