//! The state of the node's storages, as `pvesm status` and the API show it.

use super::node::Node;
use super::node::storage::{Storage, Usage};
use super::{Io, Parsed};

/// A storage as seen from this node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StorageState {
    pub(super) id: String,
    pub(super) kind: String,
    /// What it may hold, as a comma list.
    pub(super) content: String,
    pub(super) enabled: bool,
    pub(super) active: bool,
    pub(super) shared: bool,
    /// Zeros unless it is active.
    pub(super) usage: Usage,
}

impl StorageState {
    fn of(node: &Node, storage: &Storage) -> Self {
        let enabled = storage.is_enabled() && storage.is_on(node.name());
        let active = enabled && node.is_online(storage);
        let mut content = storage.contents();
        content.sort_unstable();
        Self {
            id: storage.id.clone(),
            kind: storage.kind.clone(),
            content: content.join(","),
            enabled,
            active,
            shared: storage.is_shared(),
            usage: if active { node.usage(storage) } else { Usage { total: 0, used: 0, free: 0 } },
        }
    }

    /// How much of it is taken, of an active storage.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn used_fraction(&self) -> Option<f64> {
        (self.usage.total > 0).then(|| self.usage.used as f64 / self.usage.total as f64)
    }
}

impl Node {
    /// The storages that a call asks for with `storage`, `content`, `enabled` and `target`. What keeps one from
    /// answering is only told. The error is about an unknown `storage`.
    pub(super) fn storage_states(&self, call: &Parsed, io: &mut Io<'_>) -> Result<Vec<StorageState>, String> {
        let mut storages = self.storages();
        let is_usable = |storage: &Storage| storage.is_enabled() && storage.is_on(self.name());
        if let Some(wanted) = call.get("content") {
            let types: Vec<_> = wanted.split([',', ';', ' ']).collect();
            storages.retain(|storage| is_usable(storage) && types.iter().any(|kind| storage.allows(kind)));
        }
        // What does not fit the content counts as unknown, what is disabled or elsewhere is just left out.
        if let Some(id) = call.get("storage") {
            storages.retain(|storage| storage.id == id);
            if storages.is_empty() {
                return Err("storage: No such storage.".into());
            }
        }
        if call.is_on("enabled") || call.get("target").is_some() {
            storages.retain(is_usable);
        }
        if let Some(target) = call.get("target") {
            storages.retain(|storage| storage.is_on(target));
        }
        let states: Vec<_> = storages.iter().map(|storage| StorageState::of(self, storage)).collect();
        for state in states.iter().filter(|state| state.enabled && !state.active) {
            io.complain(&format!("storage '{}' is not online", state.id));
        }
        Ok(states)
    }
}
