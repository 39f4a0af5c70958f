//! Steps of `restore-vm` and `restore-tfstate`.

use restore_common::procedure::{Failure, Run};
use restore_tfstate::{fallback::Fallback, work::Context};
use restore_vm::assignment::Restore;

use crate::{part::Part, work::Ctx};

type Said = anyhow::Result<Option<String>>;

fn restore_of<'c, 'a>(ctx: &'c mut Ctx<'a>) -> anyhow::Result<&'c mut Part<Restore<'a>>> {
    ctx.restore.as_mut().ok_or_else(|| Failure::new("there is no restore to go on with").into())
}

fn fallback_of<'c, 'a>(ctx: &'c mut Ctx<'a>) -> anyhow::Result<&'c mut Part<Context<'a, Fallback>>> {
    ctx.fallback.as_mut().ok_or_else(|| Failure::new("there is no fallback to go on with").into())
}

/// A step of the restore of the container.
pub fn restore(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    restore_of(ctx)?.run(run)
}

/// Its way back.
pub fn restore_back(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    restore_of(ctx)?.undo(run)
}

/// A step by which the environment of the server works without it.
pub fn fallback(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    fallback_of(ctx)?.run(run)
}

/// Its way back.
pub fn fallback_back(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    fallback_of(ctx)?.undo(run)
}
