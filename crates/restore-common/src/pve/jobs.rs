//! Backup jobs of a cluster, when they run, and how the last runs ended.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{NodeName, PveError, StorageId, Vmid, json, schedule};
use crate::remote::{Command, Host, Output};

/// A backup job.
#[derive(Clone, Debug, Deserialize)]
pub struct BackupJob {
    /// Its name: `backup-1c5a8a3f-f1d2`.
    pub id: String,
    /// When it runs, as a calendar event: `sun 01:00`.
    #[serde(default)]
    pub schedule: String,
    /// Where its backups go.
    pub storage: Option<StorageId>,
    /// The one node it runs on; on all without it.
    pub node: Option<NodeName>,
    #[serde(default, deserialize_with = "json::number")]
    enabled: Option<i64>,
    #[serde(default, deserialize_with = "json::flag")]
    all: bool,
    #[serde(default, deserialize_with = "json::text")]
    vmid: Option<String>,
    #[serde(default, deserialize_with = "json::text")]
    exclude: Option<String>,
    pool: Option<String>,
}

impl BackupJob {
    /// Asks for all of them.
    pub fn ask() -> Command {
        json::get("/cluster/backup", &[])
    }

    /// Reads the answer to [`BackupJob::ask`].
    pub fn read(host: &dyn Host, command: &Command, output: &Output) -> Result<Vec<Self>, PveError> {
        json::parse(host, command, output)
    }

    /// Whether it runs at all. A job without a word about it does.
    pub fn is_enabled(&self) -> bool {
        self.enabled != Some(0)
    }

    /// Whether it runs on this node.
    pub fn runs_on(&self, node: &NodeName) -> bool {
        self.node.as_ref().is_none_or(|only| only == node)
    }

    /// Whether its selection contains a guest that is in this pool.
    pub fn selects(&self, vmid: Vmid, pool: Option<&str>) -> bool {
        match (&self.pool, &self.vmid) {
            _ if self.all => !names(self.exclude.as_deref(), vmid),
            (Some(wanted), _) => pool == Some(wanted.as_str()),
            (None, listed) => names(listed.as_deref(), vmid),
        }
    }

    /// The longest time between two of its runs; `None` when its schedule is of a kind that is not understood here.
    pub fn longest_gap(&self) -> Option<Duration> {
        schedule::longest_gap(&self.schedule)
    }

    /// Whether one of its runs may begin at this time of the day, on the node's clock.
    pub fn begins_at(&self, time: jiff::civil::Time) -> bool {
        schedule::runs_at(&self.schedule, time.hour(), time.minute())
    }
}

fn names(list: Option<&str>, vmid: Vmid) -> bool {
    let is_it = |word: &str| word.trim().parse() == Ok(vmid);
    list.is_some_and(|list| list.split(',').any(is_it))
}

/// Asks for the guests of the cluster with their pools.
pub fn ask_pools() -> Command {
    json::get("/cluster/resources", &[("type", "vm")])
}

/// Reads the answer to [`ask_pools`]: the pool of each guest that is in one.
pub fn pools_in(
    host: &dyn Host,
    command: &Command,
    output: &Output,
) -> Result<BTreeMap<Vmid, String>, PveError> {
    #[derive(Deserialize)]
    struct Resource {
        #[serde(default, deserialize_with = "json::number")]
        vmid: Option<i64>,
        pool: Option<String>,
    }
    let resources: Vec<Resource> = json::parse(host, command, output)?;
    let pool = |entry: Resource| Some((Vmid::new(u32::try_from(entry.vmid?).ok()?)?, entry.pool?));
    Ok(resources.into_iter().filter_map(pool).collect())
}

/// A `vzdump` task that ended.
#[derive(Clone, Debug, Deserialize)]
pub struct BackupRun {
    /// Seconds since 1970, UTC.
    #[serde(default, deserialize_with = "json::number")]
    pub starttime: Option<i64>,
    /// `OK`, or why it failed.
    #[serde(default)]
    pub status: Option<String>,
    /// The guest, when it was of one guest.
    #[serde(default, deserialize_with = "json::text")]
    pub id: Option<String>,
}

impl BackupRun {
    /// Asks for the last ones of this node, newest first.
    pub fn ask() -> Command {
        json::get(
            "/nodes/localhost/tasks",
            &[("source", "archive"), ("typefilter", "vzdump"), ("limit", "200")],
        )
    }

    /// Reads the answer to [`BackupRun::ask`].
    pub fn read(host: &dyn Host, command: &Command, output: &Output) -> Result<Vec<Self>, PveError> {
        json::parse(host, command, output)
    }

    /// The guest it was of; nothing for a job of several.
    pub fn guest(&self) -> Option<Vmid> {
        self.id.as_deref()?.parse().ok()
    }

    /// Why it failed. Warnings are no failure.
    pub fn failure(&self) -> Option<&str> {
        self.status.as_deref().filter(|status| *status != "OK" && !status.starts_with("WARNINGS"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(fields: &str) -> BackupJob {
        serde_json::from_str(&format!(r#"{{"id":"x","schedule":"21:00",{fields}}}"#)).unwrap()
    }

    #[rstest::rstest]
    #[case(r#""vmid":"101,110""#, true)]
    #[case(r#""vmid":"1010""#, false)]
    #[case(r#""vmid":101"#, true)]
    #[case(r#""all":1"#, true)]
    #[case(r#""all":"1","exclude":"999,101""#, false)]
    #[case(r#""pool":"prod""#, true)]
    #[case(r#""pool":"lab""#, false)]
    fn a_selection_is_a_list_a_pool_or_all_but_some(#[case] fields: &str, #[case] selected: bool) {
        assert_eq!(job(fields).selects("101".parse().unwrap(), Some("prod")), selected, "{fields}");
    }

    #[test]
    fn a_job_is_on_unless_it_says_otherwise() {
        assert!(job(r#""all":1"#).is_enabled());
        assert!(job(r#""enabled":1"#).is_enabled());
        assert!(!job(r#""enabled":"0""#).is_enabled());
    }
}
