//! What a build takes of memory does not grow with its layers. Alone in its process: the peak is that of all children.

use std::fs;
use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};

const LAYER: u64 = 400 << 20;
const MOST_KIB: i64 = 150 << 10;

#[test]
fn a_layer_of_400_mib_passes_through_150() {
    let place = tempfile::tempdir().unwrap();
    let context = place.path().join("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY big /big\n").unwrap();
    fs::File::create(context.join("big")).unwrap().set_len(LAYER).unwrap();
    let build = Command::new(env!("CARGO_BIN_EXE_builder"))
        .arg("--store")
        .arg(place.path().join("store"))
        .args(["build", "--progress", "quiet"])
        .arg(&context)
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(peak < MOST_KIB, "{peak} KiB at the peak");
    assert!(peak > 1 << 10, "{peak} KiB is no builder's");
}
