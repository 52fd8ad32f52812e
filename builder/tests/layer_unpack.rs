//! Layers as strangers write them: nothing in them leaves the directory, and every refusal names its reason.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]
#![expect(clippy::too_many_arguments, reason = "a header of tar has that many fields")]

mod place;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use builder::layer::{Compression, Ownership, Unpack, Whiteouts};
use builder::store::Digest;
use builder::sys::overlay::Attributes;
use place::{Place, Tar};

const APPLIED: Unpack = Unpack { owners: Ownership::Own, whiteouts: Whiteouts::Applied };
const OVERLAY: Unpack = Unpack { owners: Ownership::Own, whiteouts: Whiteouts::Overlay(Attributes::User) };

#[test]
fn members_that_lead_out_are_refused_by_name() {
    let up = "unpack \"../victim\": it leads out of the directory";
    for (tar, expected) in [
        (Tar::default().file("../victim", "bad"), up),
        (Tar::default().pax(&[("path", b"../victim")]).file("harmless", "bad"), up),
        (
            Tar::default()
                .raw(&Tar::header(b'L', b"././@LongLink", b"", 10), b"../victim\0")
                .file("harmless", "bad"),
            up,
        ),
        (
            Tar::default().file("a/../../victim", "bad"),
            "unpack \"a/../../victim\": it leads out of the directory",
        ),
        (Tar::default().hard("h", "../victim"), "unpack \"h\": its target leads out of the directory"),
        (Tar::default().hard("h", "/"), "unpack \"h\": its target leads out of the directory"),
        (
            Tar::default().file("a/.wh...", ""),
            "unpack \"a/.wh...\": it would delete a directory that holds it",
        ),
        (Tar::default().file(".wh..", ""), "unpack \".wh..\": it would delete a directory that holds it"),
        (Tar::default().file(".wh.", ""), "unpack \".wh.\": it would delete a directory that holds it"),
        (Tar::default().file(".", "x"), "unpack \".\": it would replace the root directory"),
        (Tar::default().link("/", "/tmp"), "unpack \"/\": it would replace the root directory"),
    ] {
        for options in [APPLIED, OVERLAY] {
            assert_eq!(Place::new().unpack(&tar.0, &options).unwrap_err(), expected);
        }
    }
}

#[test]
fn absolute_paths_are_below_the_directory() {
    let place = Place::new();
    place.unpack(&Tar::default().file("/etc/passwd", "x").file("//a//./b", "y").end(), &APPLIED).unwrap();
    assert_eq!((place.read("etc/passwd"), place.read("a/b")), ("x".into(), "y".into()));
}

#[test]
fn links_on_the_way_resolve_inside() {
    for target in ["..", "/..", "../..", "/"] {
        let place = Place::new();
        let tar = Tar::default().link("out", target).file("out/victim", "inside").end();
        place.unpack(&tar, &APPLIED).unwrap();
        assert_eq!(place.read("victim"), "inside", "{target}");
    }
}

#[test]
fn links_of_an_earlier_layer_resolve_inside() {
    let place = Place::new();
    symlink(place.outside(), place.root().join("out")).unwrap();
    let tar = Tar::default().file("out/victim", "bad").end();
    let inside = place.root().join(place.outside().strip_prefix("/").unwrap());
    drop(place.unpack(&tar, &APPLIED)); // the target is missing inside, several levels deep
    fs::create_dir_all(&inside).unwrap();
    place.unpack(&tar, &APPLIED).unwrap();
    assert_eq!(fs::read_to_string(inside.join("victim")).unwrap(), "bad");
}

#[test]
fn chains_and_loops_of_links_stay_inside() {
    let place = Place::new();
    let tar = Tar::default().link("a", "b").link("b", "c/..").link("c", "../..").file("a/victim", "in").end();
    place.unpack(&tar, &APPLIED).unwrap();
    assert_eq!(place.read("victim"), "in");
    let tar = Tar::default().link("x", "y").link("y", "x").file("x/f", "in").end();
    assert_eq!(
        place.unpack(&tar, &APPLIED).unwrap_err(),
        "unpack \"x/f\": write it: too many levels of symbolic links"
    );
}

#[test]
fn a_file_over_a_link_replaces_the_link() {
    let place = Place::new();
    symlink(place.outside().join("victim"), place.root().join("l")).unwrap();
    place.unpack(&Tar::default().file("l", "new").end(), &APPLIED).unwrap();
    assert!(fs::symlink_metadata(place.root().join("l")).unwrap().is_file());
    assert_eq!(place.read("l"), "new");
}

#[test]
fn a_directory_over_a_link_does_not_chmod_through_it() {
    let place = Place::new();
    symlink(place.outside(), place.root().join("d")).unwrap();
    let before = fs::metadata(place.outside()).unwrap().permissions().mode();
    let mut header = Tar::header(b'5', b"d", b"", 0);
    header.set_mode(0o777);
    header.set_cksum();
    place.unpack(&Tar::default().raw(&header, b"").end(), &APPLIED).unwrap();
    assert_eq!(fs::metadata(place.outside()).unwrap().permissions().mode(), before);
    assert_eq!(fs::symlink_metadata(place.root().join("d")).unwrap().permissions().mode() & 0o7777, 0o777);
}

#[test]
fn a_directory_that_became_a_link_keeps_its_late_attributes_to_itself() {
    let place = Place::new();
    let outside = place.outside().display().to_string();
    let before = fs::metadata(&outside).unwrap();
    place.unpack(&Tar::default().dir("d").link("d", &outside).end(), &APPLIED).unwrap();
    assert_eq!(fs::metadata(&outside).unwrap().mtime(), before.mtime());
}

#[test]
fn hard_links_do_not_follow_the_link_at_the_end() {
    let place = Place::new();
    let victim = place.outside().join("victim").display().to_string();
    place.unpack(&Tar::default().link("l", &victim).hard("h", "l").end(), &APPLIED).unwrap();
    assert_eq!(fs::read_link(place.root().join("h")).unwrap().display().to_string(), victim);
    let error = place.unpack(&Tar::default().hard("h", "absent").end(), &APPLIED).unwrap_err();
    assert_eq!(error, "unpack \"h\": write it: no such file or directory");
    assert!(place.exists("h"), "what was there went before the target was known");
}

#[test]
fn hard_links_share_their_file_and_linking_to_itself_is_nothing() {
    let place = Place::new();
    place.unpack(&Tar::default().file("a", "x").hard("b", "/a").hard("a", "a").end(), &APPLIED).unwrap();
    assert_eq!(fs::metadata(place.root().join("a")).unwrap().nlink(), 2);
}

#[test]
fn ids_that_no_file_can_have_are_refused() {
    for (key, value) in [
        ("uid", "4294967295"),
        ("uid", "4294967296"),
        ("gid", "4294967296"),
        ("uid", "-1"),
        ("gid", "18446744073709551616"),
    ] {
        let tar = Tar::default().pax(&[(key, value.as_bytes())]).file("f", "").end();
        let place = Place::new();
        assert_eq!(
            place.unpack(&tar, &APPLIED).unwrap_err(),
            format!("unpack \"f\": its {key} {value} is not one that a file can have")
        );
        assert!(!place.exists("f"));
    }
    let mut header = Tar::header(b'0', b"f", b"", 0);
    header.as_ustar_mut().unwrap().uid = [0x80, 0, 0, 1, 0, 0, 0, 0]; // 2^32 in base 256
    header.set_cksum();
    assert_eq!(
        Place::new().unpack(&Tar::default().raw(&header, b"").end(), &APPLIED).unwrap_err(),
        "unpack \"f\": its uid 4294967296 is not one that a file can have"
    );
}

#[test]
fn damaged_archives_are_refused_with_the_damage() {
    let good = Tar::default().file("f", "content").end();
    let mut sum = good.clone();
    sum[0] = b'g';
    let mut negative = Tar::header(b'0', b"f", b"", 0);
    negative.as_ustar_mut().unwrap().size = [0xff; 12];
    negative.set_cksum();
    let mut letters = Tar::header(b'0', b"f", b"", 0);
    letters.as_ustar_mut().unwrap().mode = *b"rw-r--r-";
    letters.set_cksum();
    let size = "unpack a layer: a size that is negative, huge, or not a number";
    let large = Tar::header(b'L', b"long", b"", 3 << 20);
    let large_extension = "unpack a layer: the extension headers of a member are larger than 1 MiB";
    let attribute = vec![b'x'; 600 << 10];
    let half = [("SCHILY.xattr.user.a", attribute.as_slice())];
    for (tar, expected) in [
        (good[..516].to_vec(), "unpack \"f\": the archive is cut short"),
        (good[..600].to_vec(), "unpack a layer: the archive is cut short"),
        (good[..300].to_vec(), "unpack a layer: the archive is cut short"),
        (sum, "unpack a layer: a header with a wrong checksum"),
        (Tar::default().raw(&negative, b"").end(), size),
        (Tar::default().raw(&letters, b"").end(), "unpack a layer: a mode is not a number"),
        (
            Tar::default().pax(&[("path", b"x")]).0,
            "unpack a layer: the archive ends after an extension header",
        ),
        (
            Tar::default().entry(b'x', "pax", "", "99 path=a\n").file("f", "").0,
            "unpack a layer: a malformed PAX record",
        ),
        (
            Tar::default().entry(b'x', "pax", "", "nonsense").file("f", "").0,
            "unpack a layer: a malformed PAX record",
        ),
        (Tar::default().pax(&[("size", b"-5")]).file("f", "").0, size),
        (
            Tar::default().pax(&[("GNU.sparse.map", b"0,1")]).file("f", "").0,
            "unpack a layer: a sparse file in PAX form",
        ),
        (
            Tar::default().entry(b'V', "volume", "", "").0,
            "unpack a layer: a member of a type that is not known",
        ),
        (Tar::default().raw(&large, b"").0, large_extension),
        (Tar::default().pax(&half).pax(&half).file("f", "").0, large_extension),
    ] {
        assert_eq!(Place::new().unpack(&tar, &APPLIED).unwrap_err(), expected);
    }
}

#[test]
fn times_before_1970_and_after_9999_are_clamped() {
    let place = Place::new();
    let tar = Tar::default()
        .pax(&[("mtime", b"-12345.5")])
        .file("early", "")
        .pax(&[("mtime", b"9223372036854775807")])
        .file("late", "")
        .pax(&[("mtime", b"1700000000.25")])
        .file("now", "")
        .end();
    place.unpack(&tar, &APPLIED).unwrap();
    let time = |name: &str| {
        let found = fs::metadata(place.root().join(name)).unwrap();
        (found.mtime(), found.mtime_nsec())
    };
    assert_eq!(time("early"), (0, 0));
    assert!(time("late").0 > 1 << 32);
    assert_eq!(time("now"), (1_700_000_000, 250_000_000));
}

#[test]
fn set_id_bits_survive_and_directories_keep_their_times() {
    let place = Place::new();
    let mut header = Tar::header(b'0', b"d/su", b"", 0);
    header.set_mode(0o4755);
    header.set_cksum();
    place.unpack(&Tar::default().dir("d").raw(&header, b"").end(), &APPLIED).unwrap();
    assert_eq!(fs::metadata(place.root().join("d/su")).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(fs::metadata(place.root().join("d")).unwrap().mtime(), 1000);
}

#[test]
fn only_user_attributes_and_capabilities_pass() {
    let place = Place::new();
    let tar = Tar::default()
        .pax(&[
            ("SCHILY.xattr.user.a", b"line\nbreak\0nul"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
        ])
        .file("f", "")
        .end();
    assert_eq!(place.unpack(&tar, &APPLIED).unwrap().notes, Vec::<String>::new());
    let root = File::open(place.root()).unwrap();
    let found = builder::sys::xattr::list(&root, "f".as_ref()).unwrap();
    assert_eq!(found, [("user.a".into(), b"line\nbreak\0nul".to_vec())]);
}

#[test]
fn the_last_of_several_members_of_one_name_wins() {
    let place = Place::new();
    let tar = Tar::default()
        .file("a", "1")
        .dir("a")
        .file("a/b", "2")
        .file("a", "3")
        .file("c", "4")
        .link("c", "a")
        .end();
    place.unpack(&tar, &APPLIED).unwrap();
    assert_eq!((place.read("a"), place.read("c")), ("3".into(), "3".into()));
}

#[test]
fn names_that_are_not_utf8_are_kept() {
    let place = Place::new();
    place.unpack(&Tar::default().raw(&Tar::header(b'0', b"\xff\xfe", b"", 0), b"").end(), &APPLIED).unwrap();
    assert!(place.root().join(Path::new(std::ffi::OsStr::from_bytes(b"\xff\xfe"))).exists());
}

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

#[test]
fn sparse_files_take_no_room_for_their_holes() {
    let place = Place::new();
    let mut header = tar::Header::new_gnu();
    let fields = header.as_gnu_mut().unwrap();
    fields.name[..6].copy_from_slice(b"sparse");
    fields.typeflag = [b'S'];
    fields.sparse[0].offset = *b"00000010000\0";
    fields.sparse[0].numbytes = *b"00000000004\0";
    fields.realsize = [0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]; // 1 TiB
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(4);
    header.set_cksum();
    place.unpack(&Tar::default().raw(&header, b"data").file("after", "x").end(), &APPLIED).unwrap();
    let found = fs::metadata(place.root().join("sparse")).unwrap();
    assert_eq!(found.len(), 1 << 40);
    assert!(found.blocks() < 64, "{}", found.blocks());
    assert_eq!(place.read("after"), "x");
}

#[test]
fn every_compression_is_read_and_the_digest_is_the_tars() {
    let tar = Tar::default().file("f", "content").end();
    let (first, second) = tar.split_at(512);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let skippable = b"\x50\x2a\x4d\x18\x04\0\0\0skip";
    for (blob, compression) in [
        (tar.clone(), Compression::None),
        (gzip(&tar), Compression::Gzip(6)),
        ([gzip(first), gzip(second)].concat(), Compression::Gzip(6)),
        (zstd(&tar), Compression::Zstd(3)),
        ([zstd(first), skippable.to_vec(), zstd(second)].concat(), Compression::Zstd(3)),
    ] {
        let place = Place::new();
        assert_eq!(place.unpack_as(&blob, compression, &APPLIED).unwrap().diff_id, Digest::of(&tar));
        assert_eq!(place.read("f"), "content");
    }
}

#[test]
fn damaged_compression_is_refused() {
    let tar = Tar::default().file("f", "content").end();
    let mut wrong = gzip(&tar);
    let cut = wrong[..wrong.len() - 10].to_vec();
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    for (blob, compression) in [
        (&wrong[..], Compression::Gzip(6)),
        (&cut, Compression::Gzip(6)),
        (&tar, Compression::Zstd(3)),
        (b"", Compression::Gzip(6)),
    ] {
        let error = Place::new().unpack_as(blob, compression, &APPLIED).unwrap_err();
        assert!(error.starts_with("unpack a layer: "), "{error}");
    }
}

#[test]
fn any_prefix_and_any_flipped_byte_end_in_a_result() {
    let tar = Tar::default()
        .dir("d")
        .file("d/f", "content")
        .link("l", "d")
        .hard("h", "d/f")
        .file("l/.wh.f", "")
        .pax(&[("mtime", b"5.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("x", "y")
        .end();
    for at in (0..tar.len()).step_by(37) {
        drop(Place::new().unpack(&tar[..at], &APPLIED));
        let mut flipped = tar.clone();
        flipped[at] ^= 0x21;
        drop(Place::new().unpack(&flipped, &OVERLAY));
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
