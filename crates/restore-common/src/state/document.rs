//! Reading a state file.
//!
//! Format 4 has been that of Terraform since 0.12 and is OpenTofu's as well; see `internal/states/statefile/version4.go`
//! of either. An encrypted state of OpenTofu keeps serial and lineage in the open.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// The newest format that is understood.
const FORMAT: u64 = 4;

/// What a state says about itself, without what it holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Summary {
    /// Goes up with every change.
    pub serial: u64,
    /// Tells one history of states from another.
    pub lineage: String,
    /// The version that wrote it; `None` when it is encrypted.
    pub terraform_version: Option<String>,
    /// Whether it is encrypted, so that nothing more can be said about it.
    pub encrypted: bool,
}

/// The resource instances and outputs of a state: address → digest of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Instances of managed resources: `module.a.terraform_data.b["c"]`.
    pub instances: BTreeMap<String, [u8; 16]>,
    /// Outputs of the root module.
    pub outputs: BTreeMap<String, [u8; 16]>,
}

/// A state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it says about itself.
    pub summary: Summary,
    /// What it holds; `None` when it is encrypted.
    pub resources: Option<Resources>,
}

/// Why something is not a state that can be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// No bytes at all.
    #[error("it is empty")]
    Empty,
    /// Not JSON, from this line and column on.
    #[error("it is not JSON (line {0}, column {1})")]
    NotJson(usize, usize),
    /// JSON, but not an object that looks like a state.
    #[error("it is not a Terraform state: {0}")]
    NotAState(String),
    /// Another format than 4.
    #[error("its format is {0}; Terraform from 0.12 on writes {FORMAT}")]
    Format(u64),
}

impl StateError {
    /// The same in a word or two, for a table.
    pub fn mark(&self) -> String {
        match self {
            Self::Empty => "empty".to_owned(),
            Self::NotJson(..) => "not JSON".to_owned(),
            Self::NotAState(_) => "not a state".to_owned(),
            Self::Format(format) => format!("format {format}"),
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    version: Option<u64>,
    serial: Option<u64>,
    lineage: Option<String>,
    terraform_version: Option<String>,
    #[serde(borrow)]
    encrypted_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    outputs: BTreeMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, default)]
    resources: Vec<Resource<'a>>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    module: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mode: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    instances: Vec<Instance<'a>>,
}

#[derive(Deserialize)]
struct Instance<'a> {
    index_key: Option<serde_json::Value>,
    #[serde(borrow)]
    deposed: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow)]
    attributes_flat: Option<&'a RawValue>,
}

impl Document {
    /// Reads a state.
    pub fn parse(bytes: &[u8]) -> Result<Self, StateError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(StateError::Empty);
        }
        // The parser's own words quote nothing of the text but its place.
        let not_a_state = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            if error.is_data() {
                StateError::NotAState(format!("an unexpected shape at line {line}, column {column}"))
            } else {
                StateError::NotJson(line, column)
            }
        };
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(not_a_state)?;
        let encrypted = envelope.encrypted_data.is_some();
        match envelope.version {
            Some(FORMAT) => {}
            Some(other) => return Err(StateError::Format(other)),
            // An encrypted state has no format of its own outside.
            None if encrypted => {}
            None => return Err(StateError::NotAState("no `version`".to_owned())),
        }
        let absent = |key: &str| StateError::NotAState(format!("no `{key}`"));
        Ok(Self {
            summary: Summary {
                serial: envelope.serial.ok_or_else(|| absent("serial"))?,
                lineage: envelope.lineage.clone().ok_or_else(|| absent("lineage"))?,
                terraform_version: envelope.terraform_version.clone(),
                encrypted,
            },
            resources: (!encrypted).then(|| resources(&envelope)),
        })
    }

    /// How many instances of managed resources it holds.
    pub fn instance_count(&self) -> Option<usize> {
        self.resources.as_ref().map(|resources| resources.instances.len())
    }

    /// The same state with another serial, everything else byte for byte.
    ///
    /// An encrypted state keeps its serial in the open and inside; what is outside is not checked against it, but a
    /// changed one might be, so it is refused.
    pub fn with_serial(bytes: &[u8], serial: u64) -> Result<Vec<u8>, StateError> {
        let document = Self::parse(bytes)?;
        if document.summary.encrypted {
            return Err(StateError::NotAState("it is encrypted, so its serial cannot be changed".to_owned()));
        }
        let (start, end) =
            serial_span(bytes).ok_or_else(|| StateError::NotAState("no `serial`".to_owned()))?;
        let mut changed = bytes[..start].to_vec();
        changed.extend_from_slice(serial.to_string().as_bytes());
        changed.extend_from_slice(&bytes[end..]);
        match Self::parse(&changed)? {
            again if again.summary.serial == serial && again.resources == document.resources => Ok(changed),
            _ => Err(StateError::NotAState("its serial is not where it should be".to_owned())),
        }
    }
}

/// Where the number of the top-level `serial` is.
fn serial_span(bytes: &[u8]) -> Option<(usize, usize)> {
    #[derive(Deserialize)]
    struct Serial<'a> {
        #[serde(borrow)]
        serial: &'a RawValue,
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let number = serde_json::from_str::<Serial<'_>>(text).ok()?.serial.get();
    // It borrows from the text, so the distance is its place.
    let start = number.as_ptr() as usize - text.as_ptr() as usize;
    Some((start, start + number.len()))
}

fn resources(envelope: &Envelope<'_>) -> Resources {
    let mut instances = BTreeMap::new();
    for resource in envelope.resources.iter().filter(|resource| resource.mode == "managed") {
        for instance in &resource.instances {
            instances.insert(address(resource, instance), instance.digest());
        }
    }
    let outputs = envelope.outputs.iter();
    let outputs = outputs.map(|(name, value)| (name.clone().into_owned(), digest([value.get()]))).collect();
    Resources { instances, outputs }
}

fn address(resource: &Resource<'_>, instance: &Instance<'_>) -> String {
    struct Address<'a>(&'a Resource<'a>, &'a Instance<'a>);
    impl fmt::Display for Address<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self(resource, instance) = self;
            if let Some(module) = &resource.module {
                write!(f, "{module}.")?;
            }
            write!(f, "{}.{}", resource.kind, resource.name)?;
            if let Some(key) = &instance.index_key {
                // A text stands in quotes, a number does not: as JSON writes them.
                write!(f, "[{key}]")?;
            }
            match &instance.deposed {
                Some(key) if !key.is_empty() => write!(f, " (deposed {key})"),
                _ => Ok(()),
            }
        }
    }
    Address(resource, instance).to_string()
}

impl Instance<'_> {
    fn digest(&self) -> [u8; 16] {
        let value = |value: Option<&RawValue>| value.map_or("", RawValue::get).to_owned();
        let status = self.status.as_deref().unwrap_or_default();
        digest([value(self.attributes).as_str(), value(self.attributes_flat).as_str(), status])
    }
}

/// Of JSON texts, whatever the white space between their tokens.
fn digest<'a>(texts: impl IntoIterator<Item = &'a str>) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for text in texts {
        let mut quoted = false;
        let mut escaped = false;
        for line in text.as_bytes().split_inclusive(|byte| *byte == b'\n') {
            let kept: Vec<u8> = line
                .iter()
                .copied()
                .filter(|byte| {
                    let inside = quoted;
                    match byte {
                        b'"' if !escaped => quoted = !quoted,
                        _ => {}
                    }
                    escaped = inside && *byte == b'\\' && !escaped;
                    inside || !byte.is_ascii_whitespace()
                })
                .collect();
            hasher.update(kept);
        }
        hasher.update([0]);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{
  "version": 4,
  "terraform_version": "1.11.4",
  "serial": 7,
  "lineage": "3f2b1c5e-aaaa-bbbb-cccc-0123456789ab",
  "outputs": {"release": {"value": "3", "type": "string"}},
  "resources": [
    {"mode": "data", "type": "http", "name": "ip", "provider": "p", "instances": [{"attributes": {"a": 1}}]},
    {"module": "module.minio", "mode": "managed", "type": "terraform_data", "name": "slot", "provider": "p",
     "instances": [{"index_key": "a\"b", "attributes": {"input": "serial\": 9"}},
                   {"index_key": 1, "attributes": {"input": "y"}, "deposed": "00000001"}]},
    {"mode": "managed", "type": "terraform_data", "name": "one", "provider": "p",
     "instances": [{"schema_version": 0, "attributes": {"input": "x", "nested": {"serial": 3}}}]}
  ],
  "check_results": null
}
"#;

    #[test]
    fn a_state_tells_about_itself_and_its_resources() {
        let state = Document::parse(STATE.as_bytes()).unwrap();
        assert_eq!(state.summary.serial, 7);
        assert_eq!(state.summary.lineage, "3f2b1c5e-aaaa-bbbb-cccc-0123456789ab");
        assert_eq!(state.summary.terraform_version.as_deref(), Some("1.11.4"));
        let resources = state.resources.as_ref().unwrap();
        let addresses: Vec<_> = resources.instances.keys().map(String::as_str).collect();
        assert_eq!(
            addresses,
            [
                r#"module.minio.terraform_data.slot["a\"b"]"#,
                "module.minio.terraform_data.slot[1] (deposed 00000001)",
                "terraform_data.one",
            ]
        );
        assert_eq!(resources.outputs.len(), 1);
        assert_eq!(state.instance_count(), Some(3));
    }

    #[test]
    fn white_space_is_no_difference_but_a_blank_in_a_value_is() {
        let compact: serde_json::Value = serde_json::from_str(STATE).unwrap();
        let parse = |text: &str| Document::parse(text.as_bytes()).unwrap();
        // The order of keys is that of Terraform in both; `Value` sorts, and so do these texts.
        let pretty = serde_json::to_string_pretty(&compact).unwrap();
        assert_eq!(parse(&compact.to_string()), parse(&pretty));
        let changed = STATE.replace("\"input\": \"x\"", "\"input\": \"x \"");
        assert_ne!(parse(&changed).resources, parse(STATE).resources);
        let tainted = STATE.replace("{\"schema_version\": 0,", "{\"status\": \"tainted\",");
        assert_ne!(parse(&tainted).resources, parse(STATE).resources);
    }

    #[test]
    fn another_serial_is_the_only_difference() {
        let changed = Document::with_serial(STATE.as_bytes(), 1234).unwrap();
        assert_eq!(String::from_utf8(changed).unwrap(), STATE.replace("\"serial\": 7", "\"serial\": 1234"));
    }

    #[test]
    fn an_encrypted_state_is_opaque() {
        let text = r#"{"serial":3,"lineage":"l-1","meta":{"key_provider.pbkdf2.k":"e30="},"encrypted_data":"c2VjcmV0","encryption_version":"v0"}"#;
        let state = Document::parse(text.as_bytes()).unwrap();
        assert!(state.summary.encrypted && state.resources.is_none());
        assert_eq!((state.summary.serial, state.summary.lineage.as_str()), (3, "l-1"));
        let refused = Document::with_serial(text.as_bytes(), 9).unwrap_err().to_string();
        assert!(refused.contains("encrypted"), "{refused}");
    }

    #[rstest::rstest]
    #[case("", "it is empty")]
    #[case(" \n", "it is empty")]
    #[case("<html>", "it is not JSON (line 1, column 1)")]
    #[case("{\"version\": 4, \"serial\": ", "it is not JSON (line 1, column 25)")]
    #[case("[]", "it is not a Terraform state: an unexpected shape at line 1, column 2")]
    #[case("{}", "it is not a Terraform state: no `version`")]
    #[case("{\"version\": 4}", "it is not a Terraform state: no `serial`")]
    #[case("{\"version\": 4, \"serial\": 1}", "it is not a Terraform state: no `lineage`")]
    #[case(
        "{\"version\": 5, \"serial\": 1, \"lineage\": \"l\"}",
        "its format is 5; Terraform from 0.12 on writes 4"
    )]
    fn what_is_no_state_is_told(#[case] text: &str, #[case] message: &str) {
        assert_eq!(Document::parse(text.as_bytes()).unwrap_err().to_string(), message);
    }
}
