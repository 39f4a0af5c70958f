//! `--list`: the backups there are.

use std::fmt::Write as _;

use restore_common::{
    cli::json_text,
    pve::{Archive, OnServer},
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
    /// What a Proxmox Backup Server says about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a OnServer>,
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
    json_text(&Listed {
        schema: 1,
        program: "restore-vm",
        vmid,
        node: look.facts.name.as_str(),
        environment: &reached.node.environment,
        backups: look.archives.iter().map(entry).collect(),
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
        server: archive.server.as_ref(),
    }
}

/// The list for people, newest first.
pub fn text(look: &NodeLook, vmid: restore_common::pve::Vmid) -> String {
    let mut text = match look.archives.len() {
        0 => format!("no backup of guest {vmid} on {}\n", look.facts.name),
        n => format!("{} of guest {vmid} on {}\n\n", format::counted(n as u64, "backup"), look.facts.name),
    };
    text.push_str(&table(&look.archives, look.facts.time).render(WIDTH));
    for (storage, reason) in &look.unread {
        _ = writeln!(text, "\nnot listed: storage `{storage}`: {}", ui::sanitize(reason));
    }
    text
}

fn table(archives: &[Archive], now: i64) -> Table {
    let mut table = Table::new(["age", "size", "backup", "notes"]).right("size").flexible("notes");
    for archive in archives {
        let is_finished = archive.server.as_ref().is_none_or(|server| server.finished);
        table.row([
            format::age(archive.ctime, now),
            if is_finished { format::bytes(archive.size) } else { "unfinished".to_owned() },
            ui::sanitize(archive.volid.as_str()).into_owned(),
            ui::sanitize(&remarks(archive)).into_owned(),
        ]);
    }
    table
}

/// What its server says, whether it is protected, and its notes.
fn remarks(archive: &Archive) -> String {
    let mut marks = Vec::new();
    if let Some(server) = &archive.server {
        marks.push(server.verification.word());
        marks.extend(server.encrypted.then_some("encrypted"));
    }
    marks.extend(archive.protected.then_some("protected"));
    let notes = archive.notes.as_deref().unwrap_or_default();
    format!("{} {notes}", marks.join(", ")).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use restore_common::pve::{ArchiveName, Compression, GuestKind, LocalTime, Verification};

    use super::*;

    #[test]
    fn a_backup_servers_own_findings_are_shown() {
        let archive = Archive {
            volid: "pbs:backup/vm/101/2026-01-30T12:00:00Z".parse().unwrap(),
            name: ArchiveName {
                kind: GuestKind::Qemu,
                vmid: "101".parse().unwrap(),
                time: LocalTime("2026-01-30T12:00:00".parse().unwrap()),
                compression: Compression::None,
            },
            ctime: 1_769_774_400,
            size: 1,
            notes: Some("web01".to_owned()),
            protected: true,
            server: Some(OnServer {
                verification: Verification::Failed,
                verified_at: None,
                encrypted: true,
                finished: false,
            }),
        };
        let shown = table(&[archive], 1_769_774_400).render(WIDTH);
        for words in ["unfinished", "VERIFICATION FAILED, encrypted, protected web01", "T12:00:00Z"] {
            assert!(shown.contains(words), "`{words}` is not in:\n{shown}");
        }
    }
}
