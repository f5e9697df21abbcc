//! The command-line vectors, judged by the script that comes with them.

use std::path::Path;
use std::process::Command;

#[test]
fn every_vector_of_the_command_line_passes() {
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/vectors/judge_cli.py");
    // Where there is no python3, nobody can judge.
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    let output = Command::new("python3").arg(judge).arg(env!("CARGO_BIN_EXE_portcullis")).arg("--strict").output();
    let output = output.expect("the judge starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("81 passed, 0 failed"), "{said}");
}
