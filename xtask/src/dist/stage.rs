//! All files of a release in the places where a package has them, with the same permissions on every machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use super::{NAME, PROGRAMS, said};
use crate::{licences, pages, process::Cargo};

pub(super) struct Stage {
    root: PathBuf,
}

impl Stage {
    /// Fills an empty folder.
    pub(super) fn new(cargo: &Cargo, root: &Path, built: &Path) -> anyhow::Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root).with_context(|| format!("cannot empty {}", root.display()))?;
        }
        let stage = Self { root: root.to_owned() };
        for program in PROGRAMS {
            stage.put(&built.join(program), &stage.usr().join("bin").join(program))?;
        }
        pages::share(cargo, &stage.usr().join("share"))?;
        for name in documents(cargo.root())? {
            stage.put(&cargo.root().join(&name), &stage.doc().join(&name))?;
        }
        let licences = licences::text(cargo.root())?;
        fs::write(stage.doc().join("THIRD-PARTY-LICENCES.md"), licences)
            .context("cannot write the licences")?;
        stage.settle()?;
        Ok(stage)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What is below `/usr` in a package, and at the top of the tarball.
    pub(super) fn usr(&self) -> PathBuf {
        self.root.join("usr")
    }

    fn doc(&self) -> PathBuf {
        self.usr().join("share/doc").join(NAME)
    }

    /// Every file, in order.
    pub(super) fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        walk(&self.usr(), &mut |path| {
            files.extend(path.is_file().then(|| path.to_owned()));
            Ok(())
        })?;
        files.sort();
        Ok(files)
    }

    fn put(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(to.parent().unwrap_or(&self.root))?;
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    /// Permissions that no umask has a part in.
    fn settle(&self) -> anyhow::Result<()> {
        let programs = self.usr().join("bin");
        walk(&self.root, &mut |path| {
            let mode = if path.is_dir() || path.starts_with(&programs) { 0o755 } else { 0o644 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).context("cannot set permissions")
        })
    }
}

/// What is there to be read: everything in `docs`, and the pages at the top. Only what git knows.
fn documents(root: &Path) -> anyhow::Result<Vec<String>> {
    let listed = said(Command::new("git").args(["ls-files", "docs", "*.md", "LICENSE-*"]).current_dir(root))?;
    let wanted = |name: &&str| name.starts_with("docs/") || !name.contains('/');
    Ok(listed.lines().filter(wanted).map(str::to_owned).collect())
}

/// A folder and all that is in it, the folder first.
fn walk(path: &Path, each: &mut impl FnMut(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    each(path)?;
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
            walk(&entry?.path(), each)?;
        }
    }
    Ok(())
}
