//! Every kind of finding: its name, its severity, what it means and what to do.

pub mod archive;
pub mod deep;
pub mod guest;
pub mod node;
pub mod state;

use crate::finding::Code;

/// All codes, in the order of the documents' table.
pub fn all() -> impl Iterator<Item = &'static Code> {
    [archive::ALL, deep::ALL, guest::ALL, node::ALL, state::ALL].into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::finding::Severity;

    /// The table stands between these lines of the document.
    const BEGIN: &str =
        "<!-- codes: made from the program, `UPDATE_DOCS=1 cargo test -p verify-backups` -->\n";
    const END: &str = "<!-- end of codes -->\n";

    fn table() -> String {
        let row = |code: &Code| {
            let severity = match code.severity {
                Severity::Note => "note",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            format!("| `{}` | {severity} | {} | {} |\n", code.name, code.meaning, code.action)
        };
        let head = "| code | severity | meaning | what to do |\n|---|---|---|---|\n".to_owned();
        all().map(row).fold(head, |table, row| table + &row)
    }

    #[test]
    fn the_documents_have_every_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/VERIFY.md");
        let page = fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (shown, after) = rest.split_once(END).unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(path, format!("{before}{BEGIN}{}{END}{after}", table())).unwrap();
        } else {
            assert_eq!(shown, table(), "run `UPDATE_DOCS=1 cargo test -p verify-backups`");
        }
    }

    #[test]
    fn every_code_has_a_name_of_its_own_and_sentences() {
        let mut names = BTreeSet::new();
        for code in all() {
            assert!(names.insert(code.name), "{} is there twice", code.name);
            assert!(code.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", code.name);
            for sentence in [code.meaning, code.action] {
                assert!(sentence.ends_with('.'), "{}: {sentence}", code.name);
            }
        }
    }
}
