//! Key pairs of a lab, in OpenSSH's format.

use std::{fs::File, io, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use russh::keys::{
    PrivateKey,
    ssh_key::{LineEnding, private::Ed25519Keypair},
};

/// An Ed25519 key pair.
#[derive(Clone, Debug)]
pub struct KeyPair {
    key: PrivateKey,
}

impl KeyPair {
    /// A new pair, made of the system's randomness.
    pub fn generate() -> io::Result<Self> {
        Ok(Self::from_seed(&Self::seed()?))
    }

    /// What a new pair is made of.
    pub fn seed() -> io::Result<[u8; 32]> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(seed)
    }

    /// The pair that is made of this.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: PrivateKey::from(Ed25519Keypair::from_seed(seed)) }
    }

    /// The key itself.
    pub fn private(&self) -> &PrivateKey {
        &self.key
    }

    /// `ssh-ed25519 AAAA…`, as `authorized_keys` and `known_hosts` hold it.
    pub fn public_line(&self) -> io::Result<String> {
        self.key.public_key().to_openssh().map(|line| line.trim_end().to_owned()).map_err(io::Error::other)
    }

    /// Writes the private key for its owner alone.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = self.key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        io::Write::write_all(&mut file, text.as_bytes())
    }
}
