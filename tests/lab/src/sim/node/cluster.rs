//! The cluster's own files: users, pools, permissions, HA resources, backup and replication jobs.

use std::fmt;

use super::{GuestKind, Node, Outcome};

/// Users, groups, pools and permissions.
pub const USER_CFG: &str = "/etc/pve/user.cfg";
/// Backup jobs.
pub const JOBS_CFG: &str = "/etc/pve/jobs.cfg";
/// HA resources.
pub const HA_RESOURCES: &str = "/etc/pve/ha/resources.cfg";
/// Replication jobs.
pub const REPLICATION_CFG: &str = "/etc/pve/replication.cfg";

/// A file of sections: `TYPE: ID` and indented settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SectionFile {
    /// The sections in order.
    pub sections: Vec<Section>,
}

/// One section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// What stands before the colon.
    pub kind: String,
    /// What stands after it.
    pub id: String,
    /// The settings in order; a flag has an empty value.
    pub settings: Vec<(String, String)>,
}

impl Section {
    /// A setting.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Sets a value, in place or at the end.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        match self.settings.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value.into(),
            None => self.settings.push((key.into(), value.into())),
        }
    }
}

impl SectionFile {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Self {
        let mut file = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                let line = line.trim();
                let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
                if let Some(section) = file.sections.last_mut() {
                    section.settings.push((key.into(), value.trim().into()));
                }
            } else if let Some((kind, id)) = line.split_once(':') {
                let section =
                    Section { kind: kind.trim().into(), id: id.trim().into(), settings: Vec::new() };
                file.sections.push(section);
            }
        }
        file
    }

    /// The section with an ID.
    pub fn get(&self, id: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.id == id)
    }
}

impl fmt::Display for SectionFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            writeln!(f, "{}: {}", section.kind, section.id)?;
            for (key, value) in &section.settings {
                writeln!(f, "\t{}", format!("{key} {value}").trim_end())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The lines of `user.cfg`, by kind and in the order in which a node writes them.
struct UserFile {
    lines: Vec<Vec<String>>,
}

impl UserFile {
    const KINDS: [&str; 6] = ["user", "token", "group", "pool", "role", "acl"];

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty());
        Self { lines: lines.map(|line| line.split(':').map(str::to_owned).collect()).collect() }
    }

    fn of<'a>(&'a mut self, kind: &'a str) -> impl Iterator<Item = &'a mut Vec<String>> {
        self.lines.iter_mut().filter(move |line| line[0] == kind)
    }
}

impl fmt::Display for UserFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Self::KINDS {
            let mut lines: Vec<_> =
                self.lines.iter().filter(|line| line[0] == kind).map(|l| l.join(":")).collect();
            lines.sort();
            // Tokens follow the users without a gap.
            let gap = if matches!(kind, "user" | "acl") { "" } else { "\n" };
            if kind == "token" {
                lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
                writeln!(f)?;
                continue;
            }
            lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
            f.write_str(gap)?;
        }
        Ok(())
    }
}

impl Node {
    /// Whether a pool exists.
    pub fn has_pool(&self, pool: &str) -> bool {
        self.read(USER_CFG).unwrap_or_default().lines().any(|line| line.starts_with(&format!("pool:{pool}:")))
    }

    /// The pool that a guest is in.
    pub fn pool_of(&self, vmid: u32) -> Option<String> {
        let users = self.read(USER_CFG)?;
        let pools = users.lines().filter_map(|line| line.strip_prefix("pool:"));
        pools.map(|pool| pool.split(':').collect::<Vec<_>>()).find_map(|pool| {
            let is_member = pool.get(2)?.split(',').any(|member| member == vmid.to_string());
            is_member.then(|| pool[0].to_owned())
        })
    }

    /// Puts a guest into a pool.
    pub fn join_pool(&self, pool: &str, vmid: u32) -> Outcome {
        let mut users = UserFile::parse(&self.read(USER_CFG).unwrap_or_default());
        let vmid = vmid.to_string();
        for line in users.of("pool").filter(|line| line.get(1).is_some_and(|name| name == pool)) {
            let mut guests = guest_list(line.get(3));
            if !guests.contains(&vmid) {
                guests.push(vmid.clone());
            }
            if let Some(field) = line.get_mut(3) {
                *field = guests.join(",");
            }
        }
        Ok(self.write(USER_CFG, &users.to_string())?)
    }

    /// Removes a guest's permissions and pool membership.
    pub fn forget_access(&self, vmid: u32) -> Outcome {
        let Some(text) = self.read(USER_CFG) else { return Ok(()) };
        let mut users = UserFile::parse(&text);
        let (number, object) = (vmid.to_string(), format!("/vms/{vmid}"));
        users.lines.retain(|line| !(line[0] == "acl" && line.get(2) == Some(&object)));
        for line in users.of("pool") {
            let guests: Vec<_> =
                guest_list(line.get(3)).into_iter().filter(|guest| *guest != number).collect();
            if let Some(field) = line.get_mut(3) {
                *field = guests.join(",");
            }
        }
        Ok(self.write(USER_CFG, &users.to_string())?)
    }

    /// Whether a guest is a resource of the HA service.
    pub fn is_ha_managed(&self, kind: GuestKind, vmid: u32) -> bool {
        self.ha_state(kind, vmid).is_some_and(|state| state != "ignored")
    }

    /// The state that the HA service is asked to keep a guest in; absent for a guest it does not know.
    pub fn ha_state(&self, kind: GuestKind, vmid: u32) -> Option<String> {
        let file = SectionFile::parse(&self.read(HA_RESOURCES)?);
        let section = file
            .sections
            .iter()
            .find(|section| section.kind == kind.prefix() && section.id == vmid.to_string())?;
        Some(section.get("state").unwrap_or("started").to_owned())
    }

    /// Whether a guest has replication jobs.
    pub fn is_replicated(&self, vmid: u32) -> bool {
        let file = SectionFile::parse(&self.read(REPLICATION_CFG).unwrap_or_default());
        file.sections.iter().any(|section| section.id.split('-').next() == Some(&vmid.to_string()))
    }

    /// Sets the state that the HA service keeps a guest in, adding the resource if it is new.
    pub fn set_ha_state(&self, kind: GuestKind, vmid: u32, state: &str) -> Outcome {
        let mut file = SectionFile::parse(&self.read(HA_RESOURCES).unwrap_or_default());
        let id = vmid.to_string();
        let known =
            file.sections.iter_mut().find(|section| section.kind == kind.prefix() && section.id == id);
        match known {
            Some(section) => section.set("state", state),
            None => file.sections.push(Section {
                kind: kind.prefix().into(),
                id,
                settings: vec![("state".into(), state.into())],
            }),
        }
        Ok(self.write(HA_RESOURCES, &file.to_string())?)
    }

    /// Removes a guest from replication, HA and backup jobs. Tells whether it was an HA resource.
    pub fn purge(&self, kind: GuestKind, vmid: u32) -> Outcome<bool> {
        let number = vmid.to_string();
        self.edit_sections(REPLICATION_CFG, |file| {
            file.sections.retain(|section| section.id.split('-').next() != Some(&number));
        })?;
        let was_managed = self.ha_state(kind, vmid).is_some();
        self.edit_sections(HA_RESOURCES, |file| {
            file.sections.retain(|section| !(section.kind == kind.prefix() && section.id == number));
        })?;
        self.edit_sections(JOBS_CFG, |file| {
            for job in &mut file.sections {
                forget_in_job(job, &number);
            }
            file.sections.retain(|job| job.get("vmid").is_none_or(|guests| !guests.is_empty()));
        })?;
        Ok(was_managed)
    }

    fn edit_sections(&self, path: &str, edit: impl FnOnce(&mut SectionFile)) -> Outcome {
        let Some(text) = self.read(path) else { return Ok(()) };
        let mut file = SectionFile::parse(&text);
        let before = file.clone();
        edit(&mut file);
        if file != before {
            self.write(path, &file.to_string())?;
        }
        Ok(())
    }
}

/// Takes a guest out of a backup job; a node writes the job anew, with its defaults spelled out.
fn forget_in_job(job: &mut Section, vmid: &str) {
    let mut touched = false;
    for key in ["vmid", "exclude"] {
        let Some((_, value)) = job.settings.iter_mut().find(|(k, _)| k == key) else { continue };
        let guests = guest_list(Some(value));
        if guests.iter().any(|guest| guest == vmid) {
            *value = guests.into_iter().filter(|guest| guest != vmid).collect::<Vec<_>>().join(",");
            touched = true;
        }
    }
    if touched && job.get("enabled").is_none() {
        job.set("enabled", "1");
    }
    if touched {
        job.settings.sort();
    }
}

fn guest_list(field: Option<&String>) -> Vec<String> {
    field
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter(|guest| !guest.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_forgotten_everywhere() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        let users = "user:root@pam:1:0:::root@example.com:::\nuser:op@pve:1:0::::::\n\n\npool:prod::100,200:data:\n\n\
                     acl:1:/vms/100:op@pve:PVEVMAdmin:\nacl:1:/vms/200:op@pve:PVEVMAdmin:\n";
        node.write(USER_CFG, users).unwrap();
        node.write(JOBS_CFG, "vzdump: j\n\tschedule 21:00\n\tstorage nas\n\tvmid 100,200\n\n").unwrap();
        node.write(HA_RESOURCES, "ct: 200\n\tstate started\n\nvm: 100\n\tstate started\n\n").unwrap();
        node.forget_access(100).unwrap();
        assert!(node.purge(GuestKind::Vm, 100).unwrap());
        let users = "user:op@pve:1:0::::::\nuser:root@pam:1:0:::root@example.com:::\n\n\npool:prod::200:data:\n\n\n\
                     acl:1:/vms/200:op@pve:PVEVMAdmin:\n";
        assert_eq!(node.read(USER_CFG).unwrap(), users);
        let jobs = "vzdump: j\n\tenabled 1\n\tschedule 21:00\n\tstorage nas\n\tvmid 200\n\n";
        assert_eq!(node.read(JOBS_CFG).unwrap(), jobs);
        assert_eq!(node.read(HA_RESOURCES).unwrap(), "ct: 200\n\tstate started\n\n");
    }
}
