//! What a run works on: shared by all modes, so that the steps they have in common are written once.

use std::path::PathBuf;

use restore_common::{
    procedure::{Kept, Workplace},
    remote::{Command, Host},
    state::{LockInfo, file_name},
    terraform::{PlanSummary, Terraform},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::site::{DEFAULT_WORKSPACE, Site, digest};

/// The decided work of one mode. It is kept in the journal; from it a run that was cut off is carried on.
pub trait Work: Serialize + DeserializeOwned {
    /// Its name in the journal.
    const MODE: &'static str;

    /// The lock that it takes on the state in S3.
    fn lock(&self) -> &LockInfo;

    /// The program that is run.
    fn terraform(&self) -> &Terraform;

    /// The version in the bucket that it takes the place of.
    fn replaced(&self) -> Option<&str>;

    /// Files that its steps change by the way, and that are kept to be put back: those that `init` writes.
    fn by_the_way(&self, site: &Site) -> Vec<PathBuf> {
        vec![site.data.backend_note(), site.dir.join(".terraform.lock.hcl")]
    }
}

/// A run at work.
pub struct Context<'a, W> {
    /// This machine.
    pub host: &'a dyn Host,
    /// Where the state is.
    pub site: &'a Site,
    /// What is to be done.
    pub what: W,
    /// What the steps found out.
    pub found: Found,
}

/// What the steps found out, and later ones or the report need.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// The lock was taken, and not given back yet.
    pub holds_lock: bool,
    /// The server takes every write, so that the lock keeps nobody out.
    pub lock_is_vain: bool,
    /// The copy of the state in S3 as it was before.
    pub before: Option<PathBuf>,
    /// Copies of other states that were there before.
    pub copies: Vec<PathBuf>,
    /// The state that is put in place, as a file.
    pub source: Option<PathBuf>,
    /// Something was, or may have been, written to the bucket.
    pub has_written: bool,
    /// What an apply would do now.
    pub plan: Option<PlanSummary>,
}

impl<'a, W: Work> Context<'a, W> {
    /// Ready to begin.
    pub fn new(host: &'a dyn Host, site: &'a Site, what: W) -> Self {
        Self { host, site, what, found: Found::default() }
    }

    /// One that was cut off, from its journal.
    pub fn from_journal(
        host: &'a dyn Host,
        site: &'a Site,
        work: &Value,
        found: &Value,
    ) -> serde_json::Result<Self> {
        let found = if found.is_null() { Found::default() } else { Found::deserialize(found)? };
        Ok(Self { host, site, what: W::deserialize(&work["what"])?, found })
    }
}

/// The journal's name of a run on a state.
pub fn journal_name(environment: &str, workspace: &str) -> String {
    let mut name = format!("{}-{}", crate::app::PROGRAM, file_name(environment));
    if workspace != DEFAULT_WORKSPACE {
        name = format!("{name}-{}", file_name(workspace));
    }
    name
}

impl<W: Work> Workplace for Context<'_, W> {
    fn host(&self) -> &dyn Host {
        self.host
    }

    fn kept(&self) -> Vec<Kept> {
        let remove = |path: &PathBuf| Command::destroy("rm").arg(path.to_string_lossy()).to_string();
        let before = self.found.before.iter().map(|path| Kept {
            what: format!("copy of the state of {} as it was in the bucket", self.site.name()),
            place: path.display().to_string(),
            go_back: self
                .what
                .replaced()
                .map(|version| format!("{} --restore {}", self.site.again(), Command::read(version))),
            remove: remove(path),
        });
        let copies = self.found.copies.iter().map(|path| Kept {
            what: format!("copy of a state of {} that was in its folder", self.site.name()),
            place: path.display().to_string(),
            go_back: None,
            remove: remove(path),
        });
        before.chain(copies).collect()
    }

    fn next(&self) -> Vec<String> {
        let vain = self.found.lock_is_vain.then(|| {
            format!(
                "the server at {} lets everybody overwrite a lock, so locks protect nobody there: run one Terraform at a time",
                self.site.store.endpoint.url
            )
        });
        let plan = self.found.plan.as_ref().filter(|plan| !plan.is_empty()).map(|plan| {
            format!("an apply would change something ({plan}): read `terraform plan` before the next apply")
        });
        vain.into_iter().chain(plan).collect()
    }

    fn claim(&self) -> String {
        let folder = digest(self.site.dir.to_string_lossy().as_bytes());
        format!(
            "state-{}-{}-{}",
            file_name(&self.site.environment),
            file_name(&self.site.workspace),
            &folder[..8]
        )
    }

    fn work(&self) -> Value {
        json!({
            "mode": W::MODE,
            "environment": self.site.environment,
            "workspace": self.site.workspace,
            "dir": self.site.dir,
            "what": self.what,
        })
    }

    fn found(&self) -> Value {
        serde_json::to_value(&self.found).unwrap_or_default()
    }
}
