//! A Terraform state as a document: what it says about itself, what it holds, and how two of them differ.
//!
//! A state holds secrets in clear text. Nothing of this module shows a value of a resource: addresses are shown, values
//! are compared by their digests.

mod cache;
mod diff;
mod document;
mod history;
mod lock;

pub use cache::{Cache, CacheError, Cached, file_name};
pub use diff::{Change, Diff};
pub use document::{Document, Resources, StateError, Summary};
pub use history::{Content, Entry, at_once, read as read_history, versions};
pub use lock::{LockInfo, Locked, holder, lock_key, release, take};
