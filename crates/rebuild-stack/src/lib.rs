//! A stack, back from its backup or made anew, and proven service by service.
//!
//! A stack is a VM that one module of the Terraform project makes, with services that answer in the network. A program
//! says in a [`Stack`] which one it is about; [`run`] does the rest: [`claims`] finds its guest, [`restore`] brings that
//! back with the library of `restore-vm`, [`rebuild`] has Terraform make it anew, and [`proof`] puts the proof of its
//! services behind either. [`HttpServices`] are services of which an answer by HTTP is proof enough.

pub mod app;
pub mod args;
pub mod claims;
mod http;
pub mod proof;
pub mod rebuild;
pub mod recover;
pub mod restore;
pub mod site;
mod stack;
pub mod state;
pub mod steps;

pub use app::run;
pub use http::{HttpService, HttpServices};
pub use stack::{About, Place, Services, Stack};
