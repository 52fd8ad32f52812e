//! A program that lets go of its terminal and comes back to it, as an init of the systemd kind and getty do.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::Duration;

/// How long nobody has the terminal open: there is nothing that its other side could be asked meanwhile.
const AWAY: Duration = Duration::from_millis(500);

/// Closes every descriptor of its terminal, opens it again a little later and writes `text` there.
pub(crate) fn reopen(text: &str) -> io::Result<()> {
    let terminal = std::fs::read_link("/proc/self/fd/1")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    std::thread::sleep(AWAY);
    writeln!(OpenOptions::new().write(true).open(terminal)?, "{text}")
}
