//! Backup jobs, and what they leave out.

use serde_json::{Map, Value, json};

use super::Answer;
use super::cluster::guests;
use crate::sim::clock;
use crate::sim::node::cluster::{JOBS_CFG, Section, SectionFile};
use crate::sim::node::property::Properties;
use crate::sim::node::{GuestKind, Node, Outcome};
use crate::sim::{Io, Parsed};

/// The settings that the API gives as numbers.
const NUMBERS: [&str; 13] = [
    "all",
    "bwlimit",
    "enabled",
    "ionice",
    "lockwait",
    "pigz",
    "protected",
    "quiet",
    "remove",
    "repeat-missed",
    "stdexcludes",
    "stopwait",
    "zstd",
];
const DAY: i64 = 86_400;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn jobs(node: &Node) -> Vec<Section> {
    let file = SectionFile::parse(&node.read(JOBS_CFG).unwrap_or_default());
    file.sections.into_iter().filter(|section| section.kind == "vzdump").collect()
}

pub(super) fn list(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    Ok(Value::from(jobs(node).iter().map(|job| value(node, job)).collect::<Vec<_>>()).into())
}

fn value(node: &Node, job: &Section) -> Value {
    let mut entry = json!({"id": job.id, "type": job.kind});
    for (key, value) in &job.settings {
        entry[key] = match key.as_str() {
            "prune-backups" | "performance" => object(value, false),
            // Only the newer nodes know that this is a flag.
            "fleecing" => object(value, node.version() >= 9),
            key if NUMBERS.contains(&key) => value.parse::<i64>().map_or(value.as_str().into(), Value::from),
            _ => value.as_str().into(),
        };
    }
    let enabled = job.get("enabled").is_none_or(|value| value != "0");
    let next = job.get("schedule").and_then(|schedule| next_run(schedule, clock::now()));
    if let Some(next) = next.filter(|_| enabled) {
        entry["next-run"] = next.into();
    }
    entry
}

fn object(text: &str, numbers: bool) -> Value {
    let field = |(key, value): (&str, &str)| {
        let number = value.parse::<i64>().ok().filter(|_| numbers && key == "enabled");
        (key.to_owned(), number.map_or_else(|| value.into(), Value::from))
    };
    Value::Object(Properties::parse(text).iter().map(field).collect::<Map<_, _>>())
}

/// When a calendar event such as `21:00` or `sat,sun 02:30` comes next; nothing for the rarer kinds.
fn next_run(schedule: &str, now: i64) -> Option<i64> {
    let (days, time) = schedule.trim().rsplit_once(' ').unwrap_or(("", schedule.trim()));
    let (hour, minute) = time.split_once(':').unwrap_or((time, "0"));
    let second = hour.parse::<i64>().ok()? * 3600 + minute.parse::<i64>().ok()? * 60;
    let days: Vec<usize> = days
        .split(',')
        .filter(|day| !day.is_empty())
        .map(|day| weekdays(day.trim()))
        .collect::<Option<Vec<_>>>()?
        .concat();
    (now.div_euclid(DAY)..).take(8).find_map(|day| {
        // Day 0 was a Thursday.
        let weekday = usize::try_from((day + 3).rem_euclid(7)).ok()?;
        let time = day * DAY + second;
        ((days.is_empty() || days.contains(&weekday)) && time > now).then_some(time)
    })
}

/// The days of `sun` or `mon..fri`.
fn weekdays(text: &str) -> Option<Vec<usize>> {
    let number = |name: &str| WEEKDAYS.iter().position(|day| name.to_lowercase().starts_with(day));
    match text.split_once("..") {
        Some((first, last)) => Some((number(first)?..=number(last)?).collect()),
        None => Some(vec![number(text)?]),
    }
}

/// The guests that no job selects. Disabled jobs count, too.
pub(super) fn not_backed_up(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let jobs = jobs(node);
    let mut list = Vec::new();
    for (kind, vmid, place, config) in guests(node) {
        if jobs.iter().any(|job| selects(node, job, vmid, &place)) {
            continue;
        }
        let (word, name) = match kind {
            GuestKind::Vm => ("qemu", "name"),
            GuestKind::Ct => ("lxc", "hostname"),
        };
        let mut entry = json!({"type": word, "vmid": vmid});
        if let Some(name) = config.main.get(name) {
            entry["name"] = name.into();
        }
        list.push(entry);
    }
    Ok(Value::from(list).into())
}

fn selects(node: &Node, job: &Section, vmid: u32, place: &str) -> bool {
    let number = vmid.to_string();
    let lists =
        |key: &str| job.get(key).is_some_and(|list| list.split(',').any(|guest| guest.trim() == number));
    if job.get("node").is_some_and(|name| name != place) {
        return false;
    }
    lists("vmid")
        || job.get("all") == Some("1") && !lists("exclude")
        || job.get("pool").is_some_and(|pool| node.pool_of(vmid).as_deref() == Some(pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_is_the_next_time_that_fits() {
        let friday_noon = 1_769_774_400;
        assert_eq!(next_run("21:00", friday_noon), Some(friday_noon + 9 * 3600));
        assert_eq!(next_run("11:30", friday_noon), Some(friday_noon + DAY - 1800));
        assert_eq!(next_run("sun 01:00", friday_noon), Some(friday_noon + DAY + 13 * 3600));
        assert_eq!(next_run("mon..thu 12:00", friday_noon), Some(friday_noon + 3 * DAY));
        assert_eq!(next_run("*/15", friday_noon), None);
    }

    #[test]
    fn a_job_selects_by_number_all_or_pool_on_its_node() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        let job = |text: &str| SectionFile::parse(&format!("vzdump: j\n{text}")).sections.remove(0);
        assert!(selects(&node, &job("\tvmid 100,200\n\tenabled 0\n"), 200, "pve"));
        assert!(!selects(&node, &job("\tall 1\n\texclude 200\n"), 200, "pve"));
        assert!(!selects(&node, &job("\tall 1\n\tnode pve2\n"), 200, "pve"));
    }
}
