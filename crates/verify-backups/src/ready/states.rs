//! Whether a copy of every state is on this machine, and whether it is the current one.

use std::{env, fs};

use jiff::Timestamp;
use restore_common::{
    homelab::{Backend, Environment, S3Backend},
    s3::{Bucket, S3Error, Trouble},
    state::{Cache, Cached, Document, Summary},
    ui::format,
};

use super::Ready;
use crate::{codes::ready as codes, report::ReadyPart};

const DEFAULT_WORKSPACE: &str = "default";

pub(super) fn look(ready: &Ready<'_>, environments: &[Environment]) -> Vec<ReadyPart> {
    environments.iter().flat_map(|environment| of_environment(ready, environment)).collect()
}

fn of_environment(ready: &Ready<'_>, environment: &Environment) -> Vec<ReadyPart> {
    match Backend::read(environment.dir()) {
        Ok(Backend::S3(block)) => of_bucket(ready, environment, &block),
        Ok(Backend::Local { .. }) => vec![in_folder(environment)],
        Ok(Backend::Other(name)) => {
            let words = format!("it is kept in the backend `{name}`");
            vec![ReadyPart::ready("state", environment.name(), words)]
        }
        Err(error) => {
            vec![ReadyPart::lacking("state", environment.name(), &codes::TFVARS, error.to_string())]
        }
    }
}

/// The state is a file in the environment's folder. Where nothing was ever applied there is none.
fn in_folder(environment: &Environment) -> ReadyPart {
    let path = environment.dir().join("terraform.tfstate");
    let name = environment.name();
    match fs::read(&path).map(|bytes| Document::parse(&bytes)) {
        Ok(Ok(document)) => {
            ReadyPart::ready("state", name, format!("serial {}, in its folder", document.summary.serial))
        }
        Ok(Err(error)) => {
            let words = format!("`{}`: {error}", path.display());
            ReadyPart::lacking("state", name, &codes::STATE_COPY, words)
        }
        Err(error) => {
            let words = format!("no S3 backend, and `{}`: {error}", path.display());
            ReadyPart::lacking("state", name, &codes::STATE_COPY, words)
        }
    }
}

/// The default workspace, and the others that are in the bucket.
fn of_bucket(ready: &Ready<'_>, environment: &Environment, block: &S3Backend) -> Vec<ReadyPart> {
    let name = environment.name();
    let store = ready.project.state_store(environment, block, DEFAULT_WORKSPACE, &|name| env::var_os(name));
    let store = match store {
        Ok(store) => store,
        Err(error) => return vec![ReadyPart::lacking("state", name, &codes::TFVARS, error.to_string())],
    };
    let opened =
        Bucket::new(&store.endpoint, &store.bucket, store.credentials.clone()).map(Bucket::read_only);
    let others = opened.as_ref().map_err(Clone::clone).and_then(|bucket| {
        let versions = bucket.versions(&block.workspaces_prefix())?;
        let current = versions.into_iter().filter(|version| version.is_current && !version.is_marker);
        Ok(current.filter_map(|version| block.workspace_of(&version.key).map(str::to_owned)).collect())
    });
    let (others, broken): (Vec<String>, Option<S3Error>) = match others {
        Ok(others) => (others, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let all = std::iter::once(DEFAULT_WORKSPACE.to_owned()).chain(others);
    let cache = Cache::new(&ready.frame.state);
    all.map(|workspace| {
        let current = match (&opened, &broken) {
            (Ok(bucket), None) => current(bucket, &block.key_of(&workspace)),
            (_, Some(error)) | (Err(error), None) => Err(error.clone()),
        };
        let label = if workspace == DEFAULT_WORKSPACE {
            name.to_owned()
        } else {
            format!("{name} (workspace {workspace})")
        };
        compared(&label, cache.list(name, &workspace).unwrap_or_default().into_iter().next(), current)
    })
    .collect()
}

/// The state in the bucket; nothing where there is none.
fn current(bucket: &Bucket, key: &str) -> Result<Option<Summary>, S3Error> {
    match bucket.get(key, None) {
        // One that is no state is found by every other run.
        Ok(object) => Ok(Document::parse(&object.bytes).ok().map(|document| document.summary)),
        Err(error) if error.trouble == Trouble::NoObject => Ok(None),
        Err(error) => Err(error),
    }
}

fn compared(name: &str, copy: Option<Cached>, current: Result<Option<Summary>, S3Error>) -> ReadyPart {
    let copy = copy.map(|copy| {
        let written = Timestamp::try_from(copy.written).unwrap_or_default();
        let age = format::age(written.as_second(), Timestamp::now().as_second());
        (format!("serial {}, kept {age}", copy.summary.serial), copy.summary)
    });
    match (copy, current) {
        (None, Ok(None)) => ReadyPart::ready("state", name, "there is none yet"),
        (None, Ok(Some(_))) => ReadyPart::lacking(
            "state",
            name,
            &codes::STATE_COPY,
            "the bucket has a state, this machine no copy",
        ),
        (None, Err(error)) => {
            let words = format!("this machine has no copy, and the bucket could not be asked: {error}");
            ReadyPart::lacking("state", name, &codes::STATE_COPY, words)
        }
        (Some((words, _)), Err(error)) => {
            let words = format!("{words}; whether that is the current one could not be asked: {error}");
            ReadyPart::lacking("state", name, &codes::NOT_ASKED, words)
        }
        (Some((words, copy)), Ok(Some(now)))
            if (now.serial, &now.lineage) == (copy.serial, &copy.lineage) =>
        {
            ReadyPart::ready("state", name, format!("{words}, as in the bucket"))
        }
        (Some((words, copy)), Ok(Some(now))) => {
            let other = if now.lineage == copy.lineage { "" } else { " and another lineage" };
            let words = format!("{words}; the bucket has serial {}{other}", now.serial);
            ReadyPart::lacking("state", name, &codes::STATE_OLD, words)
        }
        (Some((words, _)), Ok(None)) => {
            let words = format!("{words}; the bucket has none that can be read");
            ReadyPart::lacking("state", name, &codes::STATE_OLD, words)
        }
    }
}
