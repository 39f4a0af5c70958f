//! `--list`: the versions there are.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use restore_common::{
    s3::Versioning,
    state::{self, Change, Content, Entry, LockInfo},
    ui::{self, Table, format},
};
use serde::Serialize;

use crate::site::Site;

/// All that a list shows.
pub struct Listed {
    /// Newest first.
    pub history: Vec<Entry>,
    /// Whether the bucket keeps versions.
    pub versioning: Versioning,
    /// Who holds the lock.
    pub lock: Option<LockInfo>,
    /// A state that Terraform could not write to the bucket: `errored.tfstate`.
    pub errored: Option<std::path::PathBuf>,
}

/// Reads the history of a state. The current version is kept on this machine.
pub fn read(site: &Site) -> anyhow::Result<Listed> {
    let versioning = site.bucket.versioning()?;
    let versions = state::versions(&site.bucket, &site.store.key)?;
    let history = state::read_history(&site.bucket, &versions);
    let lock = state::holder(&site.bucket, &site.store.key)?;
    if let Some(object) = site.current()? {
        site.keep(&object.bytes);
    }
    let errored = Some(site.dir.join("errored.tfstate")).filter(|path| path.exists());
    Ok(Listed { history, versioning, lock, errored })
}

/// One version, for programs.
#[derive(Serialize)]
struct Row<'a> {
    version: &'a str,
    written: Timestamp,
    size: u64,
    current: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lineage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terraform_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<usize>,
    marks: Vec<String>,
}

/// The list of one environment, for programs.
#[derive(Serialize)]
pub struct Document<'a> {
    schema: u32,
    program: &'static str,
    environment: &'a str,
    workspace: &'a str,
    bucket: &'a str,
    key: &'a str,
    endpoint: &'a str,
    versioning: Versioning,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<&'a LockInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errored: Option<String>,
    versions: Vec<Row<'a>>,
}

/// For programs.
pub fn document<'a>(site: &'a Site, listed: &'a Listed) -> Document<'a> {
    let lineage = lineage_of(&listed.history);
    Document {
        schema: 1,
        program: crate::app::PROGRAM,
        environment: &site.environment,
        workspace: &site.workspace,
        bucket: &site.store.bucket,
        key: &site.store.key,
        endpoint: &site.store.endpoint.url,
        versioning: listed.versioning,
        lock: listed.lock.as_ref(),
        errored: listed.errored.as_ref().map(|path| path.display().to_string()),
        versions: listed.history.iter().map(|entry| row(entry, lineage)).collect(),
    }
}

fn row<'a>(entry: &'a Entry, lineage: Option<&str>) -> Row<'a> {
    let summary = entry.summary();
    let (resources, diff) = match &entry.content {
        Content::State { resources, changed, .. } => (*resources, changed.as_ref()),
        _ => (None, None),
    };
    let count = |change| diff.map(|diff| diff.count(change));
    Row {
        version: &entry.version.id,
        written: entry.version.written,
        size: entry.version.size,
        current: entry.version.is_current,
        serial: summary.map(|summary| summary.serial),
        lineage: summary.map(|summary| summary.lineage.as_str()),
        terraform_version: summary.and_then(|summary| summary.terraform_version.as_deref()),
        resources,
        added: count(Change::Added),
        removed: count(Change::Removed),
        changed: count(Change::Changed),
        marks: marks(entry, lineage),
    }
}

/// The lineage that others are compared with: that of the newest state.
pub fn lineage_of(history: &[Entry]) -> Option<&str> {
    history.iter().find_map(Entry::summary).map(|summary| summary.lineage.as_str())
}

fn marks(entry: &Entry, lineage: Option<&str>) -> Vec<String> {
    let mut marks = Vec::new();
    if entry.version.is_current {
        marks.push("current".to_owned());
    }
    match &entry.content {
        Content::Marker => marks.push("deleted".to_owned()),
        Content::Broken(error) => marks.push(error.mark()),
        Content::Unread(error) => marks.push(format!("not read: {}", error.trouble)),
        Content::State { summary, .. } => {
            if summary.encrypted {
                marks.push("encrypted".to_owned());
            }
            if lineage.is_some_and(|lineage| lineage != summary.lineage) {
                marks.push("other lineage".to_owned());
            }
        }
    }
    marks
}

/// Columns of the list; the remarks give way.
const WIDTH: usize = 120;

/// For people, newest first.
pub fn text(site: &Site, listed: &Listed) -> String {
    let count = listed.history.len();
    let mut text = match count {
        0 => format!("no state of {} in {}\n", site.name(), site.place()),
        _ => format!(
            "{} of the state of {}\n{}\n\n",
            format::counted(count as u64, "version"),
            site.name(),
            site.place()
        ),
    };
    text.push_str(&table(&listed.history).render(WIDTH));
    if let Some(lock) = &listed.lock {
        let _ = writeln!(text, "\nlocked by {}", lock.describe(Timestamp::now()));
    }
    if listed.versioning != Versioning::Enabled {
        let _ = writeln!(text, "\nthe bucket keeps no versions: whatever is written replaces what was there");
    }
    if let Some(errored) = &listed.errored {
        let _ = writeln!(
            text,
            "\n`{}` is a state that Terraform could not write to the bucket; `terraform state push` takes it there",
            ui::sanitize(&errored.to_string_lossy())
        );
    }
    text
}

fn table(history: &[Entry]) -> Table {
    let zone = TimeZone::system();
    let lineage = lineage_of(history);
    let length = prefix_length(history);
    let precision = precision(history);
    let titles = ["version", "written", "serial", "holds", "changed", "size", "by", "remarks"];
    let mut table = Table::new(titles).right("serial").right("holds").right("size").flexible("remarks");
    for entry in history {
        let row = row(entry, lineage);
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let changed = match &entry.content {
            Content::State { changed: Some(diff), .. } => diff.short(),
            _ => "-".to_owned(),
        };
        table.row([
            ui::sanitize(&entry.version.id.chars().take(length).collect::<String>()).into_owned(),
            entry.version.written.to_zoned(zone.clone()).strftime(precision).to_string(),
            number(row.serial),
            number(row.resources.map(|count| count as u64)),
            changed,
            format::bytes(entry.version.size),
            ui::sanitize(row.terraform_version.unwrap_or("-")).into_owned(),
            ui::sanitize(&row.marks.join(", ")).into_owned(),
        ]);
    }
    table
}

/// How times are written: with seconds only where minutes would not tell two versions apart.
fn precision(history: &[Entry]) -> &'static str {
    let minute = |entry: &Entry| entry.version.written.as_second().div_euclid(60);
    let alike = history.windows(2).any(|pair| minute(&pair[0]) == minute(&pair[1]));
    if alike { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M" }
}

/// How much of the ids has to be shown for them to be told apart.
fn prefix_length(history: &[Entry]) -> usize {
    let mut ids: Vec<_> = history.iter().map(|entry| entry.version.id.as_str()).collect();
    ids.sort_unstable();
    let common = |pair: &[&str]| pair[0].chars().zip(pair[1].chars()).take_while(|(a, b)| a == b).count();
    ids.windows(2).map(common).max().map_or(8, |most| (most + 1).max(8))
}
