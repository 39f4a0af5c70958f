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

use std::{net::SocketAddr, path::PathBuf};

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where it listens; port 0 is one that the system chooses.
    pub address: SocketAddr,
    /// Its host key.
    pub host_key: KeyPair,
    /// The only user that it accepts.
    pub user: String,
    /// The only client key that it accepts, as a line of `authorized_keys`.
    pub client_key: String,
    /// `pve-sim`.
    pub simulator: PathBuf,
    /// What `pve-sim shell` is told about the machine behind the server.
    pub variables: Vec<(&'static str, String)>,
}
