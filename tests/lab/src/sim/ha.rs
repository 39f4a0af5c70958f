//! High availability: its resources, its service, and `ha-manager`.
//!
//! The service acts at once, unless `ha-lag-ms` lets it notice changes as late as a real one does.

use std::time::Duration;

use serde_json::{Value, json};

use super::clock;
use super::node::cluster::{HA_RESOURCES, Section, SectionFile};
use super::node::{Failure, GuestKind, Node, Outcome};
use super::{Io, Parsed};

/// The settings of a resource that a call can give.
const SETTINGS: [&str; 6] = ["comment", "failback", "group", "max_relocate", "max_restart", "state"];

/// What the service has made of its resources.
const MANAGER_STATUS: &str = "/etc/pve/ha/manager_status";

/// A guest as HA names it: `vm:100`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sid {
    pub(super) kind: GuestKind,
    pub(super) vmid: u32,
}

impl Sid {
    /// Reads `vm:100`, `ct:200`, or the number of a guest.
    fn parse(node: &Node, text: &str) -> Outcome<Self> {
        let bad = || Failure::new(format!("unable to parse service id '{text}'"));
        if let Ok(vmid) = text.parse() {
            let (kind, _) = node.find_guest(vmid).ok_or_else(bad)?;
            return Ok(Self { kind, vmid });
        }
        let (kind, vmid) = text.split_once(':').ok_or_else(bad)?;
        let kind = match kind {
            "vm" => GuestKind::Vm,
            "ct" => GuestKind::Ct,
            _ => return Err(bad()),
        };
        Ok(Self { kind, vmid: vmid.parse().map_err(|_| bad())? })
    }
}

impl std::fmt::Display for Sid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind.prefix(), self.vmid)
    }
}

/// Runs `ha-manager`; gives its exit status.
pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    let done = match call.words.get(1).map_or("", String::as_str) {
        "status" => {
            for entry in status(node) {
                io.line(&format!("{} {}", entry.kind, entry.text));
            }
            Ok(())
        }
        "config" => {
            print_config(node, call, io);
            Ok(())
        }
        "add" => add(node, call),
        "set" => set(node, call),
        "remove" => remove(node, call),
        "crm-command" => stop(node, call),
        other => Err(Failure::new(format!("ERROR: unknown command 'ha-manager {other}'"))),
    };
    done.map_or_else(
        |failure| {
            io.complain(&failure.text);
            failure.status
        },
        |()| 0,
    )
}

fn resources(node: &Node) -> SectionFile {
    SectionFile::parse(&node.read(HA_RESOURCES).unwrap_or_default())
}

fn save(node: &Node, file: &SectionFile) -> Outcome {
    Ok(node.write(HA_RESOURCES, &file.to_string())?)
}

fn is(section: &Section, sid: Sid) -> bool {
    section.kind == sid.kind.prefix() && section.id == sid.vmid.to_string()
}

/// Puts a guest under high availability.
pub(super) fn add(node: &Node, call: &Parsed) -> Outcome {
    let sid = Sid::parse(node, call.get("sid").unwrap_or_default())?;
    let refused = |text: String| Failure::with_status(text, 17);
    if !matches!(node.find_guest(sid.vmid), Some((kind, _)) if kind == sid.kind) {
        return Err(refused(format!("resource '{sid}' does not exist in cluster")));
    }
    let mut file = resources(node);
    if file.sections.iter().any(|section| is(section, sid)) {
        return Err(refused(format!("resource ID '{sid}' already defined")));
    }
    let mut section =
        Section { kind: sid.kind.prefix().into(), id: sid.vmid.to_string(), settings: Vec::new() };
    apply(&mut section, call);
    if section.get("state").is_none() {
        section.set("state", "started");
    }
    file.sections.push(section);
    save(node, &file)?;
    act(node, sid)
}

/// Changes how a guest is kept.
pub(super) fn set(node: &Node, call: &Parsed) -> Outcome {
    let sid = Sid::parse(node, call.get("sid").unwrap_or_default())?;
    let mut file = resources(node);
    let Some(section) = file.sections.iter_mut().find(|section| is(section, sid)) else {
        return Err(Failure::new(format!("no such resource '{sid}'")));
    };
    for key in call.get("delete").unwrap_or_default().split(',') {
        section.settings.retain(|(name, _)| name != key);
    }
    apply(section, call);
    let clears = matches!(section.get("state"), Some("ignored" | "disabled"));
    save(node, &file)?;
    if clears && node.settings().ha_lag_ms == 0 {
        let mut services = recorded(node);
        services.as_object_mut().and_then(|services| services.remove(&sid.to_string()));
        record(node, &services)?;
    }
    act(node, sid)
}

fn apply(section: &mut Section, call: &Parsed) {
    for key in SETTINGS {
        if let Some(value) = call.get(key) {
            // `enabled` is the old word.
            section.set(key, if (key, value) == ("state", "enabled") { "started" } else { value });
        }
    }
}

/// Takes a guest out of high availability.
pub(super) fn remove(node: &Node, call: &Parsed) -> Outcome {
    let sid = Sid::parse(node, call.get("sid").unwrap_or_default())?;
    let mut file = resources(node);
    let before = file.sections.len();
    file.sections.retain(|section| !is(section, sid));
    if file.sections.len() == before {
        return Err(Failure::new(format!("cannot delete service '{sid}', not HA managed!")));
    }
    save(node, &file)
}

/// Asks the service to `start` or `stop` a guest, as `qm` and `pct` do for one that it keeps; gives their exit status.
pub(super) fn request(node: &Node, io: &mut Io<'_>, kind: GuestKind, vmid: u32, what: &str) -> i32 {
    let (task_kind, state) = if what == "start" { ("hastart", "started") } else { ("hastop", "stopped") };
    node.worker(io, task_kind, &vmid.to_string(), |task| {
        task.line(&format!("Requesting HA {what} for {} {vmid}", kind.label()))?;
        node.set_ha_state(kind, vmid, state)?;
        act(node, Sid { kind, vmid })
    })
}

fn stop(node: &Node, call: &Parsed) -> Outcome {
    let sid = Sid::parse(node, call.get("sid").unwrap_or_default())?;
    node.set_ha_state(sid.kind, sid.vmid, "stopped")?;
    act(node, sid)
}

/// Brings about what was asked for, unless the service only comes to it later.
fn act(node: &Node, sid: Sid) -> Outcome {
    if node.settings().ha_lag_ms > 0 {
        return Ok(());
    }
    bring_about(node, sid, node.ha_state(sid.kind, sid.vmid).as_deref())
}

/// A guest on this node that may be started is started, or stopped.
fn bring_about(node: &Node, sid: Sid, wanted: Option<&str>) -> Outcome {
    let Ok(config) = node.config(sid.kind, sid.vmid) else { return Ok(()) };
    let running = node.running(sid.kind, sid.vmid).is_some();
    match wanted {
        Some("started") if !running && config.lock().is_none() => node.power_on(sid.kind, sid.vmid),
        Some("stopped" | "disabled") if running => node.power_off(sid.kind, sid.vmid),
        _ => Ok(()),
    }
}

/// What the service knows of each resource: `{"vm:100": {"state": "started"}}`.
fn recorded(node: &Node) -> Value {
    let status = node.read(MANAGER_STATUS).and_then(|text| serde_json::from_str::<Value>(&text).ok());
    status.map_or_else(|| json!({}), |mut status| status["service_status"].take())
}

fn record(node: &Node, services: &Value) -> Outcome {
    if *services == recorded(node) {
        return Ok(());
    }
    Ok(node.write(MANAGER_STATUS, &json!({ "service_status": services }).to_string())?)
}

/// One round of the service. Until it notices a change of its resources it keeps to what it knows: a guest that it has
/// as started is started again whenever it is not.
pub(crate) fn work(node: &Node) -> Outcome {
    let lag = Duration::from_millis(node.settings().ha_lag_ms);
    if lag.is_zero() {
        return Ok(());
    }
    let changed = std::fs::metadata(node.path(HA_RESOURCES)).and_then(|file| file.modified());
    let is_unnoticed = changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|elapsed| elapsed < lag));
    let known = recorded(node);
    let mut services = json!({});
    for section in resources(node).sections {
        let name = format!("{}:{}", section.kind, section.id);
        let sid = Sid::parse(node, &name)?;
        if is_unnoticed {
            bring_about(node, sid, known[&name]["state"].as_str().filter(|state| *state == "started"))?;
            continue;
        }
        if let Some(state) = noticed(node, &section, known[&name]["state"].as_str()) {
            services[&name] = json!({ "state": state });
            bring_about(node, sid, section.get("state").or(Some("started")).filter(|_| state != "error"))?;
        }
    }
    if is_unnoticed { Ok(()) } else { record(node, &services) }
}

/// The state that the service has a resource in; nothing when it leaves it alone. Only disabling it, or taking it out,
/// ends an error.
fn noticed(node: &Node, section: &Section, known: Option<&str>) -> Option<&'static str> {
    let vmid = section.id.parse().unwrap_or_default();
    let is_running = |(kind, _)| node.running(kind, vmid).is_some();
    match section.get("state") {
        Some("ignored") => None,
        Some("disabled") => Some("disabled"),
        _ if known == Some("error") => Some("error"),
        Some("stopped") => Some("stopped"),
        _ if node.find_guest(vmid).is_some_and(is_running) => Some("started"),
        _ => Some("starting"),
    }
}

fn print_config(node: &Node, call: &Parsed, io: &mut Io<'_>) {
    for section in resources(node).sections {
        if call.get("type").is_some_and(|kind| kind != section.kind) {
            continue;
        }
        io.line(&format!("{}:{}", section.kind, section.id));
        let mut settings = section.settings;
        settings.sort();
        for (key, value) in settings {
            io.line(&format!("\t{key} {value}"));
        }
        io.line("");
    }
}

/// One line of the status.
pub(super) struct StatusEntry {
    /// `quorum`, `fencing`, `master`, `lrm` or `service`.
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) node: String,
    pub(super) text: String,
    /// For services: the resource, the state it is in, and the state that the service has it in.
    pub(super) service: Option<(Section, String, Option<String>)>,
}

/// What the HA service is doing.
pub(super) fn status(node: &Node) -> Vec<StatusEntry> {
    let resources = resources(node).sections;
    let name = node.name();
    let plain = |kind: &'static str, id: String, text: String| StatusEntry {
        kind,
        id,
        node: name.to_owned(),
        text,
        service: None,
    };
    let quorum = if node.settings().quorum { "OK" } else { "No quorum on node" };
    let mut entries = vec![plain("quorum", "quorum".into(), quorum.into())];
    let busy = !resources.is_empty();
    let now = clock::date_time(clock::now());
    if node.version() >= 9 && busy {
        entries.push(plain("fencing", "fencing".into(), "armed".into()));
    }
    if busy {
        entries.push(plain("master", "master".into(), format!("{name} (active, {now})")));
    }
    let state = if busy { "active" } else { "idle" };
    entries.push(plain("lrm", format!("lrm:{name}"), format!("{name} ({state}, {now})")));
    entries.extend(resources.into_iter().map(|section| service(node, section)));
    entries
}

fn service(node: &Node, section: Section) -> StatusEntry {
    let vmid = section.id.parse().unwrap_or_default();
    let place = node.find_guest(vmid).map_or_else(|| node.name().to_owned(), |(_, place)| place);
    let sid = format!("{}:{}", section.kind, section.id);
    let known = recorded(node)[&sid]["state"].as_str().map(str::to_owned);
    let has = if node.settings().ha_lag_ms > 0 {
        known
    } else {
        noticed(node, &section, known.as_deref()).map(str::to_owned)
    };
    let state = match section.get("state") {
        Some("ignored") => "ignored".to_owned(),
        _ => has.clone().unwrap_or_else(|| "queued".to_owned()),
    };
    StatusEntry {
        kind: "service",
        id: format!("service:{sid}"),
        text: format!("{sid} ({place}, {state})"),
        node: place,
        service: Some((section, state, has)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(params: &[(&str, &str)]) -> Parsed {
        let params = params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Parsed { params, ..Parsed::default() }
    }

    #[test]
    fn a_managed_guest_follows_the_state_that_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        node.write("/etc/pve/qemu-server/100.conf", "memory: 512\n").unwrap();
        let missing = add(&node, &call(&[("sid", "vm:999")])).unwrap_err();
        assert_eq!(missing.text, "resource 'vm:999' does not exist in cluster");
        add(&node, &call(&[("sid", "vm:100"), ("comment", "web")])).unwrap();
        assert!(node.running(GuestKind::Vm, 100).is_some());
        set(&node, &call(&[("sid", "100"), ("state", "stopped")])).unwrap();
        assert!(node.running(GuestKind::Vm, 100).is_none());
        assert_eq!(node.read(HA_RESOURCES).unwrap(), "vm: 100\n\tcomment web\n\tstate stopped\n\n");
        let service = status(&node).pop().unwrap();
        assert_eq!(service.text, "vm:100 (pve, stopped)");
        remove(&node, &call(&[("sid", "vm:100")])).unwrap();
        let gone = remove(&node, &call(&[("sid", "vm:100")])).unwrap_err();
        assert_eq!(gone.text, "cannot delete service 'vm:100', not HA managed!");
    }
}
