//! `restore.toml`.

use std::{
    collections::BTreeMap,
    fmt::Display,
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
#[serde(deny_unknown_fields, default)]
pub(super) struct Overrides {
    pub(super) environments: BTreeMap<String, EnvironmentOverride>,
    guests: BTreeMap<GuestKey, GuestOverride>,
    pub(super) prove: Prove,
    pub(super) s3: S3Override,
}

/// `[s3]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct S3Override {
    pub(super) endpoint: Option<String>,
    pub(super) ca: Option<PathBuf>,
}

/// `[environments.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EnvironmentOverride {
    pub(super) address: Option<String>,
    #[serde(deserialize_with = "parsed")]
    pub(super) node: Option<NodeName>,
    pub(super) ssh_user: Option<String>,
    pub(super) ssh_port: Option<u16>,
    #[serde(deserialize_with = "parsed")]
    pub(super) storage: Option<StorageId>,
    pub(super) tfvars_dir: Option<PathBuf>,
    pub(super) bucket: Option<String>,
}

/// What `restore.toml` says about one guest: `[guests.VMID]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
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
    pub checks: Vec<OwnCheck>,
}

/// How a restored guest is proven to work: `[prove]`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
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
             [prove]\nports = [443]\nssh_port = 23\nping = false\nwait = 60\n",
        )
        .unwrap();
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
    }

    #[test]
    fn an_empty_file_leaves_the_defaults() {
        let overrides = parse("").unwrap();
        assert_eq!(overrides.prove, Prove { ports: vec![22], ssh_port: 22, ping: true, wait: 120 });
        assert_eq!(overrides.guest("101".parse().unwrap()), None);
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
        "restore.toml:1:2: unknown field `environment`, expected one of `environments`, `guests`, `prove`, `s3`"
    )]
    #[case(
        "[guests.99]\nports = []\n",
        "restore.toml:1:9: `99` is not a VMID: a VMID is between 100 and 999999999"
    )]
    #[case(
        "[environments.lab]\nnode = \"a b\"\n",
        "restore.toml:2:8: `a b` is not a node name: letters, digits and hyphens only"
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
