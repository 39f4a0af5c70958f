//! Writing a file so that nobody ever reads half of it.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::Context as _;

/// Others may read it: node-exporter is another user, and a page is for a browser.
const MODE: u32 = 0o644;

/// Writes a file beside its place and puts it there whole.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let what = || format!("cannot write `{}`", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(what)?;
    file.write_all(text.as_bytes()).with_context(what)?;
    file.as_file().sync_all().with_context(what)?;
    fs::set_permissions(file.path(), Permissions::from_mode(MODE)).with_context(what)?;
    file.persist(path).with_context(what)?;
    Ok(())
}
