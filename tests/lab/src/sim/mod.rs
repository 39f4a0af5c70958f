//! The simulated PVE node.
