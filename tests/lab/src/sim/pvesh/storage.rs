//! Storages and what lies on them.

use std::fs;

use serde_json::{Value, json};

use super::{Answer, invalid};
use crate::sim::content::{Item, taken};
use crate::sim::node::volume::split_volid;
use crate::sim::node::{Failure, Node, Outcome};
use crate::sim::storages::StorageState;
use crate::sim::{Io, Parsed};

pub(super) fn list(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    let states = node.storage_states(call, io).map_err(|text| invalid(call, &text))?;
    let entry = |state: &StorageState| {
        let mut entry = fields(state);
        entry["storage"] = state.id.as_str().into();
        if let Some(fraction) = state.used_fraction() {
            entry["used_fraction"] = fraction.into();
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
    node.usable_storage(&place.storage.id)?;
    let path = place.path;
    let Ok(metadata) = fs::metadata(node.path(&path)) else {
        let text = format!("failed to stat '{path}'\nvolume_size_info on '{volid}' failed - no format");
        return Err(Failure::with_status(text, 2));
    };
    // The size is counted in blocks here, other than in the listing.
    let size = node.volume_size(&path).next_multiple_of(512);
    let is_file = place.name.starts_with("backup/");
    let format = if is_file { "raw" } else { crate::sim::node::volume::format_of(&place.name) };
    let mut answer = json!({"format": format, "path": path, "size": size, "used": taken(Some(&metadata))});
    if let Some(notes) = node.read(&format!("{path}.notes")) {
        answer["notes"] = notes.into();
    }
    if node.path(&format!("{path}.protected")).exists() {
        answer["protected"] = 1.into();
    }
    Ok(answer.into())
}

pub(super) fn set_volume(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let volid = volid(call)?;
    let place = node.place(&volid)?;
    node.usable_storage(&place.storage.id)?;
    let Some(file) = place.name.strip_prefix("backup/") else {
        let what = if call.get("notes").is_some() { "notes" } else { "protected" };
        let kind = &place.storage.kind;
        return Err(Failure::new(format!("attribute '{what}' is not supported for storage type '{kind}'")));
    };
    if !node.path(&place.path).exists() {
        return Err(Failure::with_status(format!("archive {file} does not exist"), 2));
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
    let (_, upid) = node.worker_upid(io, "imgdel", &id, |task| node.remove_volume(&volid, task));
    Ok(Value::from(upid).into())
}
