//! Command lines as the simulated programs see them.

use std::collections::BTreeMap;

/// A command line as a program understands it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The program and its sub-commands.
    pub words: Vec<String>,
    /// Positional arguments and options by name, without dashes. A flag without value is `1`.
    pub params: BTreeMap<String, String>,
    /// What follows the positional arguments where a command takes more, such as the words after `exec ID --`.
    pub rest: Vec<String>,
}

impl Parsed {
    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// Whether a boolean parameter is true.
    pub fn is_on(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "on" | "yes" | "true"))
    }

    /// The guest number.
    pub fn vmid(&self) -> u32 {
        self.get("vmid").and_then(|vmid| vmid.parse().ok()).unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|value| value.parse().ok())
    }
}
