//! Running commands on a node.
//!
//! A [`Command`] is a value: words, an effect, a limit. It is quoted in one place (`command`) and run by a
//! [`Host`]. A [`ReadOnly`] host refuses everything that is not declared [`Effect::Read`], which is what makes a
//! dry run harmless by construction. What changes something runs as a [`Job`]: detached on the node, exactly once, its
//! output and exit status in files, followed by offset.
//!
//! [`SshHost`] is a node, [`LocalHost`] the operator's own machine. An `SshHost` trusts only host keys that are known, and puts several commands
//! into one remote execution (`batch`), because each execution costs a round trip and each `pvesh` a second.

mod auth;
mod batch;
mod claim;
mod command;
mod config;
mod connect;
mod connection;
mod error;
mod host;
mod job;
mod known_hosts;
mod lines;
mod local;
mod login;
mod patience;
mod pattern;
mod shell;
mod ssh;

pub use claim::{HELD, claim_command, claim_path};
pub use command::{Command, Effect};
pub use error::{CommandFailed, HostError};
pub use host::{Ending, Host, Job, JobEnd, JobState, Output, ReadOnly, RunId};
pub use local::LocalHost;
pub use ssh::{AtHand, SshEnv, SshHost, SshTarget, at_hand};
