//! Restore a guest from its vzdump backup.

fn main() {}
