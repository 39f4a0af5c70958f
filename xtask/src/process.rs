//! Running cargo and what it built.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use anyhow::{Context as _, bail};

/// Cargo, for this workspace.
pub(crate) struct Cargo {
    program: PathBuf,
    root: PathBuf,
}

impl Cargo {
    /// The cargo that runs this, else the one in the path.
    pub(crate) fn new() -> Self {
        let program = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        Self { program, root: package.parent().map(PathBuf::from).unwrap_or(package) }
    }

    /// The folder of the workspace.
    pub(crate) fn root(&self) -> &std::path::Path {
        &self.root
    }

    /// Runs cargo with these words and wants it to succeed.
    pub(crate) fn run(&self, words: &[&str]) -> anyhow::Result<()> {
        self.run_with(words, &[])
    }

    /// The same with environment variables.
    pub(crate) fn run_with(&self, words: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(words).envs(variables.iter().copied()).current_dir(&self.root);
        finish(command.status(), &format!("cargo {}", words.join(" ")))
    }

    /// Runs a program that was built, from where the operator stands.
    pub(crate) fn program(&self, profile: &str, name: &str, words: &[&str]) -> anyhow::Result<()> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from);
        let path = self.root.join(target).join(profile).join(name);
        finish(Command::new(&path).args(words).status(), &path.display().to_string())
    }
}

/// What is to be said of a program that ended.
pub(crate) fn finish(status: std::io::Result<ExitStatus>, what: &str) -> anyhow::Result<()> {
    let status = status.with_context(|| format!("cannot run `{what}`"))?;
    if !status.success() {
        bail!("`{what}` failed: {status}");
    }
    Ok(())
}
