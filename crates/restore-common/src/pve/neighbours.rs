//! Who has an address: the guests of the cluster by their configurations, and whoever the node has heard.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use super::{GuestConfig, GuestKind, NodeName, PveError, Vmid, json};
use crate::remote::{Command, CommandFailed, Ending, Host, Output};

/// A guest of the cluster that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningGuest {
    /// VM or container.
    pub kind: GuestKind,
    /// Its number.
    pub vmid: Vmid,
    /// Its name.
    pub name: Option<String>,
    /// Its node.
    pub node: String,
    /// The static addresses of its configuration.
    pub addresses: Vec<IpAddr>,
}

/// A guest, whether it runs or not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GuestRef {
    /// VM or container.
    pub kind: GuestKind,
    /// Its number.
    pub vmid: Vmid,
    /// Its name.
    pub name: Option<String>,
    /// Its node.
    pub node: String,
}

impl GuestRef {
    /// Which guests are there?
    pub fn ask_all() -> Command {
        json::get("/cluster/resources", &[("type", "vm")])
    }

    /// Reads the answer to [`GuestRef::ask_all`], in order of the numbers.
    pub fn read_all(host: &dyn Host, question: &Command, answer: &Output) -> Result<Vec<Self>, PveError> {
        let entries: Vec<Entry> = json::parse(host, question, answer)?;
        let guest = |entry: Entry| {
            Some(Self { kind: entry.guest_kind()?, vmid: entry.vmid()?, node: entry.node?, name: entry.name })
        };
        let mut guests: Vec<_> = entries.into_iter().filter_map(guest).collect();
        guests.sort_by_key(|guest| guest.vmid);
        Ok(guests)
    }
}

/// The questions whose answers tell which guests run, and with which addresses.
pub fn running_guests_questions() -> Vec<Command> {
    // Snapshots and pending changes stand in sections of their own, so their headlines are wanted as well.
    let lines = r"^(\[|(net|ipconfig)[0-9]+:)";
    vec![
        json::get("/cluster/resources", &[("type", "vm")]),
        json::get("/nodes/localhost/qemu", &[]),
        json::get("/nodes/localhost/lxc", &[]),
        Command::read("grep").args(["-rsE", "--include=*.conf", lines, "/etc/pve/nodes"]),
    ]
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "json::number")]
    vmid: Option<i64>,
    name: Option<String>,
    node: Option<String>,
    status: Option<String>,
}

impl Entry {
    fn vmid(&self) -> Option<Vmid> {
        self.vmid.and_then(|vmid| vmid.to_string().parse().ok())
    }

    fn guest_kind(&self) -> Option<GuestKind> {
        match self.kind.as_deref()? {
            "qemu" => Some(GuestKind::Qemu),
            "lxc" => Some(GuestKind::Lxc),
            _ => None,
        }
    }
}

/// Reads the answers to [`running_guests_questions`] by `local`, the node that was asked.
pub fn running_guests(
    host: &dyn Host,
    local: &NodeName,
    questions: &[Command],
    answers: &[Output],
) -> Result<Vec<RunningGuest>, PveError> {
    let [cluster, qemu, lxc, lines] = answers else { return Ok(Vec::new()) };
    // Status 1: no file has such a line. A file that vanishes meanwhile makes it 2, beside the lines of the others.
    if !matches!(lines.ending, Ending::Exit(0..=2)) {
        return Err(CommandFailed::new(host.name(), &questions[3], lines).into());
    }
    let cluster: Vec<Entry> = json::parse(host, &questions[0], cluster)?;
    let mut here: Vec<Entry> = json::parse(host, &questions[1], qemu)?;
    here.extend(json::parse::<Vec<Entry>>(host, &questions[2], lxc)?);
    Ok(running(local, cluster, &here, addresses_in(&lines.stdout)))
}

/// What the cluster knows of its guests lags behind by some ten seconds, so the node tells of its own guests itself.
fn running(
    local: &NodeName,
    cluster: Vec<Entry>,
    here: &[Entry],
    mut addresses: BTreeMap<Vmid, Vec<IpAddr>>,
) -> Vec<RunningGuest> {
    let runs_here = |vmid: Vmid| {
        let entry = here.iter().find(|entry| entry.vmid() == Some(vmid));
        entry.is_some_and(|entry| entry.status.as_deref() != Some("stopped"))
    };
    let guest = |entry: Entry| {
        let (vmid, kind, node) = (entry.vmid()?, entry.guest_kind()?, entry.node?);
        let runs =
            if node == local.as_str() { runs_here(vmid) } else { entry.status.as_deref() == Some("running") };
        let addresses = addresses.remove(&vmid).unwrap_or_default();
        runs.then_some(RunningGuest { kind, vmid, name: entry.name, node, addresses })
    };
    cluster.into_iter().filter_map(guest).collect()
}

/// The static addresses of all guests, from lines like `/etc/pve/nodes/NODE/lxc/200.conf:net0: …`.
fn addresses_in(lines: &str) -> BTreeMap<Vmid, Vec<IpAddr>> {
    let mut texts: BTreeMap<Vmid, String> = BTreeMap::new();
    for line in lines.lines() {
        let Some((path, line)) = line.split_once(".conf:") else { continue };
        let Some(vmid) = path.rsplit('/').next().and_then(|number| number.parse().ok()) else { continue };
        let text = texts.entry(vmid).or_default();
        text.push_str(line);
        text.push('\n');
    }
    let addresses = |text: String| {
        let config = GuestConfig::parse(&text);
        config.static_addresses().into_iter().filter_map(|address| address.parse().ok()).collect()
    };
    texts.into_iter().map(|(vmid, text)| (vmid, addresses(text))).collect()
}

/// Asks whom the node has heard at an address lately.
pub fn neighbour_question(address: IpAddr) -> Command {
    Command::read("ip").args(["neigh", "show", "to", &address.to_string()])
}

/// The hardware address of whoever answered at that address, in upper case: `192.168.1.5 dev vmbr0 lladdr bc:… STALE`.
/// An address that nobody answered at is `FAILED` or `INCOMPLETE` and has none.
pub fn neighbour_in(answer: &Output) -> Option<String> {
    let mut words = answer.stdout.split_whitespace().skip_while(|word| *word != "lladdr");
    let known = words.nth(1)?;
    (answer.success() && words.all(|word| word != "FAILED")).then(|| known.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(stdout: &str) -> Output {
        Output { ending: Ending::Exit(0), stdout: stdout.to_owned(), stderr: String::new() }
    }

    #[rstest::rstest]
    #[case("192.168.1.5 dev vmbr0 lladdr bc:24:11:00:00:65 REACHABLE\n", Some("BC:24:11:00:00:65"))]
    #[case("192.168.1.5 dev vmbr0 lladdr bc:24:11:00:00:65 STALE\n", Some("BC:24:11:00:00:65"))]
    #[case("192.168.1.5 dev vmbr0 FAILED\n", None)]
    #[case("192.168.1.5 dev vmbr0 INCOMPLETE\n", None)]
    #[case("", None)]
    fn a_neighbour_is_who_answered(#[case] said: &str, #[case] expected: Option<&str>) {
        assert_eq!(neighbour_in(&output(said)).as_deref(), expected);
    }

    #[test]
    fn a_nodes_own_guests_are_asked_for_by_themselves() {
        let cluster = r#"[
            {"type":"qemu","vmid":101,"name":"web","node":"pve","status":"stopped"},
            {"type":"qemu","vmid":103,"name":"old","node":"pve","status":"running"},
            {"type":"lxc","vmid":"200","name":"dns","node":"pve2","status":"running"},
            {"type":"lxc","vmid":201,"name":"off","node":"pve2","status":"stopped"}]"#;
        let here = r#"[{"vmid":101,"status":"running"},{"vmid":103,"status":"stopped"}]"#;
        let lines = "/etc/pve/nodes/pve/qemu-server/101.conf:ipconfig0: ip=192.168.1.5/24,gw=192.168.1.1\n\
            /etc/pve/nodes/pve/qemu-server/101.conf:[before]\n\
            /etc/pve/nodes/pve/qemu-server/101.conf:ipconfig0: ip=192.168.1.99/24\n\
            /etc/pve/nodes/pve2/lxc/200.conf:net0: name=eth0,bridge=vmbr0,ip=192.168.1.6/24,ip6=fd00::6/64\n";
        let entries = |json| serde_json::from_str::<Vec<Entry>>(json).unwrap();
        let local = "pve".parse().unwrap();
        let found = running(&local, entries(cluster), &entries(here), addresses_in(lines));
        let seen: Vec<_> =
            found.iter().map(|g| (g.vmid.to_string(), g.node.as_str(), g.addresses.len())).collect();
        assert_eq!(seen, [("101".to_owned(), "pve", 1), ("200".to_owned(), "pve2", 2)]);
        assert_eq!(found[0].addresses, ["192.168.1.5".parse::<IpAddr>().unwrap()]);
    }
}
