//! What the documents say of the programs, and man pages and completions, made from the programs themselves.

use std::path::Path;

use crate::process::Cargo;

/// The documents with tables that are made.
const DOCUMENTS: [&str; 2] = ["docs/BACKUP-RESTORE.md", "docs/VERIFY.md"];

/// Writes the tables anew.
pub(crate) fn write(cargo: &Cargo) -> anyhow::Result<()> {
    tables(cargo, &[])
}

/// Fails when a table says something else than the programs.
pub(crate) fn check(cargo: &Cargo) -> anyhow::Result<()> {
    tables(cargo, &["--check"])
}

/// Man pages and completions, laid out as below `/usr/share`.
pub(crate) fn share(cargo: &Cargo, share: &Path) -> anyhow::Result<()> {
    let folder = share.to_string_lossy();
    // A package needs nothing else of the workspace.
    cargo.run(&["build", "--quiet", "--package", "restore-packaging"])?;
    make(cargo, &["man", &format!("{folder}/man/man1")])?;
    make(cargo, &["completions", &folder])
}

fn tables(cargo: &Cargo, words: &[&str]) -> anyhow::Result<()> {
    crate::programs(cargo)?;
    let pages = DOCUMENTS.map(|page| cargo.root().join(page).to_string_lossy().into_owned());
    make(cargo, &[&["tables"], words, &pages.each_ref().map(String::as_str)[..]].concat())
}

fn make(cargo: &Cargo, words: &[&str]) -> anyhow::Result<()> {
    cargo.program("debug", "restore-pages", words)
}
