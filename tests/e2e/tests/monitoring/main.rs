//! `rebuild-monitoring`, with the real Prometheus and Alertmanager on the monitoring VM of a lab.

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]
#![allow(clippy::unwrap_used, reason = "a test may end that way")]

mod ground;
mod proof;
mod rebuild;
mod restore;
mod which;
