//! Which guests: named on the command line, in a file, by a tag or by a pool.

use std::{collections::BTreeSet, fs, io, path::Path};

use restore_common::{
    contact::{Contact, at_once},
    pve::{GuestConfig, NodeFacts, PveError, Vmid},
    remote::{Command, Ending, Host, ReadOnly},
};

use crate::{
    args::Cli,
    look::{Shelves, extract_config},
};

/// A list of guests that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A line of it is no VMID.
    #[error("{path}:{line}: {reason}")]
    Line {
        /// The file.
        path: String,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// The guests that are named, each once, in their order.
pub fn named(cli: &Cli) -> Result<Vec<Vmid>, ListError> {
    let mut guests = cli.vmids.clone();
    if let Some(path) = &cli.all_from {
        guests.extend(listed(path)?);
    }
    let mut seen = BTreeSet::new();
    guests.retain(|vmid| seen.insert(*vmid));
    Ok(guests)
}

/// One VMID a line; what follows a `#` is a remark.
fn listed(path: &Path) -> Result<Vec<Vmid>, ListError> {
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|source| ListError::Unreadable { path: name.clone(), source })?;
    let mut guests = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        let vmid = word.parse().map_err(|error: restore_common::pve::IdError| ListError::Line {
            path: name.clone(),
            line: index + 1,
            reason: error.to_string(),
        })?;
        guests.push(vmid);
    }
    Ok(guests)
}

/// The guests that have the tag or are in the pool, over all nodes that answer, in order of their numbers.
///
/// A guest that is gone has the tags of its newest backup. Pools are known from the cluster's `user.cfg` only: a node
/// that was installed anew has none.
pub fn found(cli: &Cli, contacts: &[Contact]) -> anyhow::Result<Vec<Vmid>> {
    if cli.tag.is_none() && cli.pool.is_none() {
        return Ok(Vec::new());
    }
    let mut guests = BTreeSet::new();
    for result in at_once(contacts, |contact| {
        let Ok(host) = &contact.host else { return Ok(BTreeSet::new()) };
        on_node(cli, &ReadOnly(host.as_ref()))
    })? {
        guests.extend(result?);
    }
    Ok(guests.into_iter().collect())
}

fn on_node(cli: &Cli, host: &dyn Host) -> Result<BTreeSet<Vmid>, PveError> {
    let mut questions = NodeFacts::questions();
    let about_node = questions.len();
    questions.push(Command::read("cat").arg("/etc/pve/user.cfg"));
    questions.push(Command::read("find").args([
        "/etc/pve/nodes",
        "-name",
        "*.conf",
        "-path",
        "*/*-server/*",
        "-o",
        "-name",
        "*.conf",
        "-path",
        "*/lxc/*",
    ]));
    questions.push(Command::read("grep").args(["-r", "^tags:", "/etc/pve/nodes"]));
    let answers = host.run_all(&questions)?;
    let mut guests = BTreeSet::new();
    if let Some(pool) = &cli.pool {
        guests.extend(in_pool(&answers[about_node].stdout, pool));
    }
    let Some(tag) = &cli.tag else { return Ok(guests) };
    let present = answers[about_node + 1].stdout_of(host, &questions[about_node + 1])?;
    let present: BTreeSet<Vmid> = present.lines().filter_map(of_file).collect();
    let tags = &answers[about_node + 2];
    if tags.ending != Ending::Exit(1) {
        let lines = tags.stdout_of(host, &questions[about_node + 2])?.lines();
        guests.extend(lines.filter_map(|line| {
            let (path, tags) = line.split_once(":tags:")?;
            has_tag(tags, tag).then(|| of_file(path)).flatten()
        }));
    }
    let facts = NodeFacts::read(host, &questions[..about_node], &answers[..about_node])?;
    let shelves = Shelves::read(host, &facts, cli.options.storage.as_ref())?;
    let gone: Vec<_> = shelves.newest().into_iter().filter(|(vmid, _)| !present.contains(vmid)).collect();
    let questions: Vec<_> = gone.iter().map(|(_, archive)| extract_config(&archive.volid)).collect();
    for ((vmid, archive), answer) in gone.iter().zip(host.run_all(&questions)?) {
        if !answer.success() {
            log::warn!(
                "cannot read the tags in `{}` on {}: {}",
                archive.volid,
                host.name(),
                answer.stderr.trim()
            );
        } else if GuestConfig::parse(&answer.stdout).get("tags").is_some_and(|tags| has_tag(tags, tag)) {
            guests.insert(*vmid);
        }
    }
    Ok(guests)
}

/// The guest of a configuration file.
fn of_file(path: &str) -> Option<Vmid> {
    path.rsplit('/').next()?.strip_suffix(".conf")?.parse().ok()
}

/// Tags are separated by semicolons; commas and blanks are taken as well. Case does not count.
fn has_tag(tags: &str, wanted: &str) -> bool {
    tags.split([';', ',', ' ']).any(|tag| tag.eq_ignore_ascii_case(wanted))
}

/// Lines `pool:NAME:COMMENT:GUESTS:STORAGES:` of `user.cfg`.
fn in_pool(text: &str, wanted: &str) -> Vec<Vmid> {
    let guests = |line: &str| {
        let mut parts = line.strip_prefix("pool:")?.split(':');
        let (name, guests) = (parts.next()?, parts.nth(1)?);
        (name == wanted).then(|| guests.split(',').filter_map(|guest| guest.parse().ok()).collect())
    };
    text.lines().find_map(guests).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_have_remarks_and_tells_the_line_that_is_wrong() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# the important ones\n101\n\n 102  # web\n101\n").unwrap();
        let numbers: Vec<u32> = listed(file.path()).unwrap().into_iter().map(Vmid::get).collect();
        assert_eq!(numbers, [101, 102, 101]);
        fs::write(file.path(), "101\nweb\n").unwrap();
        let error = listed(file.path()).unwrap_err().to_string();
        assert!(error.ends_with(":2: `web` is not a VMID: a VMID is a number"), "{error}");
        assert!(listed(Path::new("/nowhere/guests")).unwrap_err().to_string().starts_with("cannot read"));
    }

    #[test]
    fn tags_and_pools_are_matched_as_whole_words() {
        assert!(has_tag(" prod;web", "web") && has_tag("Prod,db", "prod") && !has_tag(" production", "prod"));
        let users = "pool:prod:notes:101,103:local:\npool:lab::104::\n";
        assert_eq!(in_pool(users, "prod").len(), 2);
        assert!(in_pool(users, "pro").is_empty());
    }
}
