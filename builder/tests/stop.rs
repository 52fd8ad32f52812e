//! `builder stop` and records that nobody should have written.

use std::fs::{self, File};
use std::process::Command;

#[test]
fn the_first_process_is_never_signalled() {
    let place = tempfile::tempdir().unwrap();
    for (supervisor, said) in [
        (1, "builder: stop c: its record names process 1, which no builder is\n"),
        (0, "builder: stop c: its record names process 0, which no builder is\n"),
        (u32::MAX, "builder: stop c: its record names process 4294967295, which no builder is\n"),
    ] {
        let container = place.path().join("containers/c");
        fs::create_dir_all(&container).unwrap();
        let record = serde_json::json!({
            "id": "i", "name": "c", "image": "x", "supervisor": supervisor, "ports": [], "exit_code": null,
        });
        fs::write(container.join("record.json"), record.to_string()).unwrap();
        // Held: the container counts as running.
        let lock = File::create(container.join("lock")).unwrap();
        lock.lock().unwrap();
        let stop = Command::new(env!("CARGO_BIN_EXE_builder"))
            .arg("--store")
            .arg(place.path())
            .args(["stop", "c"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(stop.stderr).unwrap(), said);
        assert_eq!(stop.status.code(), Some(1));
        assert!(stop.stdout.is_empty());
    }
}
