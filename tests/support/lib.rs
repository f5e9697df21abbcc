//! What several test files share.

pub mod hostile_server;
pub mod process;
