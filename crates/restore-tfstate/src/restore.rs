//! `--restore V`: a version of the state becomes the newest one again.

use jiff::{Timestamp, tz::TimeZone};
use restore_common::{
    procedure::{Failure, Plan, Problem, Question, Run, Step, Undo},
    s3::Versioning,
    state::{Diff, Document, Entry, LockInfo},
    terraform::Terraform,
    ui::{format, sanitize},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    list::{self, Listed},
    select::Selector,
    show,
    site::{Seen, Site, digest},
    steps,
    work::{Context, Work},
};

/// A decided restore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Restoration {
    /// The version that is wanted.
    pub version: String,
    /// When it was written.
    pub written: Timestamp,
    /// What it is.
    pub wanted: Seen,
    /// The version that is current now, if there is one, and what it is.
    pub now: Option<(String, Seen)>,
    /// The serial that it gets; an encrypted state keeps its own.
    pub serial: Option<u64>,
    /// SHA-256 of what will be written.
    pub target: String,
    /// The lock.
    pub lock: LockInfo,
    /// The program.
    pub terraform: Terraform,
}

impl Work for Restoration {
    const MODE: &'static str = "restore";

    fn lock(&self) -> &LockInfo {
        &self.lock
    }

    fn terraform(&self) -> &Terraform {
        &self.terraform
    }

    fn replaced(&self) -> Option<&str> {
        self.now.as_ref().map(|(version, _)| version.as_str())
    }
}

/// What came of the look.
pub enum Decision {
    /// This is to be done; with the difference from what is there now.
    Do(Box<Restoration>, Option<Diff>),
    /// It is so already.
    Nothing(String),
    /// It cannot be.
    No(Vec<Problem>),
}

/// Decides the restore of a version.
pub fn decide(site: &Site, wanted: &str, lock: LockInfo, terraform: Terraform) -> anyhow::Result<Decision> {
    let selector = match Selector::parse(wanted, Timestamp::now(), &TimeZone::system()) {
        Ok(selector) => selector,
        Err(problem) => return Ok(Decision::No(vec![problem])),
    };
    let listed = list::read(site)?;
    let mut problems = speaks_against(site, &listed, &terraform);
    if listed.history.is_empty() {
        problems.push(Problem::new(format!("there is no state of {} in {}", site.name(), site.place())));
        return Ok(Decision::No(problems));
    }
    let entry = match selector.choose(&listed.history) {
        Ok(place) => &listed.history[place],
        Err(problem) => {
            problems.push(problem);
            return Ok(Decision::No(problems));
        }
    };
    let (document, bytes) = match show::document(site, entry)? {
        Ok(read) => read,
        Err(problem) => {
            problems.push(problem);
            return Ok(Decision::No(problems));
        }
    };
    let current = site.current()?.map(|object| object.bytes);
    let wanted = Seen::of(&bytes);
    let now = current.as_ref().map(|bytes| (version_of_current(&listed.history), Seen::of(bytes)));
    problems.extend(foreign(entry, &wanted, now.as_ref().map(|(_, seen)| seen)));
    if !problems.is_empty() {
        return Ok(Decision::No(problems));
    }
    if let Some((_, seen)) = now.as_ref().filter(|(_, seen)| seen.likeness == wanted.likeness) {
        return Ok(Decision::Nothing(format!(
            "the current state of {} is that of version {} already ({})",
            site.name(),
            sanitize(&entry.version.id),
            seen.describe()
        )));
    }
    let highest = listed.history.iter().filter_map(Entry::summary).map(|summary| summary.serial).max();
    let serial = (!document.summary.encrypted).then(|| highest.unwrap_or_default() + 1);
    let target = rolled_forward(bytes, serial)?;
    let before =
        current.as_deref().and_then(|bytes| Document::parse(bytes).ok()).and_then(|now| now.resources);
    let diff = document.resources.as_ref().map(|wanted| Diff::between(&before.unwrap_or_default(), wanted));
    let restoration = Restoration {
        version: entry.version.id.clone(),
        written: entry.version.written,
        wanted,
        now,
        serial,
        target: digest(&target),
        lock,
        terraform,
    };
    Ok(Decision::Do(Box::new(restoration), diff))
}

fn speaks_against(site: &Site, listed: &Listed, terraform: &Terraform) -> Vec<Problem> {
    let mut problems = Vec::new();
    if listed.versioning != Versioning::Enabled {
        problems.push(
            Problem::new(format!(
                "bucket `{}` keeps no versions, so a write could not be taken back",
                site.store.bucket
            ))
            .hint("turn versioning on for it; `rebuild-minio` does so as well"),
        );
    }
    problems.extend(listed.lock.as_ref().map(|lock| site.locked(lock, &terraform.program)));
    if site.override_file().exists() {
        let problem = Problem::new(format!(
            "{} does not work with its bucket now: `{}` puts another backend in place",
            site.name(),
            site.override_file().display()
        ));
        problems.push(problem.hint(format!("end the fallback first: `{} --return`", site.again())));
    }
    problems
}

/// A state of another history: Terraform would refuse it, or worse, believe it.
fn foreign(entry: &Entry, wanted: &Seen, now: Option<&Seen>) -> Option<Problem> {
    let now = now.filter(|now| now.summary.is_some())?;
    (!wanted.is_kin_of(now)).then(|| {
        Problem::new(format!(
            "version `{}` has another lineage than the current state: it is the state of something else",
            sanitize(&entry.version.id)
        ))
        .hint("if it is what you want, read it with `--show` and push it yourself: `terraform state push -force`")
    })
}

fn version_of_current(history: &[Entry]) -> String {
    history
        .iter()
        .find(|entry| entry.version.is_current)
        .map(|entry| entry.version.id.clone())
        .unwrap_or_default()
}

fn rolled_forward(bytes: Vec<u8>, serial: Option<u64>) -> anyhow::Result<Vec<u8>> {
    match serial {
        Some(serial) => Ok(Document::with_serial(&bytes, serial)?),
        None => Ok(bytes),
    }
}

/// The plan. `now` is this machine's clock.
pub fn plan<'a>(site: &Site, what: &Restoration, diff: Option<&Diff>) -> Plan<Context<'a, Restoration>> {
    let version = sanitize(&what.version).into_owned();
    let zone = TimeZone::system();
    let written = what.written.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let age = format::age(what.written.as_second(), Timestamp::now().as_second());
    let becomes = what.serial.map_or_else(|| "as it is".to_owned(), |serial| format!("as serial {serial}"));
    let now = what.now.as_ref().map_or_else(
        || "no state".to_owned(),
        |(version, seen)| format!("{} (version {})", seen.describe(), sanitize(version)),
    );
    let facts = vec![
        ("from".to_owned(), format!("version {version}: {}", what.wanted.describe())),
        ("written".to_owned(), format!("{written} ({age})")),
        ("in place of".to_owned(), now),
        ("where".to_owned(), site.place()),
    ];
    let details = diff.map(|diff| format!("From the state of now to that one\n{}", show::diff_text(diff)));
    let unwrite =
        Undo::By { says: "write what was there before as the newest version".to_owned(), run: unwrite };
    let mut warnings = Vec::new();
    if what.serial.is_none() {
        warnings.push("the state is encrypted: it is written as it is, with its old serial".to_owned());
    }
    if !site.store.lockfile {
        warnings.push(
            "the backend has no `use_lockfile`: Terraform does not see the lock of this run".to_owned(),
        );
    }
    Plan {
        title: format!("Restore the state of {}", site.name()),
        facts,
        details: details.into_iter().collect(),
        warnings,
        steps: vec![
            steps::lock_step(site),
            Step::write(
                "keep",
                "Keep a copy of the current state here",
                keep,
                Undo::NotNeeded("a copy harms nobody"),
            ),
            Step::write(
                "write",
                format!("Write version {version} as the newest version, {becomes}"),
                write,
                unwrite,
            ),
            Step::read("compare", "Read it back and compare", compare),
            steps::unlock_step(site),
            Step::write(
                "init",
                "Let Terraform take the backend anew",
                steps::init,
                Undo::NotNeeded("it changes no state"),
            )
            .commands([what.terraform.init(&site.dir)])
            .keep_on_failure(),
        ],
        checks: vec![steps::plan_check()],
        question: Question::YesNo(format!("Make this the current state of {}?", site.name())),
        subject: json!({
            "environment": site.environment,
            "workspace": site.workspace,
            "bucket": site.store.bucket,
            "key": site.store.key,
            "version": what.version,
            "serial_before": what.now.as_ref().map(|(_, seen)| seen.serial()),
            "serial": what.serial,
        }),
        next: Vec::new(),
    }
}

type Ctx<'a> = Context<'a, Restoration>;

fn keep(ctx: &mut Ctx<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    run.safe_point()?;
    let seen = ctx.what.now.as_ref().map(|(_, seen)| seen.clone());
    steps::keep_current(ctx, seen.as_ref())?;
    Ok(ctx.found.before.as_ref().map(|path| path.display().to_string()))
}

fn write(ctx: &mut Ctx<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    run.safe_point()?;
    let Restoration { version, serial, target, now, .. } = &ctx.what;
    let bytes = ctx.site.bucket.get(&ctx.site.store.key, Some(version))?.bytes;
    let bytes = rolled_forward(bytes, *serial)?;
    if digest(&bytes) != *target {
        return Err(Failure::new(format!("version `{}` is not what it was", sanitize(version))).into());
    }
    steps::write_current(ctx.site, &bytes, now.as_ref().map(|(_, seen)| seen))?;
    Ok(None)
}

fn unwrite(ctx: &mut Ctx<'_>, _: &Run<'_>) -> anyhow::Result<Option<String>> {
    let serial = ctx.what.serial.unwrap_or_else(|| ctx.what.wanted.serial());
    steps::unwrite(ctx.site, &ctx.what.target, serial, ctx.found.before.as_deref())
}

fn compare(ctx: &mut Ctx<'_>, _: &Run<'_>) -> anyhow::Result<Option<String>> {
    steps::compare(ctx.site, &ctx.what.target)
}
