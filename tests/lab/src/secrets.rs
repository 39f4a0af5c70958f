//! Secrets stay where they belong: what ran in a lab is searched for them before it is gone.
//!
//! Every secret of a lab begins with [`MARK`], so that one look at a text is enough. They stand where an operator has
//! secrets: in variables of Terraform and of the environment, in states, in a guest's configuration.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

/// How every secret of a lab begins.
pub const MARK: &str = "canary-";

/// In the configuration of the VM, as cloud-init has it.
pub const IN_CONFIGURATION: &str = "$5$canary-cloudinit-6c1e07";
/// In the operator's environment, for Terraform.
pub const IN_ENVIRONMENT: &str = "canary-environment-02d7f9";
/// In the operator's variables, for the API of the node.
pub const IN_VARIABLES: &str = "root@pam!terraform=canary-token-5be810";

/// How much of what stands before a secret is shown.
const CONTEXT: usize = 120;

/// The first secret in a text, with what stands before it.
pub fn found_in(text: &str) -> Option<&str> {
    let at = text.find(MARK)?;
    let rest = &text[at..];
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    let from = text[..at].char_indices().rev().take(CONTEXT).last().map_or(at, |(from, _)| from);
    Some(&text[from..at + end])
}

/// Panics when a file in these folders, or below them, holds a secret that does not belong there. Not when the test
/// failed already: that is to be told.
#[track_caller]
pub(crate) fn assert_kept(folders: &[PathBuf]) {
    if thread::panicking() {
        return;
    }
    for path in folders.iter().flat_map(|folder| files_below(folder)) {
        // What ends meanwhile takes its files with it.
        let bytes = fs::read(&path).unwrap_or_default();
        if let Some(words) = found_in(&String::from_utf8_lossy(&bytes)) {
            panic!("a secret is in `{}`: …{words}", path.display());
        }
    }
}

/// The plain files in and below a folder, without those that secrets belong in.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        let name = name.to_string_lossy();
        if kind.is_dir() && !is_for_secrets(&name) {
            found.extend(files_below(&path));
        } else if kind.is_file() && !may_hold_secrets(&name) {
            found.push(path);
        }
    }
    found
}

/// The copies of states that the programs keep, what Terraform keeps by itself, and the logins for S3.
fn is_for_secrets(folder: &str) -> bool {
    matches!(folder, "states" | ".terraform" | ".terraform.d" | ".aws") || folder.contains(".tfstate")
}

/// Variables and states of Terraform.
fn may_hold_secrets(file: &str) -> bool {
    file.ends_with(".tfvars") || file.contains(".tfstate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_does_not_belong() {
        let folder = tempfile::tempdir().unwrap();
        for allowed in ["project/prod/terraform.tfvars", "state/states/prod/1.json", "prod/fallback.tfstate"]
        {
            put(folder.path(), allowed);
        }
        assert_kept(&[folder.path().to_owned(), folder.path().join("missing")]);
        for leak in ["state/runs/1.json", "prod/backend_override.tf", "log/journal.jsonl"] {
            put(folder.path(), leak);
            let leaked = std::panic::catch_unwind(|| assert_kept(&[folder.path().to_owned()])).unwrap_err();
            let words = leaked.downcast::<String>().unwrap();
            assert!(words.contains(leak) && words.ends_with("password: canary-x-1"), "{words}");
            fs::remove_file(folder.path().join(leak)).unwrap();
        }
    }

    fn put(folder: &Path, name: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "\u{e9} password: canary-x-1\"\n").unwrap();
    }

    #[test]
    fn what_stands_before_a_secret_is_shown_with_it() {
        assert_eq!(found_in("a canary sings"), None);
        assert_eq!(found_in("A=canary-1 canary-2"), Some("A=canary-1"));
        assert_eq!(found_in(&("é".repeat(500) + "canary-1")).unwrap().chars().count(), CONTEXT + 8);
    }
}
