//! Which fields the tables of `pvesh` show, and how.

use serde_json::Value;

use crate::sim::clock;

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text and flags: as they are, on the left.
    Text,
    /// Numbers, on the right.
    Number,
    /// Bytes: `1.50 GiB`.
    Bytes,
    /// A fraction of one: `6.45%`.
    Fraction,
    /// Seconds since 1970: `2026-01-30 12:00:00`.
    Time,
}

use Kind::{Bytes, Fraction, Number, Text, Time};

/// A column.
pub(super) type Column = (&'static str, Kind);

const STORAGES: &[Column] = &[
    ("content", Text),
    ("storage", Text),
    ("type", Text),
    ("active", Text),
    ("avail", Bytes),
    ("enabled", Text),
    ("formats", Text),
    ("select_existing", Text),
    ("shared", Text),
    ("total", Bytes),
    ("used", Bytes),
    ("used_fraction", Fraction),
];
const CONTENT: &[Column] = &[
    ("format", Text),
    ("size", Bytes),
    ("volid", Text),
    ("ctime", Time),
    ("encrypted", Text),
    ("notes", Text),
    ("parent", Text),
    ("protected", Text),
    ("used", Bytes),
    ("verification", Text),
    ("vmid", Number),
];
const TASKS: &[Column] = &[
    ("id", Text),
    ("node", Text),
    ("pid", Number),
    ("pstart", Number),
    ("starttime", Number),
    ("type", Text),
    ("upid", Text),
    ("user", Text),
    ("endtime", Number),
    ("status", Text),
];
const LOG: &[Column] = &[("n", Number), ("t", Text)];

/// The columns of the list that a path gives, where the API names them.
pub(super) fn of(path: &str, version: u8) -> Option<Vec<Column>> {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let columns = match parts[..] {
        ["nodes", _, "storage"] => STORAGES,
        ["nodes", _, "storage", _, "content"] => CONTENT,
        ["nodes", _, "tasks"] => TASKS,
        ["nodes", _, "tasks", _, "log"] => LOG,
        _ => return None,
    };
    let is_new = |column: &Column| matches!(column.0, "formats" | "select_existing");
    Some(columns.iter().copied().filter(|column| version >= 9 || !is_new(column)).collect())
}

impl Kind {
    /// Whether a column stands on the right.
    pub(super) fn is_right(self) -> bool {
        !matches!(self, Self::Text)
    }

    /// Writes a value.
    pub(super) fn text(self, value: &Value) -> String {
        match (self, value) {
            (Bytes, Value::Number(number)) => number.as_f64().map_or_else(String::new, bytes),
            (Fraction, Value::Number(number)) => {
                format!("{:.2}%", number.as_f64().unwrap_or_default() * 100.0)
            }
            (Time, Value::Number(number)) => clock::date_time(number.as_i64().unwrap_or_default()),
            (_, Value::String(text)) => text.clone(),
            (_, Value::Null) => String::new(),
            (_, other) => other.to_string(),
        }
    }
}

fn bytes(mut value: f64) -> String {
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, next);
    }
    format!("{value:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_for_people() {
        assert_eq!(Bytes.text(&0.into()), "0.00 B");
        assert_eq!(Bytes.text(&(3_u64 << 29).into()), "1.50 GiB");
        assert_eq!(Fraction.text(&serde_json::json!(0.0645)), "6.45%");
        assert_eq!(Time.text(&1_769_774_400.into()), "2026-01-30 12:00:00");
        assert_eq!(of("/nodes/pve/storage", 8).unwrap().len(), 10);
    }
}
