//! The project that is opened in the editor.

use std::fs;
use std::path::{Path, PathBuf};

/// A crate of one file that depends on portcullis. The tests share it, since what is typed into it is never saved.
pub(crate) fn project(source: &str) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository");
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("editor");
    fs::create_dir_all(root.join("src")).expect("a directory");
    let manifest = format!(
        "[package]\nname = \"shop\"\nedition = \"2024\"\n\n[dependencies]\n\
         portcullis = {{ path = {:?}, default-features = false, features = [\"sqlite\"] }}\n\n[workspace]\n",
        repository.join("runtime")
    );
    write(&root.join("Cargo.toml"), &manifest);
    write(&root.join("src/lib.rs"), source);
    // The same versions as everywhere else in here.
    fs::copy(repository.join("Cargo.lock"), root.join("Cargo.lock")).expect("Cargo.lock");
    root
}

fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
