//! A homelab in a box.
//!
//! * [`sim`]: a Proxmox VE node whose state is files in the real formats, as strict and as cruel as the real one
//! * [`ssh`]: SSH servers in front of it
//! * [`lab`]: a whole homelab on loopback, for tests, the demo and rehearsals

pub mod sim;

#[cfg(feature = "server")]
pub mod lab;
#[cfg(feature = "server")]
pub mod ssh;
