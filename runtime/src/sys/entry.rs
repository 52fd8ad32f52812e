//! The program's entry without the start-up of Rust's library, which reads /proc/self/maps, makes a signal stack and more: some
//! fifteen system calls and a tenth of a millisecond, twice for each container.

use std::os::fd::AsFd;

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;

/// Makes `main` of a function from words to an exit code.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // SAFETY: the C library calls the one `main` of the program.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> std::ffi::c_int {
            $crate::sys::entry::prepare();
            let code = $main(std::env::args_os().collect());
            (0..=u8::MAX).find(|known| std::process::ExitCode::from(*known) == code).unwrap_or(1).into()
        }
    };
}

/// The two things of that start-up that matter: no standard stream is closed, or the first file that is opened would become one;
/// and a reader that has gone away is an error, not the end.
pub fn prepare() {
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let watch = |fd| PollFd::new(fd, PollFlags::empty());
    let mut watched = [watch(streams.0.as_fd()), watch(streams.1.as_fd()), watch(streams.2.as_fd())];
    let known = poll(&mut watched, PollTimeout::ZERO);
    let closed = watched.iter().filter(|fd| fd.revents().is_some_and(|is| is.contains(PollFlags::POLLNVAL)));
    for _ in 0..known.map_or(0, |_| closed.count()) {
        // The lowest free number each time; it stays open for good.
        if let Ok(null) = open("/dev/null", OFlag::O_RDWR, Mode::empty()) {
            std::mem::forget(null);
        }
    }
    // SAFETY: SIG_IGN is no function of ours.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
}
