//! A homelab in a box.

pub mod sim;
