//! `--list`: the backups there are.

use std::fmt::Write as _;

use restore_common::{
    pve::Archive,
    ui::{self, Table, format},
};
use serde::Serialize;

use crate::{look::NodeLook, nodes::Reached};

/// The list as one JSON document.
#[derive(Serialize)]
struct Listed<'a> {
    schema: u32,
    program: &'static str,
    vmid: restore_common::pve::Vmid,
    node: &'a str,
    environment: &'a str,
    backups: Vec<Entry<'a>>,
    not_listed: Vec<NotListed<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    archive: &'a str,
    time: String,
    ctime: i64,
    size: u64,
    kind: restore_common::pve::GuestKind,
    protected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<&'a str>,
}

#[derive(Serialize)]
struct NotListed<'a> {
    what: &'a str,
    reason: &'a str,
}

/// Columns of the list: wide enough for whole volume ids; the notes give way.
const WIDTH: usize = 120;

const BACKUP_SERVER: &str = "on a Proxmox Backup Server";

/// The list for programs.
pub fn json(reached: &Reached, vmid: restore_common::pve::Vmid) -> serde_json::Result<String> {
    let look = &reached.look;
    let unread = look.unread.iter().map(|(id, reason)| NotListed { what: id.as_str(), reason });
    let servers = look.on_backup_server.iter().map(|volid| NotListed { what: volid, reason: BACKUP_SERVER });
    serde_json::to_string_pretty(&Listed {
        schema: 1,
        program: "restore-vm",
        vmid,
        node: look.facts.name.as_str(),
        environment: &reached.node.environment,
        backups: look.archives.iter().map(entry).collect(),
        not_listed: unread.chain(servers).collect(),
    })
}

fn entry(archive: &Archive) -> Entry<'_> {
    Entry {
        archive: archive.volid.as_str(),
        time: archive.name.time.to_string(),
        ctime: archive.ctime,
        size: archive.size,
        kind: archive.name.kind,
        protected: archive.protected,
        notes: archive.notes.as_deref(),
    }
}

/// The list for people, newest first.
pub fn text(look: &NodeLook, vmid: restore_common::pve::Vmid) -> String {
    let mut table = Table::new(["age", "size", "backup", "notes"]).right("size").flexible("notes");
    for archive in &look.archives {
        let mark = if archive.protected { "protected " } else { "" };
        table.row([
            format::age(archive.ctime, look.facts.time),
            format::bytes(archive.size),
            ui::sanitize(archive.volid.as_str()).into_owned(),
            format!("{mark}{}", ui::sanitize(archive.notes.as_deref().unwrap_or_default())),
        ]);
    }
    let mut text = match look.archives.len() {
        0 => format!("no backup of guest {vmid} on {}\n", look.facts.name),
        n => format!("{} of guest {vmid} on {}\n\n", format::counted(n as u64, "backup"), look.facts.name),
    };
    text.push_str(&table.render(WIDTH));
    for (storage, reason) in &look.unread {
        _ = writeln!(text, "\nnot listed: storage `{storage}`: {}", ui::sanitize(reason));
    }
    for volid in &look.on_backup_server {
        _ = writeln!(text, "\nnot listed: `{}` is {BACKUP_SERVER}", ui::sanitize(volid));
    }
    text
}
