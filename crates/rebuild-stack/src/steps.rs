//! The steps of a rebuild.

use restore_common::{
    homelab::ModuleCall,
    procedure::{Check, CheckStatus, Failure, Kept, Run, Workplace},
    remote::{Command, Host},
    state::file_name,
    terraform::{self, Applied, PlanSummary, Scope, plain_address},
    ui::format::counted,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    claims,
    rebuild::{self, Rebuild},
};

/// The mode's name in the journal.
pub const MODE: &str = "rebuild";

/// A rebuild at work.
pub struct Context<'a> {
    /// This machine.
    pub host: &'a dyn Host,
    /// The call of the module.
    pub module: ModuleCall,
    /// Where the stack answers.
    pub address: String,
    /// What is to be done.
    pub what: Rebuild,
    /// What the steps found out.
    pub found: FoundOut,
}

/// What the steps of a rebuild found out, and later ones or the report need.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FoundOut {
    /// What is applied, where that was not known before `init`.
    pub scope: Option<Scope>,
    /// What the apply has done.
    pub applied: Applied,
    /// What is still to apply in the environment.
    pub left: Option<PlanSummary>,
}

impl<'a> Context<'a> {
    /// Ready to begin.
    pub fn new(host: &'a dyn Host, module: ModuleCall, address: String, what: Rebuild) -> Self {
        Self { host, module, address, what, found: FoundOut::default() }
    }

    /// Whether the apply has made the VM.
    pub fn has_new_guest(&self) -> bool {
        let is_vm = |address: &str| plain_address(address).rsplit('.').nth(1).is_some_and(claims::is_vm);
        self.found.applied.done.iter().any(|(action, address)| action == "create" && is_vm(address))
    }

    /// What is still to apply, in words.
    fn left(&self) -> Option<String> {
        let left = self.found.left.as_ref().filter(|left| !left.is_empty())?;
        let command = format!("{} -chdir={} apply", self.what.terraform.program, self.what.dir.display());
        let outside = left.outside(&self.what.module);
        if outside.is_empty() {
            return Some(format!(
                "Terraform would still change something ({left}): read its `plan` before `{command}`"
            ));
        }
        let names: Vec<_> = outside.iter().map(|(_, address)| address.as_str()).collect();
        Some(format!(
            "still to apply besides {}: {} ({}): `{command}`",
            self.what.module,
            counted(names.len() as u64, "resource"),
            names.join(", ")
        ))
    }

    fn scope(&self) -> Scope {
        let known = self.what.scope.clone().or_else(|| self.found.scope.clone());
        known.unwrap_or_else(|| Scope { targets: vec![self.what.module.clone()], replace: Vec::new() })
    }
}

impl Workplace for Context<'_> {
    fn host(&self) -> &dyn Host {
        self.host
    }

    fn kept(&self) -> Vec<Kept> {
        let backup = self.what.backup.iter().map(|backup| Kept {
            what: "newest backup of the stack as it was".to_owned(),
            place: backup.volid.to_string(),
            go_back: self
                .what
                .vmid
                .map(|vmid| format!("restore-vm {vmid} --archive {}", Command::read(backup.volid.as_str()))),
            remove: Command::destroy("pvesm").args(["free", backup.volid.as_str()]).to_string(),
        });
        backup.collect()
    }

    fn next(&self) -> Vec<String> {
        let key = self.has_new_guest().then(|| {
            format!("the new VM has a new host key: `ssh-keygen -R {}` forgets the old one", self.address)
        });
        key.into_iter().chain(self.left()).collect()
    }
    fn claim(&self) -> String {
        format!("environment-{}", file_name(&self.what.environment))
    }

    fn work(&self) -> Value {
        json!({ "mode": MODE, "what": self.what })
    }

    fn found(&self) -> Value {
        serde_json::to_value(&self.found).unwrap_or_default()
    }
}

type Said = anyhow::Result<Option<String>>;

pub(crate) fn init(ctx: &mut Context<'_>, run: &Run<'_>) -> Said {
    let command = ctx.what.terraform.init(&ctx.what.dir);
    run.job(ctx.host, &command, None, &mut |_| {})?;
    Ok(None)
}

/// What an apply would do, from the state as it is now. One that would do nothing is not begun.
pub(crate) fn plan(ctx: &mut Context<'_>, run: &Run<'_>) -> Said {
    run.safe_point()?;
    let Rebuild { terraform, dir, module, .. } = &ctx.what;
    if ctx.what.scope.is_none() {
        let command = terraform.state_pull(dir);
        let output = ctx.host.run(&command)?;
        let state = output.stdout_of(ctx.host, &command)?;
        ctx.found.scope = Some(rebuild::scope(dir, &ctx.module, state.as_bytes())?);
    }
    let output = ctx.host.run(&terraform.plan_of(dir, &ctx.scope()))?;
    let planned = PlanSummary::parse(&output.stdout)?;
    if planned.resources.is_empty() {
        return Err(Failure::new(format!("Terraform would do nothing in {module}"))
            .hint("is it the module that is meant? `--module NAME` names another")
            .into());
    }
    Ok(Some(planned.to_string()))
}

/// The apply, and whether it did something.
pub(crate) fn apply(ctx: &mut Context<'_>, run: &Run<'_>) -> Said {
    let command = ctx.what.terraform.apply(&ctx.what.dir, &ctx.scope());
    terraform::apply(run, ctx.host, &command, &mut ctx.found.applied)?;
    match ctx.found.applied.summary {
        Some(counts) if counts.add + counts.change > 0 => Ok(Some(counts.to_string())),
        Some(_) | None => Err(Failure::new(format!("the apply of {} did nothing", ctx.what.module))
            .hint("is it the module that is meant? `--module NAME` names another")
            .into()),
    }
}

/// The way back of an apply: there is none, unless nothing was begun.
pub(crate) fn look_back(ctx: &mut Context<'_>, _: &Run<'_>) -> Said {
    let applied = &ctx.found.applied;
    if !applied.has_begun() {
        return Ok(Some("Terraform had begun nothing".to_owned()));
    }
    let unfinished: Vec<_> = applied.unfinished().collect();
    let words = match unfinished.as_slice() {
        [] => format!("Terraform has finished {}", counted(applied.done.len() as u64, "change")),
        some => format!("Terraform had begun with {}", some.join(", ")),
    };
    Err(Failure::new(format!("{words}, and what it has done is not taken back"))
        .hint(format!("mend the cause and go on: `{}`", ctx.what.again))
        .into())
}

/// Check: what is still to apply in the environment, outside of the module as well.
pub(crate) fn left_check<'a>(module: &str) -> Check<Context<'a>> {
    Check {
        id: "left",
        title: format!("what is still to apply besides {module} is known"),
        run: Box::new(|ctx, run| {
            run.safe_point()?;
            let output = ctx.host.run(&ctx.what.terraform.plan(&ctx.what.dir))?;
            Ok(match PlanSummary::parse(&output.stdout) {
                Ok(left) => {
                    let words = left.to_string();
                    ctx.found.left = Some(left);
                    (CheckStatus::Passed, words)
                }
                Err(error) => (CheckStatus::Failed, error.to_string()),
            })
        }),
    }
}
