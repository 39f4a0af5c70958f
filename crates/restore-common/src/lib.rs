//! What every recovery program shares.
//!
//! * [`remote`]: running a command on a node: commands as values, hosts, jobs that outlive the connection

pub mod interrupt;
pub mod pve;
pub mod remote;
pub mod ui;
