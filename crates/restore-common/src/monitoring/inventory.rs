//! What a stack has, by name, to see later whether something is gone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The names of what each check saw. Of a check that is not in it nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inventory(BTreeMap<String, BTreeSet<String>>);

impl Inventory {
    /// Notes what a check saw.
    pub(super) fn note(&mut self, id: &str, names: BTreeSet<String>) {
        self.0.insert(id.to_owned(), names);
    }

    /// What a check had seen and does not see any more.
    pub(super) fn gone(&self, id: &str, now: &BTreeSet<String>) -> Vec<String> {
        let before = self.0.get(id).into_iter().flatten();
        before.filter(|name| !now.contains(*name)).cloned().collect()
    }

    /// How many of each there are: `12 dashboards`; nothing when nothing is known.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        self.0.iter().map(|(id, names)| (id.as_str(), names.len())).collect()
    }

    /// Whether nothing is known: nothing answered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
