//! The tables of the documents.
//!
//! A table stands between a line `<!-- table: NAME -->` and a line `<!-- end of table -->`.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use restore_common::procedure::Exit;
use verify_backups::{codes, finding::Severity};

use crate::{environment::VARIABLES, keys};

const END: &str = "<!-- end of table -->\n";

type Make = fn() -> String;

/// Each table's name, and what makes it.
const TABLES: [(&str, Make); 4] = [
    ("exit codes", exit_codes),
    ("restore.toml", restore_toml),
    ("environment", environment),
    ("codes of verify-backups", codes_of_verify_backups),
];

/// Writes the tables of a document anew, or fails when one of them says something else.
pub fn update(file: &Path, check: bool) -> anyhow::Result<()> {
    let page = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let made = rendered(&page).with_context(|| file.display().to_string())?;
    if made == page {
        return Ok(());
    }
    if check {
        bail!("{}: a table differs from the programs; `cargo xtask pages` writes it anew", file.display());
    }
    fs::write(file, made).with_context(|| format!("cannot write {}", file.display()))
}

fn rendered(page: &str) -> anyhow::Result<String> {
    let mut page = page.to_owned();
    for (name, make) in TABLES {
        let begin = format!("<!-- table: {name} -->\n");
        if let Some((before, rest)) = page.split_once(&begin) {
            let (_, after) =
                rest.split_once(END).with_context(|| format!("the table `{name}` has no end"))?;
            page = format!("{before}{begin}{}{END}{after}", make());
        }
    }
    Ok(page)
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line =
        |cells: [String; N]| format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    let begin = line(head.map(str::to_owned)) + "|" + &"---|".repeat(N) + "\n";
    rows.map(line).fold(begin, |table, row| table + &row)
}

fn exit_codes() -> String {
    table(
        ["exit", "meaning"],
        Exit::ALL.iter().map(|exit| [exit.code().to_string(), exit.meaning().to_owned()]),
    )
}

fn restore_toml() -> String {
    let rows = keys::all().into_iter().map(|key| {
        let default = key.default.map(|value| format!("`{value}`")).unwrap_or_default();
        [format!("`{}`", key.path), key.kind, default, key.meaning]
    });
    table(["key", "type", "without it", "meaning"], rows)
}

fn environment() -> String {
    let rows = VARIABLES.iter().map(|variable| {
        let names: Vec<_> = variable.names.iter().map(|name| format!("`{name}`")).collect();
        [names.join(", "), variable.meaning.to_owned()]
    });
    table(["variable", "meaning"], rows)
}

fn codes_of_verify_backups() -> String {
    let rows = codes::all().map(|code| {
        let severity = match code.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        [format!("`{}`", code.name), severity.to_owned(), code.meaning.to_owned(), code.action.to_owned()]
    });
    table(["code", "severity", "meaning", "what to do"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_replaced_between_its_marks_only() {
        let page = format!("before\n<!-- table: exit codes -->\nold\n{END}after\n");
        let made = rendered(&page).unwrap();
        assert!(
            made.starts_with("before\n<!-- table: exit codes -->\n| exit | meaning |\n|---|---|\n| 0 |"),
            "{made}"
        );
        assert!(made.ends_with(&format!("{END}after\n")) && !made.contains("old"), "{made}");
    }

    /// What the documents tell about a message is of use only while a program says it.
    #[test]
    fn every_message_that_is_explained_is_in_a_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = fs::read_to_string(root.join("docs/BACKUP-RESTORE.md")).unwrap();
        let (_, rest) = page.split_once("<!-- messages -->\n").unwrap();
        let (rows, _) = rest.split_once("<!-- end of messages -->").unwrap();
        let sources = crate::environment::sources(&root.join("crates"));
        let messages: Vec<_> =
            rows.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
        assert!(messages.len() > 15, "{messages:?}");
        for message in messages {
            assert!(sources.iter().any(|source| source.contains(message)), "no program says `{message}`");
        }
    }

    #[test]
    fn a_table_without_an_end_is_an_error() {
        assert!(rendered("<!-- table: exit codes -->\nold\n").is_err());
    }
}
