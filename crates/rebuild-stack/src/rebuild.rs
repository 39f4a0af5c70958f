//! `--mode rebuild`: Terraform makes the stack anew, and its services are proven.
//!
//! `terraform apply -target` of an address that is not there succeeds and does nothing. So the module is found by its
//! source, what would be done is asked before, and whether something was done is seen after.

use std::{
    env,
    path::{Path, PathBuf},
};

use restore_common::{
    contact::connect_all,
    homelab::{ModuleCall, provisioned},
    monitoring::Inventory,
    procedure::{Interrupted, Plan, Problem, Question, Report, Session, Step, Undo, carry_out, refuse},
    pve::{Archive, Vmid},
    remote::{Host, ReadOnly},
    state::Document,
    terraform::{DataFolder, PlanError, PlanSummary, Scope, Terraform, find_call, plain_address},
    ui::{format, sanitize},
};
use restore_vm::nodes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    claims::{self, Found, is_vm},
    proof::{self, AFTERWARDS, Proving},
    site::Site,
    state,
    steps::{self, Context},
};

/// A decided rebuild. It is kept in the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rebuild {
    /// The environment.
    pub environment: String,
    /// The folder of its configuration.
    pub dir: PathBuf,
    /// The address of the module's call: `module.monitoring`.
    pub module: String,
    /// Where the module comes from.
    pub source: String,
    /// The program.
    pub terraform: Terraform,
    /// What is applied and what of it is made anew; nothing when that is only known after `init`.
    pub scope: Option<Scope>,
    /// What Terraform would do.
    pub planned: Option<PlanSummary>,
    /// The guest as it is now, in words.
    pub guest: Option<String>,
    /// Its number.
    pub vmid: Option<Vmid>,
    /// Its newest backup.
    pub backup: Option<Archive>,
    /// What the stack has now, where it answers.
    pub before: Inventory,
    /// How the operator calls this program again.
    pub again: String,
}

/// The call of the module, by its own name where that is known; or why there is none that could be meant.
pub fn find_module(site: &Site<'_>, named: Option<&str>) -> anyhow::Result<Result<ModuleCall, Problem>> {
    Ok(find_call(&site.dir()?, named, site.about().module)?)
}

/// Looks, asks, applies, proves.
pub fn run(site: &Site<'_>, session: &Session<'_>) -> anyhow::Result<Report> {
    let options = site.options;
    let refused = |problems| Ok(refuse(session, &site.about().rebuilding(), problems, None));
    let module = match find_module(site, options.module.as_deref())? {
        Ok(module) => module,
        Err(problem) => return refused(vec![problem]),
    };
    let local = site.local_host()?;
    let terraform =
        Terraform::find(&ReadOnly(&local), options.terraform_bin.as_deref(), &|name| env::var_os(name))?;
    let dir = site.dir()?;
    let known = match ahead(&ReadOnly(&local), &terraform, &dir, &module)? {
        Ok(known) => known,
        Err(problem) => return refused(vec![problem]),
    };
    let (scope, planned) = known.unzip();
    let guest = guest(site);
    let services = site.services(None)?;
    let before = services.take_stock();
    let what = Rebuild {
        environment: site.environment.name().to_owned(),
        dir,
        module: module.address(),
        source: module.source.clone(),
        terraform,
        scope,
        planned,
        vmid: guest.as_ref().map(|guest| guest.vmid),
        backup: guest.as_ref().and_then(|guest| guest.newest.clone()),
        guest: guest.map(|guest| guest.words),
        before,
        again: format!("{} --mode rebuild", site.again()),
    };
    if session.interrupt.requested() {
        return Err(Interrupted.into());
    }
    let read_only = ReadOnly(&local);
    let host: &dyn Host = if session.dry_run { &read_only } else { &local };
    let plan = plan(site, &what)?;
    Ok(carry_out(session, plan, &mut Context::new(host, module, services.address().to_owned(), what)))
}

/// What would be applied, and what that would do; nothing when Terraform has to be initialised first.
fn ahead(
    host: &dyn Host,
    terraform: &Terraform,
    dir: &Path,
    module: &ModuleCall,
) -> anyhow::Result<Result<Option<(Scope, PlanSummary)>, Problem>> {
    let pulled = host.run(&terraform.state_pull(dir))?;
    if !pulled.success() {
        let words = format!("{} {}", pulled.stderr, pulled.stdout);
        return Ok(unready(&words, || {
            let last = words.lines().map(str::trim).rfind(|line| line.chars().any(char::is_alphabetic));
            let problem = Problem::new(format!(
                "the state of {} cannot be read: {}",
                sanitize(&dir.to_string_lossy()),
                sanitize(last.unwrap_or("Terraform says nothing"))
            ));
            problem.hint("when its S3 server is down, `restore-tfstate --fallback` works without it, and `rebuild-minio` brings it back")
        }));
    }
    let scope = scope(dir, module, pulled.stdout.as_bytes())?;
    let output = host.run(&terraform.plan_of(dir, &scope))?;
    Ok(match PlanSummary::parse(&output.stdout) {
        Ok(planned) if planned.resources.is_empty() => Err(Problem::new(format!(
            "Terraform would do nothing in {}: nothing of it is missing, and nothing of it can be made anew",
            module.address()
        ))),
        Ok(planned) => Ok(Some((scope, planned))),
        Err(PlanError(words)) => unready(&words, || {
            let problem = Problem::new(format!("Terraform cannot plan {}: {words}", module.address()));
            if words.contains("prevent_destroy") || words.contains("Instance cannot be destroyed") {
                problem.hint("the module protects its VM; when that is backed up, remove it on the node yourself (`qm destroy`): then it is made anew")
            } else {
                problem
            }
        }),
    })
}

/// Whether Terraform only wants to be initialised; everything else is a problem.
fn unready<T>(words: &str, problem: impl FnOnce() -> Problem) -> Result<Option<T>, Problem> {
    let wants_init = ["terraform init", "tofu init"].iter().any(|command| words.contains(command));
    if wants_init { Ok(None) } else { Err(problem()) }
}

/// What is applied: the module. What of it is made anew: what has provisioners, which would not run again by
/// themselves, and the VM.
pub fn scope(dir: &Path, module: &ModuleCall, state: &[u8]) -> anyhow::Result<Scope> {
    let data = DataFolder::of(dir, &|name| env::var_os(name));
    let folder = module.folder(dir, data.path());
    let mut anew = match folder.filter(|folder| folder.is_dir()) {
        Some(folder) => provisioned(&folder)?,
        None => Vec::new(),
    };
    let instances =
        Document::parse(state).ok().and_then(|state| state.resources).unwrap_or_default().instances;
    let below = format!("{}.", module.address());
    for address in instances.keys() {
        let plain = plain_address(address);
        let Some(resource) = plain.strip_prefix(&below) else { continue };
        let mut parts = resource.rsplit('.');
        if parts.nth(1).is_some_and(is_vm) {
            anew.push(resource.to_owned());
        }
    }
    Ok(Scope::module(&module.address(), &anew, instances.keys()))
}

/// The guest as it is now.
struct Guest {
    vmid: Vmid,
    words: String,
    newest: Option<Archive>,
}

/// Looks for the guest. A rebuild does without an answer: it is for what is said before the question.
fn guest(site: &Site<'_>) -> Option<Guest> {
    let options = site.options;
    let looked = || -> anyhow::Result<Option<Guest>> {
        let mut contacts = connect_all(&options.common, &site.environments, options.node.as_slice())?;
        let (vmid, contacts) = match options.vmid {
            Some(vmid) => (vmid, contacts),
            None => match claims::find(&contacts, site.about(), site.address(), None, || state::vmids(site))?
            {
                Found::One(claim) => (claim.vmid, vec![contacts.swap_remove(claim.contact)]),
                Found::Nobody => return Ok(None),
                Found::Problems(problems) => {
                    for problem in problems {
                        log::warn!("{}", problem.what);
                    }
                    return Ok(None);
                }
            },
        };
        let args = options.restore(vmid);
        let survey = nodes::survey(&args.options, &contacts, &[vmid])?.remove(0);
        Ok(nodes::pick(&args, survey).ok().map(|reached| {
            let look = reached.look;
            let words = match look.holder.here() {
                Some(guest) => format!("VM {vmid} on {}, {}", look.facts.name, sanitize(&guest.state)),
                None => format!("VM {vmid} on {}, which is gone", look.facts.name),
            };
            Guest { vmid, words, newest: look.archives.into_iter().next() }
        }))
    };
    looked().unwrap_or_else(|error| {
        log::warn!("the guest that is there now could not be looked at: {error:#}");
        None
    })
}

/// Builds the plan: from the same work the same plan.
pub fn plan<'a>(site: &Site<'_>, what: &Rebuild) -> anyhow::Result<Plan<Context<'a>>> {
    let about = site.about();
    let services = site.services(None)?;
    let wait = site.options.wait.map_or(AFTERWARDS, std::time::Duration::from_secs);
    let address = services.address().to_owned();
    let mut checks = vec![steps::left_check(&what.module)];
    checks.extend(proof::checks(
        Proving { services, before: what.before.clone(), wait },
        |ctx: &Context<'_>| ctx.has_new_guest(),
    ));
    Ok(Plan {
        title: format!("{} of {}", about.rebuilding(), sanitize(&what.environment)),
        facts: facts(what),
        details: what.planned.iter().map(details).collect(),
        warnings: warnings(site, what),
        steps: steps_of(what),
        checks,
        question: Question::Type {
            says: format!(
                "The {} stack of {} will be made anew, without its history:",
                about.key,
                sanitize(&what.environment)
            ),
            word: what.environment.clone(),
        },
        subject: json!({
            "environment": what.environment,
            "module": what.module,
            "source": what.source,
            "vmid": what.vmid,
            "replace": what.scope.as_ref().map(|scope| &scope.replace),
            about.key: { "address": address, "before": what.before },
        }),
        next: Vec::new(),
    })
}

fn facts(what: &Rebuild) -> Vec<(String, String)> {
    let mut facts = vec![
        ("module".to_owned(), format!("{} ({})", what.module, what.source)),
        ("in".to_owned(), what.dir.display().to_string()),
        ("guest".to_owned(), what.guest.clone().unwrap_or_else(|| "none was found".to_owned())),
    ];
    if let Some(backup) = &what.backup {
        facts.push(("its newest backup".to_owned(), format!("{}, {}", backup.volid, backup.name.time)));
    }
    if !what.before.is_empty() {
        let counts: Vec<_> =
            what.before.counts().into_iter().map(|(what, count)| format!("{what} {count}")).collect();
        facts.push(("it has now".to_owned(), counts.join(", ")));
    }
    let planned = what.planned.as_ref().map_or_else(|| "known after `init`".to_owned(), ToString::to_string);
    facts.push(("Terraform".to_owned(), planned));
    facts
}

/// What happens to each resource.
fn details(planned: &PlanSummary) -> String {
    let line = |(action, address): &(String, String)| format!("{action:<8}{}\n", sanitize(address));
    planned.resources.iter().map(line).collect()
}

fn warnings(site: &Site<'_>, what: &Rebuild) -> Vec<String> {
    let about = site.about();
    let mut warnings = vec![
        format!(
            "lost: {}, and all else that is only on the disks of the VM ({})",
            about.history, about.besides
        ),
        "what Terraform has begun cannot be taken back; the same command goes on from there".to_owned(),
    ];
    match (&what.backup, &what.guest, what.vmid) {
        (Some(backup), ..) => warnings.push(format!(
            "there is a backup, which stays: `{}` would bring the stack back from {} with its history",
            site.again(),
            backup.volid
        )),
        (None, Some(_), Some(vmid)) => warnings.push(format!(
            "no backup of VM {vmid} was found: `vzdump {vmid} --mode snapshot` on the node makes one, should its disks be worth it"
        )),
        _ => {}
    }
    warnings
}

fn steps_of<'a>(what: &Rebuild) -> Vec<Step<Context<'a>>> {
    let Rebuild { terraform, dir, module, .. } = what;
    let scope =
        what.scope.clone().unwrap_or_else(|| Scope { targets: vec![module.clone()], replace: Vec::new() });
    let no_state = Undo::NotNeeded("it changes no state");
    let begun = Undo::By {
        says: "see whether Terraform has begun anything (what it has, it cannot take back)".to_owned(),
        run: steps::look_back,
    };
    let count = format::counted(scope.replace.len() as u64, "resource");
    let anew =
        if scope.replace.is_empty() { String::new() } else { format!(", {count} of it anew in any case") };
    vec![
        Step::write(
            "init",
            "Let Terraform read its backend, its modules and its providers",
            steps::init,
            no_state,
        )
        .commands([terraform.init(dir)]),
        Step::read("plan", format!("See what an apply of {module} would do"), steps::plan)
            .commands([terraform.plan_of(dir, &scope)]),
        Step::destroy("apply", format!("Apply {module}{anew}"), steps::apply, begun)
            .commands([terraform.apply(dir, &scope)]),
    ]
}
