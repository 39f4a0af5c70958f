//! The steps that the modes share.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use restore_common::{
    procedure::{Check, CheckStatus, Failure, Run, Step, Undo},
    s3::{Condition, Object, S3Error, Trouble},
    state::{self, Document, Locked},
    terraform::PlanSummary,
};

use crate::{
    site::{Seen, Site, digest},
    work::{Context, Work},
};

type Said = anyhow::Result<Option<String>>;

/// Step: the lock on the state in S3.
pub fn lock_step<'a, W: Work>(site: &Site) -> Step<Context<'a, W>> {
    let undo = Undo::By { says: "give the lock back".to_owned(), run: unlock };
    Step::write("lock", format!("Lock the state of {}", site.name()), lock, undo)
}

fn lock<W: Work>(ctx: &mut Context<'_, W>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let (bucket, key) = (&ctx.site.bucket, &ctx.site.store.key);
    match state::take(bucket, key, ctx.what.lock())? {
        Locked::Taken { honoured } => {
            ctx.found.holds_lock = true;
            ctx.found.lock_is_vain = !honoured;
            if honoured {
                return Ok(None);
            }
            Ok(Some("the server does not honour it: it lets everybody overwrite a lock".to_owned()))
        }
        Locked::Held(holder) => {
            let problem = ctx.site.locked(&holder, &ctx.what.terraform().program);
            Err(Failure::new(problem.what).hint(problem.hint.unwrap_or_default()).into())
        }
    }
}

/// Step: the lock is given back.
pub fn unlock_step<'a, W: Work>(site: &Site) -> Step<Context<'a, W>> {
    let undo = Undo::NotNeeded("the lock is only needed to write");
    Step::write("unlock", format!("Unlock the state of {}", site.name()), unlock, undo).keep_on_failure()
}

fn unlock<W: Work>(ctx: &mut Context<'_, W>, _: &Run<'_>) -> Said {
    give_back_lock(ctx)
}

/// Gives the lock back. It is no harm to do so twice.
pub fn give_back_lock<W: Work>(ctx: &mut Context<'_, W>) -> Said {
    let lock = ctx.what.lock();
    let released = state::release(&ctx.site.bucket, &ctx.site.store.key, &lock.id).map_err(|error| {
        let command = restore_common::terraform::Terraform::force_unlock(
            &ctx.what.terraform().program,
            &ctx.site.dir,
            &lock.id,
        );
        Failure::new("the lock could not be given back")
            .hint(format!("`{command}` removes it"))
            .because(error)
    })?;
    ctx.found.holds_lock = false;
    Ok((!released).then(|| "it was not there any more".to_owned()))
}

/// Keeps what is in the bucket now, after a look whether it is still what was seen before.
pub fn keep_current<W: Work>(ctx: &mut Context<'_, W>, seen: Option<&Seen>) -> anyhow::Result<()> {
    let current = ctx.site.current()?;
    let now = current.as_ref().map(|object| digest(&object.bytes));
    if now.as_deref() != seen.map(|seen| seen.sha256.as_str()) {
        return Err(Failure::new(format!(
            "somebody has changed the state of {} since it was looked at",
            ctx.site.name()
        ))
        .hint("look again: run the same command once more")
        .into());
    }
    if let Some(object) = current {
        ctx.found.before =
            Some(ctx.site.cache.keep(&ctx.site.environment, &ctx.site.workspace, &object.bytes)?);
    }
    Ok(())
}

/// Writes `bytes` as the new current version in place of what was `seen`. What was written by an attempt before counts,
/// and so does a write whose answer got lost.
pub fn write_current(site: &Site, bytes: &[u8], seen: Option<&Seen>) -> anyhow::Result<()> {
    let wanted = digest(bytes);
    let now = site.current()?;
    let is = |object: &Option<Object>, sha256: Option<&str>| {
        object.as_ref().map(|object| digest(&object.bytes)).as_deref() == sha256
    };
    if is(&now, Some(&wanted)) {
        return Ok(());
    }
    if !is(&now, seen.map(|seen| seen.sha256.as_str())) {
        return Err(Failure::new(format!("somebody has written the state of {} meanwhile", site.name()))
            .hint("their version is the current one; look at it with `--list`")
            .into());
    }
    let etag = now.as_ref().and_then(|object| object.etag.clone());
    let condition = match (&now, &etag) {
        (None, _) => Condition::Absent,
        (Some(_), Some(etag)) => Condition::Unchanged(etag),
        (Some(_), None) => Condition::None,
    };
    match site.bucket.put(&site.store.key, bytes, condition) {
        Ok(_) => Ok(()),
        Err(error) => after_failed_write(site, bytes, seen, error),
    }
}

/// A write without an answer may have happened. One whose condition was refused, although nothing has changed, is done
/// without: the condition is an addition to the lock, and some servers know none, or give entity tags of something else.
fn after_failed_write(site: &Site, bytes: &[u8], seen: Option<&Seen>, error: S3Error) -> anyhow::Result<()> {
    let now = site.current()?.map(|object| digest(&object.bytes));
    if now.as_deref() == Some(digest(bytes).as_str()) {
        return Ok(());
    }
    let is_untouched = now.as_deref() == seen.map(|seen| seen.sha256.as_str());
    match error.trouble {
        Trouble::NotImplemented | Trouble::ConditionFailed if is_untouched => {
            site.bucket.put(&site.store.key, bytes, Condition::None)?;
            Ok(())
        }
        _ => Err(error.into()),
    }
}

/// Takes a write back by rolling forward once more: what was there before becomes the newest version.
pub fn unwrite(site: &Site, wrote: &str, serial: u64, before: Option<&Path>) -> Said {
    let now = site.current()?;
    let now_is = now.as_ref().map(|object| digest(&object.bytes));
    let Some(path) = before else {
        if now_is.as_deref() == Some(wrote) {
            site.bucket.delete(&site.store.key)?;
            return Ok(Some("there was no state before; that is so again, its versions stay".to_owned()));
        }
        return Ok(None);
    };
    let bytes = fs::read(path).map_err(|error| {
        Failure::new(format!("the copy `{}` cannot be read", path.display())).because(error)
    })?;
    if now_is.as_deref() == Some(digest(&bytes).as_str()) {
        return Ok(Some("it is as it was".to_owned()));
    }
    let serial_now = now.as_ref().map_or(0, |object| Seen::of(&object.bytes).serial());
    // What is no state at all is what is left of our own write.
    let is_a_state = now.as_ref().is_some_and(|object| Document::parse(&object.bytes).is_ok());
    if now_is.as_deref() != Some(wrote) && is_a_state {
        return Err(Failure::new(format!(
            "somebody has written the state of {} meanwhile: serial {serial_now}",
            site.name()
        ))
        .hint(format!(
            "theirs is the current one and stays; what was there before is in `{}`",
            path.display()
        ))
        .into());
    }
    let again = Document::with_serial(&bytes, serial.max(serial_now) + 1).unwrap_or(bytes);
    site.bucket.put(&site.store.key, &again, Condition::None)?;
    let back = site.current()?.map(|object| digest(&object.bytes));
    if back.as_deref() != Some(digest(&again).as_str()) {
        return Err(Failure::new("the server does not give back what was written")
            .hint(format!("what was there before is in `{}`", path.display()))
            .into());
    }
    Ok(Some("what was there before is the newest version".to_owned()))
}

/// Step: what is in the bucket is what was written. It is the freshest state now, so a copy of it is kept.
pub fn compare(site: &Site, wanted: &str) -> Said {
    let bytes = site.current()?.map(|object| object.bytes).unwrap_or_default();
    if digest(&bytes) == wanted {
        site.keep(&bytes);
        return Ok(Some("the same, byte for byte".to_owned()));
    }
    Err(Failure::new(format!(
        "the server at {} does not give back what was written",
        site.store.endpoint.url
    ))
    .hint("look at its disks and its log")
    .into())
}

/// `terraform init -reconfigure`.
pub fn init<W: Work>(ctx: &mut Context<'_, W>, run: &Run<'_>) -> Said {
    let command = ctx.what.terraform().init(&ctx.site.dir);
    run.job(ctx.host, &command, None, &mut |_| {})?;
    Ok(None)
}

/// Keeps copies of what will be changed by the way, for the way back only.
pub fn keep_by_the_way<W: Work>(ctx: &Context<'_, W>, run: &Run<'_>) -> anyhow::Result<()> {
    let folder = PathBuf::from(run.scratch(ctx.host, "before"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    for file in ctx.what.by_the_way(ctx.site) {
        let copy = folder.join(file.file_name().unwrap_or_default());
        // Made by an attempt before, it is what was there before.
        if file.exists() && !copy.exists() {
            write_whole(&copy, &fs::read(&file)?)?;
        }
    }
    write_whole(&folder.join("complete"), b"")
}

/// The way back of `init`: its files are as they were, and others that were changed by the way.
pub fn put_back_by_the_way<W: Work>(ctx: &mut Context<'_, W>, run: &Run<'_>) -> Said {
    let folder = PathBuf::from(run.scratch(ctx.host, "before"));
    if !folder.join("complete").exists() {
        return Ok(None);
    }
    for file in ctx.what.by_the_way(ctx.site) {
        let copy = folder.join(file.file_name().unwrap_or_default());
        if copy.exists() {
            let bytes = fs::read(&copy)?;
            if fs::read(&file).ok().as_deref() != Some(&bytes) {
                write_whole(&file, &bytes)?;
            }
        } else {
            remove(&file)?;
        }
    }
    Ok(None)
}

/// Writes a file that appears whole, for nobody else to read. What an attempt that was cut off left is used up by the
/// next one: the name beside it is always the same.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let beside = beside(path);
        gone(fs::remove_file(&beside))?;
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(beside(path));
        Failure::new(format!("`{}` cannot be written", path.display())).because(error).into()
    })
}

/// Removes a file, and what an attempt to write it left; that it is not there is as good.
pub fn remove(path: &Path) -> anyhow::Result<()> {
    let remove = || gone(fs::remove_file(beside(path))).and_then(|()| gone(fs::remove_file(path)));
    remove().map_err(|error| {
        Failure::new(format!("`{}` cannot be removed", path.display())).because(error).into()
    })
}

/// Where a file is written before it has its name.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".restore-tfstate");
    path.with_file_name(name)
}

fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    removed.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Check: Terraform can work with the state, and what it would do.
pub fn plan_check<'a, W: Work>() -> Check<Context<'a, W>> {
    Check {
        id: "plan",
        title: "Terraform plans with this state".to_owned(),
        run: Box::new(|ctx, run| {
            run.safe_point()?;
            let command = ctx.what.terraform().plan(&ctx.site.dir);
            let output = ctx.host.run(&command)?;
            match PlanSummary::parse(&output.stdout) {
                Ok(plan) => {
                    let words = plan.to_string();
                    ctx.found.plan = Some(plan);
                    Ok((CheckStatus::Passed, words))
                }
                Err(error) => Ok((CheckStatus::Failed, error.to_string())),
            }
        }),
    }
}
