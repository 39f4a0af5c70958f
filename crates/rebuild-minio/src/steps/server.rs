//! The server: until it serves, and the buckets it has.

use std::time::Duration;

use restore_common::{
    probe::{Wait, Waited},
    procedure::{Failure, Interrupted, Run},
    pve::Vmid,
    remote::Command,
    s3::{Bucket, S3Error, Trouble, Versioning},
    ui::{format, sanitize},
};

use crate::{
    container::{UNIT, in_container},
    work::{Ctx, Way},
};

type Said = anyhow::Result<Option<String>>;

/// The time between two questions.
const PAUSE: Duration = Duration::from_millis(500);

/// Step: the server serves.
pub fn wait(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let (limit, interrupted) = (Duration::from_secs(ctx.what.wait), || run.stop_requested());
    let what = format!("the server at {} to serve", ctx.what.endpoint);
    let wait = Wait { what: &what, limit, interval: PAUSE, interrupted: &interrupted };
    let mut last: Option<S3Error> = None;
    let waited = wait.until(|| match ctx.scene.server.serves() {
        Ok(kind) => Ok(Some(kind)),
        Err(error) if may_come(&error.trouble) => {
            if last.is_none() {
                run.say(&wait.to_string());
            }
            last = Some(error);
            Ok(None)
        }
        Err(error) => Err(error),
    })?;
    match waited {
        Waited::Ready { value, after } => Ok(Some(format!("{value}, after {}", format::duration(after)))),
        Waited::Interrupted => Err(Interrupted.into()),
        Waited::TimedOut => {
            let log = ctx.what.vmid().and_then(|vmid| last_words(ctx, vmid));
            let log = log.map(|words| format!("; its log says: {words}")).unwrap_or_default();
            let failure = Failure::new(format!("waited {} for {what}{log}", format::duration(limit)));
            let failure = failure.hint(match &ctx.what.way {
                Way::Start { .. } | Way::Apply(_) => {
                    "`--mode restore` brings it back from a backup; `--wait SECONDS` waits longer"
                }
                Way::Add | Way::Restore(_) => {
                    "`--wait SECONDS` waits longer; `restore-vm` restores an older backup of the container"
                }
            });
            Err(match last {
                Some(error) => failure.because(error),
                None => failure,
            }
            .into())
        }
    }
}

/// Whether it may only need time. While a server starts, it also answers nonsense.
fn may_come(trouble: &Trouble) -> bool {
    matches!(
        trouble,
        Trouble::Refused
            | Trouble::TimedOut
            | Trouble::Unreachable(_)
            | Trouble::Broken(_)
            | Trouble::Unavailable(..)
            | Trouble::NotS3(_)
    )
}

/// What the service said last.
fn last_words(ctx: &Ctx<'_>, vmid: Vmid) -> Option<String> {
    let words = ["journalctl", "-u", UNIT, "-n", "3", "--no-pager", "-o", "cat"];
    let answer = ctx.node?.run(&in_container(Command::read("pct"), vmid, &words)).ok()?;
    let line = answer.stdout.lines().map(str::trim).rfind(|line| !line.is_empty())?.to_owned();
    Some(sanitize(&line).chars().take(200).collect())
}

/// Step: every bucket is there and keeps versions; and what the server can do.
pub fn buckets(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let mut made = 0;
    for name in &ctx.what.buckets.clone() {
        let bucket = ctx.scene.server.bucket(name)?;
        made += usize::from(create(&bucket)?);
        if let Some(reason) = without_versions(&bucket)? {
            ctx.found.without_versions.insert(name.clone(), reason);
        }
        if ctx.found.capabilities.is_none() {
            ctx.found.capabilities = Some(ctx.scene.server.capabilities(&bucket)?);
        }
    }
    let count = format::counted(ctx.what.buckets.len() as u64, "bucket");
    Ok(Some(if made == 0 { format!("{count} there") } else { format!("{count}, {made} of them new") }))
}

fn create(bucket: &Bucket) -> Result<bool, S3Error> {
    match bucket.versioning() {
        Ok(_) => Ok(false),
        Err(error) if error.trouble == Trouble::NotImplemented => Ok(false),
        Err(error) if error.trouble == Trouble::NoBucket => bucket.create(),
        Err(error) => Err(error),
    }
}

/// Turns versions on where they are not. Why it keeps none, if so.
fn without_versions(bucket: &Bucket) -> Result<Option<String>, S3Error> {
    let cannot = |error: S3Error| match error.trouble {
        Trouble::NotImplemented | Trouble::Other(..) => Ok(Some(error.trouble.to_string())),
        _ => Err(error),
    };
    match bucket.versioning() {
        Ok(Versioning::Enabled) => return Ok(None),
        Ok(_) => {}
        Err(error) => return cannot(error),
    }
    if let Err(error) = bucket.keep_versions() {
        return cannot(error);
    }
    match bucket.versioning() {
        Ok(Versioning::Enabled) => Ok(None),
        Ok(_) => Ok(Some("it takes the order and does not follow it".to_owned())),
        Err(error) => cannot(error),
    }
}
