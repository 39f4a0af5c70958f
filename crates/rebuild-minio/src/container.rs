//! The container that the server runs in: whether it is there, and what goes on in it.

use std::{path::Path, sync::Arc};

use restore_common::{
    cli::Common,
    homelab::NodeRef,
    procedure::Problem,
    pve::{GuestKind, GuestRef, NodeFacts, PveError, Vmid},
    remote::{Command, Host, Output, ReadOnly, SshHost},
    ui::sanitize,
};
use restore_vm::look::{Guest, Holder, NodeLook, Shelves, look_at};
use serde_json::Value;

/// The unit that the module makes in the container.
pub const UNIT: &str = "minio";

/// Where units are.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What can be known of the container.
pub enum Container {
    /// The node could not be asked. Never taken for "there is none".
    Unknown(Arc<PveError>),
    /// The node has none, and nothing says which number it had.
    Nowhere(Node),
    /// The node was asked about this number.
    Known(Box<Known>),
}

/// The node, and the connection to it.
pub struct Node {
    /// What the project says about it.
    pub node: NodeRef,
    /// The connection.
    pub host: Arc<SshHost>,
}

/// A container with a number.
pub struct Known {
    /// The node.
    pub node: Node,
    /// Its number.
    pub vmid: Vmid,
    /// What the node knows about it: itself, and its backups.
    pub look: NodeLook,
    /// What goes on in it, when it runs.
    pub inside: Option<Inside>,
    /// All guests of the node.
    pub guests: Vec<Vmid>,
}

/// What goes on in a container that runs.
#[derive(Clone, Debug)]
pub struct Inside {
    /// What `systemctl is-active` says of the server's unit.
    pub service: String,
    /// Whether there is such a unit at all.
    pub has_unit: bool,
    /// The volumes that are full: where they are mounted, and how much is free of how much.
    pub full: Vec<String>,
}

impl Known {
    /// The container, if it is there.
    pub fn guest(&self) -> Option<&Guest> {
        self.look.holder.here()
    }

    /// `container 200 on pve-mon: running, its service is failed`.
    pub fn describe(&self) -> String {
        let name = format!("container {} on {}", self.vmid, self.look.facts.name);
        match &self.look.holder {
            Holder::Nobody => format!("{name}: gone"),
            Holder::Elsewhere { node, .. } => format!("{name}: it is on {} instead", sanitize(node)),
            Holder::Here(guest) => {
                let service = self
                    .inside
                    .as_ref()
                    .map(|inside| format!(", its service `{UNIT}` is {}", sanitize(&inside.service)));
                format!("{name}: {}{}", sanitize(&guest.state), service.unwrap_or_default())
            }
        }
    }
}

/// How the container is looked for.
pub struct Wanted<'a> {
    /// The number that the operator named.
    pub named: Option<Vmid>,
    /// Its name on the node.
    pub name: &'a str,
    /// Its address.
    pub address: Option<&'a str>,
    /// The number that the state of its environment has.
    pub in_state: Option<Vmid>,
}

impl Container {
    /// Looks for it: four remote executions at most.
    pub fn find(common: &Common, node: &NodeRef, wanted: &Wanted<'_>) -> Result<Self, Problem> {
        let host = match common.connect(node) {
            Ok(host) => Arc::new(host),
            Err(error) => return Ok(Self::Unknown(Arc::new(error.into()))),
        };
        match look(&host, wanted) {
            Ok(Ok(Some((vmid, look, inside, guests)))) => {
                let node = Node { node: node.clone(), host };
                Ok(Self::Known(Box::new(Known { node, vmid, look, inside, guests })))
            }
            Ok(Ok(None)) => Ok(Self::Nowhere(Node { node: node.clone(), host })),
            Ok(Err(problem)) => Err(problem),
            Err(error) => Ok(Self::Unknown(Arc::new(error))),
        }
    }

    /// The node, where it could be asked.
    pub fn node(&self) -> Option<&Node> {
        match self {
            Self::Unknown(_) => None,
            Self::Nowhere(node) => Some(node),
            Self::Known(known) => Some(&known.node),
        }
    }

    /// In a line.
    pub fn describe(&self) -> String {
        match self {
            Self::Unknown(error) => format!("could not be asked: {error}"),
            Self::Nowhere(node) => format!("none on {}, and no backup of one", node.node.label()),
            Self::Known(known) => known.describe(),
        }
    }
}

type Found = Option<(Vmid, NodeLook, Option<Inside>, Vec<Vmid>)>;

fn look(host: &Arc<SshHost>, wanted: &Wanted<'_>) -> Result<Result<Found, Problem>, PveError> {
    let host = ReadOnly(host.as_ref());
    let mut questions = NodeFacts::questions();
    let last = questions.len();
    questions.push(GuestRef::ask_all());
    questions.extend(wanted.address.map(with_address));
    let answers = host.run_all(&questions)?;
    let facts = NodeFacts::read(&host, &questions[..last], &answers[..last])?;
    let guests = GuestRef::read_all(&host, &questions[last], &answers[last])?;
    let at_address = answers.get(last + 1).map(|answer| numbers_of_files(&answer.stdout)).unwrap_or_default();
    let vmid = match number(&host, &facts, &guests, wanted, &at_address)? {
        Ok(Some(vmid)) => vmid,
        Ok(None) => return Ok(Ok(None)),
        Err(problem) => return Ok(Err(problem)),
    };
    if let Some(other) = guests.iter().find(|guest| guest.vmid == vmid && guest.kind != GuestKind::Lxc) {
        let problem =
            Problem::new(format!("guest {vmid} on {} is a {}, not a container", facts.name, other.kind));
        return Ok(Err(problem.hint("name the container with `--vmid`")));
    }
    let mut looks = look_at(&host, &[vmid], None)?;
    let look = looks.remove(0);
    let runs = look.holder.here().is_some_and(Guest::is_active);
    let inside = if runs { Some(look_inside(&host, vmid)?) } else { None };
    Ok(Ok(Some((vmid, look, inside, guests.into_iter().map(|guest| guest.vmid).collect()))))
}

/// Which containers have an address. That none has is an error of `grep`, and its answer empty.
fn with_address(address: &str) -> Command {
    // The folder is a link, which is only followed with a trailing slash.
    Command::read("grep").args(["-rlF", &format!("ip={address}/"), "/etc/pve/lxc/"])
}

fn numbers_of_files(paths: &str) -> Vec<Vmid> {
    let number = |path: &str| path.rsplit('/').next()?.strip_suffix(".conf")?.parse().ok();
    paths.lines().filter_map(number).collect()
}

/// Its number: as the operator says, by its name on the node, by its address, as the state says, by the notes of its backups.
fn number(
    host: &dyn Host,
    facts: &NodeFacts,
    guests: &[GuestRef],
    wanted: &Wanted<'_>,
    at_address: &[Vmid],
) -> Result<Result<Option<Vmid>, Problem>, PveError> {
    if let Some(vmid) = wanted.named {
        return Ok(Ok(Some(vmid)));
    }
    let named: Vec<_> = guests
        .iter()
        .filter(|guest| guest.kind == GuestKind::Lxc && guest.name.as_deref() == Some(wanted.name))
        .map(|guest| guest.vmid)
        .collect();
    let several = |what: &str, vmids: &[Vmid]| {
        let vmids: Vec<_> = vmids.iter().map(ToString::to_string).collect();
        Problem::new(format!("{what} on {}: {}", facts.name, vmids.join(", ")))
            .hint("choose one with `--vmid`")
    };
    match named.as_slice() {
        [one] => return Ok(Ok(Some(*one))),
        [] => {}
        many => return Ok(Err(several(&format!("several containers are named `{}`", wanted.name), many))),
    }
    if let [one] = at_address {
        return Ok(Ok(Some(*one)));
    }
    if wanted.in_state.is_some() {
        return Ok(Ok(wanted.in_state));
    }
    let noted = Shelves::read(host, facts, None)?.noted(wanted.name);
    match noted.as_slice() {
        [] => Ok(Ok(None)),
        [one] => Ok(Ok(Some(*one))),
        many => {
            Ok(Err(several(&format!("several guests have backups with the note `{}`", wanted.name), many)))
        }
    }
}

fn look_inside(host: &dyn Host, vmid: Vmid) -> Result<Inside, PveError> {
    let inside = |words: &[&str]| in_container(Command::read("pct"), vmid, words);
    let mut commands = vec![inside(&["systemctl", "is-active", UNIT]), df_command(vmid)];
    commands.extend(UNITS.map(|folder| inside(&["test", "-e", &format!("{folder}/{UNIT}.service")])));
    let answers = host.run_all(&commands)?;
    // It ends with an error for everything that is not active, and says what it is.
    let word = answers[0].stdout.lines().next().unwrap_or_default().trim().to_owned();
    let service = if word.is_empty() { "unknown".to_owned() } else { word };
    let has_unit = answers[2..].iter().any(Output::success);
    Ok(Inside { service, has_unit, full: full_volumes(&answers[1]) })
}

/// `pct exec ID -- …`
pub fn in_container(pct: Command, vmid: Vmid, words: &[&str]) -> Command {
    pct.args(["exec", &vmid.to_string(), "--"]).args(words.iter().copied())
}

/// How full its volumes are.
fn df_command(vmid: Vmid) -> Command {
    Command::read("pct").args(["df", &vmid.to_string()])
}

/// Those of which less than a fiftieth is free: nothing can be written to them for long.
fn full_volumes(answer: &Output) -> Vec<String> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, volume, size, _, free, _, path] = words.as_slice() else { return None };
        let (bytes, available) = (human(size)?, human(free)?);
        (available < bytes / 50.0).then(|| {
            format!(
                "`{}` ({}): {} of {} free",
                sanitize(path),
                sanitize(volume),
                sanitize(free),
                sanitize(size)
            )
        })
    };
    if answer.success() { answer.stdout.lines().skip(1).filter_map(row).collect() } else { Vec::new() }
}

/// A number of bytes as `pct df` writes it: `3.9G`.
fn human(text: &str) -> Option<f64> {
    let unit = text.chars().last()?;
    let power = "KMGT".find(unit);
    let number: f64 = text.trim_end_matches(char::is_alphabetic).parse().ok()?;
    let power = power.map_or(0, |power| i32::try_from(power).unwrap_or_default() + 1);
    Some(number * 1024_f64.powi(power))
}

/// The number that a state has for the container of a module.
pub fn number_in_state(path: &Path, module: &str) -> Option<Vmid> {
    let state: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let of_module = |resource: &&Value| {
        let address = resource["module"].as_str().unwrap_or_default();
        let inside =
            address.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        inside && resource["type"] == "proxmox_virtual_environment_container"
    };
    let resource = state["resources"].as_array()?.iter().find(of_module)?;
    let attributes = &resource["instances"][0]["attributes"];
    let number = attributes["vm_id"].as_u64().or_else(|| attributes["id"].as_str()?.parse().ok())?;
    Vmid::new(u32::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use restore_common::remote::Ending;

    use super::*;

    #[test]
    fn a_full_volume_is_told_from_one_with_room() {
        let stdout = "MP     Volume                  Size Used Avail Use% Path\n\
                      rootfs local-lvm:vm-200-disk-0 3.9G 1.2G  2.5G  0.3 /\n\
                      mp0    local-lvm:vm-200-disk-1 4.0G 4.0G  512K  1.0 /data\n";
        let answer = Output { ending: Ending::Exit(0), stdout: stdout.to_owned(), stderr: String::new() };
        assert_eq!(full_volumes(&answer), ["`/data` (local-lvm:vm-200-disk-1): 512K of 4.0G free"]);
    }

    #[test]
    fn the_number_of_a_container_that_is_gone_is_in_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let resource = |module: &str, id: u32| {
            format!(
                "{{\"module\":\"{module}\",\"type\":\"proxmox_virtual_environment_container\",\"instances\":[{{\"attributes\":{{\"vm_id\":{id}}}}}]}}"
            )
        };
        let text = format!(
            "{{\"resources\":[{},{}]}}",
            resource("module.minio_old", 1),
            resource("module.minio", 200)
        );
        std::fs::write(&path, text).unwrap();
        assert_eq!(
            number_in_state(&path, "module.minio").map(|vmid| vmid.to_string()).as_deref(),
            Some("200")
        );
        assert_eq!(number_in_state(&path, "module.other"), None);
    }
}
