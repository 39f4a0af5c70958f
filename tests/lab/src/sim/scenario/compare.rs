//! Compares a node after a command, and what the command printed, with what a scenario says.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::archive::Claims;
use super::{Ran, Scenario, TaskState, VolumeState, given, observe};
use crate::sim::Node;

/// Lines that a program would not read: tools that make file systems, job control, warnings of perl, and the
/// decompressors, whose place among the other lines depends on chance.
const NOISE: &str = concat!(
    r"^\s*$|^(Creating filesystem|Filesystem UUID|Superblock backups|\t\s*\d|mke2fs|Error while enabling multiple|Total bytes read: |Discarding|Allocating|Writing |Creating journal)",
    r"|^/bin/bash: |^ +(<PID>|\d+) .*\|",
    r"|at /usr/share/perl5/|property is (not defined|missing)|^(vm|ct) \d+ - unable to parse",
    r"|Read error \(39\)|unexpected end of file|^(gzip|lzop|tar|zstd): |Decoding error \(36\)|unsupported format",
    r"|^vma: (not a vma file|can't read vma header|wrong vma header)",
    r"|^Could not extract backed up config|^Skipping early checks",
);
/// What stands for something that always differs.
const PLACEHOLDER: &str = "<[A-Z][A-Z ]*>|<COLUMNS [^>]*>";

/// Every disagreement, as readable lines.
pub(super) fn disagreements(
    scenario: &Scenario,
    node: &Node,
    claims: &Claims,
    known_tasks: &BTreeSet<String>,
    ran: &Ran,
) -> Vec<String> {
    let then = &scenario.then;
    let mut report = Report::default();
    if (then.exit == 0) != (ran.exit == 0) {
        report.add("exit", &then.exit, &ran.exit);
    }
    output(&mut report, scenario, claims, ran);
    guests(&mut report, scenario, node);
    match observe::volumes(node, claims) {
        Ok(found) => {
            let mut expected = then.volumes.clone();
            expected.retain(|volid, _| given::is_reachable(node, volid));
            volumes(&mut report, &expected, &found);
        }
        Err(error) => report.lines.push(format!("volumes: {error}")),
    }
    report.compare("firewall", &then.firewall, &observe::firewall(node));
    if let Some(expected) = &then.tasks {
        tasks(&mut report, expected, &observe::tasks(node, known_tasks));
    }
    if let Some(expected) = &then.archives {
        archives(&mut report, scenario, expected, claims, node);
    }
    for (path, expected) in then.files.iter().flatten() {
        report.compare(path, expected, &node.read(path).unwrap_or_default());
    }
    report.lines
}

#[derive(Default)]
struct Report {
    lines: Vec<String>,
}

impl Report {
    fn add(&mut self, what: &str, expected: &impl std::fmt::Debug, found: &impl std::fmt::Debug) {
        self.lines.push(format!("{what}:\n  - {expected:?}\n  + {found:?}"));
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.add(what, expected, found);
        }
    }

    /// Compares lines in order, and shows which ones are missing and which are too many.
    fn compare_lines(&mut self, what: &str, expected: &[String], found: &[String]) {
        let same = expected.len() == found.len() && expected.iter().zip(found).all(|(e, f)| matches(e, f));
        if same {
            return;
        }
        let missing = expected.iter().filter(|e| !found.iter().any(|f| matches(e, f)));
        let extra = found.iter().filter(|f| !expected.iter().any(|e| matches(e, f)));
        let mut diff: Vec<_> = missing.map(|line| format!("  - {line}")).collect();
        diff.extend(extra.map(|line| format!("  + {line}")));
        if diff.is_empty() {
            diff.push(format!("  another order or number: {found:?}"));
        }
        self.lines.push(format!("{what}:\n{}", diff.join("\n")));
    }
}

/// Whether a text is what a scenario expects, where placeholders stand for anything.
fn matches(expected: &str, found: &str) -> bool {
    if !expected.contains('<') {
        return expected == found;
    }
    let mut pattern = String::from("(?s)^");
    let mut rest = 0;
    let Ok(placeholder) = Regex::new(PLACEHOLDER) else { return false };
    for place in placeholder.find_iter(expected) {
        pattern.push_str(&regex::escape(&expected[rest..place.start()]));
        pattern.push_str(".*");
        rest = place.end();
    }
    pattern.push_str(&regex::escape(&expected[rest..]));
    pattern.push('$');
    Regex::new(&pattern).is_ok_and(|pattern| pattern.is_match(found))
}

fn output(report: &mut Report, scenario: &Scenario, claims: &Claims, ran: &Ran) {
    let then = &scenario.then;
    let printed = claims.with_claimed_sizes(&ran.stdout);
    let varies = |what: &str| then.may_vary.iter().any(|line| line.contains(what));
    let (json, found) =
        (serde_json::from_str::<Value>(&then.stdout), serde_json::from_str::<Value>(&printed));
    if let (Ok(expected), Ok(found)) = (json, found) {
        if !json_matches(&expected, &found, varies("order")) {
            report.add("stdout", &expected.to_string(), &found.to_string());
        }
    } else {
        let relaxed = |text: &str| relaxed(text, scenario);
        report.compare_lines("stdout", &relaxed(&then.stdout), &relaxed(&printed));
    }
    report.compare_lines("stderr", &lines(&then.stderr), &lines(&ran.stderr));
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The lines of standard output that matter, put in order where their order depends on chance.
fn relaxed(text: &str, scenario: &Scenario) -> Vec<String> {
    let varies = |what: &str| scenario.then.may_vary.iter().any(|line| line.contains(what));
    let damaged = scenario.given.archives.values().any(|archive| {
        archive.defect.is_some() && archive.file.get("compression").is_some_and(|name| !name.is_null())
    });
    let Ok(noise) = Regex::new(NOISE) else { return Vec::new() };
    let mut lines: Vec<String> = lines(text).into_iter().filter(|line| !noise.is_match(line)).collect();
    if damaged {
        // How far a damaged archive can be read depends on the compressor's version.
        lines.retain(|line| !line.starts_with("progress "));
        for line in &mut lines {
            if line.starts_with("vma: restore failed - short vma extent") {
                "vma: restore failed - short vma extent".clone_into(line);
            }
        }
    }
    if scenario.run.starts_with(&["pvesm".into(), "status".into()]) {
        // What always differs stands without the blanks of its column.
        for line in &mut lines {
            *line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
    let removed = |line: &String| line.starts_with("temporary volume");
    if varies("temporary volume") {
        let mut sorted: Vec<_> = lines.iter().filter(|line| removed(line)).cloned().collect();
        sorted.sort();
        let first = lines.iter().position(removed).unwrap_or_default();
        lines.retain(|line| !removed(line));
        lines.splice(first..first, sorted);
    }
    if varies("content") || varies("order of the list") {
        // Tables: neither the widths of columns nor the order of rows and of words in a cell counts.
        for line in &mut lines {
            let mut words: Vec<_> = line.split(|c: char| c.is_whitespace() || ",│|".contains(c)).collect();
            words.retain(|word| {
                !word.is_empty()
                    && !word.chars().all(|c| "-─┌┐└┘├┤┬┴┼╞╡═╪╘╛╧╒╕╤+".contains(c))
                    && !is_measure(word)
            });
            words.sort_unstable();
            *line = words.join(" ");
        }
        lines.sort();
    }
    lines
}

/// Whether a word of a table is a size or a percentage, or stands for one.
fn is_measure(word: &str) -> bool {
    let is_number = |text: &str| text.contains('.') && text.parse::<f64>().is_ok();
    matches!(word, "<SIZE>" | "<PERCENT>" | "B" | "KiB" | "MiB" | "GiB" | "TiB")
        || is_number(word.trim_end_matches('%'))
}

/// Whether JSON is what a scenario expects; `unordered` lets arrays come in any order.
fn json_matches(expected: &Value, found: &Value, unordered: bool) -> bool {
    match (expected, found) {
        (Value::String(expected), Value::String(found)) => {
            let sorted = |text: &str| {
                let mut words: Vec<_> = text.split(',').map(str::to_owned).collect();
                words.sort();
                words
            };
            matches(expected, found) || unordered && sorted(expected) == sorted(found)
        }
        (Value::String(expected), found) if expected.contains('<') => matches(expected, &found.to_string()),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len()
                && if unordered {
                    expected.iter().all(|e| found.iter().any(|f| json_matches(e, f, true)))
                } else {
                    expected.iter().zip(found).all(|(e, f)| json_matches(e, f, false))
                }
        }
        (Value::Object(expected), Value::Object(found)) => {
            expected.len() == found.len()
                && expected
                    .iter()
                    .all(|(key, e)| found.get(key).is_some_and(|f| json_matches(e, f, unordered)))
        }
        (expected, found) => expected == found,
    }
}

fn guests(report: &mut Report, scenario: &Scenario, node: &Node) {
    let mut found = observe::guests(node);
    for (vmid, expected) in &scenario.then.guests {
        match (expected, found.remove(vmid)) {
            (None, None) => {}
            (Some(expected), Some((kind, config, running))) => {
                report.compare(&format!("kind of {vmid}"), &expected.kind.as_str(), &kind);
                report.compare_lines(
                    &format!("configuration of {vmid}"),
                    &sorted_lines(&expected.config),
                    &sorted_lines(&config),
                );
                if let Some(status) = &expected.status {
                    let status = status == "running";
                    report.compare(&format!("{vmid} runs"), &status, &running);
                }
            }
            (Some(_), None) => report.lines.push(format!("guest {vmid}:\n  - there\n  + gone")),
            (None, Some(_)) => report.lines.push(format!("guest {vmid}:\n  - gone\n  + there")),
        }
    }
    for vmid in found.keys() {
        report.lines.push(format!("guest {vmid}:\n  - none\n  + there"));
    }
}

fn sorted_lines(text: &str) -> Vec<String> {
    let mut lines = lines(text);
    lines.sort();
    lines
}

fn volumes(
    report: &mut Report,
    expected: &BTreeMap<String, VolumeState>,
    found: &BTreeMap<String, VolumeState>,
) {
    let (expected_ids, found_ids): (Vec<_>, Vec<_>) = (expected.keys().collect(), found.keys().collect());
    report.compare("volumes", &expected_ids, &found_ids);
    for (volid, expected) in expected {
        let Some(found) = found.get(volid) else { continue };
        report.compare(&format!("size of {volid}"), &expected.size, &found.size);
        if let Some(files) = &expected.files {
            let found = found.files.clone().unwrap_or_default();
            report.compare(&format!("files of {volid}"), files, &found);
        } else if let Some(content) = &expected.content_sha256 {
            report.compare(
                &format!("content of {volid}"),
                content,
                &found.content_sha256.clone().unwrap_or_default(),
            );
        } else if !matches(&expected.sha256, &found.sha256) {
            report.add(&format!("content of {volid}"), &expected.sha256, &found.sha256);
        }
    }
}

fn tasks(report: &mut Report, expected: &[TaskState], found: &[TaskState]) {
    let line = |task: &TaskState| format!("{}:{} {}", task.kind, task.id, task.result.trim_end());
    let (mut expected, mut found): (Vec<_>, Vec<_>) =
        (expected.iter().map(line).collect(), found.iter().map(line).collect());
    expected.sort();
    found.sort();
    report.compare_lines("tasks", &expected, &found);
}

fn archives(
    report: &mut Report,
    scenario: &Scenario,
    expected: &BTreeMap<String, Value>,
    claims: &Claims,
    node: &Node,
) {
    let sizes_vary = scenario.then.may_vary.iter().any(|line| line.contains("sizes"));
    let named: BTreeSet<_> = expected.keys().filter_map(|name| name.split(':').next()).collect();
    let storages = node.storages().into_iter().filter(|storage| named.contains(storage.id.as_str()));
    let found: BTreeMap<_, _> = storages.flat_map(|storage| observe::archives(node, &storage)).collect();
    let (names, found_names): (Vec<_>, Vec<_>) =
        (expected.keys().cloned().collect(), found.keys().cloned().collect());
    report.compare_lines("archives", &names, &found_names);
    for (name, facts) in expected {
        // A name with a placeholder means none of those that are named in full.
        let is_meant =
            |found: &String| name == found || !expected.contains_key(found) && matches(name, found);
        let Some((_, found)) = found.iter().find(|(found, _)| is_meant(found)) else { continue };
        for key in ["notes", "protected", "size"] {
            if key == "size" && (sizes_vary || name.contains('<')) {
                continue;
            }
            let expected =
                facts.get(key).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            let expected = expected.filter(|value| value != "null" && value != "false");
            if key != "size" || expected.is_some() {
                let found = found.get(key).map(|value| claims.with_claimed_sizes(value));
                report.compare(&format!("{key} of {name}"), &expected, &found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_stand_for_anything() {
        assert!(matches("vmgenid: <UUID>", "vmgenid: 1-2"));
        assert!(matches("qm status <vmid> [OPTIONS]", "qm status <vmid> [OPTIONS]"));
        assert!(!matches("a <PID> b", "a 1 c"));
    }

    #[test]
    fn arrays_may_come_in_any_order_only_where_that_varies() {
        let (a, b) = (serde_json::json!([1, 2]), serde_json::json!([2, 1]));
        assert!(json_matches(&a, &b, true) && !json_matches(&a, &b, false));
    }
}
