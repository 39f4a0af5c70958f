//! The restore itself, and the way back from one that failed.

use restore_common::{
    procedure::{Failure, Run},
    pve::{Disk, GuestConfig, PveError, StorageId},
    remote::{Command, Host, Output},
};

use super::excluded;
use crate::{
    assignment::{Assignment, Restore, Restored, restore_command},
    live,
    look::{Guest, firewall_path},
    place::Placement,
};

/// Step: the guest's disks and configuration come from the backup.
pub fn restore(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let command = restore.what.restore_command();
    let total = restore.what.data_size();
    let found = &mut restore.found;
    run.job(restore.host, &command, total, &mut |line| {
        // Whatever its checks find goes to standard error, so the first line says that they are over, and the number taken.
        found.begun = true;
        found.replaced |= is_past_return(line);
        found.temporary = temporary_in(line).or(found.temporary.take());
    })?;
    restore.found.replaced = true;
    restore.found.temporary = None;
    Ok(None)
}

/// The folder that `qmrestore` says it unpacks through: `… | vma extract -v -r /var/tmp/vzdumptmp29.fifo - /var/tmp/vzdumptmp29`.
fn temporary_in(line: &str) -> Option<String> {
    let folder = line.strip_prefix("restore vma archive: ")?.split_whitespace().last()?;
    let number = folder.strip_prefix("/var/tmp/vzdumptmp")?;
    (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())).then(|| folder.to_owned())
}

/// Clears away what a killed `qmrestore` left of its own.
fn remove_temporary(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<()> {
    let Some(folder) = restore.found.temporary.clone() else { return Ok(()) };
    let fifo = format!("{folder}.fifo");
    run.command(restore.host, &Command::destroy("rm").args(["-rf", &folder, &fifo]))?;
    restore.found.temporary = None;
    Ok(())
}

/// Lines that the node prints only after the old guest is gone: the first new volume of a VM, the unpacking of a
/// container.
fn is_past_return(line: &str) -> bool {
    line.starts_with("new volume ID is ") || line.starts_with("restoring '")
}

/// Step: what a number that is no guest's has on the node all the same. A guest that had it before may have left
/// disks, and the way back must not take them for its own. A guest that took the number since the look is not touched.
pub fn take_stock(restore: &mut Restore<'_>, _: &Run<'_>) -> anyhow::Result<Option<String>> {
    let mut commands = list_volumes(&restore.what);
    commands.push(Command::read("cat").arg(firewall_path(restore.what.target)));
    let config = format!("{}.conf", restore.what.target);
    let holders = Command::read("find").args(["/etc/pve/nodes", "-name", &config]);
    commands.push(holders.clone());
    let mut answers = restore.host.run_all(&commands)?;
    if let Some(holder) = answers.pop() {
        let taken = holder.stdout_of(restore.host, &holders)?.trim().to_owned();
        if !taken.is_empty() {
            let target = restore.what.target;
            let failure = Failure::new(format!(
                "{target} was free when it was looked at, and is a guest's now: {taken}"
            ));
            return Err(failure.hint("choose a free number").into());
        }
    }
    let firewall = answers.pop().filter(Output::success);
    restore.found.firewall_before = firewall.map(|answer| answer.stdout);
    restore.found.volumes_before = volumes_in(restore.host, &commands, &answers)?;
    Ok(match restore.found.volumes_before.len() {
        0 => None,
        _ => Some(format!("left of an earlier guest, and kept: {}", restore.found.volumes_before.join(", "))),
    })
}

/// The way back of a restore to a new number: what it made is removed, and nothing else.
///
/// A failed `qmrestore` leaves a configuration that makes the number look used; `pct restore` leaves nothing. Destroying
/// the guest would also take what an earlier one left, which the restore makes its unused disks, and would purge it from
/// high availability, where it cannot be put back: `ha-manager add` wants a guest that is there.
pub fn remove_new(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    remove_temporary(restore, run)?;
    let present = present_config(restore)?;
    if let Some(config) = present.as_ref().filter(|config| !is_ours(restore, config)) {
        let name = config.name().unwrap_or("without a name");
        return Ok(Some(format!(
            "{} `{name}` is somebody else's, and was not touched",
            restore.what.target_name()
        )));
    }
    live::end(restore, run)?;
    let what = &restore.what;
    let left_config = present.is_some();
    let there = &restore.found.volumes_before;
    let new: Vec<_> = volumes_now(restore)?.into_iter().filter(|volume| !there.contains(volume)).collect();
    free(restore, run, &new)?;
    if left_config {
        let config = what.kind.config_path(what.target);
        run.command(restore.host, &Command::destroy("rm").args(["-f", &config]))?;
    }
    put_firewall(restore, run, restore.found.firewall_before.as_deref())?;
    let was_left = left_config || !new.is_empty();
    Ok(Some(if was_left { format!("removed {}", what.target_name()) } else { "nothing was left".to_owned() }))
}

/// Whether the guest that has the number now is what the restore made. Somebody may have taken the number just before the
/// restore, which then refuses to begin, or after what it left was removed by hand.
fn is_ours(restore: &Restore<'_>, now: &GuestConfig) -> bool {
    let is_stump = now.is_left_by_a_failed_restore() || now.lock() == Some("create");
    let inside = &restore.what.inside.config;
    let disks = crate::disks::keys_in_archive(restore.what.kind, inside);
    let same_name = inside.name().is_none_or(|name| now.name() == Some(name));
    is_stump || (restore.found.begun && same_name && disks.iter().all(|key| now.get(key).is_some()))
}

/// Frees volumes, and looks whether they are gone: `pvesm free` ends well even when it could not.
fn free(restore: &Restore<'_>, run: &Run<'_>, volumes: &[String]) -> anyhow::Result<()> {
    for volume in volumes {
        run.command(restore.host, &Command::destroy("pvesm").args(["free", volume]))?;
    }
    if volumes.is_empty() {
        return Ok(());
    }
    let now = volumes_now(restore)?;
    let left: Vec<_> = volumes.iter().filter(|volume| now.contains(volume)).map(String::as_str).collect();
    if left.is_empty() {
        return Ok(());
    }
    let left = left.join(", ");
    Err(Failure::new(format!(
        "`pvesm free` ended well on {}, but {left} is still there",
        restore.host.name()
    ))
    .hint("its task log on the node says why")
    .into())
}

fn unlock_command(what: &Assignment) -> Command {
    Command::write(what.kind.tool()).args(["unlock", &what.target.to_string()])
}

/// The way back of a restore over a guest. What is left decides what has to be done.
pub fn put_back(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let Some(before) = restore.what.present.clone() else { return Ok(None) };
    remove_temporary(restore, run)?;
    live::end(restore, run)?;
    let now = present_config(restore)?;
    let unchanged = now.as_ref().is_some_and(|config| is_untouched(config, &before.config));
    let note = if unchanged && !restore.found.replaced {
        remove_create_lock(restore, run, now.as_ref())?;
        "it was not touched"
    } else if now.is_none() && !restore.found.replaced && every_volume_is_there(restore, &before)? {
        copy_back_config(restore, run)?;
        "its disks were not touched, its configuration is back"
    } else {
        restore_safety_copy(restore, run, &before, now.as_ref())?;
        if before.config.snapshots().is_empty() {
            "the safety backup is back"
        } else {
            "the safety backup is back, without the snapshots there were"
        }
    };
    put_firewall(restore, run, before.firewall.as_deref())?;
    Ok(Some(note.to_owned()))
}

/// Same settings and snapshots. The lock that a restore sets while it works does not count, and neither does what was
/// set aside before it.
fn is_untouched(now: &GuestConfig, before: &GuestConfig) -> bool {
    let settings = |config: &GuestConfig| {
        let owned = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
        config
            .settings()
            .filter(|(key, _)| *key != "lock" && !key.starts_with("mp") && !key.starts_with("unused"))
            // They are not in the journal that `before` may have been read from.
            .filter(|(key, _)| !GuestConfig::SECRETS.contains(key))
            .map(owned)
            .collect::<Vec<_>>()
    };
    settings(now) == settings(before) && now.snapshots() == before.snapshots()
}

pub(crate) fn remove_create_lock(
    restore: &Restore<'_>,
    run: &Run<'_>,
    now: Option<&GuestConfig>,
) -> anyhow::Result<()> {
    if now.is_some_and(|config| config.lock() == Some("create")) {
        run.command(restore.host, &unlock_command(&restore.what))?;
    }
    Ok(())
}

/// The configuration as it is now; `None` when there is none.
pub fn present_config(restore: &Restore<'_>) -> anyhow::Result<Option<GuestConfig>> {
    let path = restore.what.kind.config_path(restore.what.target);
    let folder = restore.what.kind.config_dir();
    let name = format!("{}.conf", restore.what.target);
    // The folder may be a link, which `find` only follows with a trailing slash.
    let commands = [
        Command::read("find").args([&format!("{folder}/"), "-maxdepth", "1", "-name", &name]),
        Command::read("cat").arg(path),
    ];
    let outputs = restore.host.run_all(&commands)?;
    if outputs[0].stdout_of(restore.host, &commands[0])?.trim().is_empty() {
        return Ok(None);
    }
    Ok(Some(GuestConfig::parse(outputs[1].stdout_of(restore.host, &commands[1])?)))
}

/// The copy of the configuration that was made before, where the configuration was.
fn copy_back_config(restore: &Restore<'_>, run: &Run<'_>) -> anyhow::Result<()> {
    let what = &restore.what;
    let copies =
        restore.found.copies.as_ref().ok_or_else(|| Failure::new("there is no copy of the configuration"))?;
    let (copy, path) = (format!("{copies}/{}.conf", what.target), what.kind.config_path(what.target));
    run.command(restore.host, &Command::write("cp").args([copy, path]))?;
    Ok(())
}

/// Writes a configuration file as a whole. For a container whose configuration is gone while its volumes are there.
pub fn write_config(restore: &Restore<'_>, run: &Run<'_>, text: &str) -> anyhow::Result<()> {
    let path = restore.what.kind.config_path(restore.what.target);
    run.command(restore.host, &Command::write("tee").arg(path).stdin(text))?;
    Ok(())
}

/// Lists the volumes with the target's number, on each storage that the present guest uses; without one, on each that
/// the backup's disks go to.
pub fn list_volumes(what: &Assignment) -> Vec<Command> {
    let Placement { storage, layout } = &what.placement;
    let named = layout.iter().filter_map(|(_, value)| value.split(':').next()?.parse().ok());
    let mut storages: Vec<_> = storage.iter().cloned().chain(named).collect();
    match &what.present {
        Some(guest) => storages.extend(guest.config.disks(guest.kind).iter().filter_map(Disk::storage)),
        None if storages.is_empty() => {
            let keys = crate::disks::keys_in_archive(what.kind, &what.inside.config);
            let disks = what.inside.config.disks(what.kind);
            storages.extend(disks.iter().filter(|d| keys.contains(&d.key)).filter_map(Disk::storage));
        }
        None => {}
    }
    storages.sort();
    storages.dedup();
    let list = |storage: StorageId| {
        Command::read("pvesm").args(["list", storage.as_str(), "--vmid", &what.target.to_string()])
    };
    storages.into_iter().map(list).collect()
}

/// The volume ids in the answers to [`list_volumes`]: the first column below the headline. Backups of the number are on
/// the same storages, and are no volumes of a guest.
pub fn volumes_in(
    host: &dyn Host,
    commands: &[Command],
    outputs: &[Output],
) -> Result<Vec<String>, PveError> {
    let mut volumes = Vec::new();
    for (command, output) in commands.iter().zip(outputs) {
        let lines = output.stdout_of(host, command)?.lines().skip(1);
        let of_guest = lines.filter(|line| line.split_whitespace().nth(2) != Some("backup"));
        volumes.extend(of_guest.filter_map(|line| line.split_whitespace().next()).map(str::to_owned));
    }
    Ok(volumes)
}

/// The volumes with the target's number that there are now.
pub fn volumes_now(restore: &Restore<'_>) -> anyhow::Result<Vec<String>> {
    let commands = list_volumes(&restore.what);
    let outputs = restore.host.run_all(&commands)?;
    Ok(volumes_in(restore.host, &commands, &outputs)?)
}

/// A container restore that failed while it made the new volumes took the configuration away and left the old volumes.
fn every_volume_is_there(restore: &Restore<'_>, before: &Guest) -> anyhow::Result<bool> {
    let volumes = volumes_now(restore)?;
    let disks = before.config.disks(before.kind);
    Ok(disks.iter().filter_map(|d| d.volume()).all(|v| volumes.iter().any(|there| there == v.as_str())))
}

fn restore_safety_copy(
    restore: &mut Restore<'_>,
    run: &Run<'_>,
    before: &Guest,
    now: Option<&GuestConfig>,
) -> anyhow::Result<()> {
    let what = &restore.what;
    let copy = restore.found.safety.as_ref().ok_or_else(|| {
        Failure::new(format!("{} was overwritten and there is no safety backup of it", what.target_name()))
            .hint(format!("`restore-vm {} --list` shows the backups there are", what.target))
    })?;
    remove_create_lock(restore, run, now)?;
    let volid = copy.volid.clone();
    let placement = Placement::as_it_was(before.kind, &before.config, &what.excluded);
    let command = restore_command(&Restored {
        kind: before.kind,
        target: what.target,
        volid: &volid,
        placement: &placement,
        // The way back is not to take longer than it has to.
        bwlimit: None,
        unique: false,
        live: false,
        over: true,
    });
    let advice = format!("put it back by hand on {}: {command}", restore.host.name());
    run.job(restore.host, &command, None, &mut |_| ()).map_err(|error| {
        Failure::new("the safety backup could not be put back").hint(advice).because(error)
    })?;
    excluded::attach(restore, run)?;
    excluded::bind_as_before(restore, run, before)?;
    remove_left_volumes(restore, run)
}

/// Removes the volumes that the failed restore left. What was there before and was not to be replaced stays: volumes that
/// are kept, and those that belonged to no configuration already.
fn remove_left_volumes(restore: &Restore<'_>, run: &Run<'_>) -> anyhow::Result<()> {
    let Some(config) = present_config(restore)? else { return Ok(()) };
    let (used, unused): (Vec<_>, Vec<_>) =
        config.disks(restore.what.kind).into_iter().partition(|d| !d.is_unused());
    let survivors = survivors(restore);
    let is_left = |volume: &String| !used.iter().any(|d| d.source == *volume) && !survivors.contains(volume);
    let left: Vec<_> = volumes_now(restore)?.into_iter().filter(is_left).collect();
    let entries = unused.iter().filter(|disk| left.contains(&disk.source));
    for key in entries.map(|disk| &disk.key) {
        // Deleting an unused entry removes its volume as well.
        let target = restore.what.target.to_string();
        let command = Command::destroy(restore.what.kind.tool()).args(["set", &target, "--delete", key]);
        run.command(restore.host, &command)?;
    }
    let is_free = |volume: &&String| !unused.iter().any(|disk| disk.source == **volume);
    free(restore, run, &left.iter().filter(is_free).cloned().collect::<Vec<_>>())
}

/// The volumes with the guest's number that a restore over it does not touch.
fn survivors(restore: &Restore<'_>) -> Vec<String> {
    let Some(before) = &restore.what.present else { return Vec::new() };
    let keys = crate::disks::keys_in_archive(restore.what.kind, &restore.what.inside.config);
    let disks = before.config.disks(before.kind);
    let replaced: Vec<_> =
        disks.iter().filter(|d| keys.contains(&d.key)).map(|d| d.source.as_str()).collect();
    restore.found.volumes_before.iter().filter(|v| !replaced.contains(&v.as_str())).cloned().collect()
}

/// The firewall file as it was: the archive may have brought another one, a failed container restore removes it.
fn put_firewall(restore: &Restore<'_>, run: &Run<'_>, before: Option<&str>) -> anyhow::Result<()> {
    let path = firewall_path(restore.what.target);
    let command = match before {
        Some(text) => Command::write("tee").arg(path).stdin(text),
        None => Command::destroy("rm").args(["-f", &path]),
    };
    run.command(restore.host, &command)?;
    Ok(())
}
