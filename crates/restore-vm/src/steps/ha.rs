//! Out of high availability, and back.

use std::time::Duration;

use restore_common::{
    probe::{Wait, Waited},
    procedure::{Failure, Interrupted, Run},
    pve::{HaResource, HaService},
    ui,
};

use crate::{
    assignment::Restore,
    ha::{Managed, requested, set_command},
};

/// How long the manager may take. It notices a change within 10 to 20 s, and a guest takes its time to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time between two looks; each starts a program on the node.
const PAUSE: Duration = Duration::from_secs(1);

/// Step: the manager does nothing with the guest any more.
pub fn take_out(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let_go(restore, run)
}

/// The manager is asked to let go, and has done so; also the way back of [`give_back`].
///
/// That it was asked is not enough: until it has noticed, it would start the guest again.
pub fn let_go(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let Some(Managed { sid, .. }) = restore.what.ha.clone() else { return Ok(None) };
    run.command(restore.host, &set_command(&sid, "ignored"))?;
    let what = format!("high availability to let go of {sid}");
    wait(restore, run, &sid, &what, |state| state.is_none())?;
    Ok(None)
}

/// The way back of [`take_out`]: it is asked for what was asked for before.
pub fn as_before(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let Some(Managed { sid, before, .. }) = restore.what.ha.clone() else { return Ok(None) };
    let question = HaResource::ask();
    let resources = HaResource::read(restore.host, &question, &restore.host.run(&question)?)?;
    if requested(&resources, &sid) != Some(&before) {
        let command = set_command(&sid, &before);
        run.command(restore.host, &command).map_err(|error| {
            Failure::new(format!("{sid} is out of high availability"))
                .hint(format!("`{command}` on the node gives it back"))
                .because(error)
        })?;
    }
    Ok(Some(format!("{sid} is to be {before}, as before")))
}

/// Step: the manager looks after the guest again.
pub fn give_back(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let Some(Managed { sid, after, .. }) = restore.what.ha.clone() else { return Ok(None) };
    let command = set_command(&sid, &after);
    let failed = |error: anyhow::Error| match error.downcast::<Interrupted>() {
        Ok(interrupted) => anyhow::Error::from(interrupted),
        Err(error) => {
            let failure = Failure::new(format!("high availability does not have {sid} as {after}"));
            failure
                .hint(format!("see `ha-manager status`; `{command}` on the node tries it again"))
                .because(error)
                .into()
        }
    };
    run.command(restore.host, &command).map_err(failed)?;
    if after == "started" {
        let what = format!("high availability to have {sid} as started");
        wait(restore, run, &sid, &what, |state| state == Some("started")).map_err(failed)?;
    }
    Ok(Some(after))
}

fn wait(
    restore: &Restore<'_>,
    run: &Run<'_>,
    sid: &str,
    what: &str,
    is_so: impl Fn(Option<&str>) -> bool,
) -> anyhow::Result<()> {
    let (question, interrupted) = (HaService::ask(), || run.stop_requested());
    let wait = Wait { what, limit: PATIENCE, interval: PAUSE, interrupted: &interrupted };
    let mut last = None;
    let waited = wait.until(|| {
        let output = restore.host.run(&question)?;
        let service = HaService::read(restore.host, &question, &output, sid)?;
        let state = service.as_ref().and_then(HaService::managed_state);
        if is_so(state) {
            return Ok::<_, anyhow::Error>(Some(()));
        }
        if last.is_none() {
            run.say(&wait.to_string());
        }
        last = Some(state.unwrap_or("nothing of its own").to_owned());
        Ok(None)
    })?;
    match waited {
        Waited::Ready { .. } => Ok(()),
        Waited::Interrupted => Err(Interrupted.into()),
        Waited::TimedOut => {
            let (limit, state) = (ui::format::duration(PATIENCE), last.unwrap_or_default());
            let state = ui::sanitize(&state).into_owned();
            let failure = Failure::new(format!("waited {limit} for {what}; it still has it as `{state}`"));
            Err(failure.hint("`ha-manager status` on the node shows whether its manager works").into())
        }
    }
}
