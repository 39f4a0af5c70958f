//! What others wrote: where it comes from, under which licence, how often, and that each direct dependency is accounted for.
//!
//! `cargo deny` would look at licences, sources and duplicates, too; it takes longer to build than everything else here. What
//! only it knows, the advisories, are asked for by hand: `cargo deny check advisories`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context as _;
use cargo_metadata::{Metadata, Package};

use crate::licences::{self, linked};

/// Licences that ask for no more than to be named.
const ALLOWED: [&str; 8] =
    ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "Unicode-3.0", "Zlib"];

/// The only place that crates come from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What the programs have in two versions, and why that is borne.
const TWICE: [(&str, &str); 1] = [("syn", "compilers only: OpenSSL's macros are behind the others")];

/// The document, and the heading of its table.
const DOCUMENT: &str = "docs/ARCHITECTURE.md";
const HEADING: &str = "## Dependencies";

/// What every package inherits, and what the workspace then says.
const INHERITS: &str = "[lints]\nworkspace = true\n";
const WORKSPACE: [&str; 2] = ["unsafe_code = \"forbid\"\n", "overflow-checks = true\n"];

/// Everything that is wrong.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<String>> {
    let metadata = licences::metadata(root)?;
    let foreign = || metadata.packages.iter().filter(|package| package.source.is_some());
    let mut wrong: Vec<String> = foreign().filter_map(objection).collect();
    wrong.extend(duplicates(&metadata)?);
    let text = fs::read_to_string(root.join(DOCUMENT)).with_context(|| format!("cannot read {DOCUMENT}"))?;
    wrong.extend(accounted(&direct(&metadata), &table(&text)));
    wrong.extend(lints(&metadata, root)?);
    Ok(wrong)
}

/// What speaks against a package by itself.
fn objection(package: &Package) -> Option<String> {
    let title = format!("{} {}", package.name, package.version);
    let source = package.source.as_ref().map(ToString::to_string).unwrap_or_default();
    if source != CRATES_IO {
        return Some(format!("{title} comes from {source}"));
    }
    match package.license.as_deref() {
        None => Some(format!("{title} names no licence")),
        Some(licence) if !is_allowed(licence) => {
            Some(format!("{title} is under {licence}, which is not allowed"))
        }
        Some(_) => None,
    }
}

/// Whether an SPDX expression can be met by allowed licences. An exception takes nothing away. `/` is an old `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) && rest.is_empty()
}

fn any_of(rest: &mut &[&str]) -> bool {
    let mut met = all_of(rest);
    while let [first, more @ ..] = rest
        && *first == "OR"
    {
        *rest = more;
        met |= all_of(rest);
    }
    met
}

fn all_of(rest: &mut &[&str]) -> bool {
    let mut met = one(rest);
    while let [first, more @ ..] = rest
        && *first == "AND"
    {
        *rest = more;
        met &= one(rest);
    }
    met
}

fn one(rest: &mut &[&str]) -> bool {
    match *rest {
        ["(", inner @ ..] => {
            *rest = inner;
            let met = any_of(rest);
            rest.split_off_first().is_some_and(|end| *end == ")") && met
        }
        [licence, "WITH", _, more @ ..] | [licence, more @ ..] => {
            *rest = more;
            ALLOWED.contains(licence)
        }
        [] => false,
    }
}

/// Crates that the programs have more than once, and those that are said to be and are not.
fn duplicates(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let linked = linked(metadata)?;
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in metadata.packages.iter().filter(|package| linked.contains(&package.id)) {
        versions.entry(package.name.as_str()).or_default().insert(package.version.to_string());
    }
    versions.retain(|_, versions| versions.len() > 1);
    let is_borne = |name: &str| TWICE.iter().any(|(borne, _)| *borne == name);
    let more = versions.iter().filter(|(name, _)| !is_borne(name)).map(|(name, versions)| {
        let versions: Vec<_> = versions.iter().map(String::as_str).collect();
        format!("the programs have {name} more than once: {}", versions.join(", "))
    });
    let gone = TWICE.iter().filter(|(name, _)| !versions.contains_key(name));
    Ok(more.chain(gone.map(|(name, _)| format!("{name} is there once: take it from the list"))).collect())
}

/// The crates that packages of this workspace name themselves.
fn direct(metadata: &Metadata) -> BTreeSet<String> {
    let own = metadata.workspace_packages();
    let named = own.iter().flat_map(|package| &package.dependencies);
    named.filter(|dependency| dependency.path.is_none()).map(|dependency| dependency.name.clone()).collect()
}

/// The names in the first column of the table: what stands between backquotes there. Go modules have a dot in their domain, or
/// the word behind them.
fn table(document: &str) -> BTreeSet<String> {
    let section = document.split_once(HEADING).map_or("", |(_, rest)| rest);
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let first = |line: &str| {
        line.strip_prefix("| `").and_then(|line| line.split_once(" |")).map(|(cell, _)| format!("`{cell}"))
    };
    let cells: Vec<String> =
        section.lines().filter(|line| !line.contains("(Go)")).filter_map(first).collect();
    cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

fn accounted(direct: &BTreeSet<String>, table: &BTreeSet<String>) -> Vec<String> {
    let missing =
        direct.difference(table).map(|name| format!("{DOCUMENT}: no line says why `{name}` is there"));
    let gone = table.difference(direct).map(|name| format!("{DOCUMENT}: `{name}` is no dependency"));
    missing.chain(gone).collect()
}

/// That no package leaves the lints of the workspace, and that those are what is promised.
fn lints(metadata: &Metadata, root: &Path) -> anyhow::Result<Vec<String>> {
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let manifest = package.manifest_path.as_std_path();
        if !(read(manifest)? + "\n").contains(INHERITS) {
            wrong.push(format!("{}: it does not take the lints of the workspace", manifest.display()));
        }
    }
    let workspace = read(&root.join("Cargo.toml"))?;
    let missing = WORKSPACE.iter().filter(|line| !workspace.contains(**line));
    wrong.extend(missing.map(|line| format!("Cargo.toml: `{}` is missing", line.trim_end())));
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_met_or_not() {
        for met in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
            "GPL-3.0 AND MIT OR ISC",
        ] {
            assert!(is_allowed(met), "{met}");
        }
        for not_met in
            ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT )", "MIT ISC", "MIT AND (GPL-3.0 OR LGPL-2.1)"]
        {
            assert!(!is_allowed(not_met), "{not_met}");
        }
    }

    #[test]
    fn every_dependency_has_its_line_and_no_line_is_left() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let document = "| `x` | a |\n## Dependencies, and why\n\n| crate | why |\n|---|---|\n| `a`, `b` (`f`) | as `c` |\n\
                        | `g` (Go) | d |\n\n## More\n| `y` | |\n";
        assert_eq!(table(document), set(&["a", "b", "f"]));
        let wrong = accounted(&set(&["a", "b", "new"]), &table(document));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("`new`") && wrong[1].contains("`f`"), "{wrong:?}");
    }
}
