//! What a store remembers of this process.

/// This machine's name.
pub(crate) fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| "unknown host".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// This program's file name.
pub(crate) fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
