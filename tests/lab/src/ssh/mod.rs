//! The SSH servers in front of a simulated node: an embedded one, and a real OpenSSH where there is one.
//!
//! Both give every command to the same program, `pve-sim shell`, so that what is tested over one is tested over the
//! other. Both treat a vanished client as sshd does: the pipes to the command are closed, and nothing else. A bare
//! `qmrestore` dies by its next line of output; one that was detached lives.

mod embedded;
mod keys;
mod openssh;

pub use embedded::{Act, Embedded, Moment};
pub use keys::KeyPair;
pub use openssh::OpenSsh;

use std::path::PathBuf;

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address it listens on; the port is chosen by the system.
    pub address: String,
    /// Its host key.
    pub host_key: KeyPair,
    /// The only client key that it accepts, as a line of `authorized_keys`.
    pub client_key: String,
    /// `pve-sim`.
    pub simulator: PathBuf,
    /// The node behind it.
    pub node: crate::sim::shell::ShellNode,
}
