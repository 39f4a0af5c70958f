//! The monitoring stack, back from its backup or made anew, and proven service by service.
//!
//! [`claims`] finds its guest, [`restore`] brings that back with the library of `restore-vm`, [`rebuild`] has Terraform
//! make it anew, and [`proof`] puts the proof of [`restore_common::monitoring`] behind either.

pub mod app;
pub mod args;
pub mod claims;
pub mod proof;
pub mod rebuild;
pub mod recover;
pub mod restore;
pub mod site;
pub mod state;
pub mod steps;
