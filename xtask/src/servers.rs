//! Real servers for the tests, built from source into a folder outside of the repository.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// Where its own site would offer a download there is nothing any more; so it is built.
const MINIO: &str = "github.com/minio/minio";
const MINIO_VERSION: &str = "v0.0.0-20260212201848-7aac2a2c5b7c";

/// Installs MinIO, unless this version is there already. The first time takes minutes.
pub(crate) fn install() -> anyhow::Result<()> {
    let folder = cache()?.join("pve-restore/bin");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (program, note) = (folder.join("minio"), folder.join("minio.version"));
    let there = fs::read_to_string(&note).unwrap_or_default();
    if program.exists() && there.trim() == MINIO_VERSION {
        println!("{} is there", program.display());
        return Ok(());
    }
    println!("building {MINIO}@{MINIO_VERSION}; this takes some minutes");
    build(&folder)?;
    fs::write(&note, MINIO_VERSION).with_context(|| format!("cannot write {}", note.display()))?;
    println!("{} is there", program.display());
    Ok(())
}

fn build(folder: &Path) -> anyhow::Result<()> {
    let module = format!("{MINIO}@{MINIO_VERSION}");
    let status = Command::new("go").args(["install", &module]).env("GOBIN", folder).status();
    let status = status.context("cannot run `go`: MinIO is built from source, which needs Go")?;
    if !status.success() {
        bail!("`go install {module}` failed: {status}");
    }
    Ok(())
}

/// The folder for what can be made again.
fn cache() -> anyhow::Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.context("neither `$XDG_CACHE_HOME` nor `$HOME` is set")
}
