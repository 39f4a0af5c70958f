//! What Terraform keeps in the folder of an environment, and what a fallback puts there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::homelab::Variables;

/// The folder that `init` fills: `TF_DATA_DIR`, else `.terraform`.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// That of an environment's folder.
    pub fn of(dir: &Path, variables: Variables<'_>) -> Self {
        let named = variables("TF_DATA_DIR").filter(|value| !value.is_empty());
        Self(dir.join(named.map_or_else(|| PathBuf::from(".terraform"), PathBuf::from)))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Terraform's own note of the backend that was initialised.
    pub fn backend_note(&self) -> PathBuf {
        self.0.join("terraform.tfstate")
    }

    /// The providers that `init` has put there.
    pub fn providers(&self) -> PathBuf {
        self.0.join("providers")
    }

    /// The workspace that is selected.
    pub fn workspace(&self) -> Option<String> {
        let name = fs::read_to_string(self.0.join("environment")).ok()?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    }
}

/// What the first line of an override begins with that these programs wrote.
pub const OVERRIDE_MARK: &str = "# pve-restore: ";

/// The text of the override that puts a local backend in place, with `note` about what it was made from on one line.
pub fn override_text<N: Serialize>(
    note: &N,
    again: &str,
    state: &str,
    workspaces: &str,
) -> io::Result<String> {
    let note = serde_json::to_string(note)?;
    Ok(format!(
        r#"{OVERRIDE_MARK}{note}
# The state is kept in this folder until the S3 server is back. Then: {again}
terraform {{
  backend "local" {{
    path          = "{state}"
    workspace_dir = "{workspaces}"
  }}
}}
"#
    ))
}

/// Reads an override of these programs. `Ok(None)`: there is none. An error: there is one that is somebody else's, or
/// one that cannot be read.
pub fn read_override<N: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<N>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let note = text.lines().next().and_then(|line| line.strip_prefix(OVERRIDE_MARK));
    let note = note.and_then(|note| serde_json::from_str(note).ok());
    note.map(Some).ok_or_else(|| io::Error::other("it was not written by these programs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_of_ours_is_known_again_and_a_foreign_one_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backend_override.tf");
        assert_eq!(read_override::<String>(&path).unwrap(), None);
        let text = override_text(&"a \"note\"\nof two lines", "restore-tfstate --return", "x.tfstate", "x.d")
            .unwrap();
        fs::write(&path, &text).unwrap();
        assert_eq!(read_override::<String>(&path).unwrap().as_deref(), Some("a \"note\"\nof two lines"));
        assert!(hcl::parse(&text).is_ok(), "{text}");
        fs::write(&path, "terraform {}\n").unwrap();
        assert!(read_override::<String>(&path).is_err());
    }

    #[test]
    fn the_data_folder_follows_its_variable() {
        let dir = Path::new("/project/prod");
        assert_eq!(DataFolder::of(dir, &|_| None).backend_note(), dir.join(".terraform/terraform.tfstate"));
        let elsewhere = DataFolder::of(dir, &|_| Some("/data".into()));
        assert_eq!(elsewhere.backend_note(), Path::new("/data/terraform.tfstate"));
    }
}
