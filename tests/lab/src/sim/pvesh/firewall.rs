//! The firewall of one guest: its options and its rules, in the file below `/etc/pve/firewall`.

use serde_json::{Map, Value, json};

use super::{Answer, OUTPUT_OPTIONS};
use crate::sim::node::{Failure, Node, Outcome};
use crate::sim::{Io, Parsed};

/// Parameters of a call that are no settings.
const OWN: [&str; 5] = ["node", "vmid", "api_path", "delete", "digest"];
/// The options of a rule, in the order in which a node writes them.
const RULE_OPTIONS: [&str; 7] = ["iface", "source", "dest", "proto", "dport", "sport", "log"];

/// A guest's file: sections with their lines.
struct File {
    path: String,
    sections: Vec<(String, Vec<String>)>,
}

impl File {
    fn read(node: &Node, call: &Parsed) -> Self {
        let path = Node::firewall_path(call.vmid());
        let mut sections: Vec<(String, Vec<String>)> = Vec::new();
        for line in node.read(&path).unwrap_or_default().lines().filter(|line| !line.trim().is_empty()) {
            match (line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')), sections.last_mut()) {
                (Some(name), _) => sections.push((name.to_owned(), Vec::new())),
                (None, Some((_, lines))) => lines.push(line.to_owned()),
                (None, None) => {}
            }
        }
        Self { path, sections }
    }

    fn lines(&mut self, name: &str) -> &mut Vec<String> {
        let at = self.sections.iter().position(|(section, _)| section.eq_ignore_ascii_case(name));
        let at = at.unwrap_or_else(|| {
            self.sections.push((name.to_owned(), Vec::new()));
            self.sections.len() - 1
        });
        &mut self.sections[at].1
    }

    /// An empty section is left out, and a file without any is removed.
    fn write(&self, node: &Node) -> Outcome {
        let there = self.sections.iter().filter(|(_, lines)| !lines.is_empty());
        let texts: Vec<_> =
            there.map(|(name, lines)| format!("[{name}]\n\n{}\n\n", lines.join("\n"))).collect();
        if texts.is_empty() {
            return Ok(node.remove(&self.path)?);
        }
        Ok(node.write(&self.path, &texts.concat())?)
    }
}

fn settings(call: &Parsed) -> impl Iterator<Item = (&str, &str)> {
    let is_setting = |key: &str| !OWN.contains(&key) && !OUTPUT_OPTIONS.contains(&key);
    call.params
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(move |(key, _)| is_setting(key))
}

pub(super) fn options(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let mut options = Map::new();
    for line in File::read(node, call).lines("OPTIONS") {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        options
            .insert(key.trim().to_owned(), value.parse::<i64>().map_or_else(|_| value.into(), Value::from));
    }
    Ok(Value::from(options).into())
}

pub(super) fn set_options(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let mut file = File::read(node, call);
    let lines = file.lines("OPTIONS");
    let deleted = call.get("delete").into_iter().flat_map(|list| list.split([',', ' ', ';']));
    for key in deleted.chain(settings(call).map(|(key, _)| key)) {
        lines.retain(|line| line.split(':').next() != Some(key));
    }
    lines.extend(settings(call).map(|(key, value)| format!("{key}: {value}")));
    file.write(node).map(|()| Answer::Nothing)
}

pub(super) fn rules(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let mut file = File::read(node, call);
    let rules = file.lines("RULES").iter().enumerate().map(|(pos, line)| rule(pos, line));
    Ok(Value::from(rules.collect::<Vec<_>>()).into())
}

/// A line such as `IN ACCEPT -source 10.0.0.0/8 -p tcp -dport 22 -log nolog # why`; one that is off begins with `|`.
fn rule(pos: usize, line: &str) -> Value {
    let (text, comment) = line.split_once('#').unwrap_or((line, ""));
    let text = text.trim();
    let mut words = text.trim_start_matches('|').split_whitespace();
    let mut next = || words.next().unwrap_or_default();
    let mut rule = json!({
        "pos": pos, "enable": u8::from(!text.starts_with('|')), "type": next().to_lowercase(), "action": next(),
    });
    while let Some(option) = words.next().and_then(|word| word.strip_prefix('-')) {
        let key = if option == "p" { "proto" } else { option };
        rule[key] = words.next().unwrap_or_default().into();
    }
    if !comment.trim().is_empty() {
        rule["comment"] = comment.trim().into();
    }
    rule
}

/// A new rule is the first one.
pub(super) fn add_rule(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let get = |key: &str| call.get(key).unwrap_or_default();
    let off = if call.is_on("enable") { "" } else { "|" };
    let mut line = format!("{off}{} {}", get("type").to_uppercase(), get("action"));
    for key in RULE_OPTIONS.iter().filter(|key| call.get(key).is_some()) {
        let option = if *key == "proto" { "p" } else { key };
        line.push_str(&format!(" -{option} {}", get(key)));
    }
    if let Some(comment) = call.get("comment") {
        line.push_str(&format!(" # {comment}"));
    }
    let mut file = File::read(node, call);
    file.lines("RULES").insert(0, line);
    file.write(node).map(|()| Answer::Nothing)
}

pub(super) fn remove_rule(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let mut file = File::read(node, call);
    let rules = file.lines("RULES");
    let pos = call.number("pos").and_then(|pos| usize::try_from(pos).ok()).filter(|pos| *pos < rules.len());
    let Some(pos) = pos else {
        let text = format!("no rule at position {}", call.get("pos").unwrap_or_default());
        return Err(Failure::with_status(text, 2));
    };
    rules.remove(pos);
    file.write(node).map(|()| Answer::Nothing)
}
