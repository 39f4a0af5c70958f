//! Programs that `cargo xtask servers` built.

use std::path::PathBuf;

/// One of them, where it is there.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(cache.join("pve-restore/bin").join(name)).filter(|path| path.exists())
}
