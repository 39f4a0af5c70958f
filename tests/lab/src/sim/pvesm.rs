//! `pvesm`: storages and what lies on them.

use super::backup_server::repository;
use super::content::{Item, backup_owner};
use super::node::cluster::SectionFile;
use super::node::property::parse_size;
use super::node::storage::STORAGE_CFG;
use super::node::volume::{Place, owner_of, split_volid};
use super::node::{Failure, Node, Outcome};
use super::{Io, Parsed, prune};

/// Runs `pvesm`; gives its exit status.
pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    let done = match call.words.get(1).map_or("", String::as_str) {
        "status" => status(node, call, io),
        "list" => list(node, call, io),
        "path" => path(node, call, io),
        "extractconfig" => extract(node, call, io),
        "free" => free(node, call, io),
        "alloc" => alloc(node, call, io),
        "prune-backups" => prune::main(node, call, io),
        "set" => set(node, call),
        other => Err(Failure::new(format!("ERROR: unknown command 'pvesm {other}'"))),
    };
    done.map_or_else(
        |failure| {
            if !failure.text.is_empty() {
                io.complain(&failure.text);
            }
            failure.status
        },
        |()| 0,
    )
}

fn status(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome {
    let mut storages = node.storage_states(call, io).map_err(|text| {
        Failure::new(format!("400 Parameter verification failed.\n{text}\npvesm status  [OPTIONS]"))
    })?;
    storages.sort_by(|a, b| a.id.cmp(&b.id));
    let width = 1 + storages.iter().map(|storage| storage.id.len()).max().unwrap_or_default();
    let unit = if node.version() >= 9 { " (KiB)" } else { "" };
    let [total, used, free] = ["Total", "Used", "Available"].map(|word| format!("{word}{unit}"));
    io.line(&format!(
        "{:<width$} {:>10} {:>10} {total:>15} {used:>15} {free:>15} {:>8}",
        "Name", "Type", "Status", "%"
    ));
    for storage in storages {
        let (state, percent) = match (storage.enabled, storage.active) {
            (false, _) => ("disabled", "N/A".to_owned()),
            (true, active) => {
                let percent = storage.used_fraction().unwrap_or_default() * 100.0;
                (if active { "active" } else { "inactive" }, format!("{percent:.2}%"))
            }
        };
        let [total, used, free] =
            [storage.usage.total, storage.usage.used, storage.usage.free].map(|bytes| bytes / 1024);
        io.line(&format!(
            "{:<width$} {:>10} {state:>10} {total:>15} {used:>15} {free:>15} {percent:>8}",
            storage.id, storage.kind
        ));
    }
    Ok(())
}

fn list(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome {
    let vmid = call.get("vmid").map(|_| call.vmid());
    let items = node.content(call.get("storage").unwrap_or_default(), call.get("content"), vmid)?;
    let widest = items.iter().map(|item| item.volid.len()).max().unwrap_or_default();
    let digits = items.iter().map(|item| item.size).max().unwrap_or_default().to_string().len();
    let row = |item: &Item| {
        format!("{:<widest$} {:<7} {:<9} {:>digits$}", item.volid, item.format, item.content, item.size)
    };
    io.line(&format!("{:<widest$} {:<7} {:<9} {:>digits$} VMID", "Volid", "Format", "Type", "Size"));
    let (of_guests, mut others): (Vec<_>, Vec<_>) = items.iter().partition(|item| item.vmid.is_some());
    for item in of_guests {
        io.line(&format!("{} {}", row(item), item.vmid.unwrap_or_default()));
    }
    others.sort_by(|a, b| a.format.cmp(&b.format));
    for item in others {
        io.line(&row(item));
    }
    Ok(())
}

fn path(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome {
    let volid = call.get("volume").unwrap_or_default();
    split_volid(volid).map_err(|failure| {
        Failure::new(format!(
            "400 Parameter verification failed.\nvolume: invalid format - {failure}\n\npvesm path <volume>"
        ))
    })?;
    let place = node.place(volid)?;
    io.line(&match place.storage.kind.as_str() {
        "pbs" => pbs_path(&place),
        _ => place.path,
    });
    Ok(())
}

/// Where a snapshot lies on a Proxmox Backup Server; no file.
pub(super) fn pbs_path(place: &Place) -> String {
    let repository = repository(&place.storage);
    let snapshot = place.name.trim_start_matches("backup/");
    let space = place.storage.get("namespace").map_or_else(String::new, |name| format!("?ns={name}"));
    format!("pbs://{repository}/{snapshot}{space}")
}

fn extract(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome {
    let volid = call.get("volume").unwrap_or_default();
    let place = node.place(volid)?;
    if let Some(file) = place.name.strip_prefix("backup/")
        && place.storage.kind != "pbs"
        && backup_owner(file).is_none()
    {
        io.complain(
            "Use of uninitialized value $ownervm in concatenation (.) or string at \
             /usr/share/perl5/PVE/CLI/pvesm.pm line 149.",
        );
    }
    let config = node.stored_config(volid)?;
    io.line(&config);
    Ok(())
}

/// A failed removal is only told: the program itself ends well, unless it was asked to wait for the result.
fn free(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome {
    let given = call.get("volume").unwrap_or_default();
    let volid = match call.get("storage") {
        Some(storage) if !given.contains(':') => format!("{storage}:{given}"),
        _ => given.to_owned(),
    };
    let id = node.removal_id(&volid)?;
    let mut result = Ok(());
    node.worker(io, "imgdel", &id, |task| {
        result = node.remove_volume(&volid, task);
        result.clone()
    });
    if call.number("delay").is_some_and(|delay| delay > 0) { result } else { Ok(()) }
}

fn alloc(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome {
    let volid = allocate(node, call, io)?;
    io.line(&format!("successfully created '{volid}'"));
    Ok(())
}

/// Makes an image; gives its volume ID.
pub(super) fn allocate(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<String> {
    let get = |name: &str| call.get(name).unwrap_or_default();
    let (storage, file) = (get("storage"), get("filename"));
    let format = call.get("format").or(file.rsplit_once('.').map(|(_, end)| end)).unwrap_or("raw");
    let size = match get("size").parse::<u64>() {
        Ok(kibibytes) => kibibytes * 1024,
        Err(_) => parse_size(get("size")).unwrap_or_default(),
    };
    let name = file.rsplit_once('.').map_or(file, |(name, _)| name);
    let (vmid, is_folder) = (call.vmid(), node.usable_storage(storage)?.is_folder());
    if !file.is_empty() && is_folder && (name == file || owner_of(name).is_none()) {
        return Err(Failure::new(format!("unable to parse volume filename '{file}'")));
    }
    if !file.is_empty() && !is_folder && !file.starts_with(&format!("vm-{vmid}-")) {
        return Err(Failure::new(format!("illegal name '{file}' - should be 'vm-{vmid}-*'")));
    }
    let name = Some(name).filter(|name| !name.is_empty());
    let (volume, lines) = node.alloc_image(storage, vmid, format, name, size)?;
    for line in &lines {
        io.line(line);
    }
    Ok(volume.volid)
}

/// Changes the configuration of a storage.
pub(super) fn set(node: &Node, call: &Parsed) -> Outcome {
    let id = call.get("storage").unwrap_or_default();
    node.storage(id)?;
    let mut file = SectionFile::parse(&node.read(STORAGE_CFG).unwrap_or_default());
    let Some(section) = file.sections.iter_mut().find(|section| section.id == id) else {
        return Err(Failure::new(format!("storage '{id}' does not exist")));
    };
    for key in call.get("delete").unwrap_or_default().split(',') {
        section.settings.retain(|(name, _)| name != key);
    }
    for (key, value) in
        call.params.iter().filter(|(key, _)| !matches!(key.as_str(), "storage" | "delete" | "node"))
    {
        section.set(key, value.clone());
    }
    Ok(node.write(STORAGE_CFG, &file.to_string())?)
}
