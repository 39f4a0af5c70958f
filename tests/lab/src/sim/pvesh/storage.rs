//! Storages and what lies on them.

use std::fs;

use serde_json::{Value, json};

use super::{Answer, invalid};
use crate::sim::backup_server::Snapshot;
use crate::sim::content::{Item, taken};
use crate::sim::node::storage::{STORAGE_CFG, Storage};
use crate::sim::node::volume::{Place, format_of, split_volid};
use crate::sim::node::{Failure, Node, Outcome};
use crate::sim::storages::StorageState;
use crate::sim::{Io, Parsed, pvesm};

pub(super) fn list(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    let states = node.storage_states(call, io).map_err(|text| invalid(call, &text))?;
    let entry = |state: &StorageState| {
        let mut entry = fields(state);
        entry["storage"] = state.id.as_str().into();
        if let Some(fraction) = state.used_fraction() {
            entry["used_fraction"] = if state.usage.used == 0 { 0.into() } else { fraction.into() };
        }
        entry
    };
    Ok(Value::from(states.iter().map(entry).collect::<Vec<_>>()).into())
}

pub(super) fn status(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    let states = node.storage_states(call, io).map_err(|text| invalid(call, &text))?;
    Ok(states.first().map(fields).unwrap_or_default().into())
}

fn fields(state: &StorageState) -> Value {
    json!({
        "active": u8::from(state.active),
        "avail": state.usage.free,
        "content": state.content,
        "enabled": u8::from(state.enabled),
        "shared": u8::from(state.shared),
        "total": state.usage.total,
        "type": state.kind,
        "used": state.usage.used,
    })
}

pub(super) fn content(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let vmid = call.get("vmid").map(|_| call.vmid());
    let items = node.content(call.get("storage").unwrap_or_default(), call.get("content"), vmid)?;
    Ok(Value::from(items.into_iter().map(entry).collect::<Vec<_>>()).into())
}

fn entry(item: Item) -> Value {
    let mut entry = json!({
        "content": item.content,
        "ctime": item.ctime,
        "format": item.format,
        "size": item.size,
        "volid": item.volid,
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            entry[key] = value;
        }
    };
    set("vmid", item.vmid.map(Value::from));
    set("subtype", item.subtype.map(Value::from));
    set("notes", item.notes.map(Value::from));
    set("protected", item.protected.then(|| 1.into()));
    set("verification", item.verification.map(|found| json!(found)));
    set("encrypted", item.encrypted.map(Value::from));
    set("parent", item.used.map(|_| Value::Null));
    set("used", item.used.map(Value::from));
    entry
}

/// The volume that a path names, in full or without its storage.
fn volid(call: &Parsed) -> Outcome<String> {
    let (storage, volume) = (call.get("storage").unwrap_or_default(), call.get("volume").unwrap_or_default());
    match split_volid(volume) {
        Ok((other, _)) if other != storage => {
            Err(Failure::new(format!("storage ID mismatch ({other} != {storage})")))
        }
        Ok(_) => Ok(volume.to_owned()),
        Err(_) => Ok(format!("{storage}:{volume}")),
    }
}

pub(super) fn volume(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let volid = volid(call)?;
    let place = node.place(&volid)?;
    if let Some(snapshot) = node.snapshot(&volid)? {
        return Ok(about_snapshot(node, &place, &snapshot).into());
    }
    let path = place.path;
    let Ok(metadata) = fs::metadata(node.path(&path)) else {
        let text = format!("failed to stat '{path}'\nvolume_size_info on '{volid}' failed - no format");
        return Err(Failure::with_status(text, 2));
    };
    // The size is counted in blocks here, other than in the listing.
    let size = node.volume_size(&path).next_multiple_of(512);
    let is_file = place.name.starts_with("backup/");
    let format = if is_file { "raw" } else { format_of(&place.name) };
    let mut answer = json!({"format": format, "path": path, "size": size, "used": taken(Some(&metadata))});
    if let Some(notes) = node.read(&format!("{path}.notes")) {
        answer["notes"] = notes.into();
    }
    if node.path(&format!("{path}.protected")).exists() {
        answer["protected"] = 1.into();
    }
    Ok(answer.into())
}

fn about_snapshot(node: &Node, place: &Place, snapshot: &Snapshot) -> Value {
    let size = snapshot.size(node);
    // Which format and which `used` a real node gives is not among the facts.
    let mut answer = json!({"format": "raw", "path": pvesm::pbs_path(place), "size": size, "used": size});
    if let Some(notes) = &snapshot.about.notes {
        answer["notes"] = notes.as_str().into();
    }
    if snapshot.about.protected {
        answer["protected"] = 1.into();
    }
    answer
}

fn set_about(node: &Node, call: &Parsed, snapshot: &Snapshot) -> Outcome<Answer> {
    let mut about = snapshot.about.clone();
    if let Some(notes) = call.get("notes") {
        about.notes = Some(notes.to_owned()).filter(|notes| !notes.is_empty());
    }
    if call.get("protected").is_some() {
        about.protected = call.is_on("protected");
    }
    node.write_about(snapshot, &about)?;
    Ok(Answer::Nothing)
}

pub(super) fn set_volume(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let volid = volid(call)?;
    let place = node.place(&volid)?;
    if !place.name.starts_with("backup/") {
        return Err(Failure::new(match call.get("notes") {
            Some(_) => "only backups can have notes",
            None => "only backups support attribute 'protected'",
        }));
    }
    if let Some(snapshot) = node.snapshot(&volid)? {
        return set_about(node, call, &snapshot);
    }
    if let Some(notes) = call.get("notes") {
        let path = format!("{}.notes", place.path);
        if notes.is_empty() { node.remove(&path)? } else { node.write(&path, notes)? }
    }
    if call.get("protected").is_some() {
        let path = format!("{}.protected", place.path);
        if call.is_on("protected") { node.write(&path, "")? } else { node.remove(&path)? }
    }
    Ok(Answer::Nothing)
}

pub(super) fn delete_volume(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    let volid = volid(call)?;
    let id = node.removal_id(&volid)?;
    node.worker(io, "imgdel", &id, |task| node.remove_volume(&volid, task));
    Ok(Value::from(node.take_last_worker()).into())
}

/// The configuration of all storages.
pub(super) fn configurations(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let wanted = |storage: &Storage| call.get("type").is_none_or(|kind| kind == storage.kind);
    let list: Vec<_> =
        node.storages().into_iter().filter(wanted).map(|storage| configuration(node, &storage)).collect();
    Ok(Value::from(list).into())
}

/// The configuration of one storage.
pub(super) fn one_configuration(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    Ok(configuration(node, &node.storage(call.get("storage").unwrap_or_default())?).into())
}

fn configuration(node: &Node, storage: &Storage) -> Value {
    let digest = super::digest(&node.read(STORAGE_CFG).unwrap_or_default());
    let mut entry = json!({"digest": digest, "storage": storage.id, "type": storage.kind});
    for (key, value) in &storage.settings {
        entry[key] = match (key.as_str(), value.as_str()) {
            (_, "") => 1.into(),
            ("shared" | "disable" | "mkdir" | "sparse" | "krbd" | "is_mountpoint", "0" | "1") => {
                u8::from(value == "1").into()
            }
            (_, value) => value.into(),
        };
    }
    entry
}

pub(super) fn set_configuration(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let mut call = call.clone();
    call.params.retain(|key, _| key != "api_path" && !super::OUTPUT_OPTIONS.contains(&key.as_str()));
    pvesm::set(node, &call)?;
    Ok(configuration(node, &node.storage(call.get("storage").unwrap_or_default())?).into())
}

/// The thin pools of LVM. The fields are those of the API's description; no run of the real one is among the facts.
pub(super) fn thin_pools(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    const METADATA: u64 = 128 << 20;
    let pool = |storage: &Storage| {
        let capacity = node.settings().storages.get(&storage.id).copied().unwrap_or_default();
        json!({
            "lv": storage.get("thinpool"), "vg": storage.get("vgname"), "lv_size": capacity.total,
            "metadata_size": METADATA, "metadata_used": METADATA / 100 * capacity.metadata_percent,
        })
    };
    let storages = node.storages();
    Ok(Value::from(storages.iter().filter(|s| s.kind == "lvmthin").map(pool).collect::<Vec<_>>()).into())
}

/// The configuration inside a backup.
pub(super) fn stored_config(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    Ok(Value::from(node.stored_config(call.get("volume").unwrap_or_default())?).into())
}

/// What `vzdump` does when it is not told otherwise.
pub(super) fn backup_defaults(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let id = call.get("storage").unwrap_or("local");
    let storage = node.storage(id)?;
    let retention = storage.get("prune-backups").unwrap_or("keep-all=1");
    Ok(json!({
        "all": 0, "bwlimit": 0, "compress": "0", "dumpdir": storage.content_folder("backup"), "ionice": 7, "lockwait": 180,
        "mailnotification": "always", "mode": "snapshot", "notes-template": "{{guestname}}", "pigz": 0,
        "prune-backups": retention, "quiet": 0, "remove": 1, "stdexcludes": 1, "stop": 0, "stopwait": 10,
        "storage": id, "zstd": 1,
    })
    .into())
}
