//! A context that a stranger made: reading it ends, soon and with an error that names the file.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// The last line of what `check` says of the context.
fn refusal(context: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_builder")).arg("check").arg(context).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    said.replace(&context.display().to_string(), "CONTEXT").lines().last().unwrap().to_owned()
}

#[test]
fn a_dockerfile_or_an_ignore_file_that_never_ends_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    let context = place.path();
    let dockerfile = context.join("Dockerfile");
    mkfifo(&dockerfile, Mode::S_IRWXU).unwrap();
    assert_eq!(
        refusal(context),
        "builder: read CONTEXT/Dockerfile: not a regular file (name the Dockerfile with -f)"
    );
    fs::remove_file(&dockerfile).unwrap();
    symlink("/dev/zero", &dockerfile).unwrap();
    assert_eq!(
        refusal(context),
        "builder: read CONTEXT/Dockerfile: not a regular file (name the Dockerfile with -f)"
    );
    fs::remove_file(&dockerfile).unwrap();
    File::create(&dockerfile).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(
        refusal(context),
        "builder: read CONTEXT/Dockerfile: larger than 16 MiB (name the Dockerfile with -f)"
    );
    fs::write(&dockerfile, "FROM scratch\n").unwrap();
    symlink("/dev/zero", context.join(".dockerignore")).unwrap();
    assert_eq!(refusal(context), "builder: read CONTEXT/.dockerignore: not a regular file");
}
