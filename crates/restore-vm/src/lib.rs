//! Restore a guest from its vzdump backup.
