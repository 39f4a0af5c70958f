//! The table of commands and API methods: one line per entry, so that a run reads only the entry it needs.

use std::collections::BTreeMap;

use serde::Deserialize;

const PVE8: &str = include_str!("../../../data/cli-pve8.tsv");
const PVE9: &str = include_str!("../../../data/cli-pve9.tsv");

/// Properties by name.
pub(super) type Schema = BTreeMap<String, Property>;

/// What a value may be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Property {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    pub(super) required: bool,
    #[serde(rename = "enum")]
    pub(super) choices: Vec<String>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) pattern: Option<String>,
    pub(super) format: Option<String>,
    /// The option that must be there too.
    pub(super) requires: Option<String>,
    /// The table line with the keys of a property string.
    pub(super) sub: Option<String>,
    /// The last index of a `NAME[n]` family.
    pub(super) last: Option<u32>,
    pub(super) alias: Option<String>,
    pub(super) key_alias: Option<String>,
    pub(super) default_key: bool,
    #[serde(rename = "from")]
    pub(super) source: Source,
}

/// Where a program gets a value from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Source {
    #[default]
    Line,
    /// It asks for what is not on the command line.
    Password,
    /// The command line names a file.
    File,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    String,
    Integer,
    Number,
    Boolean,
    Array,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Array => "array",
        }
    }
}

impl Property {
    /// Whether repeated values are collected.
    pub(super) fn is_list(&self) -> bool {
        self.kind == Kind::Array || self.format.as_ref().is_some_and(|format| format.contains("-list"))
    }
}

/// A command or an API method.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    /// The names of the positional arguments.
    pub(super) args: Vec<String>,
    pub(super) options: Schema,
    /// Parameters that the program fills in; the empty text stands for the node's name.
    pub(super) preset: BTreeMap<String, String>,
    /// Any number of positional arguments, joined as a list.
    pub(super) list: bool,
    pub(super) format_options: bool,
    /// The command that this one is another name of.
    pub(super) alias: Option<String>,
    /// Stricter rules of the API method that the program calls.
    pub(super) then: Schema,
    /// The parameters in an API path.
    pub(super) captures: Schema,
}

/// The table of one major version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) version: u8,
    text: &'static str,
}

impl Table {
    pub(super) fn of(version: u8) -> Self {
        Self { version, text: if version == 8 { PVE8 } else { PVE9 } }
    }

    fn lines(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.text.lines().filter_map(|line| line.split_once('\t'))
    }

    /// All commands.
    pub(super) fn commands(self) -> impl Iterator<Item = &'static str> {
        self.lines().map(|(name, _)| name).filter(|name| !name.starts_with('%') && !name.contains('/'))
    }

    pub(super) fn command(self, name: &str) -> Option<Entry> {
        self.lines().find(|(key, _)| *key == name).and_then(|(_, text)| serde_json::from_str(text).ok())
    }

    /// Whether a command is another name of one.
    pub(super) fn is_alias(self, name: &str) -> bool {
        self.command(name).is_some_and(|entry| entry.alias.is_some())
    }

    /// The keys of a property string.
    pub(super) fn keys(self, name: &str) -> Schema {
        let line = self.lines().find(|(key, _)| key.strip_prefix('%') == Some(name));
        line.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The API method for a verb and a path, and the parameters in the path.
    pub(super) fn method(self, verb: &str, path: &str) -> Option<(Entry, BTreeMap<String, String>)> {
        let path = path.trim_matches('/');
        let mut found: Vec<_> = self
            .lines()
            .filter_map(|(key, text)| Some((key.strip_prefix(verb)?.strip_prefix(" /")?, text)))
            .filter_map(|(pattern, text)| Some((pattern, text, captures(pattern, path)?)))
            .collect();
        found.sort_by_key(|(_, _, captures)| captures.len());
        let (_, text, captures) = found.into_iter().next()?;
        Some((serde_json::from_str(text).ok()?, captures))
    }
}

/// The parameters of `path` if it is one that `pattern` describes. A last `{volume}` takes slashes too.
fn captures(pattern: &str, path: &str) -> Option<BTreeMap<String, String>> {
    let mut captures = BTreeMap::new();
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    for wanted in pattern.split('/').filter(|part| !part.is_empty()) {
        let part = parts.next()?;
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some("volume") => {
                let rest: Vec<_> = std::iter::once(part).chain(parts.by_ref()).collect();
                captures.insert("volume".into(), rest.join("/"));
            }
            Some(name) => drop(captures.insert(name.into(), part.into())),
            None if wanted == part => {}
            None => return None,
        }
    }
    parts.next().is_none().then_some(captures)
}
