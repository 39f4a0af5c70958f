//! Runs that were cut off: found by their journals, carried on or taken back.

use restore_common::{
    procedure::{
        Begun, Failure, History, Open, Past, Problem, Recovery, Report, Session, carry_on as engine, history,
        refuse,
    },
    remote::{Host, ReadOnly, SshHost},
    ui::sanitize,
};

use crate::{
    app::local_host,
    args::Cli,
    plan,
    scene::Scene,
    work::{Ctx, Rebuild, Way},
};

/// What earlier runs on the same server left.
pub fn find(scene: &Scene, session: &Session<'_>) -> anyhow::Result<History> {
    let dir = std::path::absolute(scene.environment.dir())?;
    let dir = dir.to_string_lossy().into_owned();
    let concerns = |begun: &Begun| begun.work["dir"].as_str() == Some(&dir);
    Ok(history(&session.journals, &session.journal_name, &concerns)?)
}

/// Why new work does not begin: another run is at it, or was cut off.
pub fn problem(session: &Session<'_>, open: &Open) -> Problem {
    let past = match open {
        Open::Busy(begun) => {
            return Problem::new(format!("another run works on this server: {}", sanitize(&begun.owner)))
                .hint("wait for it, or stop it with Ctrl-C where it runs");
        }
        Open::Cut(past) => past,
    };
    let (again, begun) = (&session.again, past.begun());
    let place = match past.stopped_at() {
        Some((number, title)) => format!("in step {number} of {}: {title}", begun.steps.len()),
        None => "before its first step".to_owned(),
    };
    let owner = sanitize(&begun.owner);
    if past.last_end().is_some() {
        let problem = Problem::new(format!(
            "the last run ({owner}) could not put everything back; it had failed {place}"
        ));
        return problem.hint(format!(
            "`{again} --rollback` tries it again; to begin anew instead, remove `{}`",
            past.path().display()
        ));
    }
    let problem = Problem::new(format!("an earlier run ({owner}) was cut off {place}"));
    let back = format!("`{again} --rollback` puts things back as they were");
    problem.hint(if past.turned_back() {
        format!("it was on its way back: {back}")
    } else {
        format!("`{again} --resume` goes on there, {back}")
    })
}

/// Goes on with the run that was cut off, or takes it back.
pub fn carry_on(
    cli: &Cli,
    scene: &Scene,
    session: &Session<'_>,
    open: Option<Open>,
    title: &str,
) -> anyhow::Result<Report> {
    let how = if cli.resume { Recovery::Resume } else { Recovery::RollBack };
    let refused = |problem| Ok(refuse(session, title, vec![problem], None));
    let past = match open {
        Some(Open::Cut(past)) => past,
        Some(busy) => return refused(problem(session, &busy)),
        None => return refused(Problem::new("no run was cut off, so there is nothing to go on with")),
    };
    if how == Recovery::Resume && past.turned_back() {
        let problem = Problem::new("that run was on its way back already, so it cannot go on");
        return refused(
            problem.hint(format!("`{} --rollback` puts things back as they were", session.again)),
        );
    }
    let what: Rebuild = serde_json::from_value(past.begun().work["what"].clone())
        .map_err(|error| unreadable(&past, error.into()))?;
    let node = node_of(cli, scene, &what)?;
    let local = local_host(scene)?;
    let (local_only, node_only) = (ReadOnly(&local), node.as_ref().map(|node| ReadOnly(node)));
    let local: &dyn Host = if session.dry_run { &local_only } else { &local };
    let node = match (&node, &node_only) {
        (_, Some(read_only)) if session.dry_run => Some(read_only as &dyn Host),
        (Some(node), _) => Some(node as &dyn Host),
        _ => None,
    };
    let mut ctx =
        Ctx::new(local, node, scene, what, past.found()).map_err(|error| unreadable(&past, error))?;
    let plan = plan::build(&ctx);
    Ok(engine(session, &past, how, plan, &mut ctx))
}

/// The node, where the run has to do with it. One that only adds something to the server needs none.
fn node_of(cli: &Cli, scene: &Scene, what: &Rebuild) -> anyhow::Result<Option<SshHost>> {
    if matches!(what.way, Way::Add) {
        return Ok(None);
    }
    Ok(Some(cli.common.connect(scene.environment.node()?)?))
}

fn unreadable(past: &Past, error: anyhow::Error) -> anyhow::Error {
    let failure = Failure::new(format!(
        "the journal `{}` was written by another version ({})",
        past.path().display(),
        past.begun().version
    ));
    failure.hint("use that version to go on with it").because(error).into()
}
