//! Tasks: running, finished, and their logs.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::{Answer, invalid};
use crate::sim::node::task::TASKS;
use crate::sim::node::{Node, Outcome, names};
use crate::sim::{Io, Parsed};

/// A task as its ID and its log tell it.
struct Entry {
    upid: String,
    node: String,
    pid: i64,
    pstart: i64,
    starttime: i64,
    kind: String,
    id: String,
    user: String,
}

impl Entry {
    fn parse(upid: &str) -> Option<Self> {
        let mut parts = upid.strip_prefix("UPID:")?.split(':');
        let mut next = || parts.next().map(str::to_owned);
        let hex = |text: String| i64::from_str_radix(&text, 16).ok();
        let entry = Self {
            upid: upid.to_owned(),
            node: next()?,
            pid: hex(next()?)?,
            pstart: hex(next()?)?,
            starttime: hex(next()?)?,
            kind: next()?,
            id: next()?,
            user: next()?,
        };
        (parts.next() == Some("")).then_some(entry)
    }

    fn value(&self) -> Value {
        json!({
            "id": self.id, "node": self.node, "pid": self.pid, "pstart": self.pstart,
            "starttime": self.starttime, "type": self.kind, "upid": self.upid, "user": self.user,
        })
    }

    fn log(&self, node: &Node) -> Option<String> {
        fs::read(node.task_log(&self.upid)).ok().map(|log| String::from_utf8_lossy(&log).into_owned())
    }

    /// Whether the task is still at work: it keeps its log locked.
    fn is_running(&self, node: &Node) -> bool {
        File::open(node.task_log(&self.upid)).is_ok_and(|log| log.try_lock().is_err())
    }

    /// How the task ended; a log without a last word is one of a task that was killed.
    fn exit_status(&self, node: &Node) -> String {
        let log = self.log(node).unwrap_or_default();
        let last = log.lines().last().and_then(|line| line.strip_prefix("TASK ")).unwrap_or_default();
        match last.strip_prefix("ERROR: ") {
            Some(error) => error.to_owned(),
            None if last == "OK" || last.starts_with("WARNINGS: ") => last.to_owned(),
            None => "unexpected status".to_owned(),
        }
    }

    fn end(&self, node: &Node) -> i64 {
        fs::metadata(node.task_log(&self.upid)).map_or(self.starttime, |metadata| metadata.mtime())
    }
}

fn is_good(status: &str) -> bool {
    status == "OK" || status.starts_with("WARNINGS: ")
}

/// All tasks of the node, the newest first.
fn all(node: &Node) -> Vec<Entry> {
    let folders = names(&node.path(TASKS)).into_iter().filter(|name| name.len() == 1);
    let logs = folders.flat_map(|folder| names(&node.path(&format!("{TASKS}/{folder}"))));
    let mut entries: Vec<Entry> = logs.filter_map(|upid| Entry::parse(&upid)).collect();
    entries.sort_by_key(|entry| Reverse((entry.starttime, entry.pstart)));
    entries
}

pub(super) fn list(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let source = call.get("source").unwrap_or("archive");
    let is_wanted = |entry: &Entry| {
        let is = |name: &str, value: &str| call.get(name).is_none_or(|wanted| wanted == value);
        is("vmid", entry.id.split('@').next().unwrap_or_default())
            && is("typefilter", &entry.kind)
            && call.get("userfilter").is_none_or(|part| entry.user.contains(part))
            && call.number("since").is_none_or(|since| entry.starttime >= since.cast_signed())
            && call.number("until").is_none_or(|until| entry.starttime <= until.cast_signed())
    };
    let shown = |entry: Entry| {
        let mut value = entry.value();
        if entry.is_running(node) {
            value["status"] = "RUNNING".into();
            return Some(value).filter(|_| source != "archive" && !call.is_on("errors"));
        }
        let status = entry.exit_status(node);
        let left_out = source == "active" || call.is_on("errors") && is_good(&status);
        value["endtime"] = entry.end(node).into();
        value["status"] = status.into();
        Some(value).filter(|_| !left_out)
    };
    let list = all(node).into_iter().filter(is_wanted).filter_map(shown);
    Ok(Value::from(page(list, call)).into())
}

/// The part of a list that `start` and `limit` ask for.
fn page(list: impl Iterator<Item = Value>, call: &Parsed) -> Vec<Value> {
    let number = |name: &str| call.number(name).and_then(|number| usize::try_from(number).ok());
    let limit = match number("limit") {
        Some(0) => usize::MAX,
        limit => limit.unwrap_or(50),
    };
    list.skip(number("start").unwrap_or(0)).take(limit).collect()
}

/// The task that a call names.
fn named(node: &Node, call: &Parsed) -> Outcome<Entry> {
    let entry = Entry::parse(call.get("upid").unwrap_or_default())
        .ok_or_else(|| invalid(call, "upid: unable to parse worker upid"))?;
    match entry.log(node) {
        Some(_) => Ok(entry),
        None => Err(invalid(call, "upid: no such task")),
    }
}

pub(super) fn status(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let entry = named(node, call)?;
    let mut value = entry.value();
    if entry.is_running(node) {
        value["status"] = "running".into();
    } else {
        value["status"] = "stopped".into();
        value["exitstatus"] = entry.exit_status(node).into();
    }
    Ok(value.into())
}

pub(super) fn log(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let log = named(node, call)?.log(node).unwrap_or_default();
    let lines = if log.is_empty() { "no content" } else { &log }.lines();
    let lines = lines.enumerate().map(|(number, line)| json!({"n": number + 1, "t": line}));
    Ok(Value::from(page(lines, call)).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Failure;

    fn call(params: &[(&str, &str)]) -> Parsed {
        let params = params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Parsed { params, ..Parsed::default() }
    }

    fn value(answer: Outcome<Answer>) -> Value {
        match answer {
            Ok(Answer::Value(value)) => value,
            _ => panic!("no value"),
        }
    }

    #[test]
    fn a_task_is_running_then_archived_with_its_result() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { stdin: &mut std::io::empty(), stdout: &mut out, stderr: &mut err };
        let (mut out2, mut err2) = (Vec::new(), Vec::new());
        let mut inner = Io { stdin: &mut std::io::empty(), stdout: &mut out2, stderr: &mut err2 };
        let active = call(&[("source", "active"), ("vmid", "100")]);
        node.worker(&mut io, "qmstop", "100", |_| {
            let list = value(list(&node, &active, &mut inner));
            assert_eq!((&list[0]["status"], &list[0]["type"]), (&"RUNNING".into(), &"qmstop".into()));
            Err(Failure::new("it broke"))
        });
        assert_eq!(value(list(&node, &active, &mut inner)), json!([]));
        let done = value(list(&node, &call(&[]), &mut inner));
        assert_eq!(done[0]["status"], "it broke");
        let upid = call(&[("upid", done[0]["upid"].as_str().unwrap())]);
        assert_eq!(value(status(&node, &upid, &mut inner))["exitstatus"], "it broke");
        assert_eq!(value(log(&node, &upid, &mut inner))[1], json!({"n": 2, "t": "TASK ERROR: it broke"}));
        assert!(status(&node, &call(&[("upid", "bogus")]), &mut inner).is_err());
    }
}
