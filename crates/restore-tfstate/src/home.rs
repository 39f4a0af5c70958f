//! `--return`: the S3 server is back; the state goes home, and the fallback ends.

use std::{fs, path::PathBuf};

use restore_common::{
    procedure::{Failure, Plan, Problem, Question, Run, Step, Undo},
    s3::{Trouble, Versioning},
    state::{self, Document, LockInfo},
    terraform::{Terraform, read_override},
    ui::format,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    copies::{Copy, local_state},
    fallback::{Note, foreign_override},
    list::{self},
    site::{Seen, Site, digest, read_seen},
    steps,
    work::{Context, Work},
};

/// A decided return.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Home {
    /// The state of the fallback.
    pub local: Copy,
    /// What is in the bucket now.
    pub now: Option<Seen>,
    /// What has to be written there; `None`: what is there is right.
    pub upload: Option<Upload>,
    /// The override as it is.
    pub override_text: String,
    /// The lock.
    pub lock: LockInfo,
    /// The program.
    pub terraform: Terraform,
    /// What to know before saying yes.
    pub warnings: Vec<String>,
}

/// What is written to the bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upload {
    /// With another serial than the local one: above all that were in the bucket.
    pub serial: Option<u64>,
    /// SHA-256 of it.
    pub target: String,
}

impl Work for Home {
    const MODE: &'static str = "return";

    fn lock(&self) -> &LockInfo {
        &self.lock
    }

    fn terraform(&self) -> &Terraform {
        &self.terraform
    }

    fn replaced(&self) -> Option<&str> {
        None
    }

    fn by_the_way(&self, site: &Site) -> Vec<PathBuf> {
        vec![site.data.backend_note(), site.dir.join(".terraform.lock.hcl"), backup_of(&self.local.path)]
    }
}

/// What came of the look.
pub enum Decision {
    /// This is to be done.
    Do(Box<Home>),
    /// It is so already.
    Nothing(String),
    /// It cannot be.
    No(Vec<Problem>),
}

/// Decides the return of one state.
pub fn decide(site: &Site, lock: LockInfo, terraform: Terraform) -> anyhow::Result<Decision> {
    let file = site.override_file();
    let note = match read_override::<Note>(&file) {
        Ok(Some(note)) => note,
        Ok(None) => {
            return Ok(Decision::Nothing(format!(
                "{} is not on fallback: its state is at {}",
                site.name(),
                site.place()
            )));
        }
        Err(error) => return Ok(Decision::No(vec![foreign_override(site, &error)])),
    };
    if note.workspace != site.workspace {
        let problem =
            Problem::new(format!("the fallback of {} is that of another workspace", site.environment));
        return Ok(Decision::No(vec![
            problem.hint(format!("say `--workspace {}`", restore_common::ui::sanitize(&note.workspace))),
        ]));
    }
    let override_text = fs::read_to_string(&file)?;
    let mut problems = Vec::new();
    match site.bucket.versioning() {
        Ok(Versioning::Enabled) => {}
        Ok(_) => problems.push(
            Problem::new(format!("bucket `{}` keeps no versions", site.store.bucket))
                .hint("turn versioning on for it; `rebuild-minio` does so as well"),
        ),
        Err(error) => {
            let hint = if error.trouble == Trouble::Refused {
                "start the server first; until then the fallback goes on"
            } else {
                error.trouble.advice()
            };
            return Ok(Decision::No(vec![Problem::new(error.to_string()).hint(hint)]));
        }
    }
    problems.extend(
        state::holder(&site.bucket, &site.store.key)?.map(|lock| site.locked(&lock, &terraform.program)),
    );
    let place = local_state(site);
    let Some(local) = local(&place) else {
        problems.push(
            Problem::new(format!("the state of the fallback, `{}`, is not there or is no state", place.display()))
                .hint("if it is lost, remove the override and run `terraform init -reconfigure`: the bucket has the state from before"),
        );
        return Ok(Decision::No(problems));
    };
    let now = site.current()?.map(|object| Seen::of(&object.bytes));
    let verdict = compare(site, &note.base, &local, now.as_ref());
    let (takes_local, warnings) = match verdict {
        Ok(verdict) => verdict,
        Err(problem) => {
            problems.push(problem);
            return Ok(Decision::No(problems));
        }
    };
    if !problems.is_empty() {
        return Ok(Decision::No(problems));
    }
    let upload = if takes_local { Some(upload(site, &local)?) } else { None };
    Ok(Decision::Do(Box::new(Home { local, now, upload, override_text, lock, terraform, warnings })))
}

fn local(place: &std::path::Path) -> Option<Copy> {
    let bytes = fs::read(place).ok()?;
    let seen = Seen::of(&bytes);
    let written = fs::metadata(place).and_then(|meta| meta.modified()).ok()?;
    let written = jiff::Timestamp::try_from(written).unwrap_or_default();
    seen.summary.is_some().then(|| Copy { path: place.to_owned(), written, seen })
}

/// Whether the local state is to be written, or what is in the bucket is right; a conflict is a problem.
fn compare(
    site: &Site,
    base: &Seen,
    local: &Copy,
    now: Option<&Seen>,
) -> Result<(bool, Vec<String>), Problem> {
    let Some(now) = now else {
        return Ok((
            true,
            vec![format!("there is no state at {}: the local one becomes its first version", site.place())],
        ));
    };
    if now.likeness == local.seen.likeness {
        return Ok((false, Vec::new()));
    }
    if now.likeness == base.likeness {
        return Ok((true, Vec::new()));
    }
    let is_local_unchanged = local.seen.likeness == base.likeness;
    if now.is_kin_of(base) && is_local_unchanged && now.serial() > base.serial() {
        let words = format!(
            "nothing was applied here, and the bucket has a newer state ({}): that one stays",
            now.describe()
        );
        return Ok((false, vec![words]));
    }
    if now.is_kin_of(base) && now.serial() < base.serial() && is_known(site, now) {
        let words = format!(
            "the bucket has an older state ({}) than the fallback began with: the local one is newer",
            now.describe()
        );
        return Ok((true, vec![words]));
    }
    let why = if now.is_kin_of(base) { "both were changed" } else { "they are of different lineages" };
    let problem = Problem::new(format!(
        "conflict: {why} since the fallback of {} began with {}. In the bucket: {}. Here: {}",
        site.name(),
        base.describe(),
        now.describe(),
        local.describe()
    ));
    Err(problem.hint(format!(
        "neither is thrown away: compare them (`{} --list`; here: `terraform -chdir={} state list`), decide which one is right, and take the other's changes over by hand",
        site.again(),
        site.dir.display()
    )))
}

/// Whether it was kept here once: so it is from before.
fn is_known(site: &Site, seen: &Seen) -> bool {
    let copies = site.cache.list(&site.environment, &site.workspace).unwrap_or_default();
    let same = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| Seen::of(&bytes).likeness == seen.likeness);
    copies.iter().any(|copy| same(&copy.path))
}

/// The local state, with its serial unless one in the bucket is as high.
fn upload(site: &Site, local: &Copy) -> anyhow::Result<Upload> {
    let history = list::read(site)?.history;
    let highest = history.iter().filter_map(state::Entry::summary).map(|summary| summary.serial).max();
    let is_opaque = local.seen.summary.as_ref().is_some_and(|summary| summary.encrypted);
    let serial =
        highest.filter(|highest| *highest >= local.seen.serial() && !is_opaque).map(|highest| highest + 1);
    let bytes = read_seen(&local.path, &local.seen)?;
    Ok(Upload { serial, target: digest(&with(bytes, serial)?) })
}

fn with(bytes: Vec<u8>, serial: Option<u64>) -> anyhow::Result<Vec<u8>> {
    Ok(match serial {
        Some(serial) => Document::with_serial(&bytes, serial)?,
        None => bytes,
    })
}

/// The plan.
pub fn plan<'a>(site: &Site, what: &Home) -> Plan<Context<'a, Home>> {
    let bucket = what.now.as_ref().map_or_else(|| "no state".to_owned(), Seen::describe);
    let by = |says: &str, run| Undo::By { says: says.to_owned(), run };
    let unwrite = by("write what was there before as the newest version", unwrite);
    let mut steps = Vec::new();
    steps.push(Step::write(
        "keep",
        "Keep copies of both states",
        keep,
        Undo::NotNeeded("a copy harms nobody"),
    ));
    if let Some(upload) = &what.upload {
        let serial = upload.serial.unwrap_or_else(|| what.local.seen.serial());
        steps.insert(0, steps::lock_step(site));
        steps.push(Step::write(
            "write",
            format!("Write the local state to the bucket, as serial {serial}"),
            write,
            unwrite,
        ));
        steps.push(Step::read("compare", "Read it back and compare", compare_back));
    }
    steps.push(Step::write(
        "override",
        "Remove the override",
        take_override,
        by("put the override back", put_override),
    ));
    steps.push(
        Step::write(
            "init",
            "Let Terraform take the backend of the bucket",
            steps::init,
            by("put Terraform's own note of its backend back", steps::put_back_by_the_way),
        )
        .commands([what.terraform.init(&site.dir)]),
    );
    steps.push(Step::write(
        "state",
        "Remove the local state; its copy stays",
        take_state,
        by("put the local state back", put_state),
    ));
    if what.upload.is_some() {
        // Held to the end, so that nobody works with the bucket while the way back may have to write to it.
        steps.push(steps::unlock_step(site));
    }
    Plan {
        title: format!("Take the state of {} back to its bucket", site.name()),
        facts: vec![
            ("here".to_owned(), what.local.describe()),
            ("bucket".to_owned(), format!("{bucket}, {}", site.place())),
            (
                "afterwards".to_owned(),
                match &what.upload {
                    Some(_) => "the local state is the newest version in the bucket".to_owned(),
                    None => "the state in the bucket stays as it is".to_owned(),
                },
            ),
        ],
        details: Vec::new(),
        warnings: what.warnings.clone(),
        steps,
        checks: vec![steps::plan_check()],
        question: Question::YesNo(format!("End the fallback of {}?", site.name())),
        subject: json!({
            "environment": site.environment,
            "workspace": site.workspace,
            "bucket": site.store.bucket,
            "key": site.store.key,
            "written": what.upload.is_some(),
            "serial": what.local.seen.serial(),
        }),
        next: Vec::new(),
    }
}

type Ctx<'a> = Context<'a, Home>;
type Said = anyhow::Result<Option<String>>;

fn keep(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let now = ctx.what.now.clone();
    steps::keep_current(ctx, now.as_ref())?;
    let bytes = read_seen(&ctx.what.local.path, &ctx.what.local.seen)?;
    let site = ctx.site;
    ctx.found.source = Some(site.cache.keep(&site.environment, &site.workspace, &bytes)?);
    steps::keep_by_the_way(ctx, run)?;
    Ok(Some(format!("in {}", format_folder(ctx.found.source.as_deref()))))
}

fn format_folder(path: Option<&std::path::Path>) -> String {
    path.and_then(std::path::Path::parent).map(|folder| folder.display().to_string()).unwrap_or_default()
}

/// The local state as it was looked at.
fn local_bytes(ctx: &Ctx<'_>) -> anyhow::Result<Vec<u8>> {
    let copy =
        ctx.found.source.as_ref().ok_or_else(|| Failure::new("there is no copy of the local state"))?;
    read_seen(copy, &ctx.what.local.seen)
}

fn write(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let Some(upload) = &ctx.what.upload else { return Ok(None) };
    // Somebody may have applied between the question and now.
    read_seen(&ctx.what.local.path, &ctx.what.local.seen)?;
    let bytes = with(local_bytes(ctx)?, upload.serial)?;
    steps::write_current(ctx.site, &bytes, ctx.what.now.as_ref())?;
    Ok(Some(format::bytes(bytes.len() as u64)))
}

fn unwrite(ctx: &mut Ctx<'_>, _: &Run<'_>) -> Said {
    let Some(upload) = &ctx.what.upload else { return Ok(None) };
    let serial = upload.serial.unwrap_or_else(|| ctx.what.local.seen.serial());
    steps::unwrite(ctx.site, &upload.target, serial, ctx.found.before.as_deref())
}

fn compare_back(ctx: &mut Ctx<'_>, _: &Run<'_>) -> Said {
    match &ctx.what.upload {
        Some(upload) => steps::compare(ctx.site, &upload.target),
        None => Ok(None),
    }
}

fn take_override(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    steps::remove(&ctx.site.override_file())?;
    Ok(None)
}

fn put_override(ctx: &mut Ctx<'_>, _: &Run<'_>) -> Said {
    let file = ctx.site.override_file();
    if !file.exists() {
        steps::write_whole(&file, ctx.what.override_text.as_bytes())?;
    }
    Ok(None)
}

/// The local state and what the local backend keeps beside it.
fn take_state(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let path = &ctx.what.local.path;
    if path.exists() {
        read_seen(path, &ctx.what.local.seen)?;
    }
    steps::remove(path)?;
    steps::remove(&backup_of(path))?;
    Ok(None)
}

/// Where the local backend keeps the state from before the last write.
pub fn backup_of(path: &std::path::Path) -> PathBuf {
    let mut backup = path.to_owned().into_os_string();
    backup.push(".backup");
    backup.into()
}

fn put_state(ctx: &mut Ctx<'_>, _: &Run<'_>) -> Said {
    if !ctx.what.local.path.exists() {
        steps::write_whole(&ctx.what.local.path, &local_bytes(ctx)?)?;
    }
    Ok(None)
}
