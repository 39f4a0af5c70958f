//! Options and positional arguments, told apart as Perl's `Getopt::Long` does.

use std::collections::BTreeMap;

use super::table::{Kind, Schema, Source};

/// The words of a command line, sorted.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Every value of every option, under the option's own spelling.
    pub(super) options: BTreeMap<String, Vec<String>>,
    pub(super) positional: Vec<String>,
    /// What was wrong, one line each.
    pub(super) problems: Vec<String>,
}

/// Sorts the words of a command line. With `any_dash` a value may follow `=` behind one dash as well as behind two.
pub(super) fn sort(args: &[String], schema: &Schema, any_dash: bool) -> Words {
    // Case is ignored, so that options are known by their lower-case names.
    let known: BTreeMap<String, &str> =
        schema.keys().map(|name| (name.to_lowercase(), name.as_str())).collect();
    let mut words = Words::default();
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        if arg == "--" {
            words.positional.extend(args.by_ref().cloned());
            break;
        }
        let option = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|name| !name.is_empty());
        let Some(option) = option else {
            words.positional.push(arg.clone());
            continue;
        };
        let (name, mut value) =
            if any_dash || arg.starts_with("--") { split(option) } else { (option, None) };
        let name = match complete(&name.to_lowercase(), &known) {
            Ok(name) => name,
            Err(problem) => {
                words.problems.push(problem);
                continue;
            }
        };
        let own = known[&name];
        if schema[own].kind == Kind::Boolean || schema[own].source == Source::Password {
            let next = || args.next_if(|next| *next == "-" || !next.starts_with('-')).cloned();
            value = value.or_else(next).or_else(|| Some(String::new()));
        } else {
            // An empty value after `=` is none, while an empty word is one.
            value = match value {
                Some(value) => Some(value).filter(|value| !value.is_empty()),
                None => args.next().cloned(),
            };
        }
        match value {
            Some(value) => words.options.entry(own.to_owned()).or_default().push(value),
            None => words.problems.push(format!("Option {name} requires an argument")),
        }
    }
    words
}

/// Splits `NAME=VALUE`; an equals sign in front belongs to the name.
fn split(option: &str) -> (&str, Option<String>) {
    let first = option.chars().next().map_or(0, char::len_utf8);
    match option[first..].find('=') {
        Some(at) => (&option[..first + at], Some(option[first + at + 1..].to_owned())),
        None => (option, None),
    }
}

/// The full name of an option.
fn complete(name: &str, known: &BTreeMap<String, &str>) -> Result<String, String> {
    let hits: Vec<&str> = known.keys().map(String::as_str).filter(|full| full.starts_with(name)).collect();
    match hits.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ if known.contains_key(name) => Ok(name.to_owned()),
        [] => Err(format!("Unknown option: {name}")),
        _ => Err(format!("Option {name} is ambiguous ({})", hits.join(", "))),
    }
}
