//! S3 servers on loopback: an embedded one that can be broken in every way, and a real MinIO where there is one.
//!
//! Both are an [`S3Server`], so that what is tested against one is tested against the other.

mod checks;
mod client;
mod embedded;
mod faults;
mod listing;
mod minio;
mod port;
mod refusals;
mod service;
mod store;

pub use client::{Answer, Client, Version};
pub use embedded::Embedded;
pub use faults::{Fault, Seen};
pub use minio::MinIo;

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

/// What a client logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub access_key: String,
    /// The password. It should appear nowhere.
    pub secret_key: String,
}

impl Default for Credentials {
    fn default() -> Self {
        let (access_key, secret_key) = ("homelab".to_owned(), "canary-s3-7c1f09e2b6".to_owned());
        Self { access_key, secret_key }
    }
}

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address it listens on.
    pub address: IpAddr,
    /// The port; 0 for one that is free.
    pub port: u16,
    /// Whether it speaks https, with a certificate of the lab's own authority.
    pub tls: bool,
    /// Where it keeps its data; without it a folder that is gone with the server.
    pub folder: Option<PathBuf>,
    /// Of its only user.
    pub credentials: Credentials,
}

impl Default for Options {
    fn default() -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { address, port: 0, tls: false, folder: None, credentials: Credentials::default() }
    }
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// In this process.
    Embedded,
    /// A real MinIO.
    MinIo,
}

impl Engine {
    /// Starts one. `None` where MinIO is not installed, which is said; in CI it is an error.
    pub fn start(self, options: &Options) -> io::Result<Option<Box<dyn S3Server>>> {
        match self {
            Self::Embedded => Ok(Some(Box::new(Embedded::start(options)?))),
            Self::MinIo if MinIo::find().is_some() => Ok(Some(Box::new(MinIo::start(options)?))),
            Self::MinIo => {
                let words = "MinIO is not installed: `cargo xtask servers` installs it";
                if std::env::var_os("CI").is_some() {
                    return Err(io::Error::new(io::ErrorKind::NotFound, words));
                }
                eprintln!("SKIPPED: {words}");
                Ok(None)
            }
        }
    }
}

/// A running server; it ends at drop.
pub trait S3Server: fmt::Debug + Send {
    /// Its address as clients want it: `http://127.0.0.1:9000`.
    fn endpoint(&self) -> String;

    /// The certificate of the authority that signed the server's, as a PEM file, with https.
    fn authority(&self) -> Option<&Path>;

    /// Of its only user.
    fn credentials(&self) -> &Credentials;

    /// Ends it as a SIGKILL does. From now on connections are refused.
    fn stop(&mut self) -> io::Result<()>;

    /// Starts it again, on the same port with the same data.
    fn start_again(&mut self) -> io::Result<()>;

    /// A client that is logged in.
    fn client(&self) -> io::Result<Client> {
        Client::new(&self.endpoint(), self.credentials().clone(), self.authority())
    }
}

impl S3Server for Box<dyn S3Server> {
    fn endpoint(&self) -> String {
        (**self).endpoint()
    }

    fn authority(&self) -> Option<&Path> {
        (**self).authority()
    }

    fn credentials(&self) -> &Credentials {
        (**self).credentials()
    }

    fn stop(&mut self) -> io::Result<()> {
        (**self).stop()
    }

    fn start_again(&mut self) -> io::Result<()> {
        (**self).start_again()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
