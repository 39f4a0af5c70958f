//! The monitoring stack, back from its backup or made anew, and proven service by service.
//!
//! The way is that of every stack ([`rebuild_stack`]); [`stack`] says what is particular about this one, and puts the proof
//! of [`restore_common::monitoring`] behind it.

pub mod args;
pub mod stack;
