//! What a builder that is killed leaves of a secret: nothing. By the finished program and whatever runtime it finds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const SECRET: &str = "a-secret-of-27-letters-here";

const DOCKERFILE: &str = r#"FROM scratch
COPY busybox /busybox
RUN --network=none --mount=type=secret,id=s,env=TOKEN --mount=type=secret,id=s \
    ["/busybox", "sh", "-c", "echo ready-${#TOKEN}; exec /busybox sleep 60"]
"#;

#[test]
fn a_secret_is_on_no_disk_while_a_step_has_it() {
    let place = tempfile::tempdir().unwrap();
    let (context, store) = (place.path().join("context"), place.path().join("store"));
    fs::create_dir(&context).unwrap();
    if let Err(error) = fs::copy("/bin/busybox", context.join("busybox")) {
        println!("not run: copy /bin/busybox: {error}");
        return;
    }
    fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
    let mut builder = Command::new(env!("CARGO_BIN_EXE_builder"))
        .arg("--store")
        .arg(&store)
        .args(["build", "--progress", "plain", "--secret", "id=s,env=SECRET"])
        .arg(&context)
        .env("SECRET", SECRET)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(builder.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    let ready = lines.inspect(|line| said.push(line.clone())).any(|line| line.ends_with("ready-27"));
    let found = if ready { holders(&store) } else { Vec::new() };
    // It may have ended already.
    drop(builder.kill());
    builder.wait().unwrap();
    if !ready {
        println!("not run: {}", said.join("\n"));
        return;
    }
    assert_eq!(found, Vec::<String>::new());
    // The builder's mounts went with it: what they showed is nowhere else.
    assert_eq!(holders(&store), Vec::<String>::new());
}

/// The files on the disk of `directory` that have the secret in them.
fn holders(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // What a step removes meanwhile has not stayed.
        let Ok(kind) = fs::symlink_metadata(&path) else { continue };
        if kind.is_dir() {
            found.extend(holders(&path));
        } else if kind.is_file() && contains(&fs::read(&path).unwrap_or_default()) {
            found.push(path.display().to_string());
        }
    }
    found
}

fn contains(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}
