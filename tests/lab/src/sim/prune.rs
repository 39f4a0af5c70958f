//! `pvesm prune-backups`: which backups of a storage its retention keeps.

use std::collections::BTreeMap;

use super::content::{BackupName, Item};
use super::node::{Failure, Node, Outcome};
use super::vzdump::Retention;
use super::{Io, Parsed};

/// A backup and what becomes of it: `keep`, `remove`, `protected` or, with a name of its own, `renamed`.
struct Marked {
    item: Item,
    kind: &'static str,
    mark: &'static str,
}

/// Removes what is not kept, or only shows it with `dry-run`.
pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome {
    let storage = node.storage(call.get("storage").unwrap_or_default())?;
    let given: Vec<_> = call.params.iter().filter(|(key, _)| key.starts_with("keep-")).collect();
    let text = match (given.is_empty(), storage.get("prune-backups")) {
        (true, Some(configured)) => configured.to_owned(),
        (true, None) => return Err(Failure::new("no retention options given")),
        (false, _) => given.iter().map(|(key, count)| format!("{key}={count}")).collect::<Vec<_>>().join(","),
    };
    let marked = marked(node, call, &Retention::parse(&text))?;
    if call.is_on("dry-run") {
        show(&marked, io);
        return Ok(());
    }
    let id = call.get("vmid").map_or_else(|| storage.id.clone(), |vmid| format!("{vmid}@{}", storage.id));
    let status = node.worker(io, "prunebackups", &id, |task| {
        let mut condemned = marked.iter().filter(|backup| backup.mark == "remove");
        condemned.try_for_each(|backup| node.remove_volume(&backup.item.volid, task))
    });
    // The task has told why it failed.
    if status == 0 { Ok(()) } else { Err(Failure::with_status("", status)) }
}

fn marked(node: &Node, call: &Parsed, retention: &Retention) -> Outcome<Vec<Marked>> {
    let vmid = call.get("vmid").map(|_| call.vmid());
    let items = node.content(call.get("storage").unwrap_or_default(), Some("backup"), vmid)?;
    let mut marked = Vec::new();
    let mut groups: BTreeMap<(&str, u32), Vec<i64>> = BTreeMap::new();
    for item in items {
        let file = item.volid.rsplit('/').next().unwrap_or_default();
        let Some(name) = BackupName::parse(file) else { continue };
        if call.get("type").is_some_and(|kind| kind != name.kind) || vmid.is_some() && name.vmid != vmid {
            continue;
        }
        let mark = match (name.vmid, item.protected) {
            (None, _) => "renamed",
            (_, true) => "protected",
            (Some(vmid), false) => {
                groups.entry((name.kind, vmid)).or_default().push(item.ctime);
                "keep"
            }
        };
        marked.push(Marked { item, kind: name.kind, mark });
    }
    if retention.keeps_all() {
        return Ok(marked);
    }
    for ((kind, vmid), times) in groups {
        let condemned = retention.to_remove(&times);
        for backup in marked.iter_mut().filter(|backup| backup.mark == "keep") {
            if (backup.kind, backup.item.vmid) == (kind, Some(vmid)) && condemned.contains(&backup.item.ctime)
            {
                backup.mark = "remove";
            }
        }
    }
    Ok(marked)
}

fn show(marked: &[Marked], io: &mut Io<'_>) {
    if marked.is_empty() {
        io.line("No backups found");
        return;
    }
    io.line(
        "NOTE: this is only a preview and might not be what a subsequent prune call does if backups are removed/added \
         in the meantime.\n",
    );
    let mut sorted: Vec<&Marked> = marked.iter().collect();
    sorted.sort_by_key(|backup| (backup.item.vmid, backup.item.ctime));
    let width = 1 + sorted.iter().map(|backup| backup.item.volid.len()).max().unwrap_or_default();
    io.line(&format!("{:<width$} {:>15} {:>10}", "Backup", "Backup-ID", "Prune-Mark"));
    for backup in sorted {
        let id = match backup.item.vmid {
            Some(vmid) => format!("{}/{vmid}", backup.kind),
            None => backup.kind.to_owned(),
        };
        io.line(&format!("{:<width$} {id:>15} {:>10}", backup.item.volid, backup.mark));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unprotected_backups_that_are_too_many_go() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        let path = |day: &str| format!("/var/lib/vz/dump/vzdump-qemu-100-2026_01_{day}-12_00_00.vma.zst");
        for day in ["08", "09", "10"] {
            node.write(&path(day), "").unwrap();
        }
        node.write(&format!("{}.protected", path("08")), "").unwrap();
        let params = [("storage", "local"), ("keep-last", "1")];
        let params = params.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let mut call = Parsed { params, ..Parsed::default() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { stdin: &mut std::io::empty(), stdout: &mut out, stderr: &mut err };
        call.params.insert("dry-run".into(), "1".into());
        main(&node, &call, &mut io).unwrap();
        call.params.remove("dry-run");
        main(&node, &call, &mut io).unwrap();
        let there = ["08", "09", "10"].map(|day| node.path(&path(day)).exists());
        assert_eq!(there, [true, false, true]);
        let shown = String::from_utf8(out).unwrap();
        let marks: Vec<_> =
            shown.lines().skip(3).take(3).filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(marks, ["protected", "remove", "keep"]);
    }
}
