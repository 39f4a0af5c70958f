//! Values against what the table says about them.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use super::format;
use super::table::{Kind, Property, Schema, Table};
use super::together;

/// What is wrong, by the path of the property.
#[derive(Debug, Default)]
pub(super) struct Errors(BTreeMap<String, String>);

impl Errors {
    pub(super) fn add(&mut self, path: &str, text: impl Into<String>) {
        let text = text.into();
        // The real program joins two reasons with a backslash and an `n`, not with a line feed.
        self.0.entry(path.to_owned()).and_modify(|old| *old = format!("{old}\\n{text}")).or_insert(text);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One line per property.
    pub(super) fn text(&self) -> String {
        self.0.iter().fold(String::new(), |lines, (path, text)| lines + path + ": " + text + "\n")
    }
}

/// The value of a boolean.
pub(super) fn boolean(value: &str) -> Option<bool> {
    match format::line(value).to_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

/// The spelling that programs hand on.
pub(super) fn digit(value: bool) -> String {
    u8::from(value).to_string()
}

/// Checks parameters, or the keys of the property string at `path`.
pub(super) fn check(
    table: Table,
    path: &str,
    schema: &Schema,
    values: &BTreeMap<String, Value>,
    errors: &mut Errors,
) {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for (name, property) in schema {
        match values.get(name) {
            None if property.required => {
                errors.add(&at(name), "property is missing and it is not optional");
            }
            Some(Value::String(value)) => property_value(table, &at(name), property, value, errors),
            _ => {}
        }
    }
    for name in values.keys() {
        let Some(property) = schema.get(name) else {
            errors.add(
                &at(name),
                "property is not defined in schema and the schema does not allow additional properties",
            );
            continue;
        };
        if let Some(other) = property.requires.as_ref().filter(|other| !values.contains_key(*other)) {
            let by = at(name);
            let text = match table.version {
                8 => format!("missing property - '{by}' requires this property"),
                _ => format!("missing property required by '{by}'"),
            };
            errors.add(&at(other), text);
        }
    }
}

fn property_value(table: Table, path: &str, property: &Property, value: &str, errors: &mut Errors) {
    if let Err(text) = reason(table, path, property, value) {
        errors.add(path, text);
    }
}

fn reason(table: Table, path: &str, property: &Property, value: &str) -> Result<(), String> {
    if !is_of(property.kind, value) {
        return Err(format!("type check ('{}') failed - got '{value}'", property.kind.name()));
    }
    if let Some(sub) = &property.sub {
        property_string(table, path, sub, value).map_err(|text| format!("invalid format - {text}"))?;
    }
    if let Some(format) = &property.format {
        format::check(table.version, format, value).map_err(|text| format!("invalid format - {text}\n"))?;
    }
    if property.pattern.as_ref().is_some_and(|pattern| !matches(pattern, value)) {
        return Err("value does not match the regex pattern".into());
    }
    let length = value.chars().count();
    if let Some(max) = property.max_length.filter(|max| length > *max) {
        return Err(format!("value may only be {max} characters long"));
    }
    if let Some(min) = property.min_length.filter(|min| length < *min) {
        return Err(format!("value must be at least {min} characters long"));
    }
    if let Some(number) = number(value) {
        if let Some(max) = property.max.filter(|max| number > *max) {
            return Err(format!("value must have a maximum value of {max}"));
        }
        if let Some(min) = property.min.filter(|min| number < *min) {
            return Err(format!("value must have a minimum value of {min}"));
        }
    }
    if !property.choices.is_empty() && !property.choices.iter().any(|choice| choice == value) {
        let choices = property.choices.join(", ");
        return Err(format!("value '{value}' does not have a value in the enumeration '{choices}'"));
    }
    Ok(())
}

fn is_of(kind: Kind, value: &str) -> bool {
    match kind {
        Kind::String | Kind::Array => true,
        Kind::Integer => {
            let value = format::line(value);
            let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        Kind::Number => number(value).is_some(),
        // Words are made digits before, except where PVE 8 forgets it.
        Kind::Boolean => matches!(value, "0" | "1"),
    }
}

/// A decimal number; Rust reads the same spellings, but words such as `inf` too.
fn number(value: &str) -> Option<f64> {
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let value = format::line(value);
    value.parse().ok().filter(|_| value.chars().all(plain))
}

/// Whether a whole value matches, with Perl's idea of `^` and `$` around the bare pattern.
fn matches(pattern: &str, value: &str) -> bool {
    let pattern = pattern.replace("\\0", "\\x00");
    Regex::new(&format!("^{pattern}\\n?$")).is_ok_and(|regex| regex.is_match(value))
}

/// Checks a property string such as `name=eth0,bridge=vmbr0`.
fn property_string(table: Table, path: &str, sub: &str, text: &str) -> Result<(), String> {
    let keys = &table.keys(sub);
    let mut values = BTreeMap::new();
    let default = keys.iter().find(|(_, key)| key.default_key).map(|(name, _)| name.clone());
    let mut default_used = false;
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        match part.split_once('=').map(|(name, value)| (name, format::line(value))) {
            Some((name, value)) if !name.is_empty() && !value.is_empty() && !value.contains('\n') => {
                named(keys, name, value, &mut values)?;
            }
            Some(_) => return Err("missing key in comma-separated list property\n".into()),
            None => {
                let Some(name) = &default else {
                    return Err("value without key, but schema does not define a default key\n".into());
                };
                if default_used || values.contains_key(name) {
                    return Err(format!("duplicate key in comma-separated list property: {name}\n"));
                }
                default_used = true;
                // PVE 8 takes only digits for a boolean without its key.
                let value = if table.version == 8 { part.into() } else { normal(keys, name, part) };
                values.insert(name.clone(), value);
            }
        }
    }
    let mut errors = Errors::default();
    check(table, path, keys, &values, &mut errors);
    if !errors.is_empty() {
        return Err(format!("format error\n{}", errors.text()));
    }
    together::check(table.version, sub, keys, &values).map_err(|text| text + "\n")
}

fn named(keys: &Schema, name: &str, value: &str, values: &mut BTreeMap<String, Value>) -> Result<(), String> {
    if values.contains_key(name) {
        return Err(format!("duplicate key in comma-separated list property: {name}\n"));
    }
    let key = keys.get(name);
    if let Some(other) = key.and_then(|key| key.key_alias.as_ref()) {
        if values.contains_key(other) {
            return Err(format!("key alias '{other}' is already defined\n"));
        }
        values.insert(other.clone(), name.into());
    }
    let name = key.and_then(|key| key.alias.as_deref()).unwrap_or(name);
    values.insert(name.to_owned(), normal(keys, name, value));
    Ok(())
}

fn normal(keys: &Schema, name: &str, value: &str) -> Value {
    let is_boolean = keys.get(name).is_some_and(|key| key.kind == Kind::Boolean);
    is_boolean.then(|| boolean(value)).flatten().map_or_else(|| value.into(), |value| digit(value).into())
}
