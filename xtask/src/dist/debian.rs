//! The Debian package, packed by `dpkg-deb`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use super::{NAME, PROGRAMS, VERSION, said, stage::Stage};

/// Packs the stage, or gives nothing where there is no `dpkg-deb`.
pub(super) fn package(
    stage: &Stage,
    dist: &Path,
    target: &str,
    epoch: &str,
) -> anyhow::Result<Option<PathBuf>> {
    let there = Command::new("dpkg-deb").arg("--version").stdout(Stdio::null()).status();
    if there.is_err() {
        return Ok(None);
    }
    let architecture = architecture(target)?;
    compress_man_pages(stage)?;
    let about = stage.root().join("DEBIAN");
    fs::create_dir_all(&about)?;
    fs::write(about.join("control"), control(stage, architecture)?)?;
    let package = dist.join(format!("{NAME}_{VERSION}_{architecture}.deb"));
    said(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .args([stage.root(), &package])
            .env("SOURCE_DATE_EPOCH", epoch)
            // Blocks of several threads are packed otherwise than those of one.
            .env("DPKG_DEB_THREADS_MAX", "1"),
    )?;
    Ok(Some(package))
}

/// Debian's name for a target's processor.
fn architecture(target: &str) -> anyhow::Result<&'static str> {
    match target.split('-').next() {
        Some("x86_64") => Ok("amd64"),
        Some("aarch64") => Ok("arm64"),
        _ => bail!("Debian's name for `{target}` is not known here"),
    }
}

/// Debian has its man pages compressed, without a name and a time in them.
fn compress_man_pages(stage: &Stage) -> anyhow::Result<()> {
    let pages = stage.usr().join("share/man/man1");
    let pages: Vec<_> = PROGRAMS.iter().map(|program| pages.join(format!("{program}.1"))).collect();
    said(Command::new("gzip").args(["-9", "-n", "-f"]).args(pages)).map(drop)
}

fn control(stage: &Stage, architecture: &str) -> anyhow::Result<String> {
    let mut bytes = 0;
    for file in stage.files()? {
        bytes += fs::metadata(file)?.len();
    }
    let glibc = glibc(stage)?;
    Ok(format!(
        "Package: {NAME}\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: The pve-restore developers\n\
         Installed-Size: {size}\nDepends: libc6 (>= {glibc}), libgcc-s1\nRecommends: openssh-client, ca-certificates\n\
         Suggests: terraform | tofu\nSection: admin\nPriority: optional\n\
         Description: disaster recovery for a Proxmox VE homelab\n\
         \x20Small programs that restore guests, Terraform states, MinIO and the\n\
         \x20monitoring stack, and verify backups, from the operator's own machine.\n",
        size = bytes.div_ceil(1024),
    ))
}

/// The newest version of the C library that one of the programs needs: their symbols name it.
fn glibc(stage: &Stage) -> anyhow::Result<String> {
    let mut newest = None;
    for program in PROGRAMS {
        let content = fs::read(stage.usr().join("bin").join(program)).context("a program is gone")?;
        newest = newest.max(versions(&content).max());
    }
    let (major, minor) = newest.context("the programs name no version of the C library")?;
    Ok(format!("{major}.{minor}"))
}

/// Every `GLIBC_2.34` in a program.
fn versions(program: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let places = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    places.filter_map(|(at, _)| {
        let rest = &program[at + MARK.len()..];
        let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let mut numbers = std::str::from_utf8(&rest[..end]).ok()?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_newest_c_library_is_told_by_its_number() {
        let program = b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0";
        assert_eq!(super::versions(program).max(), Some((2, 34)));
    }
}
