//! What lies in the operator's project and in its bucket.

use std::{
    fs,
    path::{Path, PathBuf},
};

use restore_common::{
    homelab::{Backend, Project},
    s3::xml,
    state::{Diff, Document},
};
use tempfile::TempDir;

use crate::seen;

/// The same bytes as variables, as a configuration with a backend, and as `restore.toml`.
pub(crate) fn tfvars(bytes: &[u8]) {
    thread_local!(static PLACE: Place = Place::new());
    PLACE.with(|place| {
        place.put("terraform.tfvars", bytes);
        place.read();
        place.put("terraform.tfvars", b"");
        place.put("main.tf", bytes);
        seen(Backend::read(&place.environment));
        place.put("main.tf", b"");
        place.put("../../../../restore.toml", bytes);
        place.read();
        place.put("../../../../restore.toml", b"");
    });
}

/// A project with one environment, for many inputs.
struct Place {
    root: TempDir,
    environment: PathBuf,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let environment = root.path().join("infrastructure/proxmox/environments/prod");
        fs::create_dir_all(&environment).unwrap_or_else(|error| panic!("{}: {error}", environment.display()));
        Self { root, environment }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.environment.join(name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    fn read(&self) {
        let read = || {
            let project = Project::find(Some(self.root.path()), &|_| None, Path::new("/"))?;
            for environment in project.environments()? {
                let node = environment.node()?.label();
                seen((node, format!("{:?} {:?}", environment.guests(), environment.minio())));
            }
            Ok(())
        };
        if let Err(error) = read() {
            let error: restore_common::homelab::HomelabError = error;
            seen(error.to_string());
        }
    }
}

/// A state, with another serial, and against what it then is.
pub(crate) fn state(bytes: &[u8]) {
    let Ok(document) = Document::parse(bytes) else { return };
    let Ok(next) = Document::with_serial(bytes, document.summary.serial ^ 1) else { return };
    let next = Document::parse(&next).unwrap_or_else(|error| panic!("with another serial: {error}"));
    let (Some(before), Some(after)) = (&document.resources, &next.resources) else { return };
    assert!(Diff::between(before, after).is_empty(), "only the serial is another");
}

pub(crate) fn s3(bytes: &[u8]) {
    seen(xml::refusal(bytes));
    seen(xml::page(bytes));
    seen(xml::versioning(bytes));
}
