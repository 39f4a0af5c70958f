//! What every recovery program shares.
//!
//! * [`archive`]: what is in a backup, read to its end without any program of a node
//! * [`cli`]: options that every program has
//! * [`contact`]: the connections of a run, one a node
//! * [`homelab`]: what we know of the infrastructure, from the project's files
//! * [`interrupt`]: Ctrl-C as a wish that work polls
//! * [`ledger`]: what was verified before, and what a drill proved
//! * [`monitoring`]: whether the monitoring stack works
//! * [`private`]: folders and files on this machine that nobody else can have written
//! * [`probe`]: whether something answers, and waiting until it does
//! * [`procedure`]: look → plan → confirm → do → prove → report, written once
//! * [`pve`]: what a node tells, typed
//! * [`remote`]: running a command on a node: commands as values, hosts, jobs that outlive the connection
//! * [`s3`]: a versioned bucket
//! * [`state`]: a Terraform state as a document, its lock, its history, and the copies of it on this machine
//! * [`terraform`]: Terraform or OpenTofu as a program
//! * [`ui`]: what the operator sees and is asked

pub mod archive;
pub mod cli;
pub mod contact;
pub mod homelab;
pub mod interrupt;
pub mod ledger;
pub mod monitoring;
pub mod private;
pub mod probe;
pub mod procedure;
pub mod pve;
pub mod remote;
pub mod s3;
pub mod state;
pub mod terraform;
pub mod ui;
