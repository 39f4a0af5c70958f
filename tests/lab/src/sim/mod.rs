//! The simulated PVE node.

pub mod clock;
pub mod compress;
pub mod tool;
pub mod vma;
