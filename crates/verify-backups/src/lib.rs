//! Know that every backup of a homelab can be restored.
//!
//! What is seen becomes [`finding::Finding`]s with a [`finding::Code`] each, in a [`report::Report`]; the exit code, the
//! table, the JSON, the metrics and the page are all made from that.

pub mod app;
pub mod args;
pub mod codes;
pub mod coverage;
pub mod deep;
pub mod drill;
pub mod finding;
pub mod local;
pub mod nodes;
pub mod quick;
pub mod ready;
pub mod report;
pub mod running;
pub mod services;
pub mod shared;
pub mod states;
