//! Real programs for the tests, built from source into a folder outside of the repository.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::process::Cargo;

/// A Go program at one version.
struct Program {
    name: &'static str,
    module: &'static str,
    package: &'static str,
    version: &'static str,
}

/// Where its own site would offer a download there is nothing any more; so it is built.
const MINIO: Program = Program {
    name: "minio",
    module: "github.com/minio/minio",
    package: ".",
    version: "v0.0.0-20260212201848-7aac2a2c5b7c",
};

/// For machines without Terraform.
const TOFU: Program = Program {
    name: "tofu",
    module: "github.com/opentofu/opentofu",
    package: "./cmd/tofu",
    version: "v1.12.6",
};

/// The lab's Terraform provider, below this workspace's folder: where its source is, and how the program is called.
const PROVIDER: (&str, &str) = ("tests/lab/provider", "terraform-provider-proxmox");

/// Installs MinIO, the lab's Terraform provider, and OpenTofu where there is no Terraform. The first time takes minutes.
pub(crate) fn install() -> anyhow::Result<()> {
    let folder = cache()?.join("pve-restore/bin");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    MINIO.install(&folder)?;
    build_provider(&folder)?;
    if !has_terraform() {
        TOFU.install(&folder)?;
    }
    Ok(())
}

impl Program {
    /// Builds it, unless this version is there.
    fn install(&self, folder: &Path) -> anyhow::Result<()> {
        let (program, note) = (folder.join(self.name), folder.join(format!("{}.version", self.name)));
        let there = fs::read_to_string(&note).unwrap_or_default();
        if !program.exists() || there.trim() != self.version {
            println!("building {}@{}; this takes some minutes", self.module, self.version);
            self.build(&program)?;
            fs::write(&note, self.version).with_context(|| format!("cannot write {}", note.display()))?;
        }
        println!("{} is there", program.display());
        Ok(())
    }

    /// Built in the module's own folder: `go install` refuses modules that replace others, as OpenTofu does.
    fn build(&self, program: &Path) -> anyhow::Result<()> {
        let module = format!("{}@{}", self.module, self.version);
        go(["mod", "download", &module].map(OsStr::new), None)?;
        let source = go(["list", "-m", "-f", "{{.Dir}}", &module].map(OsStr::new), None)?;
        let words = [OsStr::new("build"), OsStr::new("-o"), program.as_os_str(), OsStr::new(self.package)];
        go(words, Some(Path::new(source.trim()))).map(drop)
    }
}

/// Built each time: Go knows by itself whether anything has changed.
fn build_provider(folder: &Path) -> anyhow::Result<()> {
    let (source, name) = PROVIDER;
    let program = folder.join(name);
    let source = Cargo::new().root().join(source);
    go([OsStr::new("build"), OsStr::new("-o"), program.as_os_str(), OsStr::new(".")], Some(&source))?;
    println!("{} is there", program.display());
    Ok(())
}

/// Runs Go; what it printed.
fn go<const N: usize>(words: [&OsStr; N], folder: Option<&Path>) -> anyhow::Result<String> {
    let mut command = Command::new("go");
    command.args(words).stderr(std::process::Stdio::inherit());
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let output = command.output().context("cannot run `go`, which builds what the tests run against")?;
    if !output.status.success() {
        bail!("`go {}` failed: {}", words.map(OsStr::to_string_lossy).join(" "), output.status);
    }
    String::from_utf8(output.stdout).context("`go` printed something that is not UTF-8")
}

/// Whether `$TF_BIN` names one, or the path has one.
fn has_terraform() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::var_os("TF_BIN").is_some_and(|named| !named.is_empty())
        || env::split_paths(&path).any(|folder| folder.join("terraform").is_file())
}

/// The folder for what can be made again.
fn cache() -> anyhow::Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    cache.context("neither `$XDG_CACHE_HOME` nor `$HOME` is set")
}
