//! `restore.toml`.

use std::{
    collections::BTreeMap,
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    check::OwnCheck,
    error::{HomelabError, read_text},
};
use crate::pve::{NodeName, StorageId, Vmid};

/// The whole file; without one, nothing but defaults.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Overrides {
    /// One table an environment: the name of its folder, or a new name for one without a folder.
    pub(super) environments: BTreeMap<String, EnvironmentOverride>,
    /// One table a guest, by VMID.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, GuestOverride>"))]
    guests: BTreeMap<GuestKey, GuestOverride>,
    /// For all guests without a word of their own.
    pub(super) prove: Prove,
    /// The server that holds Terraform's states.
    pub(super) s3: S3Override,
    /// The monitoring stack.
    pub(super) monitoring: MonitoringOverride,
    /// Where `verify-backups --drill` puts its throw-away guests.
    #[cfg_attr(feature = "schema", schemars(with = "WrittenDrill"))]
    pub(super) drill: Drill,
}

/// `[monitoring]`: what the tfvars do not say about the monitoring stack.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MonitoringOverride {
    /// Where it answers, instead of `monitoring.vm.ip`.
    pub address: Option<String>,
    /// Who may use Docker there, instead of `root`.
    pub ssh_user: Option<String>,
    /// Its SSH port.
    pub ssh_port: Option<u16>,
    /// The URL of Prometheus, instead of port 9090 of the address.
    pub prometheus: Option<String>,
    /// The URL of Alertmanager, instead of port 9093 of the address.
    pub alertmanager: Option<String>,
    /// The URL of Grafana, instead of port 3000 of the address.
    pub grafana: Option<String>,
    /// Whose password `monitoring.grafana_admin_password` is.
    pub grafana_user: Option<String>,
    /// Any certificate will do.
    pub insecure: bool,
    /// Certificates to trust in place of the system's, from the project's root.
    pub ca: Option<PathBuf>,
}

/// Where throw-away guests go: `[drill]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "WrittenDrill")]
pub struct Drill {
    /// The numbers that they get.
    pub numbers: RangeInclusive<u32>,
    /// Where their disks go; without one, where those of the backup were.
    pub storage: Option<StorageId>,
}

impl Default for Drill {
    fn default() -> Self {
        Self { numbers: 9900..=9999, storage: None }
    }
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct WrittenDrill {
    /// The first number that they get; without it, 9900.
    first: Option<u32>,
    /// The last one; without it, 9999.
    last: Option<u32>,
    /// Where their disks go; without it, where those of the backup were.
    #[serde(default, deserialize_with = "parsed")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    storage: Option<StorageId>,
}

impl TryFrom<WrittenDrill> for Drill {
    type Error = String;

    fn try_from(written: WrittenDrill) -> Result<Self, String> {
        let default = Self::default();
        let first = written.first.unwrap_or(*default.numbers.start());
        let last = written.last.unwrap_or(*default.numbers.end());
        if first > last || Vmid::new(first).is_none() || Vmid::new(last).is_none() {
            return Err(format!("`first` to `last` is {first} to {last}, which is no range of VMIDs"));
        }
        Ok(Self { numbers: first..=last, storage: written.storage })
    }
}

/// `[s3]`
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct S3Override {
    /// The URL of the server, instead of that of the backend block.
    pub(super) endpoint: Option<String>,
    /// Certificates to trust in place of the system's; from the project's root.
    pub(super) ca: Option<PathBuf>,
}

/// `[environments.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct EnvironmentOverride {
    /// Where to reach the node, instead of `proxmox_endpoint`.
    pub(super) address: Option<String>,
    /// The node's name, instead of `default_node`.
    #[serde(deserialize_with = "parsed")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub(super) node: Option<NodeName>,
    /// The user on the node.
    pub(super) ssh_user: Option<String>,
    /// The port of the node's SSH server.
    pub(super) ssh_port: Option<u16>,
    /// The storage that its backups are on, instead of `backup.storage`.
    #[serde(deserialize_with = "parsed")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub(super) storage: Option<StorageId>,
    /// The folder of its tfvars; from the project's root.
    pub(super) tfvars_dir: Option<PathBuf>,
    /// The bucket of its state, instead of that of the backend block.
    pub(super) bucket: Option<String>,
}

/// What `restore.toml` says about one guest: `[guests.VMID]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct GuestOverride {
    /// Where it answers.
    pub address: Option<String>,
    /// The TCP ports that prove that it works, instead of those of `[prove]`.
    pub ports: Option<Vec<u16>>,
    /// The port of its SSH server, instead of that of `[prove]`.
    pub ssh_port: Option<u16>,
    /// Whether it answers to ping, instead of what `[prove]` says.
    pub ping: Option<bool>,
    /// Seconds that it may take to come up, instead of those of `[prove]`.
    pub wait: Option<u64>,
    /// Checks of the operator's own: `[[guests.VMID.checks]]`.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<super::check::Written>"))]
    pub checks: Vec<OwnCheck>,
}

/// How a restored guest is proven to work: `[prove]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Prove {
    /// The TCP ports that must answer.
    pub ports: Vec<u16>,
    /// The port of SSH servers: one that introduces itself is worth more than an open port.
    pub ssh_port: u16,
    /// Whether guests answer to ping.
    pub ping: bool,
    /// Seconds that a guest may take to come up.
    pub wait: u64,
}

impl Default for Prove {
    fn default() -> Self {
        Self { ports: vec![22], ssh_port: 22, ping: true, wait: 120 }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GuestKey(Vmid);

impl<'de> Deserialize<'de> for GuestKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

fn parsed<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr,
    T::Err: Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

impl Overrides {
    /// Reads the file, where there is one.
    pub(super) fn read(path: &Path) -> Result<Self, HomelabError> {
        if !path.exists() {
            return Ok(Self::default());
        }
        Self::parse(path, &read_text(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, HomelabError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            HomelabError::at(path, text, offset, error.message())
        })
    }

    pub(super) fn guest(&self, vmid: Vmid) -> Option<&GuestOverride> {
        self.guests.get(&GuestKey(vmid))
    }
}

/// What `restore.toml` may hold, as a JSON schema.
#[cfg(feature = "schema")]
pub fn schema() -> schemars::Schema {
    schemars::SchemaGenerator::new(schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    }))
    .into_root_schema_for::<Overrides>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::homelab::Asks;

    fn parse(text: &str) -> Result<Overrides, String> {
        Overrides::parse(Path::new("restore.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_read() {
        let overrides = parse(
            "[environments.\"my lab\"]\naddress = \"fe80::1\"\nnode = \"pve2\"\nssh_user = \"admin\"\nssh_port = 2222\n\
             storage = \"nas\"\ntfvars_dir = \"tf/lab\"\nbucket = \"b\"\n[s3]\nendpoint = \"http://s3\"\nca = \"ca.pem\"\n[guests.101]\naddress = \"10.0.0.1\"\nports = [22, 80]\n\
             ssh_port = 2222\nping = true\nwait = 300\n[[guests.101.checks]]\nport = 80\n\
             [monitoring]\naddress = \"10.0.0.2\"\nssh_user = \"debian\"\nssh_port = 24\nprometheus = \"https://p\"\nca = \"m.pem\"\n\
             alertmanager = \"https://a\"\ngrafana = \"https://g\"\ngrafana_user = \"op\"\ninsecure = true\n\
             [prove]\nports = [443]\nssh_port = 23\nping = false\nwait = 60\n[drill]\nlast = 9909\nstorage = \"scratch\"\n",
        )
        .unwrap();
        let monitoring = &overrides.monitoring;
        assert_eq!((monitoring.ssh_port, monitoring.insecure), (Some(24), true));
        assert_eq!(monitoring.grafana_user.as_deref(), Some("op"));
        let lab = &overrides.environments["my lab"];
        assert_eq!(lab.address.as_deref(), Some("fe80::1"));
        assert_eq!(lab.node.as_ref().map(NodeName::as_str), Some("pve2"));
        assert_eq!((lab.ssh_user.as_deref(), lab.ssh_port), (Some("admin"), Some(2222)));
        assert_eq!(lab.storage.as_ref().map(StorageId::as_str), Some("nas"));
        assert_eq!(lab.tfvars_dir.as_deref(), Some(Path::new("tf/lab")));
        let guest = overrides.guest("101".parse().unwrap()).unwrap();
        assert_eq!(guest.address.as_deref(), Some("10.0.0.1"));
        assert_eq!(guest.ports, Some(vec![22, 80]));
        assert_eq!((guest.ssh_port, guest.ping, guest.wait), (Some(2222), Some(true), Some(300)));
        assert_eq!(guest.checks[0].asks, Asks::Port(80));
        assert_eq!(overrides.prove, Prove { ports: vec![443], ssh_port: 23, ping: false, wait: 60 });
        assert_eq!(overrides.drill, Drill { numbers: 9900..=9909, storage: "scratch".parse().ok() });
    }

    #[test]
    fn an_empty_file_leaves_the_defaults() {
        let overrides = parse("").unwrap();
        assert_eq!(overrides.prove, Prove { ports: vec![22], ssh_port: 22, ping: true, wait: 120 });
        assert_eq!(overrides.guest("101".parse().unwrap()), None);
        assert_eq!(overrides.drill.numbers, 9900..=9999);
    }

    #[rstest::rstest]
    #[case(
        "[prove]\nport = [22]\n",
        "restore.toml:2:1: unknown field `port`, expected one of `ports`, `ssh_port`, `ping`, `wait`"
    )]
    #[case(
        "[guests.101]\nwait = 9\n[[guests.101.checks]]\nport = 80\n[[guests.101.checks]]\nhtp = \"x\"\n",
        "restore.toml:6:1: unknown field `htp`, expected one of `name`, `port`, `http`, `status`, `text`, `insecure`, `command`, `within`"
    )]
    #[case(
        "[[guests.101.checks]]\nport = 80\n\n  [[guests.101.checks]]\n  port = 81\n  text = \"ok\"\n",
        "restore.toml:4:3: `text` says what `http` has to answer, and this check has no `http`"
    )]
    #[case(
        "[[guests.101.checks]]\ncommand = [\"a\", 7]\n",
        "restore.toml:2:17: invalid type: integer `7`, expected a string"
    )]
    #[case("[[guests.101.checks]]\nport = 1\nport = 2\n", "restore.toml:3:1: duplicate key")]
    #[case("[guests.101]\nchecks = 3\n", "restore.toml:2:10: invalid type: integer `3`, expected a sequence")]
    #[case(
        "[environment.lab]\n",
        "restore.toml:1:2: unknown field `environment`, expected one of `environments`, `guests`, `prove`, `s3`, `monitoring`, `drill`"
    )]
    #[case(
        "[guests.99]\nports = []\n",
        "restore.toml:1:9: `99` is not a VMID: a VMID is between 100 and 999999999"
    )]
    #[case(
        "[environments.lab]\nnode = \"a b\"\n",
        "restore.toml:2:8: `a b` is not a node name: letters, digits and hyphens only"
    )]
    #[case(
        "[drill]\nfirst = 9950\nlast = 9940\n",
        "restore.toml:1:1: `first` to `last` is 9950 to 9940, which is no range of VMIDs"
    )]
    #[case(
        "[drill]\nfirst = 10000\n",
        "restore.toml:1:1: `first` to `last` is 10000 to 9999, which is no range of VMIDs"
    )]
    #[case("[prove]\nwait = \"long\"\n", "restore.toml:2:8: invalid type: string \"long\", expected u64")]
    fn a_mistake_is_named_with_its_place(#[case] text: &str, #[case] message: &str) {
        assert_eq!(parse(text).unwrap_err(), message);
    }

    #[test]
    fn a_file_that_does_not_parse_is_named_with_its_place() {
        let message = parse("[prove]\nwait = = 3\n").unwrap_err();
        assert!(message.starts_with("restore.toml:2:"), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}
