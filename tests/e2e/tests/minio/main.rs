//! `rebuild-minio` in a homelab whose MinIO was made by the real Terraform.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod diagnosis;
mod healthy;
mod lost;
mod rebuild;
mod refusals;
mod restore;
mod scene;
mod secrets;
mod servers;
mod traps;
