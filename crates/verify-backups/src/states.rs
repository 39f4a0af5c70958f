//! Every version of every state, and whether it could be restored.

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use jiff::Timestamp;
use restore_common::{
    homelab::{Backend, Environment, HomelabError, Project, S3Backend, StateStore},
    interrupt::Interrupt,
    s3::{Bucket, Object, S3Error, Version, Versioning},
    state::{self, Cache, Document, StateError, Summary},
};

use crate::{
    codes::state as codes,
    finding::{Code, Finding},
    report::{BucketPart, VersionPart},
};

/// The workspace that Terraform has without being told.
const DEFAULT_WORKSPACE: &str = "default";

/// Looks at the states of all environments at the same time. The current ones are kept in `cache`, if there is one.
pub fn look(
    project: &Project,
    environments: &[Environment],
    cache: Option<Cache>,
    interrupt: &Interrupt,
) -> Vec<BucketPart> {
    let look = Look { project, cache, interrupt };
    let parts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (index, environment) in environments.iter().enumerate() {
            let (look, parts) = (&look, &parts);
            scope.spawn(move || {
                let found = look.environment(environment);
                if let Ok(mut parts) = parts.lock() {
                    parts.extend(found.into_iter().map(|part| (index, part)));
                }
            });
        }
    });
    let mut parts = parts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    parts.sort_by_key(|(index, _)| *index);
    parts.into_iter().map(|(_, part)| part).collect()
}

struct Look<'a> {
    project: &'a Project,
    /// Nothing is kept in a dry run.
    cache: Option<Cache>,
    interrupt: &'a Interrupt,
}

impl Look<'_> {
    /// The state of the default workspace first, then those of the others that are in the bucket.
    fn environment(&self, environment: &Environment) -> Vec<BucketPart> {
        let part = |finding| BucketPart {
            environment: environment.name().to_owned(),
            place: environment.dir().display().to_string(),
            versions: Vec::new(),
            findings: vec![finding],
        };
        let block = match Backend::read(environment.dir()) {
            Ok(Backend::S3(block)) => block,
            Ok(backend) => {
                let words = backend.not_s3(environment.name()).unwrap_or_default();
                return vec![part(Finding::new(&codes::NOT_IN_S3, words))];
            }
            Err(error) => return vec![part(Finding::new(&codes::COULD_NOT_CHECK, error.to_string()))],
        };
        match self.store(environment, &block, DEFAULT_WORKSPACE) {
            Ok(store) => self.workspaces(environment, &block, &store),
            Err(error) => vec![part(Finding::new(&codes::COULD_NOT_CHECK, error.to_string()))],
        }
    }

    fn store(
        &self,
        environment: &Environment,
        block: &S3Backend,
        workspace: &str,
    ) -> Result<StateStore, HomelabError> {
        self.project.state_store(environment, block, workspace, &|name| env::var_os(name))
    }

    fn workspaces(
        &self,
        environment: &Environment,
        block: &S3Backend,
        store: &StateStore,
    ) -> Vec<BucketPart> {
        let name = environment.name();
        let opened = Bucket::new(&store.endpoint, &store.bucket, store.credentials.clone())
            .map(Bucket::read_only)
            .and_then(|bucket| {
                Ok((bucket.versioning()?, bucket.versions(&block.workspaces_prefix())?, bucket))
            });
        let (versioning, others, bucket) = match opened {
            Ok(opened) => opened,
            Err(error) => return vec![unreachable(name, store, &error)],
        };
        // One that was deleted is gone on purpose.
        let there = others.iter().filter(|version| version.is_current && !version.is_marker);
        let mut workspaces: Vec<&str> =
            there.filter_map(|version| block.workspace_of(&version.key)).collect();
        workspaces.sort_unstable();
        workspaces.dedup();
        let all = std::iter::once(DEFAULT_WORKSPACE).chain(workspaces);
        let mut parts: Vec<BucketPart> =
            all.map(|workspace| self.workspace(name, &bucket, workspace, &block.key_of(workspace))).collect();
        if versioning != Versioning::Enabled
            && let Some(first) = parts.first_mut()
        {
            let words = match versioning {
                Versioning::Suspended => "versioning is suspended",
                _ => "versioning was never switched on",
            };
            first.findings.push(Finding::new(&codes::UNVERSIONED, words));
        }
        parts
    }

    fn workspace(&self, environment: &str, bucket: &Bucket, workspace: &str, key: &str) -> BucketPart {
        let name = match workspace {
            DEFAULT_WORKSPACE => environment.to_owned(),
            _ => format!("{environment} (workspace {workspace})"),
        };
        let place = format!("{}/{key} at {}", bucket.name(), bucket.endpoint());
        let mut part = BucketPart { environment: name, place, versions: Vec::new(), findings: Vec::new() };
        match state::versions(bucket, key) {
            Ok(versions) if versions.is_empty() => {
                part.findings.push(Finding::new(&codes::NONE, format!("nothing at `{key}`")));
            }
            Ok(versions) => {
                self.judge(&mut part, bucket, &versions);
                part.findings.extend(self.keep_newest(&part.versions, environment, workspace, bucket, key));
            }
            Err(error) => part.findings.push(could_not(&error)),
        }
        part.findings.extend(left_lock(bucket, key));
        part
    }

    /// Keeps the newest sound state on this machine.
    fn keep_newest(
        &self,
        versions: &[VersionPart],
        environment: &str,
        workspace: &str,
        bucket: &Bucket,
        key: &str,
    ) -> Option<Finding> {
        let cache = self.cache.as_ref()?;
        let is_sound = |version: &&VersionPart| {
            version.serial.is_some() && version.findings.iter().all(|finding| *finding.code != codes::TAG)
        };
        let sound = versions.iter().find(is_sound)?;
        let words = match bucket.get(key, Some(&sound.id)) {
            Ok(object) => cache.keep(environment, workspace, &object.bytes).err()?.to_string(),
            Err(error) => error.to_string(),
        };
        Some(Finding::new(&codes::NOT_KEPT, words))
    }

    /// Reads every version, and compares each with the one before it. What the server does not give because it went away
    /// meanwhile is not taken for damage.
    fn judge(&self, part: &mut BucketPart, bucket: &Bucket, versions: &[Version]) {
        let wanted: Vec<Version> = versions.iter().filter(|version| !version.is_marker).cloned().collect();
        let is_gone = AtomicBool::new(false);
        let go_on = || !is_gone.load(Ordering::SeqCst) && !self.interrupt.requested();
        let take = |_: &Version, object: Result<Object, S3Error>| match object {
            Err(error) if error.trouble.is_outage() => {
                is_gone.store(true, Ordering::SeqCst);
                Err(error)
            }
            object => Ok(look_at(object)),
        };
        let read = bucket.get_each_while(&wanted, state::at_once(&wanted), &go_on, take);
        if let Some(error) = read.iter().flatten().find_map(|read| read.as_ref().err()) {
            part.findings.push(could_not(error));
        }
        let mut read = read.into_iter().map(|read| read.and_then(Result::ok));
        for version in versions {
            let seen = if version.is_marker { None } else { read.next().flatten() };
            let (summary, findings) =
                seen.map_or_else(Default::default, |seen| (seen.summary, seen.findings));
            part.versions.push(VersionPart {
                id: version.id.clone(),
                written: version.written.as_second(),
                size: version.size,
                serial: summary.as_ref().map(|summary| summary.serial),
                lineage: summary.map(|summary| summary.lineage),
                current: version.is_current,
                findings,
            });
        }
        if let Some(current) = versions.iter().find(|version| version.is_current) {
            about_current(part, current);
        }
        compare(part);
    }
}

/// A server, or a bucket, that could not be asked.
fn unreachable(environment: &str, store: &StateStore, error: &S3Error) -> BucketPart {
    BucketPart {
        environment: environment.to_owned(),
        place: format!("{}/{} at {}", store.bucket, store.key, store.endpoint.url),
        versions: Vec::new(),
        findings: vec![could_not(error)],
    }
}

/// That something could not be asked, and what to do about it.
fn could_not(error: &S3Error) -> Finding {
    Finding::new(&codes::COULD_NOT_CHECK, format!("{error}; {}", error.trouble.advice()))
}

/// What one version turned out to be.
struct Seen {
    summary: Option<Summary>,
    findings: Vec<Finding>,
}

fn about_current(part: &mut BucketPart, current: &Version) {
    if current.is_marker {
        let words = format!("deleted {}", current.written.strftime("%F %T UTC"));
        part.findings.push(Finding::new(&codes::DELETED, words));
    } else if let Some(version) = part.versions.iter().find(|version| version.current)
        && version.serial.is_none()
        && !version.findings.is_empty()
    {
        let words = version.findings.first().map(|finding| finding.words.clone()).unwrap_or_default();
        part.findings.push(Finding::new(&codes::UNUSABLE, words));
    }
}

fn look_at(object: Result<Object, S3Error>) -> Seen {
    let object = match object {
        Ok(object) => object,
        Err(error) => {
            let finding = Finding::new(&codes::UNREAD, error.to_string());
            return Seen { summary: None, findings: vec![finding] };
        }
    };
    let mut findings = Vec::new();
    if object.fits_its_tag() == Some(false) {
        findings.push(Finding::new(&codes::TAG, "the content does not fit the MD5 in its ETag"));
    }
    let summary = match Document::parse(&object.bytes) {
        Ok(document) => Some(document.summary),
        Err(error) => {
            findings.push(Finding::new(code_of(&error), error.to_string()));
            None
        }
    };
    Seen { summary, findings }
}

fn code_of(error: &StateError) -> &'static Code {
    match error {
        StateError::Empty => &codes::EMPTY,
        StateError::NotJson(..) => &codes::NOT_JSON,
        StateError::NotAState(_) => &codes::NOT_A_STATE,
        StateError::Format(_) => &codes::FORMAT,
    }
}

/// One lineage, and serials that rise. The current state's lineage counts, else that of the newest one.
fn compare(part: &mut BucketPart) {
    let Some(lineage) = part.versions.iter().find_map(|version| version.lineage.clone()) else { return };
    let mut newer: Option<(usize, u64)> = None;
    for index in 0..part.versions.len() {
        let version = &mut part.versions[index];
        let (Some(serial), Some(own)) = (version.serial, &version.lineage) else { continue };
        if *own != lineage {
            let words = format!("its lineage is {own}, that of the newest state {lineage}");
            version.findings.push(Finding::new(&codes::LINEAGE, words));
            continue;
        }
        if let Some((index, higher)) = newer
            && higher <= serial
        {
            let words = format!("serial {higher} was written after serial {serial}");
            part.versions[index].findings.push(Finding::new(&codes::SERIAL, words));
        }
        newer = Some((index, serial));
    }
}

/// A lock that is older than any apply.
fn left_lock(bucket: &Bucket, key: &str) -> Option<Finding> {
    let now = Timestamp::now();
    match state::holder(bucket, key) {
        // A lock that does not say since when is one all the same.
        Ok(Some(lock)) if lock.is_old(now) || lock.created.parse::<Timestamp>().is_err() => {
            Some(Finding::new(&codes::LOCKED, lock.describe(now)))
        }
        Ok(_) => None,
        Err(error) => Some(could_not(&error)),
    }
}
