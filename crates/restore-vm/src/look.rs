//! The look: everything about one guest on one node, read in a few remote executions and without changing anything.

use std::collections::BTreeMap;

use restore_common::{
    pve::{
        Archive, GuestConfig, GuestKind, NodeFacts, PveError, StorageId, Task, Vmid, VolumeId, archives_in,
        running_state, tasks_in,
    },
    remote::{Command, CommandFailed, Ending, Host, Output},
};
use serde::{Deserialize, Serialize};

/// A guest as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Guest {
    /// VM or container.
    pub kind: GuestKind,
    /// Its configuration.
    pub config: GuestConfig,
    /// The word of `qm status` / `pct status`: `running`, `stopped`, `paused`, …
    pub state: String,
    /// Its firewall file, when it has one.
    pub firewall: Option<String>,
    /// Running tasks that may be at work on it.
    pub tasks: Vec<Task>,
    /// Guests whose disks are linked clones of its disks.
    pub clones: Vec<Vmid>,
    /// Its replication jobs, with the node that they copy to: `101-0 to pve2`.
    pub replication: Vec<String>,
    /// The pool that it is in.
    pub pool: Option<String>,
}

impl Guest {
    /// Whether it runs in any way: a paused guest holds its memory as well.
    pub fn is_active(&self) -> bool {
        self.state != "stopped"
    }
}

/// Who holds a number.
#[derive(Clone, Debug)]
pub enum Holder {
    /// Nobody in this cluster.
    Nobody,
    /// A guest on this node.
    Here(Box<Guest>),
    /// A guest on another node of the cluster.
    Elsewhere {
        /// That node.
        node: String,
        /// VM or container.
        kind: GuestKind,
    },
}

impl Holder {
    /// The guest, when it is on this node.
    pub fn here(&self) -> Option<&Guest> {
        match self {
            Self::Here(guest) => Some(guest),
            Self::Nobody | Self::Elsewhere { .. } => None,
        }
    }
}

/// What one node knows about the guest.
#[derive(Clone, Debug)]
pub struct NodeLook {
    /// The node itself.
    pub facts: NodeFacts,
    /// The guest with the number that was asked for.
    pub holder: Holder,
    /// Its backups, newest first.
    pub archives: Vec<Archive>,
    /// Storages whose backups could not be listed, with the reason: their silence is not "no backups".
    pub unread: BTreeMap<StorageId, String>,
}

impl NodeLook {
    /// Whether this node has anything to do with the guest.
    pub fn is_candidate(&self) -> bool {
        self.holder.here().is_some() || !self.archives.is_empty()
    }
}

/// Looks at one node for some guests, in two remote executions (as long as not very many are asked for).
pub fn look_at(
    host: &dyn Host,
    vmids: &[Vmid],
    storage: Option<&StorageId>,
) -> Result<Vec<NodeLook>, PveError> {
    let mut questions = NodeFacts::questions();
    let about_node = questions.len();
    questions.extend(vmids.iter().flat_map(|vmid| holder_questions(*vmid)));
    let answers = host.run_all(&questions)?;
    let facts = NodeFacts::read(host, &questions[..about_node], &answers[..about_node])?;
    let shelves = Shelves::read(host, &facts, storage)?;
    let about_guest = (questions.len() - about_node) / vmids.len().max(1);
    let of_guest = |(index, vmid): (usize, &Vmid)| {
        let range = about_node + index * about_guest..about_node + (index + 1) * about_guest;
        let holder = read_holder(host, &facts, *vmid, &questions[range.clone()], &answers[range])?;
        Ok(shelves.look(&facts, holder, *vmid))
    };
    vmids.iter().enumerate().map(of_guest).collect()
}

/// The questions that tell who holds a number; they go together with others in one execution.
///
/// All of them are asked at once, so most of them fail on purpose: a guest is a VM or a container, not both.
fn holder_questions(vmid: Vmid) -> Vec<Command> {
    let read_file = |path: String| Command::read("cat").arg(path);
    vec![
        Command::read("find").args(["/etc/pve/nodes", "-name", &format!("{vmid}.conf")]),
        read_file(GuestKind::Qemu.config_path(vmid)),
        read_file(GuestKind::Lxc.config_path(vmid)),
        GuestKind::Qemu.status_command(vmid),
        GuestKind::Lxc.status_command(vmid),
        read_file(firewall_path(vmid)),
        Task::running(),
        Command::read("grep").args(["-rl", &format!("[:/]base-{vmid}-"), "/etc/pve/nodes"]),
        read_file("/etc/pve/replication.cfg".to_owned()),
        read_file("/etc/pve/user.cfg".to_owned()),
    ]
}

/// Absolute path of a guest's firewall file.
pub fn firewall_path(vmid: Vmid) -> String {
    format!("/etc/pve/firewall/{vmid}.fw")
}

/// Who holds `vmid`, asked for by itself in one remote execution.
pub fn look_for(host: &dyn Host, facts: &NodeFacts, vmid: Vmid) -> Result<Holder, PveError> {
    let questions = holder_questions(vmid);
    let answers = host.run_all(&questions)?;
    read_holder(host, facts, vmid, &questions, &answers)
}

fn read_holder(
    host: &dyn Host,
    facts: &NodeFacts,
    vmid: Vmid,
    questions: &[Command],
    answers: &[Output],
) -> Result<Holder, PveError> {
    let [found, qemu, lxc, qm_status, pct_status, firewall, tasks, clones, replication, users] = answers
    else {
        return Ok(Holder::Nobody);
    };
    let paths = found.stdout_of(host, &questions[0])?;
    let Some((node, kind)) = paths.lines().find_map(|path| owner(path, vmid)) else {
        return Ok(Holder::Nobody);
    };
    if node != facts.name.as_str() {
        return Ok(Holder::Elsewhere { node: node.to_owned(), kind });
    }
    let (config, status, at) = match kind {
        GuestKind::Qemu => (qemu, qm_status, 0),
        GuestKind::Lxc => (lxc, pct_status, 1),
    };
    let config = GuestConfig::parse(config.stdout_of(host, &questions[1 + at])?);
    Ok(Holder::Here(Box::new(Guest {
        kind,
        state: running_state(host, &questions[3 + at], status)?,
        firewall: firewall.success().then(|| firewall.stdout.clone()),
        tasks: tasks_in(host, &questions[6], tasks)?.into_iter().filter(|task| task.concerns(vmid)).collect(),
        clones: clones_in(found_by_grep(host, &questions[7], clones)?, vmid),
        replication: replication_in(&replication.stdout, vmid),
        pool: pool_in(&users.stdout, vmid),
        config,
    })))
}

/// What `grep` found. That it found nothing is status 1; everything else is no answer.
fn found_by_grep<'a>(
    host: &dyn Host,
    question: &Command,
    answer: &'a Output,
) -> Result<&'a str, CommandFailed> {
    if answer.ending == Ending::Exit(1) { Ok("") } else { answer.stdout_of(host, question) }
}

/// The guests whose configuration names a base volume of `vmid`, from the paths of their files.
fn clones_in(paths: &str, vmid: Vmid) -> Vec<Vmid> {
    let number = |path: &str| path.rsplit('/').next()?.strip_suffix(".conf")?.parse().ok();
    let mut clones: Vec<Vmid> = paths.lines().filter_map(number).filter(|clone| *clone != vmid).collect();
    clones.sort_unstable();
    clones.dedup();
    clones
}

/// Sections `local: 101-0` of `replication.cfg`, with their target.
fn replication_in(text: &str, vmid: Vmid) -> Vec<String> {
    let mut jobs: Vec<String> = Vec::new();
    let mut in_own = false;
    for line in text.lines() {
        if let Some(job) = line.strip_prefix("local: ") {
            in_own = job.split_once('-').is_some_and(|(guest, _)| guest == vmid.to_string());
            jobs.extend(in_own.then(|| job.trim().to_owned()));
        } else if let (true, Some(target), Some(job)) =
            (in_own, line.trim().strip_prefix("target "), jobs.last_mut())
        {
            job.push_str(" to ");
            job.push_str(target.trim());
        }
    }
    jobs
}

/// Lines `pool:NAME:COMMENT:GUESTS:STORAGES:` of `user.cfg`.
fn pool_in(text: &str, vmid: Vmid) -> Option<String> {
    let of_guest = |line: &str| {
        let mut parts = line.strip_prefix("pool:")?.split(':');
        let (name, guests) = (parts.next()?, parts.nth(1)?);
        guests.split(',').any(|guest| guest == vmid.to_string()).then(|| name.to_owned())
    };
    text.lines().find_map(of_guest)
}

/// Node and kind from `/etc/pve/nodes/NODE/qemu-server/ID.conf`.
fn owner(path: &str, vmid: Vmid) -> Option<(&str, GuestKind)> {
    let mut parts = path.trim().strip_prefix("/etc/pve/nodes/")?.split('/');
    let (node, folder, file) = (parts.next()?, parts.next()?, parts.next()?);
    let kind = match folder {
        "qemu-server" => GuestKind::Qemu,
        "lxc" => GuestKind::Lxc,
        _ => return None,
    };
    (file == format!("{vmid}.conf") && parts.next().is_none()).then_some((node, kind))
}

/// All backups of a node.
pub struct Shelves {
    archives: Vec<Archive>,
    unread: BTreeMap<StorageId, String>,
}

impl Shelves {
    /// Lists the backups on every usable backup storage, in one remote execution.
    pub fn read(host: &dyn Host, facts: &NodeFacts, only: Option<&StorageId>) -> Result<Self, PveError> {
        let wanted = |id: &StorageId| only.is_none_or(|only| only == id);
        let storages = facts.storages.iter().filter(|s| s.allows("backup") && wanted(&s.id));
        let (usable, unusable): (Vec<_>, Vec<_>) = storages.partition(|s| s.enabled && s.active);
        let mut shelves = Self { archives: Vec::new(), unread: BTreeMap::new() };
        for storage in unusable {
            let reason = if storage.enabled { "it is not active" } else { "it is disabled" };
            shelves.unread.insert(storage.id.clone(), reason.to_owned());
        }
        let commands: Vec<_> = usable.iter().map(|s| s.list_backups()).collect();
        let answers = host.run_all(&commands)?;
        for ((storage, command), answer) in usable.iter().zip(&commands).zip(&answers) {
            match archives_in(host, command, answer, &facts.zone) {
                Ok(archives) => shelves.archives.extend(archives),
                Err(PveError::Host(error)) => return Err(error.into()),
                Err(error) => {
                    shelves.unread.insert(storage.id.clone(), error.to_string());
                }
            }
        }
        Ok(shelves)
    }

    /// The newest backup of each guest.
    pub fn newest(&self) -> BTreeMap<Vmid, &Archive> {
        let mut newest: BTreeMap<Vmid, &Archive> = BTreeMap::new();
        for archive in &self.archives {
            let entry = newest.entry(archive.name.vmid).or_insert(archive);
            if archive.ctime > entry.ctime {
                *entry = archive;
            }
        }
        newest
    }

    /// The guests that have backups whose notes are this: by themselves, notes are the guest's name.
    pub fn noted(&self, name: &str) -> Vec<Vmid> {
        let noted = self.archives.iter().filter(|archive| archive.notes.as_deref() == Some(name));
        let mut guests: Vec<_> = noted.map(|archive| archive.name.vmid).collect();
        guests.sort_unstable();
        guests.dedup();
        guests
    }

    /// What they say about one guest.
    fn look(&self, facts: &NodeFacts, holder: Holder, vmid: Vmid) -> NodeLook {
        let of_guest = |a: &&Archive| a.name.vmid == vmid;
        let mut archives: Vec<_> = self.archives.iter().filter(of_guest).cloned().collect();
        archives.sort_by(|a, b| (b.ctime, &b.volid).cmp(&(a.ctime, &a.volid)));
        NodeLook { facts: facts.clone(), holder, archives, unread: self.unread.clone() }
    }
}

/// What is inside the chosen archive, and where it is: one remote execution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ArchiveLook {
    /// The configuration inside.
    pub config: GuestConfig,
    /// Absolute path of the archive on the node; of one on a Proxmox Backup Server, its address.
    pub path: String,
}

/// Reads the configuration inside an archive.
///
/// On a truncated archive the answer is a matter of luck (the node's own trial extraction is, too), so success here
/// proves nothing about the rest of it.
pub fn look_into(host: &dyn Host, volid: &VolumeId) -> Result<ArchiveLook, PveError> {
    let commands = [extract_config(volid), path_of(volid)];
    let answers = host.run_all(&commands)?;
    let config = GuestConfig::parse(answers[0].stdout_of(host, &commands[0])?);
    if config.settings().next().is_none() {
        return Err(unreadable(host, &commands[0], "it holds no setting of a guest"));
    }
    let path = path_in(host, &commands[1], &answers[1])?;
    Ok(ArchiveLook { config, path })
}

/// The path in an answer to [`path_of`]: one line. It becomes a word of commands, which are shown.
pub fn path_in(host: &dyn Host, command: &Command, answer: &Output) -> Result<String, PveError> {
    let path = answer.stdout_of(host, command)?.trim();
    if path.is_empty() || path.contains(char::is_control) {
        return Err(unreadable(host, command, "it is no path"));
    }
    Ok(path.to_owned())
}

fn unreadable(host: &dyn Host, command: &Command, reason: &str) -> PveError {
    let (host, command) = (host.name().to_owned(), command.to_string());
    PveError::Unreadable { host, command, reason: reason.to_owned() }
}

/// Asks for the configuration inside a backup.
pub fn extract_config(volid: &VolumeId) -> Command {
    Command::read("pvesm").args(["extractconfig", volid.as_str()])
}

/// Asks for the path of a volume. The node answers also for files that are not there.
pub fn path_of(volid: &VolumeId) -> Command {
    Command::read("pvesm").args(["path", volid.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_a_guest_is_found_in_the_clusters_files() {
        let vmid = "101".parse().unwrap();
        let paths = "/etc/pve/nodes/a/qemu-server/105.conf\n/etc/pve/nodes/a/qemu-server/101.conf\n/etc/pve/nodes/b/lxc/99.conf\n";
        assert_eq!(clones_in(paths, vmid), ["105".parse().unwrap()]);
        let jobs = "local: 101-0\n\ttarget pve2\n\trate 10\n\nlocal: 1011-0\n\ttarget pve3\n\nlocal: 101-1\n\tschedule */5\n";
        assert_eq!(replication_in(jobs, vmid), ["101-0 to pve2", "101-1"]);
        let users = "user:root@pam:1:0::::::\npool:lab:notes:100,1011:local:\npool:prod::100,101:local:\n";
        assert_eq!(pool_in(users, vmid).as_deref(), Some("prod"));
        assert_eq!(
            (clones_in("", vmid).len(), replication_in("", vmid).len(), pool_in("", vmid)),
            (0, 0, None)
        );
    }

    #[test]
    fn a_configurations_path_tells_node_and_kind() {
        let vmid = "101".parse().unwrap();
        let of = |path| owner(path, vmid);
        assert_eq!(of("/etc/pve/nodes/pve-prod/qemu-server/101.conf"), Some(("pve-prod", GuestKind::Qemu)));
        assert_eq!(of("/etc/pve/nodes/pve2/lxc/101.conf"), Some(("pve2", GuestKind::Lxc)));
        assert_eq!(of("/etc/pve/nodes/pve2/lxc/1010.conf"), None);
        assert_eq!(of("/etc/pve/nodes/pve2/openvz/101.conf"), None);
    }
}
