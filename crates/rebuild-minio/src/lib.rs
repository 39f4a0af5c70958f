//! From "the container with the S3 server is gone or broken" to "every environment's `terraform init` works".
//!
//! [`scene`] is what the project says, [`look`] what is there: the server, its container, every environment's state.
//! [`decide`] finds the way that changes least, [`plan`] makes the steps. Restoring a container is `restore-vm`'s, working
//! without the bucket and going back to it are `restore-tfstate`'s: their steps are taken into the plan as they are.

pub mod app;
pub mod args;
pub mod container;
pub mod decide;
pub mod install;
pub mod look;
pub mod part;
pub mod plan;
pub mod prove;
pub mod recover;
pub mod scene;
pub mod states;
pub mod steps;
pub mod work;
