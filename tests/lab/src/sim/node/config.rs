//! Guest configuration files: description, settings, pending changes and snapshots, with their order kept.

use std::fmt;

/// A configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestConfig {
    /// What stands before the first section.
    pub main: Section,
    /// `[PENDING]` and the snapshots, in the order of the file.
    pub sections: Vec<(String, Section)>,
}

/// The settings of one section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// The text of the `#` lines, decoded; the lines are joined with line breaks.
    pub description: Option<String>,
    /// The settings in order.
    settings: Vec<(String, String)>,
}

impl Section {
    /// The value of a setting.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Whether a setting is `1`.
    pub fn is_on(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }

    /// Sets a value, in place or at the position that sorting gives.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        if let Some((_, old)) = self.settings.iter_mut().find(|(k, _)| k == key) {
            *old = value;
            return;
        }
        let at = self.settings.iter().position(|(k, _)| k.as_str() > key).unwrap_or(self.settings.len());
        self.settings.insert(at, (key.into(), value));
    }

    /// Removes a setting; gives its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let at = self.settings.iter().position(|(k, _)| k == key)?;
        Some(self.settings.remove(at).1)
    }

    /// All settings in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is no setting.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// Sorts the settings, as a node does when it writes the file.
    pub fn sort(&mut self) {
        self.settings.sort_by(|(a, _), (b, _)| a.cmp(b));
    }

    fn line(&mut self, line: &str) {
        if let Some(comment) = line.strip_prefix('#') {
            let text = decode(comment);
            match &mut self.description {
                Some(description) => {
                    description.push('\n');
                    description.push_str(&text);
                }
                None => self.description = Some(text),
            }
        } else if let Some((key, value)) = line.split_once(':') {
            self.settings.push((key.trim().into(), value.trim().into()));
        }
    }
}

impl GuestConfig {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                config.sections.push((name.into(), Section::default()));
                continue;
            }
            match config.sections.last_mut() {
                Some((_, section)) => section.line(line),
                None => config.main.line(line),
            }
        }
        config
    }

    /// The pending changes.
    pub fn pending(&self) -> Option<&Section> {
        self.sections.iter().find(|(name, _)| is_pending(name)).map(|(_, section)| section)
    }

    /// The settings with the pending changes as if they were in force.
    pub fn with_pending(&self) -> Section {
        let mut main = self.main.clone();
        let Some(pending) = self.pending() else { return main };
        for key in deleted(pending) {
            main.remove(key);
        }
        for (key, value) in pending.iter().filter(|(key, _)| *key != "delete") {
            main.set(key, value);
        }
        main
    }

    /// The snapshots.
    pub fn snapshots(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.sections
            .iter()
            .filter(|(name, _)| !name.contains(':') && !is_pending(name))
            .map(|(name, section)| (name.as_str(), section))
    }

    /// The lock word.
    pub fn lock(&self) -> Option<&str> {
        self.main.get("lock")
    }
}

/// The settings that pending changes will delete.
pub fn deleted(pending: &Section) -> impl Iterator<Item = &str> {
    let keys = pending.get("delete").unwrap_or_default().split(',');
    keys.map(|key| key.trim_start_matches('!')).filter(|key| !key.is_empty())
}

fn is_pending(name: &str) -> bool {
    matches!(name, "PENDING" | "pve:pending")
}

impl fmt::Display for GuestConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.main)?;
        for (name, section) in &self.sections {
            write!(f, "\n[{name}]\n{section}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.description.iter().flat_map(|text| text.split('\n')) {
            writeln!(f, "#{}", encode(line))?;
        }
        self.settings.iter().try_for_each(|(key, value)| writeln!(f, "{key}: {value}"))
    }
}

/// Encodes `%`, `:` and control characters, as descriptions are written.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' | ':' | '\0'..='\x1f' | '\x7f' => {
                encoded.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c => encoded.push(c),
        }
    }
    encoded
}

/// Undoes [`encode`].
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "#two\n#lines%3A 100%25\ncores: 2\nname: web\n\n[PENDING]\ncores: 4\n\n[before]\n#kept\ncores: 1\n";

    #[test]
    fn a_file_survives_reading_and_writing() {
        assert_eq!(GuestConfig::parse(FILE).to_string(), FILE);
    }

    #[test]
    fn the_parts_of_a_file_are_found() {
        let config = GuestConfig::parse(FILE);
        assert_eq!(config.main.description.as_deref(), Some("two\nlines: 100%"));
        assert_eq!(config.pending().and_then(|p| p.get("cores")), Some("4"));
        assert_eq!(config.snapshots().map(|(name, _)| name).collect::<Vec<_>>(), ["before"]);
    }

    #[test]
    fn a_new_setting_goes_where_sorting_puts_it() {
        let mut config = GuestConfig::parse("cores: 2\nname: web\n");
        config.main.set("memory", "512");
        config.main.set("cores", "1");
        assert_eq!(config.to_string(), "cores: 1\nmemory: 512\nname: web\n");
    }
}
