//! What deletions of layers become: of lower files only, and never by a name that leads elsewhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod place;

use std::fs;
use std::os::unix::fs::symlink;

use builder::layer::{Ownership, Unpack, Whiteouts};
use builder::sys::overlay::Attributes;
use place::{Place, Tar};

const APPLIED: Unpack = Unpack { owners: Ownership::Own, whiteouts: Whiteouts::Applied };
const OVERLAY: Unpack = Unpack { owners: Ownership::Own, whiteouts: Whiteouts::Overlay(Attributes::User) };

#[test]
fn applied_whiteouts_delete_what_is_lower_and_spare_the_layers_own() {
    let place = Place::new();
    fs::create_dir_all(place.root().join("d/e")).unwrap();
    for name in ["gone", "d/low", "d/e/low"] {
        fs::write(place.root().join(name), "lower").unwrap();
    }
    symlink(place.outside(), place.root().join("out")).unwrap();
    // `out` resolves inside, where there is nothing of that name to delete.
    fs::create_dir_all(place.root().join(place.outside().strip_prefix("/").unwrap())).unwrap();
    let tar = Tar::default()
        .file(".wh.gone", "")
        .file("d/e/own", "x")
        .file("d/.wh..wh..opq", "")
        .file("d/own", "y")
        .file(".wh.absent", "")
        .file("out/.wh.victim", "")
        .file(".wh.d", "")
        .file(".wh..wh.plnk", "")
        .end();
    place.unpack(&tar, &APPLIED).unwrap();
    let there = ["gone", "d/low", "d/e/low", "d/own", "d/e/own"].map(|name| place.exists(name));
    assert_eq!(there, [false, false, false, true, true]);
}

#[test]
fn overlay_whiteouts_become_marks() {
    let place = Place::new();
    let tar = Tar::default()
        .file(".wh.gone", "")
        .dir("d")
        .file("d/.wh..wh..opq", "")
        .file("d/own", "y")
        .file("both", "own")
        .file(".wh.both", "")
        .file(".wh.again", "")
        .dir("again")
        .file("again/f", "")
        .dir("kept")
        .file(".wh.kept", "")
        .end();
    place.unpack(&tar, &OVERLAY).unwrap();
    let mark = fs::symlink_metadata(place.root().join("gone")).unwrap();
    assert_eq!((mark.mode() & libc::S_IFMT, mark.rdev()), (libc::S_IFCHR, 0));
    assert_eq!(place.read("both"), "own");
    let root = File::open(place.root()).unwrap();
    for name in ["d", "again", "kept"] {
        let opaque = builder::sys::xattr::get(&root, name.as_ref(), c"user.overlay.opaque").unwrap();
        assert_eq!(opaque, Some(b"y".to_vec()), "{name}");
    }
    assert!(place.exists("again/f"));
}

#[test]
fn a_character_device_cannot_pose_as_a_whiteout() {
    let place = Place::new();
    let mut header = Tar::header(b'3', b"etc", b"", 0);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    let notes = place.unpack(&Tar::default().raw(&header, b"").end(), &OVERLAY).unwrap().notes;
    assert_eq!(notes, ["left out /etc: a character device 0:0 is an overlay's whiteout"]);
    assert!(!place.exists("etc"));
}
