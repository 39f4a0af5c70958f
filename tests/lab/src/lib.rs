//! A homelab in a box.
//!
//! * [`sim`]: a Proxmox VE node whose state is files in the real formats, as strict and as cruel as the real one
//! * [`guest`]: a VM from inside
//! * [`ssh`]: SSH servers in front of it
//! * [`lab`]: a whole homelab on loopback, for tests, the demo and rehearsals
//! * [`link`]: a long way to any of its servers
//! * [`homelab`]: a lab whose monitoring environment Terraform made: MinIO in a container, and a monitoring VM
//! * [`monitoring`]: what answers on its monitoring VM
//! * [`s3`]: S3 servers, one that can be broken and a real MinIO
//! * [`secrets`]: what is searched for in everything that was written, when a lab ends
//! * [`terraform`]: a Terraform project that keeps its state in one

pub mod guest;
pub mod sim;

#[cfg(all(feature = "s3", feature = "server"))]
pub mod homelab;
#[cfg(feature = "s3")]
mod installed;
#[cfg(feature = "server")]
pub mod lab;
#[cfg(feature = "server")]
pub mod link;
#[cfg(feature = "server")]
pub mod monitoring;
#[cfg(feature = "s3")]
pub mod project;
#[cfg(feature = "s3")]
pub mod s3;
#[cfg(feature = "s3")]
pub mod secrets;
#[cfg(feature = "server")]
pub mod ssh;
#[cfg(feature = "s3")]
pub mod terraform;
#[cfg(feature = "s3")]
mod tls;
