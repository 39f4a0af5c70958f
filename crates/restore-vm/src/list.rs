//! `--list`: the backups there are.

use std::fmt::Write as _;

use restore_common::{
    pve::{Archive, Snapshot, Verification},
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
    on_backup_server: Vec<OnServer<'a>>,
    not_listed: Vec<NotListed<'a>>,
}

#[derive(Serialize)]
struct OnServer<'a> {
    archive: &'a str,
    ctime: i64,
    size: u64,
    kind: restore_common::pve::GuestKind,
    protected: bool,
    verification: Verification,
    encrypted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<&'a str>,
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

/// The list for programs.
pub fn json(reached: &Reached, vmid: restore_common::pve::Vmid) -> serde_json::Result<String> {
    let look = &reached.look;
    let unread = look.unread.iter().map(|(id, reason)| NotListed { what: id.as_str(), reason });
    serde_json::to_string_pretty(&Listed {
        schema: 1,
        program: "restore-vm",
        vmid,
        node: look.facts.name.as_str(),
        environment: &reached.node.environment,
        backups: look.archives.iter().map(entry).collect(),
        on_backup_server: look.on_backup_server.iter().map(on_server).collect(),
        not_listed: unread.collect(),
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

fn on_server(snapshot: &Snapshot) -> OnServer<'_> {
    OnServer {
        archive: snapshot.volid.as_str(),
        ctime: snapshot.ctime,
        size: snapshot.size,
        kind: snapshot.kind,
        protected: snapshot.protected,
        verification: snapshot.verification,
        encrypted: snapshot.encrypted,
        notes: snapshot.notes.as_deref(),
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
    if !look.on_backup_server.is_empty() {
        text.push_str("\non a Proxmox Backup Server, from which this version does not restore:\n\n");
        text.push_str(&server_table(&look.on_backup_server, look.facts.time).render(WIDTH));
    }
    text
}

fn server_table(snapshots: &[Snapshot], now: i64) -> Table {
    let mut table = Table::new(["age", "size", "backup", "state", "notes"]).right("size").flexible("notes");
    for snapshot in snapshots {
        let marks = [(snapshot.encrypted, "encrypted"), (snapshot.protected, "protected")];
        let marks = marks.iter().filter(|(is_so, _)| *is_so).map(|(_, word)| *word);
        let state: Vec<_> = std::iter::once(snapshot.verification.word()).chain(marks).collect();
        // One that is not finished has no size yet.
        let size = if snapshot.size > 1 { format::bytes(snapshot.size) } else { "unfinished".to_owned() };
        table.row([
            format::age(snapshot.ctime, now),
            size,
            ui::sanitize(snapshot.volid.as_str()).into_owned(),
            state.join(", "),
            ui::sanitize(snapshot.notes.as_deref().unwrap_or_default()).into_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_servers_own_findings_are_shown() {
        let snapshot = Snapshot {
            volid: "pbs:backup/vm/101/2026-01-30T12:00:00Z".parse().unwrap(),
            kind: restore_common::pve::GuestKind::Qemu,
            vmid: "101".parse().unwrap(),
            ctime: 1_769_774_400,
            size: 1,
            notes: Some("web01".to_owned()),
            protected: true,
            verification: Verification::Failed,
            encrypted: true,
        };
        let shown = server_table(&[snapshot], 1_769_774_400).render(WIDTH);
        for words in ["unfinished", "VERIFICATION FAILED, encrypted, protected", "web01", "T12:00:00Z"] {
            assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
        }
    }
}
