//! `restore-tfstate` with a real Terraform, against the lab's S3 server and a real MinIO.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

mod fallback;
mod history;
mod locks;
mod refusals;
mod secrets;
mod servers;
