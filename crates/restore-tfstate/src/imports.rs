//! Nothing is left of a state: import blocks for the guests that live, so that Terraform can take them over again.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use restore_common::{
    cli::Common,
    homelab::Environment,
    procedure::{Failure, Kept, Plan, Problem, Question, Run, Step, Undo, Workplace},
    pve::{GuestKind, GuestRef},
    remote::{Host, ReadOnly},
    ui::{format, sanitize},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{site::Site, steps};

/// The file that is written.
pub const FILE: &str = "recovered_imports.tf";

/// What its first line says, so that it is known again.
const MARK: &str = "# Written by restore-tfstate";

/// Decided: what will be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Imports {
    /// The file.
    pub path: PathBuf,
    /// What it will hold.
    pub text: String,
    /// What it holds now, if it is there: an earlier one of this program's own.
    pub before: Option<String>,
    /// How many guests are in it.
    pub guests: usize,
    /// Why there is no state.
    pub reason: String,
}

/// Looks at the environment's node for guests.
pub fn decide(
    common: &Common,
    environment: &Environment,
    site: &Site,
    reason: String,
) -> anyhow::Result<Result<Imports, Vec<Problem>>> {
    let host = common.connect(environment.node()?)?;
    let (host, question) = (ReadOnly(&host), GuestRef::ask_all());
    let guests = GuestRef::read_all(&host, &question, &host.run(&question)?)?;
    if guests.is_empty() {
        let problem = Problem::new(format!(
            "the state of {} is lost ({reason}; no copy on this machine), and {} has no guest",
            site.name(),
            host.name()
        ));
        return Ok(Err(vec![
            problem.hint("there is nothing to import: `terraform apply` makes everything anew"),
        ]));
    }
    let path = site.dir.join(FILE);
    let before = fs::read_to_string(&path).ok();
    if before.as_deref().is_some_and(|text| !text.starts_with(MARK)) {
        let problem =
            Problem::new(format!("`{}` is there and was not written by this program", path.display()));
        return Ok(Err(vec![problem.hint("move it away")]));
    }
    Ok(Ok(Imports { text: text(site, host.name(), &guests), path, before, guests: guests.len(), reason }))
}

/// The file: an `import` block for each guest. Source: provider `bpg/proxmox`, "Import" of
/// `proxmox_virtual_environment_vm` and `proxmox_virtual_environment_container`: `NODE/VMID`.
fn text(site: &Site, node: &str, guests: &[GuestRef]) -> String {
    let mut text = format!(
        "{MARK}: the guests that are on {}, for the state of {}, of which nothing is left.\n\
         #\n\
         # 1. Set each `to` to the address in your configuration, such as module.vm[\"web\"].proxmox_virtual_environment_vm.this,\n\
         #    and remove the guests that are not this environment's.\n\
         # 2. terraform init -reconfigure && terraform plan\n\
         # 3. When the plan imports what you expect and destroys nothing: terraform apply. Then remove this file.\n\
         #\n\
         # `terraform plan -generate-config-out=recovered.tf` writes configuration for addresses that have none.\n",
        comment(node),
        comment(&site.name())
    );
    let mut names = BTreeSet::new();
    for guest in guests {
        let resource = match guest.kind {
            GuestKind::Qemu => "proxmox_virtual_environment_vm",
            GuestKind::Lxc => "proxmox_virtual_environment_container",
        };
        let label = label(guest, resource, &mut names);
        let name = comment(guest.name.as_deref().unwrap_or("without a name"));
        let _ = write!(
            text,
            "\n# {} {}: {name}\nimport {{\n  to = {resource}.{label}\n  id = {}\n}}\n",
            guest.kind,
            guest.vmid,
            quoted(&format!("{}/{}", guest.node, guest.vmid))
        );
    }
    text
}

/// A name that Terraform takes, and that no other guest of the kind has.
fn label(guest: &GuestRef, resource: &str, taken: &mut BTreeSet<String>) -> String {
    let name = guest.name.as_deref().unwrap_or_default();
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    let begins_well = plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = if begins_well { plain } else { format!("guest_{plain}") };
    let free = !taken.contains(&format!("{resource}.{plain}"));
    let label = if free && !name.is_empty() { plain } else { format!("{plain}_{}", guest.vmid) };
    taken.insert(format!("{resource}.{label}"));
    label
}

/// Harmless in a comment of one line.
fn comment(text: &str) -> String {
    sanitize(text).replace(['\n', '\r'], " ")
}

/// A text of HCL: no template begins in it.
fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .replace("${", "$${")
        .replace("%{", "%%{");
    format!("\"{escaped}\"")
}

/// The writing of the file, at work.
pub struct Writing<'a> {
    /// This machine.
    pub host: &'a dyn Host,
    /// Where the state would be.
    pub site: &'a Site,
    /// What is written.
    pub what: Imports,
}

impl Workplace for Writing<'_> {
    fn host(&self) -> &dyn Host {
        self.host
    }

    fn kept(&self) -> Vec<Kept> {
        Vec::new()
    }

    fn claim(&self) -> String {
        let folder = crate::site::digest(self.site.dir.to_string_lossy().as_bytes());
        format!("imports-{}", &folder[..8])
    }

    fn work(&self) -> Value {
        json!({
            "mode": MODE,
            "environment": self.site.environment,
            "workspace": self.site.workspace,
            "dir": self.site.dir,
            "what": self.what,
        })
    }

    fn found(&self) -> Value {
        Value::Null
    }
}

/// The name of this work in the journal.
pub const MODE: &str = "imports";

/// The plan.
pub fn plan<'a>(site: &Site, what: &Imports) -> Plan<Writing<'a>> {
    let path = what.path.display().to_string();
    Plan {
        title: format!("The state of {} is lost: write import blocks", site.name()),
        facts: vec![
            ("server".to_owned(), sanitize(&what.reason).into_owned()),
            ("copies".to_owned(), "none on this machine, none in the folder".to_owned()),
            (
                "guests".to_owned(),
                format!("{} alive on the node", format::counted(what.guests as u64, "guest")),
            ),
        ],
        details: Vec::new(),
        warnings: vec![
            "without a state Terraform would make every guest a second time: do not apply before the import"
                .to_owned(),
        ],
        steps: vec![Step::write(
            "imports",
            format!("Write `{FILE}`"),
            write,
            Undo::By { says: "take the file away again".to_owned(), run: unwrite },
        )],
        checks: Vec::new(),
        question: Question::YesNo(format!("Write `{path}`?")),
        subject: json!({ "environment": site.environment, "workspace": site.workspace, "imports": path, "guests": what.guests }),
        next: vec![
            format!("read `{path}`: it says what to do, step by step"),
            "if the server or its disk turns up again, nothing of this is needed: remove the file".to_owned(),
        ],
    }
}

fn write(ctx: &mut Writing<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    run.safe_point()?;
    steps::write_whole(&ctx.what.path, ctx.what.text.as_bytes())?;
    Ok(Some(format::counted(ctx.what.guests as u64, "import block")))
}

fn unwrite(ctx: &mut Writing<'_>, _: &Run<'_>) -> anyhow::Result<Option<String>> {
    let now = fs::read_to_string(&ctx.what.path).ok();
    if now.as_deref() != Some(ctx.what.text.as_str()) {
        return Ok(None);
    }
    match &ctx.what.before {
        Some(text) => steps::write_whole(&ctx.what.path, text.as_bytes())?,
        None => remove(&ctx.what.path)?,
    }
    Ok(None)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    fs::remove_file(path).map_err(|error| {
        Failure::new(format!("`{}` cannot be removed", path.display())).because(error).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(kind: GuestKind, vmid: u32, name: Option<&str>) -> GuestRef {
        let vmid = vmid.to_string().parse().unwrap();
        GuestRef { kind, vmid, name: name.map(str::to_owned), node: "pve-prod".to_owned() }
    }

    #[test]
    fn labels_are_names_that_terraform_takes_and_none_comes_twice() {
        let mut taken = BTreeSet::new();
        let mut label = |guest: &GuestRef| label(guest, "r", &mut taken);
        assert_eq!(label(&guest(GuestKind::Qemu, 101, Some("prod-web"))), "prod_web");
        assert_eq!(label(&guest(GuestKind::Qemu, 102, Some("prod.web"))), "prod_web_102");
        assert_eq!(label(&guest(GuestKind::Qemu, 103, Some("9lives"))), "guest_9lives");
        assert_eq!(label(&guest(GuestKind::Qemu, 104, None)), "guest__104");
    }

    #[test]
    fn what_a_node_says_cannot_leave_its_place() {
        assert_eq!(quoted("a\"b${c}\\%{d"), "\"a\\\"b$${c}\\\\%%{d\"");
        assert!(!comment("a\nresource \"x\" {}").contains('\n'));
    }
}
