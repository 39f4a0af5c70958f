//! The program: look, decide, and hand the plan to the engine.

use std::process::ExitCode;

use restore_common::{
    cli::{self, Program, state_folder},
    procedure::{Interrupted, Problem, Report, Session, carry_out, refuse, settled},
    remote::{Host, LocalHost, ReadOnly},
    s3::Credentials,
    state::file_name,
    terraform::Terraform,
    ui::Answer,
};

use crate::{
    args::{Cli, Mode},
    decide::{Decision, decide, replaces_what_works},
    look::Look,
    plan, recover,
    scene::Scene,
    work::{Ctx, Rebuild, Way},
};

/// Name of the program.
pub const PROGRAM: &str = "rebuild-minio";
/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const TITLE: &str = "Rebuild the S3 server of Terraform's states";

/// Runs the program to its end and gives its exit code.
pub fn run(cli: &Cli) -> ExitCode {
    let program = Program { name: PROGRAM, version: VERSION, title: TITLE };
    cli::run(program, &cli.common, PROGRAM.to_owned(), |session| work(cli, session))
}

/// What an earlier run left comes first: it goes on, or back, or it keeps this one from beginning.
fn work(cli: &Cli, session: &mut Session<'_>) -> anyhow::Result<Report> {
    let scene = match Scene::find(cli)? {
        Ok(scene) => scene,
        Err(problems) => return Ok(refuse(session, TITLE, problems, None)),
    };
    session.journal_name = format!("{PROGRAM}-{}", file_name(scene.environment.name()));
    let history = recover::find(&scene, session)?;
    session.over = history.over;
    if cli.resume || cli.rollback {
        return recover::carry_on(cli, &scene, session, history.open, TITLE);
    }
    if let Some(open) = &history.open {
        return Ok(refuse(session, TITLE, vec![recover::problem(session, open)], None));
    }
    look_and_rebuild(cli, &scene, session)
}

fn look_and_rebuild(cli: &Cli, scene: &Scene, session: &Session<'_>) -> anyhow::Result<Report> {
    let look = match Look::take(cli, scene)? {
        Ok(look) => look,
        Err(problems) => return Ok(refuse(session, TITLE, problems, None)),
    };
    if session.interrupt.requested() {
        return Err(Interrupted.into());
    }
    let what = match decide(cli, scene, &look)? {
        Decision::Do(what) => *what,
        decision => {
            session.reporter.plan(&format!("{TITLE}\n\n{}", look.text(scene)));
            let report = match decision {
                Decision::Nothing(words) => settled(session, TITLE, &words),
                Decision::No(problems) => refuse(session, TITLE, problems, None),
                Decision::Do(_) => return Err(anyhow::anyhow!("decided twice")),
            };
            return Ok(Report { subject: look.document(scene), ..report });
        }
    };
    if replaces_what_works(&look, &what)
        && let Some(report) = not_sure(cli, session, &what)
    {
        return Ok(report);
    }
    let local = local_host(scene)?;
    let node = look.container.node().filter(|_| !matches!(what.way, Way::Add)).map(|node| node.host.as_ref());
    let (local_only, node_only) = (ReadOnly(&local), node.map(|node| ReadOnly(node)));
    let local: &dyn Host = if session.dry_run { &local_only } else { &local };
    let node = match (node, &node_only) {
        (_, Some(read_only)) if session.dry_run => Some(read_only as &dyn Host),
        (Some(node), _) => Some(node as &dyn Host),
        _ => None,
    };
    let mut ctx = Ctx::new(local, node, scene, what, &serde_json::Value::Null)?;
    let plan = plan::build(&ctx);
    let mut report = carry_out(session, plan, &mut ctx);
    if let (Some(subject), Some(can)) = (report.subject.as_object_mut(), &ctx.found.capabilities) {
        subject.insert("capabilities".to_owned(), serde_json::to_value(can)?);
    }
    Ok(report)
}

/// The question before the question: the server works.
fn not_sure(cli: &Cli, session: &Session<'_>, what: &Rebuild) -> Option<Report> {
    if session.yes || session.dry_run {
        return None;
    }
    let how = if cli.mode == Mode::Rebuild { "rebuilt from nothing" } else { "replaced" };
    let says = format!("The S3 server at {} works. It would be {how}:", what.endpoint);
    match session.prompt.borrow_mut().type_word(&says, "replace") {
        Answer::Yes => None,
        Answer::Interrupted => Some(refuse(session, TITLE, Vec::new(), Some(&Interrupted.into()))),
        Answer::No => {
            let mut report = refuse(session, TITLE, Vec::new(), None);
            report.next.push("declined: run it again when you are ready".to_owned());
            Some(report)
        }
        Answer::Refused => {
            let problem = Problem::new("this needs an answer, and standard input is no terminal");
            let hint = "run it on a terminal, or say `--yes` to go ahead without a question";
            Some(refuse(session, TITLE, vec![problem.hint(hint)], None))
        }
    }
}

/// This machine, with what Terraform needs in the environment of the server.
pub(crate) fn local_host(scene: &Scene) -> anyhow::Result<LocalHost> {
    if let Some(site) = scene.own_site() {
        return Ok(site.host()?);
    }
    // Its state is a file in its folder; the modules may want the server's credentials all the same.
    let secret_key = scene.minio.root_password.clone();
    let variables = secret_key.map(|secret_key| {
        let credentials =
            Credentials { access_key: scene.minio.root_user.clone(), secret_key, session_token: None };
        Terraform::variables(&credentials, None, restore_tfstate::site::DEFAULT_WORKSPACE)
    });
    Ok(LocalHost::new(&state_folder(), variables.unwrap_or_default())?)
}
