//! Fuzzing: libFuzzer has the readers of `tests/fuzzing` read whatever it comes up with.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::process::{Cargo, finish};

/// Longer than any input may take: seconds.
const HANGS: u32 = 10;

/// Runs one target, or all of them one after the other, each for so many minutes. It needs a nightly compiler and
/// `cargo install cargo-fuzz`.
pub(crate) fn run(cargo: &Cargo, target: Option<&str>, minutes: u32) -> anyhow::Result<()> {
    let root = cargo.root();
    let folder = root.join("fuzz");
    // What is fuzzed is what is shipped: the same versions of everything.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).context("cannot copy Cargo.lock")?;
    let mut targets = targets(&folder)?;
    targets.retain(|name| target.is_none_or(|wanted| wanted == name));
    if targets.is_empty() {
        bail!("there is no target `{}` in {}", target.unwrap_or_default(), folder.display());
    }
    for name in &targets {
        println!("fuzzing {name} for {minutes} min");
        one(root, name, minutes)?;
    }
    Ok(())
}

fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let stem = |path: std::path::PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<_> = entries.filter_map(|entry| stem(entry.ok()?.path())).collect();
    names.sort();
    Ok(names)
}

/// New inputs are kept in `fuzz/corpus`, which git does not see; the seeds are only read. Without a sanitizer: there is no
/// unsafe code here, and memory is what the kernel says.
fn one(root: &Path, name: &str, minutes: u32) -> anyhow::Result<()> {
    let (found, seeds) = (format!("fuzz/corpus/{name}"), format!("tests/fuzzing/corpus/{name}"));
    fs::create_dir_all(root.join(&found)).with_context(|| format!("cannot create {found}"))?;
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", "run", "--sanitizer", "none", name, &found, &seeds, "--"]);
    command.arg(format!("-max_total_time={}", minutes * 60)).arg(format!("-timeout={HANGS}"));
    command.args(["-max_len=65536", "-print_final_stats=1", "-verbosity=1"]).current_dir(root);
    // Cargo tells those that it runs which compiler it is; here it is to be another one.
    for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC"] {
        command.env_remove(variable);
    }
    finish(command.status(), &format!("cargo +nightly fuzz run {name}"))
}
