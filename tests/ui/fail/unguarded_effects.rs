//! What looks like an effect in an unguarded function of a guarded item is pointed at.
use portcullis::{guarded, unguarded};

#[guarded]
mod files {
    use super::*;
    use std::fs::{self, File};
    use std::process::Command;

    #[unguarded(reason = "only saves")]
    pub fn save() -> std::io::Result<()> {
        std::fs::write("a", "b")?;
        fs::remove_file("a")?;
        File::create("c")?;
        Command::new("sync").arg("-f").spawn()?;
        Ok(())
    }

    #[unguarded(reason = "a cache", effects)]
    pub fn forget() -> std::io::Result<()> {
        fs::remove_dir_all("cache")
    }
}

// Elsewhere nobody has asked.
#[unguarded(reason = "only saves")]
fn outside() -> std::io::Result<()> {
    std::fs::write("a", "b")
}

fn main() {}
