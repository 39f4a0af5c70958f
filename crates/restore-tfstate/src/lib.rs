//! Terraform's state, back in time and back from the dead.
//!
//! The library is what `rebuild-minio` uses as well: a [`site::Site`] is where the state of an environment is, [`list`]
//! reads its history, and [`restore`], [`fallback`] and [`home`] each look, decide and plan one piece of work that the
//! engine of `restore-common` carries out.

pub mod app;
pub mod args;
pub mod copies;
mod decided;
pub mod fallback;
pub mod home;
pub mod imports;
pub mod list;
mod pull;
pub mod recover;
pub mod restore;
pub mod select;
pub mod show;
pub mod site;
pub mod steps;
pub mod work;
