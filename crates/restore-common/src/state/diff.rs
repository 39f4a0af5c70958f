//! What changed from one state to another, by address.

use std::collections::BTreeMap;

use super::Resources;

/// What became of a resource instance or an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the newer one has it.
    Added,
    /// Only the older one has it.
    Removed,
    /// Both have it, with other values.
    Changed,
}

impl Change {
    /// As `terraform plan` marks it.
    pub fn sign(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Changed => '~',
        }
    }
}

/// The difference between two states; values are never shown, they may be secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Diff {
    /// Resource instances by address.
    pub resources: Vec<(Change, String)>,
    /// Outputs by name.
    pub outputs: Vec<(Change, String)>,
}

impl Diff {
    /// From `older` to `newer`, in the order of the addresses.
    pub fn between(older: &Resources, newer: &Resources) -> Self {
        Self {
            resources: changes(&older.instances, &newer.instances),
            outputs: changes(&older.outputs, &newer.outputs),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.outputs.is_empty()
    }

    /// How many resource instances changed this way.
    pub fn count(&self, change: Change) -> usize {
        self.resources.iter().filter(|(seen, _)| *seen == change).count()
    }

    /// `+2 -1 ~3`, or `outputs only`, or `nothing`.
    pub fn short(&self) -> String {
        let kinds = [Change::Added, Change::Removed, Change::Changed];
        let counts = kinds.map(|kind| (kind, self.count(kind)));
        let words: Vec<_> =
            counts.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{}{n}", kind.sign())).collect();
        match (words.is_empty(), self.outputs.is_empty()) {
            (false, _) => words.join(" "),
            (true, false) => "outputs only".to_owned(),
            (true, true) => "nothing".to_owned(),
        }
    }
}

fn changes(older: &BTreeMap<String, [u8; 16]>, newer: &BTreeMap<String, [u8; 16]>) -> Vec<(Change, String)> {
    let gone = older.keys().filter(|key| !newer.contains_key(*key)).map(|key| (Change::Removed, key));
    let here = newer.iter().filter_map(|(key, value)| match older.get(key) {
        None => Some((Change::Added, key)),
        Some(before) if before != value => Some((Change::Changed, key)),
        Some(_) => None,
    });
    let mut all: Vec<_> = gone.chain(here).map(|(change, key)| (change, key.clone())).collect();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(instances: &[(&str, u8)], outputs: &[(&str, u8)]) -> Resources {
        let map = |pairs: &[(&str, u8)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), [*value; 16])).collect()
        };
        Resources { instances: map(instances), outputs: map(outputs) }
    }

    #[test]
    fn what_came_went_and_changed() {
        let older = resources(&[("a", 1), ("b", 1), ("c", 1)], &[("o", 1)]);
        let newer = resources(&[("a", 1), ("c", 2), ("d", 1)], &[("o", 2)]);
        let diff = Diff::between(&older, &newer);
        let shown: Vec<_> =
            diff.resources.iter().map(|(change, key)| format!("{}{key}", change.sign())).collect();
        assert_eq!(shown, ["-b", "~c", "+d"]);
        assert_eq!(diff.short(), "+1 -1 ~1");
        assert_eq!(diff.outputs, [(Change::Changed, "o".to_owned())]);
    }

    #[test]
    fn only_outputs_and_nothing_at_all_are_words() {
        let (older, newer) = (resources(&[("a", 1)], &[]), resources(&[("a", 1)], &[("o", 1)]));
        assert_eq!(Diff::between(&older, &newer).short(), "outputs only");
        let same = Diff::between(&older, &older);
        assert!(same.is_empty());
        assert_eq!(same.short(), "nothing");
    }
}
