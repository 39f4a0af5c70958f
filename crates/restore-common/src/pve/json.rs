//! Reading the JSON of `pvesh`, whose numbers may be strings and whose flags are absent when false.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::remote::{Command, CommandFailed, Host, HostError, Output};

/// A question to a node that got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum PveError {
    /// It could not be asked.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It said no.
    #[error(transparent)]
    Failed(#[from] CommandFailed),
    /// It said something that is not what PVE 8 or 9 says.
    #[error("{host} answered `{command}` with something unreadable: {reason}")]
    Unreadable {
        /// The node.
        host: String,
        /// The question.
        command: String,
        /// What was wrong with the answer.
        reason: String,
    },
}

/// `pvesh get PATH … --output-format json`.
pub(crate) fn get(path: &str, options: &[(&str, &str)]) -> Command {
    let command = Command::read("pvesh").arg("get").arg(path);
    let command = options.iter().fold(command, |c, (name, value)| c.arg(format!("--{name}")).arg(*value));
    command.args(["--output-format", "json"])
}

/// The JSON document a command printed.
pub(crate) fn parse<T: DeserializeOwned>(
    host: &dyn Host,
    command: &Command,
    output: &Output,
) -> Result<T, PveError> {
    let text = output.stdout_of(host, command)?;
    serde_json::from_str(text.trim()).map_err(|error| PveError::Unreadable {
        host: host.name().to_owned(),
        command: command.to_string(),
        reason: error.to_string(),
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Null(()),
}

/// A whole number that may be written as a number, a float or a string; absent or `null` is `None`.
pub(crate) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = match Loose::deserialize(deserializer)? {
        Loose::Null(()) => None,
        Loose::Bool(flag) => Some(i64::from(flag)),
        Loose::Int(n) => Some(n),
        #[allow(clippy::cast_possible_truncation)]
        Loose::Float(n) => Some(n as i64),
        Loose::Text(text) => {
            let wrong = || serde::de::Error::custom(format!("`{text}` is not a number"));
            Some(text.trim().parse().map_err(|_| wrong())?)
        }
    };
    Ok(value)
}

/// Text that may be written as a number.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Loose::deserialize(deserializer)? {
        Loose::Null(()) => None,
        Loose::Bool(flag) => Some(flag.to_string()),
        Loose::Int(n) => Some(n.to_string()),
        Loose::Float(n) => Some(n.to_string()),
        Loose::Text(text) => Some(text),
    })
}

/// A flag: 1, "1" or true; anything else, or nothing, is no.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Loose::deserialize(deserializer)? {
        Loose::Bool(flag) => flag,
        Loose::Int(n) => n != 0,
        Loose::Text(text) => text == "1",
        Loose::Float(_) | Loose::Null(()) => false,
    })
}
