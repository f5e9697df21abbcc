//! What must not compile, with messages that a newcomer understands, and what must.
//!
//! `TRYBUILD=overwrite` writes the messages anew. They are those of the compiler in `rust-toolchain.toml`.

#[test]
fn ui() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    cases.compile_fail("fail/*.rs");
}
