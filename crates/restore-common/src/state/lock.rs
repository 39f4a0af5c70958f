//! The lock on a state in S3, as Terraform takes it: an object beside the state that can only be made where none is.
//!
//! Source: Terraform and OpenTofu from 1.10 on, `use_lockfile` of the backend `s3`: the object `KEY.tflock` holds the
//! same JSON as any lock, is written with `If-None-Match: *` and removed afterwards.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    s3::{Bucket, Condition, S3Error, Trouble},
    ui::{format, sanitize},
};

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub struct LockInfo {
    /// Tells one lock from another; `force-unlock` asks for it.
    #[serde(rename = "ID")]
    pub id: String,
    /// What the holder does: `OperationTypeApply`.
    pub operation: String,
    /// Anything else it said.
    pub info: String,
    /// `user@host`.
    pub who: String,
    /// The version of the program.
    pub version: String,
    /// Since when, RFC 3339.
    pub created: String,
    /// Of what: `bucket/key`.
    pub path: String,
}

/// How an attempt to take a lock ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    /// It is ours. `honoured`: the server refuses a second one, so others are kept out.
    Taken {
        /// Whether a second attempt was refused, as it must be.
        honoured: bool,
    },
    /// Somebody else has it.
    Held(LockInfo),
}

/// How long an object of a lock that went away meanwhile is asked for again.
const TRIES: usize = 3;

impl LockInfo {
    /// A lock of this program's own, from now on.
    pub fn new(id: String, who: String, version: &str, bucket: &str, key: &str) -> Self {
        Self {
            id,
            operation: "restore-tfstate".to_owned(),
            info: String::new(),
            who,
            version: version.to_owned(),
            created: jiff::Timestamp::now().to_string(),
            path: format!("{bucket}/{key}"),
        }
    }

    /// Who holds it, on what, and since when, harmless to show.
    pub fn describe(&self, now: jiff::Timestamp) -> String {
        let since = match self.created.parse::<jiff::Timestamp>() {
            Ok(created) => format::age(created.as_second(), now.as_second()),
            Err(_) => "at an unknown time".to_owned(),
        };
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        let (who, operation) = (or(&self.who, "somebody"), or(&self.operation, "an unknown operation"));
        sanitize(&format!("{who}, for {operation}, taken {since} (lock {})", or(&self.id, "without an ID")))
            .into_owned()
    }

    /// Whether nobody takes that long: an apply may have been killed.
    pub fn is_old(&self, now: jiff::Timestamp) -> bool {
        let created = self.created.parse::<jiff::Timestamp>();
        created.is_ok_and(|created| now.duration_since(created).unsigned_abs() > Duration::from_secs(3600))
    }
}

/// The key of the lock of a state.
pub fn lock_key(key: &str) -> String {
    format!("{key}.tflock")
}

/// Who holds the lock of a state, if anybody does.
pub fn holder(bucket: &Bucket, key: &str) -> Result<Option<LockInfo>, S3Error> {
    match bucket.get(&lock_key(key), None) {
        // A lock that cannot be read is one all the same.
        Ok(object) => Ok(Some(serde_json::from_slice(&object.bytes).unwrap_or_default())),
        Err(error) if error.trouble == Trouble::NoObject => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the lock of a state. One of the same ID is taken again, so that work that was cut off can go on.
pub fn take(bucket: &Bucket, key: &str, lock: &LockInfo) -> Result<Locked, S3Error> {
    let bytes = serde_json::to_vec(lock).unwrap_or_default();
    let put = |condition| bucket.put(&lock_key(key), &bytes, condition).map(drop);
    for _ in 0..TRIES {
        match holder(bucket, key)? {
            Some(held) if held.id == lock.id => {
                return Ok(Locked::Taken { honoured: honoured(put(Condition::Absent))? });
            }
            Some(held) => return Ok(Locked::Held(held)),
            None => {}
        }
        match put(Condition::Absent) {
            Ok(()) => match honoured(put(Condition::Absent)) {
                Ok(honoured) => return Ok(Locked::Taken { honoured }),
                // Whoever asked for the lock believes that it has none, so it must not stay. Where that fails as well, the
                // next one is told who holds it.
                Err(error) => {
                    drop(release(bucket, key, &lock.id));
                    return Err(error);
                }
            },
            // Somebody was faster, and may be gone again by now.
            Err(error) if error.trouble == Trouble::ConditionFailed => {}
            Err(error) if error.trouble == Trouble::NotImplemented => {
                put(Condition::None)?;
                return Ok(Locked::Taken { honoured: false });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Locked::Held(holder(bucket, key)?.unwrap_or_default()))
}

/// The probe: the same lock a second time. A server that honours conditions refuses it; one that does not replaces the
/// lock by itself, which harms nobody.
fn honoured(second: Result<(), S3Error>) -> Result<bool, S3Error> {
    match second {
        Ok(()) => Ok(false),
        Err(error) if error.trouble == Trouble::ConditionFailed => Ok(true),
        Err(error) => Err(error),
    }
}

/// Gives the lock back, if it is (still) this one. `false`: it was not there, or is somebody else's by now.
pub fn release(bucket: &Bucket, key: &str, id: &str) -> Result<bool, S3Error> {
    match holder(bucket, key)? {
        Some(held) if held.id == id => bucket.delete(&lock_key(key)).map(|()| true),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_terraform_is_read_and_described() {
        let text = r#"{"ID":"a-b","Operation":"OperationTypeApply","Info":"","Who":"ops@desk\u001b[31m","Version":"1.11.4","Created":"2026-01-30T01:00:00.5Z","Path":"b/k"}"#;
        let lock: LockInfo = serde_json::from_str(text).unwrap();
        let now: jiff::Timestamp = "2026-01-30T03:00:00Z".parse().unwrap();
        let words = lock.describe(now);
        assert!(
            words.starts_with("ops@desk") && words.contains("OperationTypeApply") && words.contains("2 h"),
            "{words}"
        );
        assert!(!words.contains('\u{1b}'), "{words}");
        assert!(lock.is_old(now));
        assert!(!lock.is_old("2026-01-30T01:10:00Z".parse().unwrap()));
        let unknown = LockInfo::default().describe(now);
        assert!(unknown.contains("somebody") && unknown.contains("unknown time"), "{unknown}");
    }

    #[test]
    fn our_own_lock_is_what_terraform_reads() {
        let lock = LockInfo::new("id".into(), "me@here".into(), "0.1.0", "bucket", "key");
        let value = serde_json::to_value(&lock).unwrap();
        for key in ["ID", "Operation", "Info", "Who", "Version", "Created", "Path"] {
            assert!(value[key].is_string(), "{key} in {value}");
        }
        assert_eq!(value["Path"], "bucket/key");
    }
}
