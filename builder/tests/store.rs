//! The store under several writers, killed writers and garbage collection; images out of it and back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use builder::image::{self, Config, Format, Found, Input, Platform};
use builder::layer::{Compression, Entry, EntryKind, Layer, Sink, Writer};
use builder::registry::Reference;
use builder::store::{Descriptor, Digest, Key, Policy, Record, Store};

struct Place {
    directory: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        Self { directory, store }
    }

    fn temporary(&self) -> Vec<String> {
        let entries = fs::read_dir(self.store.root().join("tmp")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// An image of one layer with one file.
    fn image(&self, content: &str) -> Descriptor {
        let layer = layer(&self.store, content, Compression::default());
        let mut config = Config::scratch(&Platform::host());
        config.rootfs.diff_ids.push(layer.diff_id);
        image::put(&self.store, &config, &[layer.descriptor], [].into()).unwrap()
    }
}

fn layer(store: &Store, content: &str, compression: Compression) -> Layer {
    let mut writer = Writer::new(store, compression).unwrap();
    let entry = Entry {
        path: "f".as_ref(),
        kind: EntryKind::File(content.len() as u64),
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: &[],
    };
    writer.add(&entry, &mut content.as_bytes()).unwrap();
    writer.finish().unwrap()
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn a_blob_is_there_only_when_it_is_whole_and_right() {
    let place = Place::new();
    let mut writer = place.store.blob_writer().unwrap();
    writer.write_all(b"half").unwrap();
    assert_eq!(place.temporary().len(), 1);
    drop(writer);
    assert_eq!(place.temporary().len(), 0);
    let mut writer = place.store.blob_writer().unwrap();
    writer.write_all(b"wrong").unwrap();
    let right = Descriptor::new("", Digest::of(b"right"), 5);
    let error = writer.commit_as(&right).unwrap_err().to_string();
    assert_eq!(error, format!("verify blob {}: its content is {}", right.digest, Digest::of(b"wrong")));
    let mut writer = place.store.blob_writer().unwrap();
    writer.write_all(b"right and more").unwrap();
    let error = writer.commit_as(&right).unwrap_err().to_string();
    assert_eq!(error, format!("verify blob {}: expected 5 bytes, got 14", right.digest));
    assert_eq!((place.temporary().len(), place.store.has(&right.digest)), (0, false));
}

#[test]
fn a_damaged_document_is_found_when_it_is_read() {
    let place = Place::new();
    let blob = place.store.put_blob("", b"{}").unwrap();
    fs::write(place.store.blob_path(&blob.digest), "[]").unwrap();
    assert_eq!(
        place.store.read_blob(&blob.digest).unwrap_err().to_string(),
        format!(
            "read blob {}: its content has another digest (the store is damaged; remove the image and pull it again)",
            blob.digest
        )
    );
}

#[test]
fn what_a_killed_writer_left_is_swept_and_a_living_ones_stays() {
    let place = Place::new();
    let tmp = place.store.root().join("tmp");
    fs::write(tmp.join("999-0"), "half").unwrap();
    fs::create_dir_all(tmp.join("999-1/fs/deep")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tmp.join("999-2")).unwrap();
    let workspace = place.store.workspace().unwrap();
    fs::write(workspace.path().join("mine"), "x").unwrap();
    Store::open(place.store.root()).unwrap();
    let left = place.temporary();
    assert!(!left.contains(&"999-0".to_owned()) && !left.contains(&"999-1".to_owned()), "{left:?}");
    assert!(workspace.path().join("mine").exists());
}

#[test]
fn many_writers_of_the_index_lose_no_name() {
    let place = Place::new();
    let image = place.image("x");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let (store, image) = (place.store.clone(), &image);
            scope.spawn(move || {
                for tag in 0..10 {
                    image::tag(&store, &name(&format!("app:{writer}-{tag}")), image).unwrap();
                }
            });
        }
    });
    assert_eq!(place.store.list().unwrap().len(), 80);
}

#[test]
fn a_name_moves_and_the_old_image_stays_without_one_until_it_is_pruned() {
    let place = Place::new();
    let (old, new) = (place.image("old"), place.image("new"));
    image::tag(&place.store, &name("app"), &old).unwrap();
    image::tag(&place.store, &name("app"), &new).unwrap();
    assert_eq!(image::resolve(&place.store, &name("app")).unwrap().unwrap().digest, new.digest);
    place.store.collect(Policy::KeepCache).unwrap();
    assert!(place.store.has(&old.digest));
    assert_eq!(place.store.forget_nameless().unwrap().len(), 1);
    let freed = place.store.collect(Policy::KeepCache).unwrap();
    assert_eq!((freed.blobs, place.store.has(&old.digest)), (3, false));
    let whole = image::open(&place.store, &name("app"), &Platform::host()).unwrap();
    assert_eq!(whole.unwrap().descriptor.digest, new.digest);
}

#[test]
fn a_record_keeps_what_it_needs_and_is_absent_without_it() {
    let place = Place::new();
    let blob = place.store.put_blob("", b"layer").unwrap();
    let key: Key = (&Digest::of(b"key")).into();
    let snapshot: Key = (&Digest::of(b"snapshot")).into();
    let workspace = place.store.workspace().unwrap();
    fs::create_dir(workspace.path().join("fs")).unwrap();
    workspace.commit(&workspace.path().join("fs"), &snapshot).unwrap();
    let record =
        Record { blobs: vec![blob.digest.clone()], snapshots: vec![snapshot.clone()], body: 7.into() };
    place.store.put_record(&key, &record).unwrap();
    place.store.collect(Policy::KeepCache).unwrap();
    assert_eq!(place.store.record(&key).unwrap(), Some(record.clone()));
    fs::remove_file(place.store.blob_path(&blob.digest)).unwrap();
    assert_eq!(place.store.record(&key).unwrap(), None);
    let freed = place.store.collect(Policy::DropCache).unwrap();
    assert_eq!((freed.records, freed.snapshots), (1, 1));
    assert!(!place.store.has_snapshot(&snapshot));
}

#[test]
fn the_cache_within_a_size_is_the_part_that_was_used_last() {
    let place = Place::new();
    for (number, content) in ["oldest", "middle", "newest"].iter().enumerate() {
        let blob = place.store.put_blob("", content.as_bytes()).unwrap();
        let key: Key = (&Digest::of(content.as_bytes())).into();
        let record = Record { blobs: vec![blob.digest], ..Record::default() };
        place.store.put_record(&key, &record).unwrap();
        let file = fs::File::open(place.store.root().join("keys").join(key.as_str())).unwrap();
        let used = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000 + number as u64);
        file.set_modified(used).unwrap();
    }
    let left = || {
        let has = |content: &&str| place.store.has(&Digest::of(content.as_bytes()));
        ["oldest", "middle", "newest"].into_iter().filter(has).collect::<Vec<_>>()
    };
    place.store.collect(Policy::Within(12)).unwrap();
    assert_eq!(left(), ["middle", "newest"]);
    place.store.collect(Policy::Within(11)).unwrap();
    assert_eq!(left(), ["newest"]);
    place.store.collect(Policy::Within(0)).unwrap();
    assert_eq!(left(), Vec::<&str>::new());
}

#[test]
fn of_two_makers_of_a_snapshot_the_first_one_stands() {
    let place = Place::new();
    let key: Key = (&Digest::of(b"snapshot")).into();
    let make = |content: &str| {
        let workspace = place.store.workspace().unwrap();
        let files = workspace.path().join("fs");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("f"), content).unwrap();
        (workspace, files)
    };
    let (first, second) = (make("first"), make("second"));
    // As a mount holds it.
    let held = fs::File::open(&second.1).unwrap();
    let seen = PathBuf::from(format!("/proc/self/fd/{}/f", held.as_raw_fd()));
    for (workspace, files) in [&first, &second] {
        workspace.commit(files, &key).unwrap();
    }
    assert_eq!(fs::read_to_string(&seen).unwrap(), "second");
    drop((first, second));
    assert!(!seen.exists());
    assert_eq!(fs::read_to_string(place.store.snapshot_path(&key).join("f")).unwrap(), "first");
    assert_eq!(place.temporary().len(), 0);
}

#[test]
fn garbage_waits_until_nobody_uses_the_store() {
    let place = Place::new();
    let used = place.store.share().unwrap();
    assert!(place.store.alone().unwrap().is_none());
    drop(used);
    assert!(place.store.alone().unwrap().is_some());
}

#[test]
fn a_store_of_another_version_is_refused() {
    let place = Place::new();
    fs::write(place.store.root().join("coracle.json"), r#"{"version":2}"#).unwrap();
    let error = Store::open(place.store.root()).unwrap_err().to_string();
    let root = place.store.root().display();
    assert_eq!(
        error,
        format!(
            "the store in {root} has version 2, this builder knows 1 (use another --store, or another version of builder)"
        )
    );
}

/// A snapshot that is gone is unpacked again.
#[test]
fn what_was_made_shortly_before_the_machine_stopped_is_not_trusted_in_the_next_boot() {
    let place = Place::new();
    let keys: Vec<Key> = ["1", "2"].iter().map(|digit| digit.repeat(64).parse().unwrap()).collect();
    for key in &keys {
        let workspace = place.store.workspace().unwrap();
        fs::create_dir(workspace.path().join("fs")).unwrap();
        workspace.commit(&workspace.path().join("fs"), key).unwrap();
    }
    let old = File::open(place.store.root().join("snapshots").join(keys[0].as_str())).unwrap();
    old.set_modified(std::time::SystemTime::now() - std::time::Duration::from_mins(3)).unwrap();
    let there = || {
        let again = Store::open(place.store.root()).unwrap();
        keys.iter().map(|key| again.has_snapshot(key)).collect::<Vec<bool>>()
    };
    assert_eq!(there(), [true, true]);
    let boot = place.store.root().join("boot");
    fs::write(&boot, "another").unwrap();
    let in_use = place.store.share().unwrap();
    assert_eq!(there(), [true, true]);
    drop(in_use);
    assert_eq!(there(), [true, false]);
    assert_eq!(fs::read(&boot).unwrap(), fs::read("/proc/sys/kernel/random/boot_id").unwrap());
    assert_eq!(place.temporary(), Vec::<String>::new());
}

#[test]
fn ids_are_found_by_their_beginning() {
    let place = Place::new();
    let image = place.image("x");
    image::tag(&place.store, &name("app:1"), &image).unwrap();
    for text in ["app:1", image.digest.short(), image.digest.as_str(), &format!("app@{}", image.digest)] {
        assert_eq!(image::find(&place.store, text).unwrap().descriptor.digest, image.digest, "{text}");
    }
    assert_eq!(
        image::find(&place.store, "other").unwrap_err().to_string(),
        "other:latest is not in the store (builder images shows what is there; builder pull fetches it)"
    );
}

#[test]
fn a_saved_image_comes_back_the_same() {
    let place = Place::new();
    let descriptor = place.image("content");
    let reference = name("app:1");
    image::tag(&place.store, &reference, &descriptor).unwrap();
    let found = [Found { descriptor: descriptor.clone(), reference: Some(reference.clone()) }];
    let save = |format| {
        let mut bytes = Vec::new();
        image::save(&place.store, (&found, None), format, Sink::Stream(&mut bytes)).unwrap();
        bytes
    };
    assert_eq!(save(Format::OciArchive), save(Format::OciArchive));
    for format in [Format::OciArchive, Format::DockerArchive] {
        let other = Store::open(&place.directory.path().join(format!("{format:?}"))).unwrap();
        let zipped = zstd::encode_all(&save(format)[..], 1).unwrap();
        let loaded = image::load(&other, Input::Stream(&mut &zipped[..]), None).unwrap();
        assert_eq!(loaded[0].reference, Some(reference.clone()));
        let back = image::open(&other, &reference, &Platform::host()).unwrap().unwrap();
        let before = image::open(&place.store, &reference, &Platform::host()).unwrap().unwrap();
        // The config, and with it the image's id in docker, is the same through either form.
        assert_eq!(back.manifest.config.digest, before.manifest.config.digest);
        if format == Format::OciArchive {
            assert_eq!(back, before);
        }
    }
    let again = Store::open(&place.directory.path().join("third")).unwrap();
    let loaded = image::load(&again, Input::Path(place.store.root()), None).unwrap();
    assert_eq!(loaded[0].reference, Some(reference)); // a store is an image layout itself
}

/// File systems that share blocks share them then.
#[test]
fn an_archive_is_the_same_in_a_stream_and_a_file_and_a_large_blob_begins_at_a_block_in_it() {
    let place = Place::new();
    let content = "0123456789abcdef".repeat(70_000);
    let made = layer(&place.store, &content, Compression::None);
    let config = Config { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..Config::default() };
    let image =
        image::put(&place.store, &config, std::slice::from_ref(&made.descriptor), BTreeMap::new()).unwrap();
    let found = [Found { descriptor: image, reference: None }];
    let mut bytes = Vec::new();
    image::save(&place.store, (&found, None), Format::OciArchive, Sink::Stream(&mut bytes)).unwrap();
    let path = place.directory.path().join("image.tar");
    let mut file = BufWriter::new(File::create(&path).unwrap());
    image::save(&place.store, (&found, None), Format::OciArchive, Sink::File(&mut file)).unwrap();
    assert!(fs::read(&path).unwrap() == bytes);
    let mut archive = tar::Archive::new(&*bytes);
    let large = archive.entries().unwrap().map(Result::unwrap).find(|entry| entry.size() > 1 << 20).unwrap();
    assert_eq!(large.path().unwrap(), Path::new("blobs/sha256").join(made.descriptor.digest.hex()));
    assert_eq!(large.raw_file_position() % 4096, 0);
}

#[test]
fn layers_depend_on_their_entries_alone() {
    let place = Place::new();
    let long = "x".repeat(3 << 20);
    for compression in [Compression::None, Compression::Gzip(6), Compression::Zstd(3)] {
        let (one, two) = (layer(&place.store, &long, compression), layer(&place.store, &long, compression));
        assert_eq!(one, two);
        assert_eq!(one.descriptor.media_type, compression.media_type());
    }
}
