//! Every kind of finding: its name, its severity, what it means and what to do.

pub mod archive;
pub mod deep;
pub mod drill;
pub mod guest;
pub mod node;
pub mod ready;
pub mod running;
pub mod state;

use crate::finding::Code;

/// All codes, in the order of the documents' table.
pub fn all() -> impl Iterator<Item = &'static Code> {
    let own = [archive::ALL, deep::ALL, drill::ALL, guest::ALL, node::ALL, ready::ALL];
    own.into_iter().chain([running::ALL, state::ALL]).flatten().copied()
}

/// The code with this name.
pub fn named(name: &str) -> Option<&'static Code> {
    all().find(|code| code.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
