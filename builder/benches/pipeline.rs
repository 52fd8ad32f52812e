//! From a directory to a layer in the store, beside zstd and sha256 alone on the same bytes and cores, in turn:
//! `cargo bench --bench pipeline [-- DIRECTORY [ROUNDS]]`. The target is 0.80 of their speed.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use builder::diff::{self, Clamp};
use builder::layer::{Compression, Writer};
use builder::store::{Hashed, Hasher, Store};
use builder::sys::root;

const CHUNK: usize = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let source = arguments.first().map_or_else(|| generated(place.path()), PathBuf::from);
    let rounds = arguments.get(1).map_or(5, |word| word.parse().unwrap());
    let tar = plain(&source, place.path());
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        alone.push(packed_alone(&tar));
        ours.push(packed(&source, place.path()));
    }
    let (ours, alone) = (median(ours), median(alone));
    let speed = |time: Duration| tar.len() as f64 / 1e6 / time.as_secs_f64();
    let mut out = io::stdout().lock();
    writeln!(out, "{} MB of tar, zstd 3 and sha256, medians of {rounds}", tar.len() / 1_000_000).unwrap();
    writeln!(out, "alone:     {:6.0} MB/s", speed(alone)).unwrap();
    writeln!(out, "the layer: {:6.0} MB/s, {:.2} of it", speed(ours), speed(ours) / speed(alone)).unwrap();
}

/// From files to the blob.
fn packed(source: &Path, place: &Path) -> Duration {
    let place = tempfile::tempdir_in(place).unwrap();
    let store = Store::open(place.path()).unwrap();
    let directory = root::open_dir(source).unwrap();
    let begin = Instant::now();
    let mut writer = Writer::new(&store, Compression::Zstd(3)).unwrap();
    diff::write(&mut writer, (&directory, None), Clamp::Keep, &|| Ok(())).unwrap();
    writer.finish().unwrap();
    begin.elapsed()
}

/// What nobody can leave out: both hashes and the compressor, from memory to nowhere, each on a thread.
fn packed_alone(tar: &[u8]) -> Duration {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut hasher = Hasher::new();
            tar.chunks(CHUNK).for_each(|chunk| hasher.update(chunk));
            hasher.finish()
        });
        let mut encoder = zstd::Encoder::new(Hashed::new(io::sink()), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.multithread(u32::try_from(workers).unwrap()).unwrap();
        tar.chunks(CHUNK).for_each(|chunk| encoder.write_all(chunk).unwrap());
        encoder.finish().unwrap().finish().1.finish()
    });
    begin.elapsed()
}

/// The layer's tar, as it is before it is compressed.
fn plain(source: &Path, place: &Path) -> Vec<u8> {
    let place = tempfile::tempdir_in(place).unwrap();
    let store = Store::open(place.path()).unwrap();
    let mut writer = Writer::new(&store, Compression::None).unwrap();
    diff::write(&mut writer, (&root::open_dir(source).unwrap(), None), Clamp::Keep, &|| Ok(())).unwrap();
    let mut bytes = Vec::new();
    let blob = writer.finish().unwrap().descriptor.digest;
    store.open_blob(&blob).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// 2,000 files of up to 256 KiB, whose bytes compress by about half.
fn generated(place: &Path) -> PathBuf {
    let source = place.join("source");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0_u64..2_000 {
        let directory = source.join(format!("d{}", number / 50));
        fs::create_dir_all(&directory).unwrap();
        let mut file = io::BufWriter::new(File::create(directory.join(format!("f{number}"))).unwrap());
        for _ in 0..number % 128 * 128 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.write_all(&state.to_le_bytes()).unwrap();
            file.write_all(b"the same").unwrap();
        }
    }
    source
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap()
}
