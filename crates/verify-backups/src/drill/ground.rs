//! What a node's cluster has, as far as a throw-away guest could get in its way.

use std::{collections::BTreeMap, ops::RangeInclusive};

use restore_common::{
    pve::{Archive, GuestKind, NodeFacts, PveError, Vmid},
    remote::{Command, Ending, Host, Output, RunId},
};

use super::mark::{Mark, WORDS};

/// A guest that carries a drill's mark.
#[derive(Clone, Debug)]
pub(super) struct Marked {
    /// VM or container.
    pub kind: GuestKind,
    /// What it says.
    pub mark: Mark,
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Ground {
    /// Numbers that something has or names, and what that is.
    taken: BTreeMap<u32, &'static str>,
    /// Throw-away guests on this node.
    pub marked: Vec<Marked>,
    /// Runs that are over and could not give back what they had claimed.
    pub stale: Vec<RunId>,
    /// Bytes of memory that are not in use.
    pub memory: Option<u64>,
}

impl Ground {
    /// Looks at one node, in one remote execution. A question that cannot be answered is an error: nothing is taken to be
    /// free because nobody could be asked.
    pub(super) fn read(
        host: &dyn Host,
        facts: &NodeFacts,
        archives: &[Archive],
        over: &[RunId],
    ) -> Result<Self, PveError> {
        let mut questions = questions(host.root());
        let about_cluster = questions.len();
        questions.extend(list_volumes(facts));
        let answers = host.run_all(&questions)?;
        let said = |at: usize| heard(host, &questions[at], &answers[at]);
        let mut ground = Self::default();
        for path in said(FILES)?.lines() {
            let Some((stem, ending)) = path.rsplit_once('.') else { continue };
            let number = stem.rsplit('/').next().and_then(|name| name.parse().ok());
            ground.take(number, if ending == "fw" { "a firewall file" } else { "a guest" });
        }
        for number in said(NAMED)?.lines() {
            ground.take(number.parse().ok(), "named in a file of the cluster");
        }
        for (number, run) in said(CLAIMS)?.lines().filter_map(claim) {
            match over.iter().find(|over| over.as_str() == run) {
                Some(over) => ground.stale.push(over.clone()),
                None => ground.take(number.parse().ok(), "being worked on"),
            }
        }
        for at in about_cluster..questions.len() {
            // VOLID FORMAT TYPE SIZE VMID
            let last = |line: &str| line.split_whitespace().nth(4).and_then(|n| n.parse().ok());
            for line in said(at)?.lines().skip(1) {
                ground.take(last(line), "disks without a guest");
            }
        }
        // A backup job that ran meanwhile would prune the old ones of the same number.
        for archive in archives {
            ground.take(Some(archive.name.vmid.get()), "backups");
        }
        ground.marked = said(MARKS)?.lines().filter_map(|line| marked(line, facts.name.as_str())).collect();
        ground.memory = NodeFacts::read_memory(host, &questions[STATUS], &answers[STATUS])?;
        Ok(ground)
    }

    fn take(&mut self, number: Option<u32>, what: &'static str) {
        if let Some(number) = number {
            self.taken.entry(number).or_insert(what);
        }
    }

    /// Whether something has or names a number.
    pub(super) fn has(&self, vmid: Vmid) -> bool {
        self.taken.contains_key(&vmid.get())
    }

    /// The numbers of a range that nothing has or names.
    pub(super) fn free(&self, range: &RangeInclusive<u32>) -> Vec<Vmid> {
        range.clone().filter(|n| !self.taken.contains_key(n)).filter_map(Vmid::new).collect()
    }

    /// The others, with what they are.
    pub(super) fn passed_over(&self, range: &RangeInclusive<u32>) -> Vec<String> {
        self.taken.range(range.clone()).map(|(number, what)| format!("{number} ({what})")).collect()
    }
}

const FILES: usize = 0;
const NAMED: usize = 1;
const CLAIMS: usize = 2;
const MARKS: usize = 3;
const STATUS: usize = 4;

fn questions(root: &str) -> Vec<Command> {
    let (above, folder) = root.rsplit_once('/').unwrap_or_default();
    let claims = format!("*/{folder}/guest-*");
    let marks = format!("^#{WORDS} ");
    vec![
        Command::read("find").args(["/etc/pve", "-name", "*.conf", "-o", "-name", "*.fw"]),
        // Jobs, pools, permissions, high availability, replication: whoever names a number means a guest of its own.
        Command::read("grep").args(["-rhowE", "[0-9]+", "--include=*.cfg", "--exclude-dir=priv", "/etc/pve"]),
        Command::read("find").args([above, "-maxdepth", "2", "-path", &claims, "-printf", "%f %l\\n"]),
        Command::read("grep").args(["-r", &marks, "/etc/pve/nodes"]),
        NodeFacts::ask_memory(),
    ]
}

/// Every volume on every storage that guests' disks may be on.
fn list_volumes(facts: &NodeFacts) -> impl Iterator<Item = Command> {
    let holds_disks = facts.storages.iter().filter(|s| {
        let for_guests = s.allows(GuestKind::Qemu.content()) || s.allows(GuestKind::Lxc.content());
        s.enabled && s.active && for_guests
    });
    holds_disks.map(|storage| Command::read("pvesm").args(["list", storage.id.as_str()]))
}

/// What a program printed. That `grep` found nothing is status 1.
fn heard<'a>(host: &dyn Host, question: &Command, answer: &'a Output) -> Result<&'a str, PveError> {
    let nothing = question.to_string().starts_with("grep ") && answer.ending == Ending::Exit(1);
    if nothing { Ok("") } else { Ok(answer.stdout_of(host, question)?) }
}

/// `guest-9900 RUN`: the name of a claim, and the run that holds it.
fn claim(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("guest-")?.split_once(' ')
}

/// `/etc/pve/nodes/NODE/qemu-server/9900.conf:#pve-restore drill …`, on this node.
fn marked(line: &str, node: &str) -> Option<Marked> {
    let (path, text) = line.split_once(":#")?;
    let (folder, file) =
        path.strip_prefix("/etc/pve/nodes/")?.strip_prefix(node)?.strip_prefix('/')?.split_once('/')?;
    let kind = match folder {
        "qemu-server" => GuestKind::Qemu,
        "lxc" => GuestKind::Lxc,
        _ => return None,
    };
    let mark = Mark::parse(text)?;
    (file == format!("{}.conf", mark.vmid)).then_some(Marked { kind, mark })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_on_its_own_node_and_guest() {
        let run = "20261127T030101.123456Z-verify-backups-drill";
        let line = |path: &str| {
            format!("/etc/pve/nodes/{path}:#pve-restore drill {run} made 9900 from 101 and so on")
        };
        let found = marked(&line("pve/qemu-server/9900.conf"), "pve").unwrap();
        assert_eq!((found.kind, found.mark.run.as_str()), (GuestKind::Qemu, run));
        assert_eq!(marked(&line("pve/lxc/9900.conf"), "pve").unwrap().kind, GuestKind::Lxc);
        for other in ["pve2/lxc/9900.conf", "pve/lxc/9901.conf", "pve/openvz/9900.conf", "pve/9900.conf"] {
            assert!(marked(&line(other), "pve").is_none(), "{other}");
        }
    }

    #[test]
    fn only_what_nothing_has_is_free() {
        let mut ground = Ground::default();
        ground.take(Some(9900), "a guest");
        ground.take(Some(9900), "backups");
        ground.take(Some(9902), "backups");
        ground.take(Some(101), "a guest");
        let free: Vec<u32> = ground.free(&(9900..=9903)).into_iter().map(Vmid::get).collect();
        assert_eq!(free, [9901, 9903]);
        assert_eq!(ground.passed_over(&(9900..=9903)), ["9900 (a guest)", "9902 (backups)"]);
    }
}
