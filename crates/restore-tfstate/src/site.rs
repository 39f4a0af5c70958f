//! Where the state of one workspace of an environment is, and what surrounds it.

use std::{
    env,
    path::{Path, PathBuf},
};

use restore_common::{
    cli::state_folder,
    homelab::{Backend, Environment, OVERRIDE, Project, StateStore},
    procedure::{Failure, Problem},
    remote::LocalHost,
    s3::{Bucket, Object, S3Error, Trouble},
    state::{Cache, Document, LockInfo, Summary, lock_key},
    terraform::{DataFolder, Terraform},
    ui::Secret,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The state of one workspace of an environment.
pub struct Site {
    /// The environment.
    pub environment: String,
    /// The workspace.
    pub workspace: String,
    /// The folder of its configuration.
    pub dir: PathBuf,
    /// Where the state is.
    pub store: StateStore,
    /// The bucket it is in.
    pub bucket: Bucket,
    /// The copies on this machine.
    pub cache: Cache,
    /// What Terraform keeps in the folder.
    pub data: DataFolder,
    /// Nothing may be changed, not even a copy kept.
    pub dry_run: bool,
}

/// The workspace that Terraform has without being told.
pub const DEFAULT_WORKSPACE: &str = "default";

impl Site {
    /// Finds it; the problem says why there is none in S3. `workspace` is that of the command line.
    pub fn find(
        project: &Project,
        environment: &Environment,
        workspace: Option<&str>,
        dry_run: bool,
    ) -> anyhow::Result<Result<Self, Problem>> {
        let variable = |name: &str| env::var_os(name);
        let dir = std::path::absolute(environment.dir())?;
        let backend = Backend::read(&dir)?;
        let name = environment.name().to_owned();
        let Backend::S3(block) = &backend else {
            let why = backend.not_s3(&name).unwrap_or_default();
            return Ok(Err(Problem::new(why).hint(format!(
                "`terraform -chdir={} state list` shows it; a backend block for S3 makes it safe",
                dir.display()
            ))));
        };
        let data = DataFolder::of(&dir, &variable);
        let workspace = workspace
            .map(str::to_owned)
            .or_else(|| env::var("TF_WORKSPACE").ok().filter(|name| !name.is_empty()));
        let workspace =
            workspace.or_else(|| data.workspace()).unwrap_or_else(|| DEFAULT_WORKSPACE.to_owned());
        let store = project.state_store(environment, block, &workspace, &variable)?;
        let bucket = Bucket::new(&store.endpoint, &store.bucket, store.credentials.clone())?;
        let bucket = if dry_run { bucket.read_only() } else { bucket };
        let cache = Cache::new(&state_folder());
        Ok(Ok(Self { environment: name, workspace, dir, store, bucket, cache, data, dry_run }))
    }

    /// What the state is the state of: `prod`, or `prod (workspace blue)`.
    pub fn name(&self) -> String {
        if self.workspace == DEFAULT_WORKSPACE {
            self.environment.clone()
        } else {
            format!("{} (workspace {})", self.environment, self.workspace)
        }
    }

    /// How the operator calls this program for the same state: `restore-tfstate --env prod`.
    pub fn again(&self) -> String {
        let word = |word: &str| restore_common::remote::Command::read(word).to_string();
        let again = format!("restore-tfstate --env {}", word(&self.environment));
        if self.workspace == DEFAULT_WORKSPACE {
            again
        } else {
            format!("{again} --workspace {}", word(&self.workspace))
        }
    }

    /// Where the state is: `bucket/key at http://…`.
    pub fn place(&self) -> String {
        format!("{}/{} at {}", self.store.bucket, self.store.key, self.store.endpoint.url)
    }

    /// The override that a fallback puts in place.
    pub fn override_file(&self) -> PathBuf {
        self.dir.join(OVERRIDE)
    }

    /// What Terraform needs in its environment.
    pub fn variables(&self) -> Vec<(String, Secret)> {
        Terraform::variables(
            &self.store.credentials,
            self.store.endpoint.authority.as_deref(),
            &self.workspace,
        )
    }

    /// This machine, with what Terraform needs in its environment.
    pub fn host(&self) -> std::io::Result<LocalHost> {
        LocalHost::new(&state_folder(), self.variables())
    }

    /// A lock on the state, from now on.
    pub fn lock(&self) -> LockInfo {
        LockInfo::new(lock_id(), who(), crate::app::VERSION, &self.store.bucket, &self.store.key)
    }

    /// The current state, if there is one.
    pub fn current(&self) -> Result<Option<Object>, S3Error> {
        match self.bucket.get(&self.store.key, None) {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.trouble == Trouble::NoObject => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a copy on this machine. What cannot be kept is said and harms nothing else.
    pub fn keep(&self, bytes: &[u8]) -> Option<PathBuf> {
        if self.dry_run {
            return None;
        }
        match self.cache.keep(&self.environment, &self.workspace, bytes) {
            Ok(path) => Some(path),
            Err(error) => {
                log::warn!("no copy of the state of {} is kept: {error}", self.name());
                None
            }
        }
    }

    /// Why somebody else's lock speaks against any change, and how it is broken.
    pub fn locked(&self, lock: &LockInfo, terraform: &str) -> Problem {
        let now = jiff::Timestamp::now();
        let problem =
            Problem::new(format!("the state of {} is locked by {}", self.name(), lock.describe(now)));
        let command = Terraform::force_unlock(terraform, &self.dir, &lock.id);
        problem.hint(if lock.id.is_empty() {
            format!(
                "its lock `{}` in bucket `{}` cannot be read; look at it",
                lock_key(&self.store.key),
                self.store.bucket
            )
        } else if lock.is_old(now) {
            format!("it is old: if that work is surely over, `{command}` breaks the lock")
        } else {
            format!("wait for its end; if it was killed, `{command}` breaks the lock")
        })
    }
}

/// A state as it was seen, by what tells it from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// The same, but for its serial: equal for a state and one that was rolled forward from it.
    pub likeness: String,
    /// What it says about itself; nothing when it is no state.
    pub summary: Option<Summary>,
    /// How many resources it holds.
    pub resources: Option<usize>,
}

impl Seen {
    /// Looks at a state.
    pub fn of(bytes: &[u8]) -> Self {
        let document = Document::parse(bytes).ok();
        let plain = Document::with_serial(bytes, 0);
        Self {
            sha256: digest(bytes),
            likeness: plain.map_or_else(|_| digest(bytes), |plain| digest(&plain)),
            resources: document.as_ref().and_then(Document::instance_count),
            summary: document.map(|document| document.summary),
        }
    }

    /// Its serial; 0 when it has none.
    pub fn serial(&self) -> u64 {
        self.summary.as_ref().map_or(0, |summary| summary.serial)
    }

    /// `serial 41, 12 resources`.
    pub fn describe(&self) -> String {
        let Some(summary) = &self.summary else { return "something that is no state".to_owned() };
        let resources = match (self.resources, summary.encrypted) {
            (Some(count), _) => restore_common::ui::format::counted(count as u64, "resource"),
            (None, true) => "encrypted".to_owned(),
            (None, false) => "unknown resources".to_owned(),
        };
        format!("serial {}, {resources}", summary.serial)
    }

    /// Whether both are of one history; what has no lineage is of none.
    pub fn is_kin_of(&self, other: &Self) -> bool {
        let lineage = |seen: &Self| seen.summary.as_ref().map(|summary| summary.lineage.clone());
        lineage(self).is_some() && lineage(self) == lineage(other)
    }
}

/// An id that no other lock has, in the form that Terraform's have.
fn lock_id() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let (a, b) = (RandomState::new().hash_one(0), RandomState::new().hash_one(1));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xffff,
        b >> 48,
        b & 0xffff_ffff_ffff
    )
}

/// `user@machine`, as Terraform's locks have it.
fn who() -> String {
    let user = env::var("USER").or_else(|_| env::var("LOGNAME")).unwrap_or_else(|_| "somebody".to_owned());
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// SHA-256 as text.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        use std::fmt::Write as _;
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Reads a file whose content was seen before; an error when it is another one by now.
pub fn read_seen(path: &Path, seen: &Seen) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::new(format!("`{}` cannot be read", path.display())).because(error))?;
    if digest(&bytes) == seen.sha256 {
        return Ok(bytes);
    }
    Err(Failure::new(format!("`{}` has changed since it was looked at", path.display()))
        .hint("look again: run the same command once more")
        .into())
}
