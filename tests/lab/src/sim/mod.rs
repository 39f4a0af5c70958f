//! The simulated PVE node.

pub mod compress;
pub mod tool;
pub mod vma;
