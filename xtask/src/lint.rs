//! What a machine can say about the code and the documents.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{pages, process::Cargo, supply};

/// Formatting, clippy, documentation, tables made from the programs, links, the version in the changelog, what others wrote.
pub(crate) fn run(cargo: &Cargo) -> anyhow::Result<()> {
    cargo.run(&["fmt", "--all", "--check"])?;
    let warnings = ["--", "--deny", "warnings"];
    cargo.run(&[&["clippy", "--quiet", "--workspace", "--all-targets"][..], &warnings].concat())?;
    let documentation = ["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"];
    cargo.run_with(&documentation, &[("RUSTDOCFLAGS", "--deny warnings")])?;
    pages::check(cargo)?;
    let mut wrong = Vec::new();
    for page in markdown(cargo.root())? {
        wrong.extend(broken_links(&page)?);
    }
    wrong.extend(changelog(cargo.root())?);
    wrong.extend(supply::check(cargo.root())?);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    println!("lint: nothing to complain about");
    Ok(())
}

/// Every Markdown file that git knows.
fn markdown(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = Command::new("git").args(["ls-files", "*.md"]).current_dir(root).output();
    let listed = listed.context("cannot run `git ls-files`")?;
    let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    Ok(names.lines().map(|name| root.join(name)).filter(|path| path.exists()).collect())
}

/// Links to files that are not there, and to headings that the page does not have.
fn broken_links(page: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let folder = page.parent().unwrap_or(Path::new("."));
    let mut broken = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for target in links(line).filter(|link| !link.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let there = file.is_empty() || folder.join(file).exists();
            let known = !file.is_empty() || headings(&text).any(|h| h == heading);
            if !there || !known {
                broken.push(format!("{}:{}: `{target}` leads nowhere", page.display(), number + 1));
            }
        }
    }
    Ok(broken)
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split(')').next())
}

/// The headings of a page, as links name them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The workspace's version has its section in the changelog.
fn changelog(root: &Path) -> anyhow::Result<Option<String>> {
    let version = env!("CARGO_PKG_VERSION");
    let text = fs::read_to_string(root.join("CHANGELOG.md")).context("cannot read CHANGELOG.md")?;
    let there = text.lines().any(|line| line.starts_with("## ") && line.contains(version));
    Ok((!there).then(|| format!("CHANGELOG.md: no section for version {version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_headings_are_found() {
        let line = "See [one](docs/A.md) and [two](#the-lab-a-homelab).";
        assert_eq!(links(line).collect::<Vec<_>>(), ["docs/A.md", "#the-lab-a-homelab"]);
        assert_eq!(headings("## The lab, a homelab\n").collect::<Vec<_>>(), ["the-lab-a-homelab"]);
    }
}
