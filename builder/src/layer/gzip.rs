//! gzip on several cores: blocks of a fixed size, compressed independently and joined to one member.
//!
//! The blocks are cut by size alone, so that the bytes are the same on one core and on many.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};

/// No window reaches over its edges: at this size that costs about one part in a hundred.
const BLOCK: usize = 1 << 20;
/// Deflate, no name, no time, unknown system: nothing of this machine.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A compressed block and the checksum of what is in it.
type Block = (Vec<u8>, Crc);

struct Job {
    bytes: Vec<u8>,
    flush: FlushCompress,
    reply: SyncSender<io::Result<Block>>,
}

/// Compresses into `W`; `finish` must be called.
pub(crate) struct Gzip<W: Write> {
    to: W,
    block: Vec<u8>,
    jobs: Option<SyncSender<Job>>,
    workers: Vec<JoinHandle<()>>,
    /// Blocks under way, in order.
    pending: VecDeque<Receiver<io::Result<Block>>>,
    checksum: Crc,
}

impl<W: Write> Gzip<W> {
    pub(crate) fn new(mut to: W, level: u32, workers: usize) -> io::Result<Self> {
        to.write_all(&HEADER)?;
        let (jobs, queue) = sync_channel::<Job>(workers);
        let queue = Arc::new(Mutex::new(queue));
        let spawn = |_| {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name("gzip".to_owned()).spawn(move || work(&queue, level))
        };
        let workers = (0..workers.max(1)).map(spawn).collect::<io::Result<_>>()?;
        let block = Vec::with_capacity(BLOCK);
        Ok(Self { to, block, jobs: Some(jobs), workers, pending: VecDeque::new(), checksum: Crc::new() })
    }

    /// Writes what is left and the trailer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.submit(FlushCompress::Finish)?;
        while !self.pending.is_empty() {
            self.collect()?;
        }
        self.jobs = None; // the workers end
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| io::Error::other("a compressing thread ended early"))?;
        }
        self.to.write_all(&self.checksum.sum().to_le_bytes())?;
        self.to.write_all(&self.checksum.amount().to_le_bytes())?;
        Ok(self.to)
    }

    fn submit(&mut self, flush: FlushCompress) -> io::Result<()> {
        // Two blocks per worker bound the memory.
        while self.pending.len() >= 2 * self.workers.len() {
            self.collect()?;
        }
        let (reply, result) = sync_channel(1);
        let bytes = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let jobs = self.jobs.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        jobs.send(Job { bytes, flush, reply }).map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.pending.push_back(result);
        Ok(())
    }

    /// Waits for the oldest block and writes it.
    fn collect(&mut self) -> io::Result<()> {
        let Some(result) = self.pending.pop_front() else { return Ok(()) };
        let (bytes, checksum) = result.recv().map_err(|_| io::ErrorKind::BrokenPipe)??;
        self.checksum.combine(&checksum);
        self.to.write_all(&bytes)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = (BLOCK - self.block.len()).min(buffer.len());
        self.block.extend_from_slice(buffer.get(..room).unwrap_or_default());
        if self.block.len() == BLOCK {
            self.submit(FlushCompress::Sync)?;
        }
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn work(queue: &Mutex<Receiver<Job>>, level: u32) {
    let mut deflate = Compress::new(Level::new(level), false);
    loop {
        // Held while waiting: the others wait for the lock instead, which is the same.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A reply that nobody takes belongs to a writer that gave up.
        drop(job.reply.send(compress(&mut deflate, &job.bytes, job.flush)));
    }
}

/// One block, ending on a byte; the last one ends the stream. Nothing of the block before is left in `deflate`.
fn compress(deflate: &mut Compress, bytes: &[u8], flush: FlushCompress) -> io::Result<Block> {
    let mut checksum = Crc::new();
    checksum.update(bytes);
    deflate.reset();
    let mut out = Vec::with_capacity(bytes.len() / 2 + 1024);
    loop {
        let taken = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(taken..).unwrap_or_default();
        let status = deflate.compress_vec(rest, &mut out, flush).map_err(io::Error::other)?;
        let all_in = deflate.total_in() == bytes.len() as u64;
        // A flush is complete when it leaves room in the output.
        let done = match status {
            Status::StreamEnd => true,
            _ => flush == FlushCompress::Sync && all_in && out.len() < out.capacity(),
        };
        if done {
            return Ok((out, checksum));
        }
        out.reserve(64 << 10);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn zip(bytes: &[u8], level: u32, workers: usize) -> Vec<u8> {
        let mut encoder = Gzip::new(Vec::new(), level, workers).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_number_of_cores_and_are_one_member() {
        let text: Vec<u8> =
            (0..700_000_u32).flat_map(|number| number.wrapping_mul(number).to_le_bytes()).collect();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, text.len()] {
            let bytes = &text[..length];
            for level in [0, 1, 6, 9] {
                let one = zip(bytes, level, 1);
                assert!(one == zip(bytes, level, 4), "{length} {level}");
                let mut back = Vec::new();
                flate2::read::GzDecoder::new(&one[..]).read_to_end(&mut back).unwrap();
                assert!(back == bytes, "{length} {level}");
            }
        }
    }
}
