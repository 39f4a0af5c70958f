//! The licences of everything that is linked into the programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use sha2::{Digest as _, Sha256};

use crate::PROGRAMS;

/// A document with all of them. Fails for a package that names no licence.
pub(crate) fn text(root: &Path) -> anyhow::Result<String> {
    let metadata = metadata(root)?;
    let linked = linked(&metadata)?;
    let mut packages: Vec<&Package> =
        metadata.packages.iter().filter(|package| linked.contains(&package.id)).collect();
    packages.retain(|package| package.source.is_some());
    packages.sort_by_key(|package| (package.name.to_string(), package.version.clone()));
    let mut text = "# Licences of what is linked into the programs\n".to_owned();
    let mut shown = BTreeMap::new();
    for package in packages {
        text += &section(package, &mut shown)?;
    }
    Ok(text)
}

/// What cargo knows of the workspace and of all that it depends on.
pub(crate) fn metadata(root: &Path) -> anyhow::Result<Metadata> {
    Ok(MetadataCommand::new().current_dir(root).other_options(vec!["--locked".to_owned()]).exec()?)
}

/// The programs, and what they depend on. A crate named `…-src` is the code of a C library, which another builds and links.
pub(crate) fn linked(metadata: &Metadata) -> anyhow::Result<BTreeSet<PackageId>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let is_linked = |kind: DependencyKind, name: &str| {
        kind == DependencyKind::Normal || (kind == DependencyKind::Build && name.ends_with("_src"))
    };
    let programs = metadata.packages.iter().filter(|package| PROGRAMS.contains(&package.name.as_str()));
    let mut found = BTreeSet::new();
    let mut open: Vec<PackageId> = programs.map(|package| package.id.clone()).collect();
    while let Some(id) = open.pop() {
        if found.insert(id.clone()) {
            let node = resolve.nodes.iter().find(|node| node.id == id).context("cargo forgot a package")?;
            let needed = node
                .deps
                .iter()
                .filter(|dep| dep.dep_kinds.iter().any(|kind| is_linked(kind.kind, &dep.name)));
            open.extend(needed.map(|dep| dep.pkg.clone()));
        }
    }
    Ok(found)
}

fn section(package: &Package, shown: &mut BTreeMap<Vec<u8>, String>) -> anyhow::Result<String> {
    let title = format!("{} {}", package.name, package.version);
    let Some(licence) = &package.license else { bail!("{title} names no licence") };
    let mut text = format!("\n## {title}\n\n{licence}\n");
    text.extend(package.repository.iter().map(|url| format!("\n<{url}>\n")));
    let folder = package.manifest_path.parent().context("a package without a folder")?;
    for file in licence_files(folder.as_std_path(), 2)? {
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let content = String::from_utf8_lossy(&content);
        let known = shown.entry(Sha256::digest(content.as_bytes()).to_vec());
        let name = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
        match known {
            std::collections::btree_map::Entry::Occupied(before) => {
                text += &format!("\n{name}: as in {}.\n", before.get());
            }
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(format!("{title}, {name}"));
                text += &format!("\n{name}:\n\n````text\n{}\n````\n", content.trim_end());
            }
        }
    }
    Ok(text)
}

/// The files with a licence's text: in a package, and in the folders of the C library that it brings.
fn licence_files(folder: &Path, depth: usize) -> anyhow::Result<Vec<PathBuf>> {
    const BEGINNINGS: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if path.is_dir() && depth > 0 {
            found.extend(licence_files(&path, depth - 1)?);
        } else if path.is_file() && BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
