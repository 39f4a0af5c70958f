//! Volumes that the backup does not contain, kept across the restore.
//!
//! A VM's disk with `backup=0` survives on its storage and comes back as `unusedN`. A container's volumes are all
//! destroyed by `pct restore`, also those that are not in the backup; only a volume in no configuration is left alone. So
//! they are taken out of the configuration before, and put back after.

use std::collections::BTreeMap;

use restore_common::{
    procedure::{Failure, Run},
    pve::{Disk, GuestConfig, GuestKind},
    remote::Command,
};

use super::replace::{present_config, write_config};
use crate::{assignment::Restore, look::Guest};

/// Step, for containers: the volumes are taken out of the configuration.
pub fn set_aside(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let Some(guest) = &restore.what.present else { return Ok(None) };
    let keys: Vec<&str> = restore.what.excluded.iter().map(|d| d.key.as_str()).collect();
    let text = without(guest.config.text(), &keys);
    write_config(restore, run, &text)?;
    Ok(Some(keys.join(", ")))
}

/// Step, and the way back of [`set_aside`]: every kept volume is attached under its key again. Does nothing where that
/// is so already.
pub fn attach(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let disks = restore.what.excluded.clone();
    attach_all(restore, run, &disks)
}

/// Step, for containers whose layout was given: the restore forgets bind mounts then.
pub fn bind(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let disks = restore.what.binds.clone();
    attach_all(restore, run, &disks)
}

/// The bind mounts of the guest as it was; where they are there already nothing is done.
pub fn bind_as_before(restore: &mut Restore<'_>, run: &Run<'_>, before: &Guest) -> anyhow::Result<()> {
    let is_bind = |disk: &Disk| before.kind == GuestKind::Lxc && disk.volume().is_none();
    let disks: Vec<_> = before.config.disks(before.kind).into_iter().filter(is_bind).collect();
    attach_all(restore, run, &disks)?;
    Ok(())
}

fn attach_all(restore: &mut Restore<'_>, run: &Run<'_>, disks: &[Disk]) -> anyhow::Result<Option<String>> {
    if disks.is_empty() {
        return Ok(None);
    }
    let Some(config) = present_config(restore)? else {
        return Err(Failure::new(format!(
            "{} has no configuration to attach its volumes to",
            restore.what.target_name()
        ))
        .into());
    };
    match restore.what.kind {
        GuestKind::Qemu => attach_to_vm(restore, run, &config)?,
        GuestKind::Lxc => attach_to_container(restore, run, &config, disks)?,
    }
    Ok(Some(disks.iter().map(|d| d.key.as_str()).collect::<Vec<_>>().join(", ")))
}

/// The options that attach a VM's kept disks: the keys with their old values, and the description without the comment
/// lines that the restore turned their settings into.
pub fn attach_vm_command(restore: &crate::assignment::Assignment, config: &GuestConfig) -> Command {
    let mut command = Command::write("qm").args(["set", &restore.target.to_string()]);
    for disk in &restore.excluded {
        command = command.arg(format!("--{}", disk.key)).arg(&disk.value);
    }
    let lines: Vec<String> = config.description().iter().map(|line| decoded(line)).collect();
    let is_comment =
        |line: &String| restore.excluded.iter().any(|d| line.starts_with(&format!("{}:", d.key)));
    if lines.iter().any(is_comment) {
        let kept: Vec<_> = lines.into_iter().filter(|line| !is_comment(line)).collect();
        command = if kept.is_empty() {
            command.args(["--delete", "description"])
        } else {
            command.arg("--description").arg(kept.join("\n"))
        };
    }
    command
}

fn attach_to_vm(restore: &Restore<'_>, run: &Run<'_>, config: &GuestConfig) -> anyhow::Result<()> {
    let attached =
        |disk: &Disk| config.get(&disk.key).is_some_and(|v| v.split(',').next() == Some(&disk.source));
    if restore.what.excluded.iter().all(attached) {
        return Ok(());
    }
    run.command(restore.host, &attach_vm_command(&restore.what, config))?;
    Ok(())
}

fn attach_to_container(
    restore: &Restore<'_>,
    run: &Run<'_>,
    config: &GuestConfig,
    disks: &[Disk],
) -> anyhow::Result<()> {
    let (text, replaced) = with(config, disks);
    if text == config.text() {
        return Ok(());
    }
    write_config(restore, run, &text)?;
    // What the restore created in their place is empty and belongs to nobody now.
    for volume in replaced {
        run.command(restore.host, &Command::destroy("pvesm").args(["free", &volume]))?;
    }
    Ok(())
}

/// The text without these settings. Sections of snapshots stay as they are.
fn without(text: &str, keys: &[&str]) -> String {
    let mut in_current = true;
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        in_current &= !line.starts_with('[');
        let key = line.split_once(':').map(|(key, _)| key);
        if !(in_current && key.is_some_and(|key| keys.contains(&key))) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The text with these disks under their keys, and the volumes that stood there instead.
fn with(config: &GuestConfig, disks: &[Disk]) -> (String, Vec<String>) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut replaced = Vec::new();
    for disk in disks {
        let there = config.get(&disk.key).map(|v| v.split(',').next().unwrap_or(v).to_owned());
        match there {
            Some(source) if source == disk.source => {}
            Some(source) if disk.is_unused() => {
                // Another unused volume has the key: the next free one serves as well.
                log::debug!("{} holds {source}", disk.key);
                let free = (0..).map(|n| format!("unused{n}"));
                let key = free.into_iter().find(|k| config.get(k).is_none() && !taken.contains_key(k));
                taken.extend(key.map(|key| (key, disk.value.clone())));
            }
            Some(source) => {
                replaced.push(source);
                taken.insert(disk.key.clone(), disk.value.clone());
            }
            None => {
                taken.insert(disk.key.clone(), disk.value.clone());
            }
        }
    }
    if taken.is_empty() {
        return (config.text().to_owned(), replaced);
    }
    let keys: Vec<&str> = taken.keys().map(String::as_str).collect();
    let rest = without(config.text(), &keys);
    let lines = taken.iter().fold(String::new(), |text, (key, value)| text + key + ": " + value + "\n");
    let at = rest.find("\n[").map_or(rest.len(), |at| at + 1);
    (format!("{}{lines}{}", &rest[..at], &rest[at..]), replaced)
}

/// A line of a description as it stands in the file: `%`, `:` and control characters are percent-encoded.
fn decoded(line: &str) -> String {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'%').then(|| tail.get(..2)).flatten();
        let code = code.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str =
        "hostname: ct\nmp1: s:new-empty,mp=/b,size=1G\nrootfs: s:ct-0,size=1G\n[snap]\nmp1: s:ct-2,mp=/b\n";

    fn disk(key: &str, value: &str) -> Disk {
        let config = GuestConfig::parse(&format!("{key}: {value}\n"));
        config.disks(GuestKind::Lxc).remove(0)
    }

    #[test]
    fn a_volume_is_taken_out_of_the_current_section_only() {
        let text = without(NOW, &["mp1"]);
        assert_eq!(text, "hostname: ct\nrootfs: s:ct-0,size=1G\n[snap]\nmp1: s:ct-2,mp=/b\n");
    }

    #[test]
    fn a_kept_volume_takes_its_place_back_and_the_empty_one_is_named() {
        let kept = [disk("mp1", "s:ct-2,mp=/b,size=1G"), disk("unused0", "s:ct-9")];
        let (text, replaced) = with(&GuestConfig::parse(NOW), &kept);
        assert_eq!(replaced, ["s:new-empty"]);
        let expected = "hostname: ct\nrootfs: s:ct-0,size=1G\nmp1: s:ct-2,mp=/b,size=1G\nunused0: s:ct-9\n[snap]\nmp1: s:ct-2,mp=/b\n";
        assert_eq!(text, expected);
        let (again, replaced) = with(&GuestConfig::parse(&text), &kept);
        assert_eq!((again.as_str(), replaced.len()), (expected, 0), "it can be repeated");
    }

    #[rstest::rstest]
    #[case("scsi2%3A data%3A100/x.raw,backup=0", "scsi2: data:100/x.raw,backup=0")]
    #[case("100 %", "100 %")]
    #[case("%zz%25%0Aend", "%zz%\nend")]
    fn descriptions_are_decoded(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(decoded(line), expected);
    }
}
