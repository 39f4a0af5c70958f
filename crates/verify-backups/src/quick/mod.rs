//! The quick look: what a node says about its guests, jobs and storages, and the beginning of every archive. Two remote
//! executions a node.

pub mod archives;
mod folder;

use std::collections::BTreeMap;

use restore_common::{
    pve::{
        Archive, BackupJob, BackupRun, GuestConfig, GuestKind, NodeFacts, PveError, Storage, StorageId, Task,
        Vmid, archives_in, tasks_in,
    },
    remote::{Command, Ending, Host, Output},
};

pub use folder::{Ended, FileSeen, FolderLook, LogSeen, Verdict};

/// A guest of this node as it is now.
#[derive(Clone, Debug)]
pub struct GuestNow {
    /// Its number.
    pub vmid: Vmid,
    /// VM or container.
    pub kind: GuestKind,
    /// Its configuration.
    pub config: GuestConfig,
    /// The pool that it is in.
    pub pool: Option<String>,
}

/// What one node told.
#[derive(Clone, Debug)]
pub struct Look {
    /// The node itself.
    pub facts: NodeFacts,
    /// Its guests, by number.
    pub guests: Vec<GuestNow>,
    /// The backup jobs of its cluster.
    pub jobs: Vec<BackupJob>,
    /// The backups that ended last on this node, newest first.
    pub runs: Vec<BackupRun>,
    /// What works now.
    pub tasks: Vec<Task>,
    /// What the storages list.
    pub archives: Vec<Archive>,
    /// What is in the folders behind them.
    pub folders: Vec<FolderLook>,
    /// Storages whose backups could not be listed, with the reason: their silence is not "no backups". What is disabled is so
    /// on purpose.
    pub unread: BTreeMap<StorageId, String>,
}

impl Look {
    /// Asks one node. `only` leaves out the other storages.
    pub fn read(host: &dyn Host, only: Option<&StorageId>) -> Result<Self, PveError> {
        let mut questions = NodeFacts::questions();
        let about_node = questions.len();
        questions.extend(own_questions());
        let answers = host.run_all(&questions)?;
        let facts = NodeFacts::read(host, &questions[..about_node], &answers[..about_node])?;
        let mut look = Self::from_answers(host, facts, &questions[about_node..], &answers[about_node..])?;
        look.read_storages(host, only)?;
        Ok(look)
    }

    fn from_answers(
        host: &dyn Host,
        facts: NodeFacts,
        questions: &[Command],
        answers: &[Output],
    ) -> Result<Self, PveError> {
        let [paths, lines, resources, jobs, runs, tasks] = answers else {
            return Err(unanswered(host));
        };
        let paths = paths.stdout_of(host, &questions[0])?;
        // That no line was found is status 1: no guest has a setting.
        let lines = match lines.ending {
            Ending::Exit(1) => "",
            _ => lines.stdout_of(host, &questions[1])?,
        };
        let pools = restore_common::pve::pools_in(host, &questions[2], resources)?;
        Ok(Self {
            facts,
            guests: guests_in(paths, lines, &pools),
            jobs: BackupJob::read(host, &questions[3], jobs)?,
            runs: BackupRun::read(host, &questions[4], runs)?,
            tasks: tasks_in(host, &questions[5], tasks)?,
            archives: Vec::new(),
            folders: Vec::new(),
            unread: BTreeMap::new(),
        })
    }

    /// Listings of all storages and one pass over all their folders, in one remote execution.
    fn read_storages(&mut self, host: &dyn Host, only: Option<&StorageId>) -> Result<(), PveError> {
        let facts = self.facts.clone();
        let (usable, unusable): (Vec<_>, Vec<_>) =
            backup_storages(&facts, only).filter(|storage| storage.enabled).partition(|s| s.active);
        for storage in unusable {
            self.unread.insert(storage.id.clone(), "it is not active".to_owned());
        }
        let mut folders: Vec<(StorageId, String)> = Vec::new();
        for (id, folder) in &facts.backup_folders {
            let usable = usable.iter().any(|storage| storage.id == *id);
            if usable && !folders.iter().any(|(_, known)| known == folder) {
                folders.push((id.clone(), folder.clone()));
            }
        }
        let mut commands: Vec<_> = usable.iter().map(|storage| storage.list_backups()).collect();
        commands.extend((!folders.is_empty()).then(|| folder::command(&folders)));
        if commands.is_empty() {
            return Ok(());
        }
        let answers = host.run_all(&commands)?;
        for ((storage, command), answer) in usable.iter().zip(&commands).zip(&answers) {
            match archives_in(host, command, answer, &facts.zone) {
                Ok(archives) => self.archives.extend(archives),
                Err(PveError::Host(error)) => return Err(error.into()),
                Err(error) => {
                    self.unread.insert(storage.id.clone(), error.to_string());
                }
            }
        }
        if let (false, Some(command), Some(answer)) = (folders.is_empty(), commands.last(), answers.last()) {
            self.folders = folder::read(host, command, answer, folders)?;
        }
        Ok(())
    }

    /// The guest with this number.
    pub fn guest(&self, vmid: Vmid) -> Option<&GuestNow> {
        self.guests.iter().find(|guest| guest.vmid == vmid)
    }

    /// Whether the backups of every storage and folder could be read.
    pub fn reads_everything(&self) -> bool {
        self.unread.is_empty() && self.folders.iter().all(|folder| folder.unreadable.is_none())
    }

    /// Whether a backup of this guest may be running now on this node.
    pub fn is_backing_up(&self, vmid: Vmid) -> bool {
        self.tasks.iter().any(|task| task.kind == "vzdump" && task.concerns(vmid))
    }

    /// Whether a backup of this guest, of which something was written at this time (seconds since 1970, UTC), may be running
    /// now. What other nodes do on a storage that they share this node does not know: there it may, for so many seconds.
    pub fn may_be_writing(&self, vmid: Vmid, storage: &str, written: i64, seconds: i64) -> bool {
        let is_elsewhere =
            || self.guest(vmid).is_none() && self.facts.storage(storage).is_some_and(|s| s.shared);
        let is_young = || self.facts.time.saturating_sub(written) < seconds;
        self.is_backing_up(vmid) || (is_elsewhere() && is_young())
    }
}

/// The storages of a node that are for backups.
pub fn backup_storages<'a>(
    facts: &'a NodeFacts,
    only: Option<&'a StorageId>,
) -> impl Iterator<Item = &'a Storage> {
    facts.storages.iter().filter(move |s| s.allows("backup") && only.is_none_or(|only| *only == s.id))
}

/// In the order in which [`Look::from_answers`] takes the answers.
fn own_questions() -> Vec<Command> {
    // The short paths are links into the node's own folder.
    const FOLDERS: [&str; 2] = ["/etc/pve/qemu-server/", "/etc/pve/lxc/"];
    vec![
        Command::read("find").args(FOLDERS).args(["-name", "*.conf"]),
        Command::read("grep").args(["-r", ""]).args(FOLDERS),
        restore_common::pve::ask_pools(),
        BackupJob::ask(),
        BackupRun::ask(),
        Task::running(),
    ]
}

/// Guests from the paths of their files (a file may be empty) and from all lines in them.
fn guests_in(paths: &str, lines: &str, pools: &BTreeMap<Vmid, String>) -> Vec<GuestNow> {
    let mut texts: BTreeMap<Vmid, (GuestKind, String)> = BTreeMap::new();
    let found = paths.lines().filter_map(owner);
    texts.extend(found.map(|(vmid, kind)| (vmid, (kind, String::new()))));
    for line in lines.lines() {
        let Some((path, rest)) = line.split_once(".conf:") else { continue };
        if let Some((_, text)) = owner(path).and_then(|(vmid, _)| texts.get_mut(&vmid)) {
            text.push_str(rest);
            text.push('\n');
        }
    }
    let guest = |(vmid, (kind, text)): (Vmid, (GuestKind, String))| GuestNow {
        vmid,
        kind,
        config: GuestConfig::parse(&text),
        pool: pools.get(&vmid).cloned(),
    };
    texts.into_iter().map(guest).collect()
}

/// `…/qemu-server/101.conf`, also without its ending.
fn owner(path: &str) -> Option<(Vmid, GuestKind)> {
    let (folder, file) = path.rsplit_once('/')?;
    let kind = match folder.trim_end_matches('/').rsplit('/').next()? {
        "qemu-server" => GuestKind::Qemu,
        "lxc" => GuestKind::Lxc,
        _ => return None,
    };
    Some((file.strip_suffix(".conf").unwrap_or(file).parse().ok()?, kind))
}

fn unanswered(host: &dyn Host) -> PveError {
    PveError::Unreadable {
        host: host.name().to_owned(),
        command: "the quick look".to_owned(),
        reason: "not every question was answered".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_without_any_setting_is_a_guest() {
        let paths = "/etc/pve/qemu-server/101.conf\n/etc/pve/qemu-server/9.conf\n/etc/pve/lxc/102.conf\n";
        let lines =
            "/etc/pve/lxc/102.conf:hostname: dns\n/etc/pve/lxc/102.conf:description: a.conf: b\nnonsense\n";
        let guests = guests_in(paths, lines, &BTreeMap::new());
        assert_eq!(guests.len(), 2);
        assert!(guests[0].config.is_left_by_a_failed_restore());
        assert_eq!((guests[1].config.name(), guests[1].kind), (Some("dns"), GuestKind::Lxc));
    }
}
