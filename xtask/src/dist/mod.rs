//! What an operator installs: a tarball and a Debian package, the same bytes from the same sources.

mod debian;
mod fresh_root;
mod stage;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use crate::{PROGRAMS, process::Cargo};
use stage::Stage;

/// What the files are called after.
const NAME: &str = "pve-restore";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds both, and a file with their checksums.
pub(crate) fn run(cargo: &Cargo, tried: bool) -> anyhow::Result<()> {
    let target = host(cargo)?;
    let dist = cargo.root().join("target/dist");
    let built = build(cargo)?;
    let stage = Stage::new(cargo, &dist.join("stage"), &built)?;
    let tarball = dist.join(format!("{NAME}-{VERSION}-{target}.tar.gz"));
    pack(&stage, &tarball)?;
    let mut made = vec![tarball];
    match debian::package(&stage, &dist, &target, &epoch(cargo)?)? {
        Some(package) => made.push(package),
        None if env::var_os("CI").is_some() => {
            bail!("there is no dpkg-deb: the Debian package cannot be made")
        }
        None => eprintln!("There is no dpkg-deb on this machine: no Debian package was made."),
    }
    fs::remove_dir_all(stage.root()).context("cannot remove the staging folder")?;
    fs::write(dist.join("SHA256SUMS"), checksums(&dist, &made)?).context("cannot write SHA256SUMS")?;
    for path in &made {
        println!("{} ({} bytes)", path.display(), fs::metadata(path)?.len());
    }
    match made.get(1) {
        Some(package) if tried => fresh_root::tried(package, &dist),
        None if tried => bail!("there is no package to try"),
        _ => Ok(()),
    }
}

/// What the C compiler reads first, and where it finds it. By name alone, since OpenSSL keeps its compiler's flags, and as
/// one word, since its `Configure` takes every other word for the machine to build for.
const FIRST_READ: &str = "-includeopenssl_paths.h";
const READ_FROM: &str = "xtask/src/dist";

/// Builds the programs so that no path of this machine gets into them, and gives their folder.
fn build(cargo: &Cargo) -> anyhow::Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=/{NAME}", cargo.root().display())];
    flags.extend(home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    let target = cargo.root().join("target/dist/build");
    let words = [&["build", "--release", "--locked"][..], &crate::packages()].concat();
    // A separator of its own: a path may hold a space.
    let flags = flags.join("\u{1f}");
    let target_text = target.to_string_lossy();
    let headers = cargo.root().join(READ_FROM);
    let variables = [
        ("CFLAGS", FIRST_READ),
        ("CPATH", &*headers.to_string_lossy()),
        ("CARGO_ENCODED_RUSTFLAGS", flags.as_str()),
        ("CARGO_TARGET_DIR", &*target_text),
        ("SOURCE_DATE_EPOCH", &epoch(cargo)?),
    ];
    cargo.run_with(&words, &variables)?;
    Ok(target.join("release"))
}

/// The time that stands for now in all that is made: that of the last commit.
fn epoch(cargo: &Cargo) -> anyhow::Result<String> {
    if let Ok(given) = env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    said(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(cargo.root()))
        .context("without git, SOURCE_DATE_EPOCH has to say when the sources were made")
}

/// The target that is built for: this machine's.
fn host(cargo: &Cargo) -> anyhow::Result<String> {
    let about = said(Command::new("rustc").arg("-vV").current_dir(cargo.root()))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

/// What a program prints, when it ends well.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The tarball: one folder, with its own list of checksums.
fn pack(stage: &Stage, tarball: &Path) -> anyhow::Result<()> {
    let within = |path: &Path| path.strip_prefix(stage.usr()).map(Path::to_path_buf);
    let files = stage.files()?;
    let mut sums = String::new();
    for file in &files {
        sums += &format!("{}  {}\n", sum(file)?, within(file)?.display());
    }
    let folder = PathBuf::from(format!("{NAME}-{VERSION}"));
    let out = fs::File::create(tarball).with_context(|| format!("cannot write {}", tarball.display()))?;
    // Without a name and a time in its header.
    let mut tar = tar::Builder::new(GzBuilder::new().write(out, Compression::best()));
    tar.mode(tar::HeaderMode::Deterministic);
    for file in &files {
        tar.append_path_with_name(file, folder.join(within(file)?))?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(sums.len())?);
    header.set_mode(0o644);
    header.set_mtime(1);
    tar.append_data(&mut header, folder.join("SHA256SUMS"), sums.as_bytes())?;
    tar.into_inner()?.finish()?;
    Ok(())
}

fn checksums(dist: &Path, made: &[PathBuf]) -> anyhow::Result<String> {
    let mut text = String::new();
    for path in made {
        text += &format!("{}  {}\n", sum(path)?, path.strip_prefix(dist)?.display());
    }
    Ok(text)
}

fn sum(path: &Path) -> anyhow::Result<String> {
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Sha256::digest(content).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}
