//! `--fallback`: the S3 server is down; Terraform works with the freshest copy that is left.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use restore_common::{
    procedure::{Failure, Plan, Problem, Question, Run, Step, Undo},
    s3::{Object, S3Error, Trouble},
    state::{self, LockInfo},
    terraform::{Terraform, override_text, read_override},
    ui::sanitize,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    copies::{Copies, Copy, LOCAL_STATE, LOCAL_WORKSPACES, local_state},
    site::{Seen, Site, digest, read_seen},
    steps,
    work::{Context, Work},
};

/// What an override says about the fallback it was made for: all that the return needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The workspace whose state it is.
    pub workspace: String,
    /// When it was made.
    pub since: Timestamp,
    /// The state that it began with.
    pub base: Seen,
}

/// A decided fallback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fallback {
    /// Where the state comes from.
    pub source: Source,
    /// What is where the state goes to.
    pub in_the_way: Option<Copy>,
    /// What the override will say.
    pub note: Note,
    /// Not taken: a fallback writes nothing to the bucket.
    pub lock: LockInfo,
    /// The program.
    pub terraform: Terraform,
    /// Copies of another history, which were not considered.
    pub foreign: Vec<PathBuf>,
    /// What is wrong with the server, in words.
    pub reason: String,
}

/// Where the state of a fallback comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The server answers after all: what is current there.
    Bucket(Seen),
    /// A copy.
    Copy(Copy),
}

impl Source {
    fn seen(&self) -> &Seen {
        match self {
            Self::Bucket(seen) => seen,
            Self::Copy(copy) => &copy.seen,
        }
    }
}

impl Work for Fallback {
    const MODE: &'static str = "fallback";

    fn lock(&self) -> &LockInfo {
        &self.lock
    }

    fn terraform(&self) -> &Terraform {
        &self.terraform
    }

    fn replaced(&self) -> Option<&str> {
        None
    }
}

/// What came of the look.
pub enum Decision {
    /// This is to be done.
    Do(Box<Fallback>),
    /// It is so already.
    Nothing(String),
    /// It cannot be.
    No(Vec<Problem>),
    /// There is nothing to fall back to: the state is lost. With what is wrong with the server.
    Lost(String),
}

/// Decides the fallback of one state.
pub fn decide(site: &Site, lock: LockInfo, terraform: Terraform) -> anyhow::Result<Decision> {
    match read_override::<Note>(&site.override_file()) {
        Ok(None) => {}
        Ok(Some(note)) if note.workspace == site.workspace => {
            return Ok(Decision::Nothing(format!(
                "{} works without its bucket already, with {} since {}",
                site.name(),
                note.base.describe(),
                note.since.strftime("%Y-%m-%d %H:%M UTC")
            )));
        }
        Ok(Some(note)) => {
            let problem = Problem::new(format!(
                "the folder of {} is on fallback for its workspace `{}`",
                site.environment,
                sanitize(&note.workspace)
            ));
            return Ok(Decision::No(vec![
                problem.hint("one workspace of a folder at a time: `--return` that one first"),
            ]));
        }
        Err(error) => return Ok(Decision::No(vec![foreign_override(site, &error)])),
    }
    let (server, reason) = match ask_server(site, &terraform)? {
        Ok(answer) => answer,
        Err(problem) => return Ok(Decision::No(vec![problem])),
    };
    let copies = Copies::find(site)?;
    let from_bucket = server.map(|object| Seen::of(&object.bytes)).filter(|seen| seen.summary.is_some());
    let source = match (from_bucket, copies.of_the_state.first()) {
        (Some(seen), _) => Source::Bucket(seen),
        (None, Some(copy)) => Source::Copy(copy.clone()),
        (None, None) => return Ok(Decision::Lost(reason)),
    };
    let place = local_state(site);
    let in_the_way =
        copies.of_the_state.iter().chain(&copies.foreign).find(|copy| copy.path == place).cloned();
    if in_the_way.is_none() && place.exists() {
        let problem = Problem::new(format!("`{}` is in the way, and is no state", place.display()));
        return Ok(Decision::No(vec![problem.hint("move it away")]));
    }
    let note =
        Note { workspace: site.workspace.clone(), since: Timestamp::now(), base: source.seen().clone() };
    let foreign = copies.foreign.into_iter().map(|copy| copy.path).collect();
    Ok(Decision::Do(Box::new(Fallback { source, in_the_way, note, lock, terraform, foreign, reason })))
}

/// An override that these programs did not write is the operator's.
pub fn foreign_override(site: &Site, error: &std::io::Error) -> Problem {
    Problem::new(format!("`{}` is there, and {error}", site.override_file().display()))
        .hint("it changes the backend already; move it away if it is not needed")
}

/// What the server says: the current state, if it answers, and what is wrong in words. A problem where only the operator
/// can mend it.
fn ask_server(
    site: &Site,
    terraform: &Terraform,
) -> anyhow::Result<Result<(Option<Object>, String), Problem>> {
    let answer =
        site.current().and_then(|object| Ok((object, state::holder(&site.bucket, &site.store.key)?)));
    Ok(match answer {
        Ok((_, Some(lock))) => Err(site.locked(&lock, &terraform.program)),
        Ok((Some(object), None)) => {
            Ok((Some(object), format!("the server at {} answers", site.store.endpoint.url)))
        }
        Ok((None, None)) => Ok((None, format!("the server answers, but holds no state at {}", site.place()))),
        Err(error) if error.trouble.is_outage() || error.trouble == Trouble::NoBucket => {
            Ok((None, words(&error)))
        }
        Err(error) => Err(Problem::new(error.to_string()).hint(error.trouble.advice())),
    })
}

fn words(error: &S3Error) -> String {
    format!("{}: {}", error.endpoint, error.trouble)
}

/// The plan.
pub fn plan<'a>(site: &Site, what: &Fallback) -> Plan<Context<'a, Fallback>> {
    let place = local_state(site);
    let from = match &what.source {
        Source::Bucket(seen) => format!("the bucket: {}", seen.describe()),
        Source::Copy(copy) => format!("{}: {}", copy.path.display(), copy.describe()),
    };
    let mut warnings = Vec::new();
    if let Source::Copy(copy) = &what.source {
        warnings.push(format!(
            "what was applied after {} is not in this copy; Terraform would make it a second time",
            copy.written.strftime("%Y-%m-%d %H:%M UTC")
        ));
    }
    warnings.extend(
        what.foreign.iter().map(|path| format!("left alone, of another lineage: {}", path.display())),
    );
    let by = |says: &str, run| Undo::By { says: says.to_owned(), run };
    Plan {
        title: format!("Work on {} without its bucket", site.name()),
        facts: vec![
            ("server".to_owned(), sanitize(&what.reason).into_owned()),
            ("from".to_owned(), from),
            ("into".to_owned(), place.display().to_string()),
        ],
        details: Vec::new(),
        warnings,
        steps: vec![
            Step::write(
                "keep",
                "Keep copies of what is there now",
                keep,
                Undo::NotNeeded("a copy harms nobody"),
            ),
            Step::write(
                "state",
                format!("Put the state in place: {}", file_of(&place)),
                put_state,
                by("remove the state that was put in place", take_state),
            ),
            Step::write(
                "override",
                format!("Let Terraform use it: {}", file_of(&site.override_file())),
                put_override,
                by("remove the override", take_override),
            ),
            Step::write(
                "init",
                "Let Terraform take the local backend",
                steps::init,
                by("put Terraform's own note of its backend back", steps::put_back_by_the_way),
            )
            .commands([what.terraform.init(&site.dir)]),
        ],
        checks: vec![steps::plan_check()],
        question: Question::YesNo(format!("Work on {} with this copy?", site.name())),
        subject: json!({
            "environment": site.environment,
            "workspace": site.workspace,
            "serial": what.source.seen().serial(),
            "state": place,
        }),
        next: vec![format!("when the server is back: `{} --return`", site.again())],
    }
}

/// A file by its name in the folder.
fn file_of(path: &Path) -> String {
    format!("`{}`", path.file_name().unwrap_or_default().to_string_lossy())
}

type Ctx<'a> = Context<'a, Fallback>;
type Said = anyhow::Result<Option<String>>;

fn keep(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let site = ctx.site;
    let bytes = match &ctx.what.source {
        Source::Copy(copy) => read_seen(&copy.path, &copy.seen)?,
        Source::Bucket(seen) => {
            let bytes = site.current()?.map(|object| object.bytes).unwrap_or_default();
            if digest(&bytes) != seen.sha256 {
                return Err(Failure::new(format!(
                    "somebody has changed the state of {} since it was looked at",
                    site.name()
                ))
                .into());
            }
            bytes
        }
    };
    ctx.found.source = Some(site.cache.keep(&site.environment, &site.workspace, &bytes)?);
    if let Some(copy) = &ctx.what.in_the_way {
        let bytes = read_seen(&copy.path, &copy.seen)?;
        ctx.found.copies = vec![site.cache.keep(&site.environment, &site.workspace, &bytes)?];
    }
    steps::keep_by_the_way(ctx, run)?;
    Ok(None)
}

fn put_state(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let source = ctx.found.source.as_ref().ok_or_else(|| Failure::new("there is no copy to put in place"))?;
    let bytes = read_seen(source, ctx.what.source.seen())?;
    let place = local_state(ctx.site);
    if let Some(folder) = place.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    steps::write_whole(&place, &bytes)?;
    Ok(None)
}

fn take_state(ctx: &mut Ctx<'_>, _: &Run<'_>) -> Said {
    let place = local_state(ctx.site);
    match (&ctx.what.in_the_way, ctx.found.copies.first()) {
        (Some(copy), Some(kept)) => steps::write_whole(&place, &read_seen(kept, &copy.seen)?)?,
        // It was not kept yet, so nothing was put over it.
        (Some(_), None) => {}
        (None, _) => steps::remove(&place)?,
    }
    Ok(None)
}

/// The text of the override.
fn text(site: &Site, note: &Note) -> anyhow::Result<String> {
    Ok(override_text(note, &format!("{} --return", site.again()), LOCAL_STATE, LOCAL_WORKSPACES)?)
}

fn put_override(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let (file, text) = (ctx.site.override_file(), text(ctx.site, &ctx.what.note)?);
    match read_override::<Note>(&file) {
        Ok(None) => steps::write_whole(&file, text.as_bytes())?,
        Ok(Some(note)) if note == ctx.what.note => {}
        _ => {
            return Err(
                Failure::new(format!("`{}` is there by now, from somebody else", file.display())).into()
            );
        }
    }
    Ok(None)
}

fn take_override(ctx: &mut Ctx<'_>, _: &Run<'_>) -> Said {
    let file = ctx.site.override_file();
    match read_override::<Note>(&file) {
        Ok(Some(note)) if note == ctx.what.note => steps::remove(&file)?,
        // It did not come to be; what was written beside it goes as well.
        Ok(None) => steps::remove(&file)?,
        _ => {}
    }
    Ok(None)
}
