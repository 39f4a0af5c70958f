//! What is to be done, decided: the facts that the plan is built from and that its steps work on.

use std::collections::BTreeMap;

use restore_common::{
    homelab::GuestChecks,
    ledger::Entry,
    procedure::{Kept, Workplace},
    pve::{Archive, Disk, GuestConfig, GuestKind, StorageId, Vmid, VolumeId},
    remote::{Command, Host},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    args::CheckLevel,
    conflicts::Conflict,
    ha::Managed,
    look::{ArchiveLook, Guest},
    place::Placement,
    record,
};

/// A restore, decided in all its parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The environment of the Terraform project that the guest belongs to.
    pub environment: String,
    /// The environment whose node it is on: environments may share one.
    pub reached_by: String,
    /// The node's name.
    pub node: String,
    /// VM or container.
    pub kind: GuestKind,
    /// The guest that the backup was made of.
    pub source: Vmid,
    /// The guest that is made or overwritten.
    pub target: Vmid,
    /// The backup.
    pub archive: Archive,
    /// The node's clock when it was looked at: seconds since 1970, UTC.
    #[serde(default)]
    pub looked_at: i64,
    /// What is in it.
    pub inside: ArchiveLook,
    /// What `verify-backups` has on record of the backup.
    #[serde(default)]
    pub record: Option<Entry>,
    /// Newer backups that cannot be used.
    #[serde(default)]
    pub passed_over: Vec<Archive>,
    /// Storages that may hold a newer backup and could not be listed, with the reason.
    #[serde(default)]
    pub not_listed: BTreeMap<StorageId, String>,
    /// Older backups of the same guest, newest first: where to look when this one turns out to be damaged.
    pub older: Vec<Archive>,
    /// The guest that is overwritten.
    pub present: Option<Guest>,
    /// Volumes of the present guest that the backup does not contain and that are kept.
    pub excluded: Vec<Disk>,
    /// Where the disks go.
    pub placement: Placement,
    /// Bind mounts of the backup, to be put back where the restore does not do so by itself.
    pub binds: Vec<Disk>,
    /// Free bytes on the storages that the disks go to, when there is only one such storage.
    pub room: Option<u64>,
    /// How thoroughly the archive is read before.
    pub check: CheckLevel,
    /// KiB/s that the restore and the safety backup may take at most.
    pub bwlimit: Option<u32>,
    /// The guest is started before its data is there.
    #[serde(default)]
    pub live: bool,
    /// Where the safety backup goes; nothing: none is made.
    pub safety: Option<StorageId>,
    /// New MAC addresses and identity.
    pub unique: bool,
    /// Start the guest afterwards; or why not.
    pub start: Start,
    /// High availability looks after the guest: it is taken out and back.
    pub ha: Option<Managed>,
    /// Its links are set down before it is started.
    pub link_down: bool,
    /// Addresses of it that somebody else has.
    pub conflicts: Vec<Conflict>,
    /// For a copy: the guest it is a copy of, as it is now.
    pub original: Option<GuestConfig>,
    /// How it is proven to work.
    pub proof: GuestChecks,
}

/// Whether the guest is started after the restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// It is.
    Yes,
    /// It stays stopped, for this reason.
    No(String),
}

impl Assignment {
    /// `VM 101` / `container 102`.
    pub fn target_name(&self) -> String {
        format!("{} {}", self.kind, self.target)
    }

    /// Whether it is restored beside the original.
    pub fn is_copy(&self) -> bool {
        self.target != self.source
    }

    /// Why asking the guest by the network would prove nothing.
    pub fn unheard(&self) -> Option<String> {
        if self.link_down {
            return Some("its links are down".to_owned());
        }
        let conflict = self.conflicts.first()?;
        let Conflict { address, who } = conflict;
        Some(format!("{who} has the address {address} as well: an answer would not say whose it is"))
    }

    /// The restore itself.
    ///
    /// Booleans carry their value and stand at the end: `--force VOLID` would take the volume id for its value.
    pub fn restore_command(&self) -> Command {
        restore_command(&Restored {
            kind: self.kind,
            target: self.target,
            volid: &self.archive.volid,
            placement: &self.placement,
            bwlimit: self.bwlimit,
            unique: self.unique,
            live: self.live,
            over: self.present.is_some(),
        })
    }

    /// The SHA-256 that the backup had when it was found good, and the day of that reading.
    pub fn verified(&self) -> Option<(&str, String)> {
        let entry = self.record.as_ref()?;
        Some((entry.sha256.as_deref()?, record::day(entry)))
    }

    /// Whether the backup's content is read before the restore: without a sum on record, and where only that tells whether
    /// the disks of a VM have room.
    pub fn is_read(&self) -> bool {
        let has_room = |room| self.data_size().is_some_and(|needed| needed <= room);
        let is_tight = self.kind == GuestKind::Qemu && !self.room.is_none_or(has_room);
        self.verified().is_none() || is_tight
    }

    /// Bytes of guest data in the archive, as its configuration says.
    pub fn data_size(&self) -> Option<u64> {
        let keys = crate::disks::keys_in_archive(self.kind, &self.inside.config);
        let disks = self.inside.config.disks(self.kind);
        disks.iter().filter(|d| keys.contains(&d.key)).map(|d| d.size).sum()
    }
}

/// The parts of a restore command.
pub struct Restored<'a> {
    /// VM or container.
    pub kind: GuestKind,
    /// The number it gets.
    pub target: Vmid,
    /// The backup.
    pub volid: &'a VolumeId,
    /// Where the disks go.
    pub placement: &'a Placement,
    /// KiB/s at most.
    pub bwlimit: Option<u32>,
    /// New identity.
    pub unique: bool,
    /// Start it before its data is there.
    pub live: bool,
    /// Over a guest that is there.
    pub over: bool,
}

/// `qmrestore VOLID ID …` / `pct restore ID VOLID …`.
pub fn restore_command(parts: &Restored<'_>) -> Command {
    let (volid, id) = (parts.volid.as_str(), parts.target.to_string());
    let program = match parts.kind {
        GuestKind::Qemu => "qmrestore",
        GuestKind::Lxc => "pct",
    };
    let command = if parts.over { Command::destroy(program) } else { Command::write(program) };
    let mut command = match parts.kind {
        GuestKind::Qemu => command.args([volid, &id]),
        GuestKind::Lxc => command.args(["restore", &id, volid]),
    };
    if let Some(storage) = &parts.placement.storage {
        command = command.args(["--storage", storage.as_str()]);
    }
    for (key, value) in &parts.placement.layout {
        command = command.arg(format!("--{key}")).arg(value);
    }
    if let Some(limit) = parts.bwlimit {
        command = command.args(["--bwlimit", &limit.to_string()]);
    }
    if parts.unique {
        command = command.args(["--unique", "1"]);
    }
    if parts.live {
        command = command.args(["--live-restore", "1"]);
    }
    if parts.over {
        command = command.args(["--force", "1"]);
    }
    command
}

/// A safety backup that was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SafetyCopy {
    /// Its volume id.
    pub volid: VolumeId,
    /// Its path on the node.
    pub path: String,
}

/// A restore at work.
pub struct Restore<'a> {
    /// The node.
    pub host: &'a dyn Host,
    /// What is to be done.
    pub what: Assignment,
    /// What its steps found out.
    pub found: Found,
}

/// What the steps of a restore found out, and later ones need. It is kept in the journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// The safety backup, once it is made.
    pub safety: Option<SafetyCopy>,
    /// The log that a safety backup leaves when it fails or is stopped.
    pub log: Option<String>,
    /// The folder on the node with copies of the guest's configuration and firewall file, once they are made.
    pub copies: Option<String>,
    /// Volumes with the guest's number before the restore, to tell what a failed one left.
    pub volumes_before: Vec<String>,
    /// The firewall file that a number had which is no guest's.
    pub firewall_before: Option<String>,
    /// The restore went past its checks: from then on the number is its own.
    #[serde(default)]
    pub begun: bool,
    /// The restore went past the point where the old guest is gone.
    pub replaced: bool,
    /// What brings the guest's links up, once they are down.
    pub links_up: Option<String>,
    /// Where `qmrestore` keeps its pipe and its files: it clears them away unless it is killed.
    pub temporary: Option<String>,
}

impl<'a> Restore<'a> {
    /// Ready to begin.
    pub fn new(host: &'a dyn Host, what: Assignment) -> Self {
        Self { host, what, found: Found::default() }
    }

    /// One that was cut off, from its journal: the work and what was found out.
    pub fn from_journal(host: &'a dyn Host, work: &Value, found: &Value) -> serde_json::Result<Self> {
        let found = if found.is_null() { Found::default() } else { Found::deserialize(found)? };
        Ok(Self { host, what: Assignment::deserialize(work)?, found })
    }
}

impl Workplace for Restore<'_> {
    fn host(&self) -> &dyn Host {
        self.host
    }

    fn kept(&self) -> Vec<Kept> {
        let vmid = self.what.target;
        let safety = self.found.safety.iter().map(|copy| Kept {
            what: format!("safety backup of {} as it was before", self.what.target_name()),
            place: copy.volid.to_string(),
            go_back: Some(format!("restore-vm {vmid} --archive {}", Command::read(copy.volid.as_str()))),
            remove: format!(
                "pvesh set {} && pvesm free {}",
                Command::read(&content_path(&copy.volid)).args(["--protected", "0"]),
                Command::read(copy.volid.as_str())
            ),
        });
        let copies = self.found.copies.iter().map(|folder| Kept {
            what: "copies of its configuration and firewall file as they were before".to_owned(),
            place: format!("{folder} on {}", self.what.node),
            go_back: None,
            remove: Command::destroy("rm").args(["-r", folder]).to_string(),
        });
        let log = self.found.log.iter().map(|path| Kept {
            what: "log of the safety backup that was not finished".to_owned(),
            place: format!("{path} on {}", self.what.node),
            go_back: None,
            remove: Command::destroy("rm").args(["-f", path]).to_string(),
        });
        safety.chain(copies).chain(log).collect()
    }

    fn next(&self) -> Vec<String> {
        let up = |command: &String| {
            format!("its links are down; to bring them up: `{command}` on {}", self.what.node)
        };
        self.found.links_up.iter().map(up).collect()
    }

    fn claim(&self) -> String {
        format!("guest-{}", self.what.target)
    }

    fn work(&self) -> Value {
        serde_json::to_value(&self.what).unwrap_or_default()
    }

    fn found(&self) -> Value {
        serde_json::to_value(&self.found).unwrap_or_default()
    }
}

/// The API path of a volume.
fn content_path(volid: &VolumeId) -> String {
    format!("/nodes/localhost/storage/{}/content/{volid}", volid.storage())
}
