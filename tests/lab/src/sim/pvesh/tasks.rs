//! Tasks: running, finished, and their logs.

use std::fs::File;

use serde_json::{Value, json};

use super::Answer;
use crate::sim::node::task::TASKS;
use crate::sim::node::{Node, Outcome, names};
use crate::sim::{Io, Parsed};

/// The parts of a task's ID.
pub(super) struct Upid {
    text: String,
    node: String,
    pid: i64,
    pstart: i64,
    starttime: i64,
    kind: String,
    id: String,
    user: String,
}

impl Upid {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("UPID:")?.split(':');
        let mut next = || parts.next().map(str::to_owned);
        let hex = |text: String| i64::from_str_radix(&text, 16).ok();
        Some(Self {
            node: next()?,
            pid: hex(next()?)?,
            pstart: hex(next()?)?,
            starttime: hex(next()?)?,
            kind: next()?,
            id: next()?,
            user: next()?,
            text: parts.next().map(|_| text.to_owned())?,
        })
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "id": self.id, "node": self.node, "pid": self.pid, "pstart": self.pstart, "starttime": self.starttime,
            "type": self.kind, "upid": self.text, "user": self.user,
        })
    }
}

/// Whether a task is still at work: it keeps its log locked.
pub(super) fn is_running(node: &Node, upid: &str) -> bool {
    File::open(node.task_log(upid)).is_ok_and(|log| log.try_lock().is_err())
}

/// The finished tasks: UPID, end time, status.
fn finished(node: &Node) -> Vec<(Upid, i64, String)> {
    let index = node.read(&format!("{TASKS}/index")).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let upid = Upid::parse(words.next()?)?;
        let end = i64::from_str_radix(words.next()?, 16).ok()?;
        Some((upid, end, words.next().unwrap_or_default().to_owned()))
    };
    index.lines().filter_map(line).collect()
}

fn running(node: &Node) -> Vec<Upid> {
    let folders = names(&node.path(TASKS)).into_iter().filter(|name| name.len() == 1);
    let logs = folders.flat_map(|folder| names(&node.path(&format!("{TASKS}/{folder}"))));
    logs.filter(|upid| is_running(node, upid)).filter_map(|upid| Upid::parse(&upid)).collect()
}

pub(super) fn list(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let source = call.get("source").unwrap_or("archive");
    let mut entries: Vec<(i64, Value)> = Vec::new();
    let is_wanted = |upid: &Upid| {
        let is = |name: &str, value: &str| call.get(name).is_none_or(|wanted| wanted == value);
        is("vmid", upid.id.split('@').next().unwrap_or_default())
            && is("typefilter", &upid.kind)
            && call.get("userfilter").is_none_or(|part| upid.user.contains(part))
            && call.number("since").is_none_or(|since| upid.starttime >= since.cast_signed())
            && call.number("until").is_none_or(|until| upid.starttime <= until.cast_signed())
    };
    if source != "archive" && !call.is_on("errors") {
        for upid in running(node).into_iter().filter(is_wanted) {
            let mut entry = upid.value();
            entry["status"] = "RUNNING".into();
            entries.push((upid.starttime, entry));
        }
    }
    if source != "active" {
        for (upid, end, status) in finished(node).into_iter().filter(|(upid, ..)| is_wanted(upid)) {
            if call.is_on("errors") && (status == "OK" || status.starts_with("WARNINGS")) {
                continue;
            }
            let mut entry = upid.value();
            entry["endtime"] = end.into();
            entry["status"] = status.into();
            entries.push((upid.starttime, entry));
        }
    }
    entries.reverse();
    entries.sort_by_key(|(start, _)| std::cmp::Reverse(*start));
    let number = |name: &str, default: usize| {
        call.number(name).and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    let entries = entries.into_iter().skip(number("start", 0)).take(number("limit", 50));
    Ok(Value::from(entries.map(|(_, entry)| entry).collect::<Vec<_>>()).into())
}
