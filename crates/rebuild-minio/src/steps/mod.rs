//! The steps.

pub mod apply;
pub mod aside;
pub mod lifted;
pub mod server;
pub mod start;
pub mod states;
