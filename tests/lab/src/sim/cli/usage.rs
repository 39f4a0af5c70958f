//! Command words and usage lines.

use super::Rejected;
use super::table::{Entry, Property, Source, Table};

/// The command that the words name, and the words after it. Sub-commands may be shortened.
pub(super) fn command(table: Table, argv: &[String]) -> Result<(String, &[String]), Rejected> {
    let program = argv.first().map_or("", String::as_str);
    let mut known: Vec<Vec<&str>> = table.commands().map(|name| name.split(' ').collect()).collect();
    known.retain(|words| words[0] == program);
    let mut name = program.to_owned();
    for depth in 1..=argv.len() {
        // `known` holds the commands that begin with `name`; no command is the beginning of another one.
        if known.iter().any(|words| words.len() == depth) {
            return Ok((name, &argv[depth..]));
        }
        let Some(word) = argv.get(depth) else { break };
        // The other name of a command has to be written out.
        let fits = |words: &&Vec<&str>| {
            words.get(depth) == Some(&word.as_str()) || !table.is_alias(&words.join(" "))
        };
        let names = known.iter().filter(fits).filter_map(|words| words.get(depth).copied());
        let Some(full) = complete(word, names) else {
            return Err(help(&format!("unknown command '{name} {word}'"), program));
        };
        known.retain(|words| words.get(depth) == Some(&full));
        name = format!("{name} {full}");
    }
    let problem =
        if name == program { "no command specified".into() } else { format!("incomplete command '{name}'") };
    Err(help(&problem, program))
}

/// The only name that begins with `word`, or `word` itself.
fn complete<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut hits: Vec<_> = names.filter(|name| name.starts_with(word)).collect();
    hits.sort_unstable();
    hits.dedup();
    match hits.as_slice() {
        [only] => Some(only),
        _ => hits.into_iter().find(|name| *name == word),
    }
}

fn help(problem: &str, program: &str) -> Rejected {
    Rejected::usage(format!("ERROR: {problem}\nUSAGE: {program} <COMMAND> [ARGS] [OPTIONS]"))
}

/// The line that tells how to call a command.
pub(super) fn line(name: &str, entry: &Entry) -> String {
    let mut args: Vec<String> = entry.args.iter().map(|arg| format!("<{arg}>")).collect();
    if let (true, Some(first)) = (entry.list, args.first_mut()) {
        *first = format!("{{{first}}}");
    }
    if let Some(extra) = args.iter_mut().find(|arg| *arg == "<extra-args>") {
        *extra = "[<extra-args>]".into();
    }
    let options = || {
        entry.options.iter().filter(|(name, _)| {
            !entry.args.contains(name)
                && !entry.preset.contains_key(*name)
                && !entry.captures.contains_key(*name)
        })
    };
    // What a program asks for need not be given.
    let needed = |property: &Property| property.required && property.source != Source::Password;
    for (name, property) in options().filter(|(_, property)| needed(property)) {
        args.push(format!("--{name} <{}>", property.kind.name()));
    }
    // A command without arguments still gets the blank before them.
    let mut line = format!("{name} {}", args.join(" "));
    if entry.args.is_empty() && entry.options.is_empty() {
        return line;
    }
    if entry.format_options || options().any(|(_, property)| !needed(property)) {
        line.push_str(" [OPTIONS]");
    }
    if entry.format_options {
        line.push_str(" [FORMAT_OPTIONS]");
    }
    line
}
