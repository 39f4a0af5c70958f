//! The steps of a restore and their ways back.

pub mod archive;
pub mod excluded;
pub mod ha;
pub mod links;
pub mod power;
pub mod prove;
pub mod replace;
pub mod safety;
