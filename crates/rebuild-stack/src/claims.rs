//! Which guest is the VM of the stack: by its address, by its name, by the Terraform state. tfvars hold no VMID.
//!
//! Guests that are there are asked about first, in one remote execution a node. Only when none of them claims it, those
//! that are gone are looked for in their newest backups.

use std::fmt;

use restore_common::{
    contact::{Contact, at_once},
    procedure::Problem,
    pve::{GuestConfig, GuestKind, NodeFacts, PveError, StorageId, Vmid},
    remote::{Command, CommandFailed, Ending, Host, HostError, ReadOnly},
    ui::sanitize,
};
use restore_vm::look::{Shelves, extract_config};
use serde::Deserialize;

use crate::About;

/// What tells the VM of a stack from others.
#[derive(Clone, Debug)]
pub struct Marks {
    /// Its name.
    pub name: &'static str,
    /// Its address.
    pub address: Option<String>,
    /// The numbers that the Terraform state has for it.
    pub in_state: Vec<Vmid>,
}

/// A guest that is, or was, the VM of the stack as far as one can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub vmid: Vmid,
    /// Which of the nodes that were asked has it.
    pub contact: usize,
    /// That node, for messages.
    pub node: String,
    /// Why.
    pub reasons: Vec<String>,
    /// It is there; otherwise only its backups are.
    pub is_there: bool,
}

impl fmt::Display for Claim {
    /// ``VM 103 on pve-prod (it has the address 192.168.1.51)``
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gone = if self.is_there { "" } else { ", of which there are only backups" };
        write!(f, "VM {} on {}{gone} ({})", self.vmid, self.node, self.reasons.join("; "))
    }
}

/// What the search came to.
pub enum Found {
    /// This one.
    One(Claim),
    /// Nobody, and everybody was asked.
    Nobody,
    /// What speaks against going on.
    Problems(Vec<Problem>),
}

/// Finds the VM of the stack on the nodes. `in_state` is asked for only when no guest that is there claims to be it.
pub fn find(
    contacts: &[Contact],
    about: &About,
    address: Option<&str>,
    storage: Option<&StorageId>,
    in_state: impl FnOnce() -> Vec<Vmid>,
) -> anyhow::Result<Found> {
    let mut marks = Marks { name: about.vm, address: address.map(str::to_owned), in_state: Vec::new() };
    let settle = |claims, silent: &[Problem]| settle(about, claims, silent);
    let mut silent = Vec::new();
    let live = search(contacts, &mut silent, |host| on_node(host, &marks))?;
    if let Some(found) = settle(live, &silent) {
        return Ok(found);
    }
    marks.in_state = in_state();
    if !marks.in_state.is_empty() {
        let live = search(contacts, &mut silent, |host| on_node(host, &marks))?;
        if let Some(found) = settle(live, &silent) {
            return Ok(found);
        }
    }
    let gone = search(contacts, &mut silent, |host| in_backups(host, storage, &marks))?;
    let nothing =
        |silent: Vec<Problem>| if silent.is_empty() { Found::Nobody } else { Found::Problems(silent) };
    Ok(match settle(gone, &silent) {
        Some(found) => found,
        None => nothing(silent),
    })
}

/// Asks every node at the same time. Those that do not answer are noted once each: their silence is no answer.
fn search(
    contacts: &[Contact],
    silent: &mut Vec<Problem>,
    ask: impl Fn(&dyn Host) -> Result<Vec<Claim>, PveError> + Sync,
) -> anyhow::Result<Vec<Claim>> {
    let answers = at_once(contacts, |contact| match &contact.host {
        Ok(host) => ask(&ReadOnly(host.as_ref())).map_err(|error| could_not_ask(&error)),
        Err(error) => Err(could_not_ask(error)),
    })?;
    let mut claims = Vec::new();
    for (at, (contact, answer)) in contacts.iter().zip(answers).enumerate() {
        match answer {
            Ok(found) => claims.extend(found.into_iter().map(|claim| Claim {
                contact: at,
                node: contact.node.label(),
                ..claim
            })),
            Err(problem) if silent.contains(&problem) => {}
            Err(problem) => silent.push(problem),
        }
    }
    Ok(claims)
}

fn could_not_ask(error: &PveError) -> Problem {
    let problem = Problem::new(error.to_string());
    match error {
        PveError::Host(error) => match HostError::hint(error) {
            Some(hint) => problem.hint(hint),
            None => problem,
        },
        PveError::Failed(_) | PveError::Unreadable { .. } => problem,
    }
}

/// One claim is the guest, several are a problem, none is no answer yet.
fn settle(about: &About, mut claims: Vec<Claim>, silent: &[Problem]) -> Option<Found> {
    match claims.len() {
        0 => None,
        1 => {
            for problem in silent {
                log::warn!("not asked, so this rests on the other nodes: {}", problem.what);
            }
            Some(Found::One(claims.remove(0)))
        }
        count => {
            let all: Vec<_> = claims.iter().map(ToString::to_string).collect();
            let problem =
                Problem::new(format!("{count} guests claim to be the {} VM: {}", about.key, all.join("; ")));
            Some(Found::Problems(vec![problem.hint("choose one with `--vmid ID`, or with `--node NODE`")]))
        }
    }
}

/// The configurations of a node's own VMs: what of them tells who they are.
fn own_guests() -> Command {
    // Snapshots and pending changes stand in sections of their own, so their headlines are wanted as well.
    let lines = r"^(\[|(name|template|ipconfig[0-9]+):)";
    Command::read("grep").args(["-rsE", "--include=*.conf", lines, "/etc/pve/qemu-server/"])
}

fn on_node(host: &dyn Host, marks: &Marks) -> Result<Vec<Claim>, PveError> {
    let question = own_guests();
    let answer = host.run(&question)?;
    // Status 1: no file has such a line. A file that vanishes meanwhile makes it 2, beside the lines of the others.
    if !matches!(answer.ending, Ending::Exit(0..=2)) {
        return Err(CommandFailed::new(host.name(), &question, &answer).into());
    }
    Ok(configurations(&answer.stdout)
        .into_iter()
        .filter_map(|(vmid, config)| claim(vmid, &config, marks, true))
        .collect())
}

/// Each guest with its configuration, from lines like `/etc/pve/qemu-server/103.conf:name: …`.
fn configurations(lines: &str) -> Vec<(Vmid, GuestConfig)> {
    let mut texts = std::collections::BTreeMap::<Vmid, String>::new();
    for line in lines.lines() {
        let Some((path, line)) = line.split_once(".conf:") else { continue };
        let Some(vmid) = path.rsplit('/').next().and_then(|number| number.parse().ok()) else { continue };
        let text = texts.entry(vmid).or_default();
        text.push_str(line);
        text.push('\n');
    }
    texts.into_iter().map(|(vmid, text)| (vmid, GuestConfig::parse(&text))).collect()
}

/// Whether a guest is the one that is looked for, and why. A template never is.
fn claim(vmid: Vmid, config: &GuestConfig, marks: &Marks, is_there: bool) -> Option<Claim> {
    let mut reasons = Vec::new();
    if let Some(address) = marks.address.as_deref().filter(|address| has_address(config, address)) {
        reasons.push(format!("it has the address {}", sanitize(address)));
    }
    if config.name() == Some(marks.name) {
        reasons.push(format!("its name is `{}`", marks.name));
    }
    if marks.in_state.contains(&vmid) {
        reasons.push("the Terraform state has it".to_owned());
    }
    let is_one = !reasons.is_empty() && !config.flag("template");
    is_one.then(|| Claim { vmid, contact: 0, node: String::new(), reasons, is_there })
}

fn has_address(config: &GuestConfig, address: &str) -> bool {
    let parsed = address.parse::<std::net::IpAddr>().ok();
    config
        .static_addresses()
        .into_iter()
        .any(|own| own == address || (parsed.is_some() && own.parse().ok() == parsed))
}

/// VMs that are gone, by what is in their newest backups.
fn in_backups(host: &dyn Host, storage: Option<&StorageId>, marks: &Marks) -> Result<Vec<Claim>, PveError> {
    let mut questions = NodeFacts::questions();
    let about_node = questions.len();
    questions.push(Command::read("find").args(["/etc/pve/nodes", "-name", "*.conf"]));
    let answers = host.run_all(&questions)?;
    let facts = NodeFacts::read(host, &questions[..about_node], &answers[..about_node])?;
    let present = answers[about_node].stdout_of(host, &questions[about_node])?;
    let number = |path: &str| path.rsplit('/').next()?.strip_suffix(".conf")?.parse::<Vmid>().ok();
    let present: Vec<Vmid> = present.lines().filter_map(number).collect();
    let shelves = Shelves::read(host, &facts, storage)?;
    let newest = shelves.newest();
    let gone: Vec<_> = newest
        .iter()
        .filter(|(vmid, archive)| archive.name.kind == GuestKind::Qemu && !present.contains(vmid))
        .collect();
    let questions: Vec<_> = gone.iter().map(|(_, archive)| extract_config(&archive.volid)).collect();
    let mut claims = Vec::new();
    for ((vmid, archive), answer) in gone.into_iter().zip(host.run_all(&questions)?) {
        if !answer.success() {
            log::warn!(
                "cannot read who `{}` on {} is of: {}",
                archive.volid,
                host.name(),
                answer.stderr.trim()
            );
        }
        // What cannot be read still has a number.
        let config = GuestConfig::parse(if answer.success() { &answer.stdout } else { "" });
        claims.extend(claim(*vmid, &config, marks, false));
    }
    Ok(claims)
}

/// The VMs of the module `module.NAME` in a Terraform state.
pub fn in_state(state: &[u8], module: &str) -> Vec<Vmid> {
    #[derive(Deserialize)]
    struct State {
        #[serde(default)]
        resources: Vec<Resource>,
    }
    #[derive(Deserialize)]
    struct Resource {
        #[serde(default)]
        module: String,
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        instances: Vec<Instance>,
    }
    #[derive(Deserialize)]
    struct Instance {
        #[serde(default)]
        attributes: Attributes,
    }
    #[derive(Default, Deserialize)]
    struct Attributes {
        #[serde(alias = "vmid")]
        vm_id: Option<u64>,
    }
    let Ok(state) = serde_json::from_slice::<State>(state) else { return Vec::new() };
    let is_of = |resource: &Resource| {
        let plain = restore_common::terraform::plain_address(&resource.module);
        let is_below =
            plain.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        is_below && is_vm(&resource.kind)
    };
    let instances = state.resources.iter().filter(|resource| is_of(resource)).flat_map(|one| &one.instances);
    instances.filter_map(|instance| instance.attributes.vm_id?.to_string().parse().ok()).collect()
}

/// Whether a resource of this type is a VM: of the provider `bpg/proxmox`, and of `telmate/proxmox`.
pub fn is_vm(kind: &str) -> bool {
    matches!(kind, "proxmox_virtual_environment_vm" | "proxmox_vm_qemu")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::eyes::EYES;

    fn marks(address: Option<&str>, in_state: &[u32]) -> Marks {
        let in_state = in_state.iter().map(|number| number.to_string().parse().unwrap()).collect();
        Marks { name: EYES.vm, address: address.map(str::to_owned), in_state }
    }

    #[test]
    fn a_guest_is_known_by_its_address_its_name_or_the_state() {
        let lines = "/etc/pve/qemu-server/103.conf:name: eyes\n\
            /etc/pve/qemu-server/103.conf:ipconfig0: ip=192.168.1.51/24,gw=192.168.1.1\n\
            /etc/pve/qemu-server/103.conf:[before]\n\
            /etc/pve/qemu-server/103.conf:name: monitoring-stack\n\
            /etc/pve/qemu-server/104.conf:name: monitoring-stack\n\
            /etc/pve/qemu-server/105.conf:name: other\n\
            /etc/pve/qemu-server/9000.conf:name: monitoring-stack\n\
            /etc/pve/qemu-server/9000.conf:template: 1\n";
        let claims = |marks: &Marks| -> Vec<String> {
            let found = configurations(lines);
            let claims = found.iter().filter_map(|(vmid, config)| claim(*vmid, config, marks, true));
            claims.map(|claim| format!("{} {}", claim.vmid, claim.reasons.join(";"))).collect()
        };
        assert_eq!(
            claims(&marks(Some("192.168.1.51"), &[])),
            ["103 it has the address 192.168.1.51", "104 its name is `monitoring-stack`"]
        );
        assert_eq!(claims(&marks(None, &[105])).len(), 2);
    }

    #[test]
    fn the_state_names_vms_of_the_module_only() {
        let state = br#"{"version":4,"resources":[
            {"module":"module.eyes[0]","mode":"managed","type":"proxmox_virtual_environment_vm","name":"vm","instances":[{"attributes":{"vm_id":103}}]},
            {"module":"module.eyes2","mode":"managed","type":"proxmox_virtual_environment_vm","name":"vm","instances":[{"attributes":{"vm_id":104}}]},
            {"module":"module.eyes","mode":"managed","type":"terraform_data","name":"x","instances":[{"attributes":{"vm_id":105}}]},
            {"mode":"managed","type":"proxmox_virtual_environment_vm","name":"x","instances":[{"attributes":{}}]}]}"#;
        assert_eq!(in_state(state, "module.eyes"), ["103".parse().unwrap()]);
        assert!(in_state(b"not json", "module.eyes").is_empty());
    }

    #[test]
    fn one_claim_counts_and_several_are_named() {
        let claim = |vmid: &str, node: &str| Claim {
            vmid: vmid.parse().unwrap(),
            contact: 0,
            node: node.to_owned(),
            reasons: vec!["its name is `monitoring-stack`".to_owned()],
            is_there: true,
        };
        assert!(settle(&EYES, Vec::new(), &[]).is_none());
        assert!(matches!(settle(&EYES, vec![claim("103", "a")], &[]), Some(Found::One(_))));
        let Some(Found::Problems(problems)) = settle(&EYES, vec![claim("103", "a"), claim("104", "b")], &[])
        else {
            panic!("one was chosen")
        };
        assert!(problems[0].what.contains("VM 103 on a") && problems[0].what.contains("VM 104 on b"));
    }
}
