//! What is there: in the bucket, in the folder.

use std::{collections::BTreeSet, fs, io};

use restore_lab::{s3::S3Server as _, terraform};
use serde_json::Value;

use crate::bench::Bench;

const KEY: &str = "terraform.tfstate";

/// All that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The current state, without its serial; `None` while the server is down.
    pub current: Option<Value>,
    /// The ids of all versions.
    pub versions: BTreeSet<String>,
    /// Somebody holds the lock.
    pub is_locked: bool,
    /// The files of the folder, and what they hold.
    pub files: Vec<(String, Vec<u8>)>,
    /// The kind of backend that Terraform's own note names.
    pub backend: Option<String>,
}

impl Look {
    /// Looks. The server has to run, or to be meant to be down.
    pub fn at(bench: &Bench, is_up: bool) -> io::Result<Self> {
        let (states, bucket) = (&bench.states, terraform::bucket("prod"));
        let (mut current, mut versions, mut is_locked) = (None, BTreeSet::new(), false);
        if is_up {
            let client = states.server.client()?;
            current = Some(plain(serde_json::from_slice(&client.get(&bucket, KEY, None)?)?));
            versions = client.versions(&bucket, KEY)?.into_iter().map(|version| version.id).collect();
            is_locked = client.get(&bucket, &format!("{KEY}.tflock"), None).is_ok();
        }
        let note = fs::read(states.file("prod", ".terraform/terraform.tfstate")).ok();
        let note: Option<Value> = note.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let backend = note.and_then(|note| Some(note["backend"]["type"].as_str()?.to_owned()));
        Ok(Self { current, versions, is_locked, files: states.files("prod"), backend })
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(other, _)| other == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// Files that no run may leave.
    pub fn litter(&self) -> Vec<&str> {
        let names = self.files.iter().map(|(name, _)| name.as_str());
        names.filter(|name| name.starts_with('.') && name.contains("restore-tfstate")).collect()
    }
}

/// A state without what differs between it and a copy that was rolled forward.
pub fn plain(mut state: Value) -> Value {
    if let Some(state) = state.as_object_mut() {
        state.remove("serial");
    }
    state
}
