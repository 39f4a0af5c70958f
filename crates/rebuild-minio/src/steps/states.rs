//! The states: kept, written where there is none newer, and the backends that use them.

use std::{fs, path::PathBuf};

use restore_common::{
    procedure::{Failure, Interrupted, Run, is_out_of_reach},
    state::{self, Document, Locked},
    terraform::Terraform,
};
use restore_tfstate::{
    home,
    recover::let_go,
    site::{Seen, Site, digest, read_seen},
    steps as shared,
    work::Context,
};

use crate::{
    states::{StateWork, leftovers},
    work::{Ctx, Outcome},
};

type Said = anyhow::Result<Option<String>>;

/// Step: copies of the states that will be used, in the cache. What has changed since the look is not used.
pub fn collect(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    for state in &ctx.what.states {
        let (Some(site), Some(source)) = (ctx.scene.site(&state.environment), &state.source) else {
            continue;
        };
        let bytes = read_seen(&source.path, &source.seen)?;
        let copy = site.cache.keep(&site.environment, &site.workspace, &bytes)?;
        ctx.found.sources.insert(state.environment.clone(), copy);
    }
    let count = ctx.found.sources.len() as u64;
    Ok(Some(restore_common::ui::format::counted(count, "state")))
}

/// Step: each state is in its bucket. What goes wrong with one keeps no other from its place.
pub fn write(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    for state in ctx.what.states.clone() {
        run.safe_point()?;
        let Some(site) = ctx.scene.site(&state.environment) else { continue };
        // It goes there with its backend.
        if is_on_fallback(site) {
            continue;
        }
        let copy = ctx.found.sources.get(&state.environment);
        let outcome = match place(site, &state, copy, &ctx.what.terraform) {
            Ok(outcome) => outcome,
            Err(error) if ends_all(&error) => return Err(error),
            Err(error) => Outcome::bad(format!("{error:#}")),
        };
        run.say(&format!("{}: {}", state.environment, outcome.words));
        ctx.found.states.insert(state.environment.clone(), outcome);
    }
    Ok(summary(ctx.found.states.values()))
}

fn ends_all(error: &anyhow::Error) -> bool {
    error.is::<Interrupted>() || is_out_of_reach(error)
}

fn summary<'o>(outcomes: impl Iterator<Item = &'o Outcome>) -> Option<String> {
    let bad = outcomes.filter(|outcome| !outcome.good).count();
    (bad > 0).then(|| format!("not all of them: see the {bad} below"))
}

fn is_on_fallback(site: &Site) -> bool {
    site.override_file().exists()
}

/// What goes to a bucket.
enum Decided {
    /// What is there stays.
    Stays(String),
    /// This is written in place of what was seen.
    Write(Vec<u8>, Option<Seen>),
    /// Nothing can be done.
    No(String),
}

fn place(
    site: &Site,
    state: &StateWork,
    copy: Option<&PathBuf>,
    terraform: &Terraform,
) -> anyhow::Result<Outcome> {
    match decide(site, state, copy)? {
        Decided::Stays(words) => return Ok(Outcome::good(words)),
        Decided::No(words) => return Ok(Outcome::bad(words)),
        Decided::Write(..) => {}
    }
    let (bucket, key) = (&site.bucket, &site.store.key);
    if let Locked::Held(holder) = state::take(bucket, key, &state.lock)? {
        let problem = site.locked(&holder, &terraform.program);
        return Ok(Outcome::bad(format!("{}: {}", problem.what, problem.hint.unwrap_or_default())));
    }
    // What is there is looked at again under the lock.
    let written = decide(site, state, copy).and_then(|decided| write_decided(site, decided));
    let released = state::release(bucket, key, &state.lock.id);
    let outcome = written?;
    released?;
    Ok(outcome)
}

fn write_decided(site: &Site, decided: Decided) -> anyhow::Result<Outcome> {
    let (bytes, now) = match decided {
        Decided::Write(bytes, now) => (bytes, now),
        Decided::Stays(words) => return Ok(Outcome::good(words)),
        Decided::No(words) => return Ok(Outcome::bad(words)),
    };
    shared::write_current(site, &bytes, now.as_ref())?;
    shared::compare(site, &digest(&bytes))?;
    Ok(Outcome::good(format!("written: {}", Seen::of(&bytes).describe())))
}

fn decide(site: &Site, state: &StateWork, copy: Option<&PathBuf>) -> anyhow::Result<Decided> {
    let now = site.current()?.map(|object| Seen::of(&object.bytes));
    let Some((source, path)) = state.source.as_ref().zip(copy) else {
        return Ok(match now {
            Some(now) if now.summary.is_some() => {
                Decided::Stays(format!("the bucket has {}", now.describe()))
            }
            Some(_) => Decided::No("what is in the bucket is no state, and there is none here".to_owned()),
            None => Decided::No("there is no state of it, neither in the bucket nor here".to_owned()),
        });
    };
    let bytes = read_seen(path, &source.seen)?;
    let here = &source.seen;
    let Some(now) = now else { return Ok(Decided::Write(bytes, None)) };
    if now.likeness == here.likeness {
        return Ok(Decided::Stays(format!("the bucket has it: {}", now.describe())));
    }
    if state.chosen {
        let serial = now.serial().max(here.serial());
        // Above what is there, so that Terraform takes it for the newest.
        let bytes = if now.is_kin_of(here) && now.serial() >= here.serial() {
            Document::with_serial(&bytes, serial + 1)?
        } else {
            bytes
        };
        return Ok(Decided::Write(bytes, Some(now)));
    }
    let both =
        format!("in the bucket: {}; here: {} ({})", now.describe(), source.describe(), source.path.display());
    if now.summary.is_some() && !now.is_kin_of(here) {
        return Ok(Decided::No(format!(
            "they are of different lineages, and nothing was overwritten; {both}; `--state {}=FILE` chooses",
            state.environment
        )));
    }
    if now.summary.is_some() && now.serial() >= here.serial() {
        return Ok(Decided::Stays(format!("the bucket has a newer one: {}", now.describe())));
    }
    if state.newer_wins || now.summary.is_none() {
        return Ok(Decided::Write(bytes, Some(now)));
    }
    Ok(Decided::Stays(format!("left as it is, although the one here is newer; {both}")))
}

/// Step: Terraform works with the buckets in every environment. What goes wrong with one keeps no other from it.
pub fn backends(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    for state in ctx.what.states.clone() {
        run.safe_point()?;
        let Some(site) = ctx.scene.site(&state.environment) else { continue };
        let outcome = match backend(ctx, site, &state, run) {
            Ok(outcome) => outcome,
            Err(error) if ends_all(&error) => return Err(error),
            Err(error) => Outcome::bad(format!("{error:#}")),
        };
        ctx.found.backends.insert(state.environment.clone(), outcome);
    }
    Ok(summary(ctx.found.backends.values()))
}

fn backend(ctx: &Ctx<'_>, site: &Site, state: &StateWork, run: &Run<'_>) -> anyhow::Result<Outcome> {
    if let Some(imports) = state.imports.as_ref().filter(|_| matches!(site.current(), Ok(None))) {
        shared::write_whole(&imports.path, imports.text.as_bytes())?;
        return Ok(Outcome::bad(format!("its state is lost: `{}` says what to do", imports.path.display())));
    }
    if is_on_fallback(site) {
        return go_home(site, state, &ctx.what.terraform, run);
    }
    let host = site.host()?;
    run.job(&host, &ctx.what.terraform.init(&site.dir), None, &mut |_| {})?;
    take_leftover(site)?;
    Ok(Outcome::good("initialised"))
}

/// The way of `restore-tfstate --return`: the state is in the bucket and was compared before anything here is removed, so at
/// every moment one of them can be read, and whatever was cut off is done again.
fn go_home(site: &Site, state: &StateWork, terraform: &Terraform, run: &Run<'_>) -> anyhow::Result<Outcome> {
    let host = site.host()?;
    state::release(&site.bucket, &site.store.key, &state.lock.id)?;
    let what = match home::decide(site, state.lock.clone(), terraform.clone())? {
        home::Decision::Do(what) => *what,
        home::Decision::Nothing(words) => return Ok(Outcome::good(words)),
        home::Decision::No(problems) => {
            let words: Vec<_> = problems
                .into_iter()
                .map(|problem| match problem.hint {
                    Some(hint) => format!("{}: {hint}", problem.what),
                    None => problem.what,
                })
                .collect();
            return Ok(Outcome::bad(format!("it works without its bucket still: {}", words.join("; "))));
        }
    };
    let plan = home::plan(site, &what);
    let mut context = Context::new(&host, site, what);
    let done = plan.steps.iter().try_for_each(|step| (step.run)(&mut context, run).map(drop));
    let_go(&mut context);
    done?;
    Ok(Outcome::good("back in its bucket"))
}

/// The local state of a return that was cut off after the override was gone: it is removed once the bucket has it. Terraform's
/// copy of the one before goes with it. Both are kept in the cache.
fn take_leftover(site: &Site) -> anyhow::Result<()> {
    let [state, backup] = leftovers(site);
    if let Ok(bytes) = fs::read(&state) {
        site.keep(&bytes);
        let now = site.current()?.map(|object| Seen::of(&object.bytes).likeness);
        if now != Some(Seen::of(&bytes).likeness) {
            return Err(Failure::new(format!("`{}` is not what the bucket has", state.display()))
                .hint("compare them, and remove the one that is not right")
                .into());
        }
        shared::remove(&state)?;
    }
    if let Ok(bytes) = fs::read(&backup) {
        site.keep(&bytes);
        shared::remove(&backup)?;
    }
    Ok(())
}
