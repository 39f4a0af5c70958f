//! Values that a program takes from elsewhere than its command line: what it asks for, and files.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Rejected;
use super::table::{Schema, Source};

/// Asks for the passwords that are not on the command line; nobody is there to answer.
pub(super) fn passwords(options: &Schema, params: &BTreeMap<String, Value>) -> Result<(), Rejected> {
    let asks =
        options.iter().filter(|(_, property)| property.source == Source::Password).any(|(name, property)| {
            match params.get(name) {
                Some(value) => matches!(value.as_str(), Some("" | "0")),
                None => property.required,
            }
        });
    if asks { Err(Rejected::usage("EOF while reading password".into())) } else { Ok(()) }
}

/// Reads the files that options name. The parser sees no files of a node, so that each of them is missing.
pub(super) fn files(options: &Schema, params: &BTreeMap<String, Value>) -> Result<(), Rejected> {
    let mut named = options.iter().filter(|(_, property)| property.source == Source::File);
    let missing = named.find_map(|(name, _)| {
        let file = params.get(name).and_then(Value::as_str);
        // The node makes a key for this word.
        file.filter(|file| !(name == "encryption-key" && *file == "autogen"))
    });
    match missing {
        Some(file) => Err(Rejected::usage(format!("can't open '{file}' - No such file or directory"))),
        None => Ok(()),
    }
}
