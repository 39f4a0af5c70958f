//! The keys of `restore.toml`, from the types that read it.

use restore_common::homelab;
use serde_json::Value;

/// A key, and what may stand there.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// `[environments.ENV] address`
    pub path: String,
    pub kind: String,
    pub default: Option<String>,
    pub meaning: String,
}

/// What stands for the operator's own name in a table of many.
const PLACEHOLDERS: [(&str, &str); 2] = [("environments", "ENV"), ("guests", "VMID")];

/// Every key that can be given a value, in the order of the tables.
pub fn all() -> Vec<Key> {
    let schema = homelab::schema().to_value();
    let mut keys = Vec::new();
    collect(&schema, &mut Vec::new(), &mut keys);
    keys
}

fn collect(table: &Value, path: &mut Vec<String>, keys: &mut Vec<Key>) {
    for (name, about) in table["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        if let Some(many) = about.get("additionalProperties").filter(|many| many.is_object()) {
            path.push(placeholder(name).to_owned());
            collect(many, path, keys);
            path.pop();
        } else if about.get("properties").is_some() {
            collect(about, path, keys);
        } else if about["items"].get("properties").is_some() {
            collect(&about["items"], path, keys);
        } else {
            keys.push(key(path, about));
        }
        path.pop();
    }
}

fn placeholder(table: &str) -> &'static str {
    PLACEHOLDERS.iter().find(|(name, _)| *name == table).map_or("NAME", |(_, shown)| shown)
}

fn key(path: &[String], about: &Value) -> Key {
    Key {
        path: path.join("."),
        kind: kind(about),
        default: about.get("default").filter(|value| !value.is_null()).map(Value::to_string),
        meaning: about["description"].as_str().unwrap_or_default().replace('\n', " "),
    }
}

/// The type, in the words of somebody who writes TOML.
fn kind(about: &Value) -> String {
    let names: Vec<&str> = match &about["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        _ => Vec::new(),
    };
    let word = |name: &str| match name {
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        "boolean" => "true, false".to_owned(),
        "array" => format!("list of {}", kind(&about["items"])),
        other => other.to_owned(),
    };
    names.into_iter().map(word).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_type_and_a_meaning() {
        let keys = all();
        for key in &keys {
            assert!(!key.kind.is_empty(), "{key:?}");
            assert!(key.meaning.ends_with('.'), "{key:?}");
        }
        let named = |path: &str| keys.iter().find(|key| key.path == path).unwrap();
        assert_eq!(named("environments.ENV.ssh_port").kind, "number");
        assert_eq!(named("guests.VMID.checks.command").kind, "list of text");
        assert_eq!(named("prove.wait").default.as_deref(), Some("120"));
    }
}
