//! The Debian package in a Debian that has nothing else: installed, used, upgraded, removed.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use super::{NAME, PROGRAMS, VERSION, said};

/// What a shell does when somebody types a program's name, `--` and the tabulator.
const COMPLETE: &str = "source /usr/share/bash-completion/completions/$0; \
     COMP_WORDS=($0 --); COMP_CWORD=1; $(complete -p $0 | sed 's/.*-F \\([^ ]*\\).*/\\1/') $0 -- $0; \
     printf '%s\\n' \"${COMPREPLY[@]}\"";

pub(super) fn tried(package: &Path, dist: &Path) -> anyhow::Result<()> {
    let root = FreshRoot::make(dist)?;
    let before = root.files()?;
    root.install(package)?;
    for program in PROGRAMS {
        let version = root.run(&[program, "--version"])?;
        ensure!(version == format!("{program} {VERSION}"), "`{program} --version` says {version}");
        let offered = root.run(&["bash", "-c", COMPLETE, program])?;
        ensure!(offered.lines().any(|word| word == "--project"), "bash offers for `{program} --`: {offered}");
    }
    root.install(&newer(package, dist)?)?;
    let version = root.run(&["dpkg-query", "-W", "-f", "${Version}", NAME])?;
    ensure!(version == format!("{VERSION}+upgrade"), "after the upgrade the version is {version}");
    root.run(&["dpkg", "--purge", NAME])?;
    let left: Vec<_> = root.files()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "the package left behind: {left:?}");
    println!("Tried in a fresh Debian root: installed, used, upgraded, removed.");
    Ok(())
}

/// The same package under a higher version.
fn newer(package: &Path, dist: &Path) -> anyhow::Result<PathBuf> {
    let unpacked = tempfile::tempdir_in(dist)?;
    said(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(unpacked.path()))?;
    let control = unpacked.path().join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    fs::write(
        &control,
        text.replace(&format!("Version: {VERSION}\n"), &format!("Version: {VERSION}+upgrade\n")),
    )?;
    let upgrade = dist.join("upgrade.deb");
    said(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).args([unpacked.path(), &upgrade]))?;
    Ok(upgrade)
}

struct FreshRoot {
    folder: tempfile::TempDir,
}

impl FreshRoot {
    fn make(dist: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(dist)?;
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", "stable"]).arg(folder.path());
        // The mirror of this machine, where it has one.
        command.args(env::var_os("DEBIAN_MIRROR"));
        said(&mut command)
            .context("a fresh Debian root needs root, debootstrap and a mirror (DEBIAN_MIRROR)")?;
        Ok(Self { folder })
    }

    /// Runs something in it, and gives what it prints.
    fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        said(
            Command::new("chroot")
                .arg(self.folder.path())
                .args(words)
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        )
    }

    fn install(&self, package: &Path) -> anyhow::Result<()> {
        let inside = self.folder.path().join("tmp/package.deb");
        fs::copy(package, &inside).context("cannot copy the package")?;
        self.run(&["dpkg", "--install", "/tmp/package.deb"])?;
        fs::remove_file(&inside).context("cannot remove the copy of the package")
    }

    /// Every file and folder, but for dpkg's own books and logs.
    fn files(&self) -> anyhow::Result<BTreeSet<String>> {
        let listed = self.run(&[
            "find",
            "/",
            "-xdev",
            "-not",
            "-path",
            "/var/lib/dpkg/*",
            "-not",
            "-path",
            "/var/log/*",
        ])?;
        Ok(listed.lines().map(str::to_owned).collect())
    }
}
