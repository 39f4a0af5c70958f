//! Which backup: the newest, the newest of a day, or one that was named.

use restore_common::{
    procedure::Problem,
    pve::{Archive, LocalTime, Vmid, VolumeId},
};

use crate::{look::NodeLook, steps::safety::is_safety_backup};

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest that can be used.
    Newest,
    /// The newest that was begun on this day, by the node's clock.
    Day(jiff::civil::Date),
    /// This one.
    Archive(VolumeId),
}

/// Chooses, or says why there is nothing to choose.
///
/// Safety backups are only taken by name: they are younger than the backup that was restored, and hold what made somebody
/// restore it. Otherwise a run that is repeated would bring that back.
pub fn choose<'a>(look: &'a NodeLook, vmid: Vmid, selector: &Selector) -> Result<&'a Archive, Problem> {
    if let Selector::Archive(volid) = selector {
        return named(look, vmid, volid);
    }
    let Some(newest) = regular(look).next() else { return Err(none_to_choose(look, vmid)) };
    let Selector::Day(day) = selector else { return Ok(newest) };
    let of_day = regular(look).find(|a| a.name.time.0.date() == *day);
    of_day.ok_or_else(|| none_that_day(look, vmid, *day))
}

/// Newest first.
fn regular(look: &NodeLook) -> impl DoubleEndedIterator<Item = &Archive> {
    look.archives.iter().filter(|archive| !is_safety_backup(archive) && archive.unusable().is_none())
}

/// Backups that would have been chosen before this one if they could be used.
pub fn passed_over(look: &NodeLook, chosen: &Archive, selector: &Selector) -> Vec<Archive> {
    let wanted = |archive: &&Archive| match selector {
        Selector::Newest => true,
        Selector::Day(day) => archive.name.time.0.date() == *day,
        Selector::Archive(_) => false,
    };
    let newer = look.archives.iter().take_while(|archive| archive.volid != chosen.volid);
    newer.filter(|archive| archive.unusable().is_some()).filter(wanted).cloned().collect()
}

fn none_to_choose(look: &NodeLook, vmid: Vmid) -> Problem {
    let broken = look.archives.iter().find_map(|archive| Some((archive, archive.unusable()?)));
    match (look.archives.first(), broken) {
        (None, _) => no_backup(look, vmid),
        (Some(newest), None) => only_safety(newest, vmid),
        (Some(_), Some((archive, reason))) => {
            Problem::new(format!("no backup of guest {vmid} can be used; of `{}`, {reason}", archive.volid))
                .hint(format!("`restore-vm {vmid} --list` shows all of them"))
        }
    }
}

fn only_safety(newest: &Archive, vmid: Vmid) -> Problem {
    let problem =
        Problem::new(format!("every backup of guest {vmid} is a safety backup, made before a restore"));
    problem.hint(format!("`restore-vm {vmid} --archive {}` restores the newest of them", newest.volid))
}

fn named<'a>(look: &'a NodeLook, vmid: Vmid, volid: &VolumeId) -> Result<&'a Archive, Problem> {
    if let Some(archive) = look.archives.iter().find(|a| a.volid == *volid) {
        return archive.unusable().map_or(Ok(archive), |reason| Err(unusable(look, vmid, archive, reason)));
    }
    if let Some(reason) = volid.storage().parse().ok().and_then(|s| look.unread.get(&s)) {
        return Err(Problem::new(format!(
            "cannot look for `{volid}`: storage `{}`: {reason}",
            volid.storage()
        )));
    }
    let problem = Problem::new(format!("there is no backup `{volid}` of guest {vmid}"));
    Err(problem.hint(format!("`restore-vm {vmid} --list` shows the backups there are")))
}

fn unusable(look: &NodeLook, vmid: Vmid, archive: &Archive, reason: &str) -> Problem {
    let problem = Problem::new(format!("`{}` is not restored: {reason}", archive.volid));
    problem.hint(match regular(look).next() {
        Some(newest) => {
            format!("`restore-vm {vmid} --archive {}` restores the newest other one", newest.volid)
        }
        None => format!("there is no other backup of guest {vmid}"),
    })
}

fn no_backup(look: &NodeLook, vmid: Vmid) -> Problem {
    let node = &look.facts.name;
    if let Some((storage, reason)) = look.unread.first_key_value() {
        let problem = Problem::new(format!(
            "found no backup of guest {vmid} on {node}, but could not look everywhere: storage `{storage}`: {reason}"
        ));
        return problem.hint("make that storage available and try again");
    }
    let searched: Vec<_> =
        look.facts.storages.iter().filter(|s| s.allows("backup")).map(|s| s.id.as_str()).collect();
    let places =
        if searched.is_empty() { "no storage holds backups".to_owned() } else { searched.join(", ") };
    Problem::new(format!("there is no backup of guest {vmid} on {node} (searched: {places})"))
        .hint("`--storage`, `--node` and `--env` choose where to look")
}

fn none_that_day(look: &NodeLook, vmid: Vmid, day: jiff::civil::Date) -> Problem {
    let time = |archive: Option<&Archive>| archive.map(|a| a.name.time);
    // Newest first: the last that is younger is the nearest after, the first that is older the nearest before.
    let after = time(regular(look).rfind(|a| a.name.time.0.date() > day));
    let before = time(regular(look).find(|a| a.name.time.0.date() < day));
    let words = |time: Option<LocalTime>| time.map_or_else(|| "none".to_owned(), |t| t.to_string());
    let problem = Problem::new(format!(
        "there is no backup of guest {vmid} of {day}: the nearest before is {}, the nearest after {}",
        words(before),
        words(after)
    ));
    match before.or(after) {
        Some(nearest) => problem.hint(format!("`--date {}` takes the nearest", nearest.0.date())),
        None => problem,
    }
}
