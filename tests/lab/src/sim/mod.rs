//! The simulated PVE node.

pub mod backup_server;
pub mod cli;
pub mod clock;
pub mod compress;
pub mod journal;
pub mod node;
pub mod scenario;
pub mod shell;
pub mod tool;
pub mod vma;
pub mod vzdump;

mod addresses;
mod args;
mod content;
mod dispatch;
mod extract;
mod fault;
pub(crate) mod ha;
pub(crate) mod pct;
mod pct_restore;
mod prune;
mod pvesh;
mod pvesm;
mod qm;
mod qmrestore;
mod rescan;
mod storages;

pub use args::Parsed;
pub use dispatch::run;
pub use node::{Failure, GuestKind, Node, Outcome, Settings};
pub use tool::Io;
