//! A homelab in a box.
//!
//! * [`sim`]: a Proxmox VE node whose state is files in the real formats, as strict and as cruel as the real one
//! * [`ssh`]: SSH servers in front of it
//! * [`lab`]: a whole homelab on loopback, for tests, the demo and rehearsals
//! * [`s3`]: S3 servers, one that can be broken and a real MinIO
//! * [`terraform`]: a Terraform project that keeps its state in one

pub mod sim;

#[cfg(feature = "s3")]
mod installed;
#[cfg(feature = "server")]
pub mod lab;
#[cfg(any(feature = "s3", feature = "server"))]
pub mod project;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "server")]
pub mod ssh;
#[cfg(feature = "s3")]
pub mod terraform;
