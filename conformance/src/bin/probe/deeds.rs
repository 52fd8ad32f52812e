//! The deeds: each a word and its arguments, each answered by one line `DEED ARG...: ok` or `DEED ARG...: ERRNO`.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::{contain, net, reach, show, sys, terminal};

/// What `probe` without arguments prints.
pub(crate) const LIST: &str = "\
deeds: show | env | args | stdin | print TEXT | err TEXT | exit N | wait | stop | flood BYTES | count N | eat MIB | size ROWS COLUMNS | hunt MILLISECONDS DEVICE INODE | reach
       read F | cat F | write F TEXT | append F TEXT | copy A B | touch F | mkdir D | rmdir D | unlink F | list D | stat F | link T F
       readlink F | chmod MODE F | chown UID GID F | mknod F c|b MAJOR MINOR | open F r|w
       mount SRC DST TYPE FLAGS | umount D | unshare WHAT | sethostname NAME | setuid N | setgid N | kill PID SIGNAL
       syscall NUMBER | socket FAMILY | notify TEXT | serve ADDRESS TEXT | contain ROOT PROGRAM | get HOST:PORT PATH | spawn N | orphan CODE | reopen TEXT";

type Outcome = Result<Option<ExitCode>, String>;

/// Carries one deed out. `Some` ends the program with that code; an error is a deed that nobody knows.
pub(crate) fn carry_out(words: &[String]) -> Outcome {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["show"] => print(&show::everything().to_string()),
        ["env"] => print(&pairs()),
        ["args", rest @ ..] => print(&format!("{rest:?}")),
        ["print", text] => print(text),
        ["err", text] => said(writeln!(io::stderr(), "{text}")),
        ["stdin"] => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|e| e.to_string())?;
            print(&format!("stdin: {text:?}"))
        }
        ["deny", number_of_call, program, arguments @ ..] => {
            sys::deny(number(number_of_call)?).map_err(|error| error.to_string())?;
            let mut command = std::process::Command::new(program);
            Err(std::os::unix::process::CommandExt::exec(command.args(arguments)).to_string())
        }
        ["exit", code] => Ok(Some(ExitCode::from(number::<u8>(code)?))),
        ["wait"] => wait(),
        ["stop"] => loop {
            nix::unistd::pause();
        },
        ["contain", root, program] => {
            let code = contain::contain(root, program).map_err(|e| e.to_string())?;
            Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))))
        }
        ["hunt", milliseconds, device, inode] => {
            hunt(number(milliseconds)?, (number(device)?, number(inode)?))
        }
        ["reach"] => print(&format!("reach: {:?}", reach::directories().map_err(|error| error.to_string())?)),
        ["flood", bytes] => flood(number(bytes)?),
        ["count", lines] => count(number(lines)?),
        ["size", rows, columns] => resized((number(rows)?, number(columns)?)),
        ["cat", path] => match std::fs::read(path) {
            Ok(bytes) => said(io::stdout().write_all(&bytes)),
            Err(error) => report(&words, Err(error)),
        },
        ["list", path] => match names(path) {
            Ok(names) => print(&names.join(" ")),
            Err(error) => report(&words, Err(error)),
        },
        ["stat", path] => match std::fs::symlink_metadata(path) {
            Ok(meta) => print(&format!("stat {path}: {}", describe(&meta))),
            Err(error) => report(&words, Err(error)),
        },
        ["readlink", path] => match std::fs::read_link(path) {
            Ok(target) => print(&format!("readlink {path}: {}", target.display())),
            Err(error) => report(&words, Err(error)),
        },
        ["syscall", nr] => report(&words, sys::raw(number(nr)?).map(|_| ())),
        _ => match files(&words).or_else(|| kernel(&words)) {
            Some(result) => report(&words, result),
            None => talk(&words).unwrap_or_else(|| Err(format!("no deed {words:?}"))),
        },
    }
}

/// Deeds with somebody at the other end.
fn talk(words: &[&str]) -> Option<Outcome> {
    Some(match words {
        ["get", host, path] => match net::get(host, path) {
            Ok(body) => said(io::stdout().write_all(body.as_bytes())),
            Err(error) => report(words, Err(error)),
        },
        ["keys", socket] => match net::keys(socket) {
            Ok(comments) => print(&format!("keys {socket}: {comments}")),
            Err(error) => report(words, Err(error)),
        },
        ["serve", address, text] => report(words, net::serve(address, text)),
        _ => return None,
    })
}

/// Deeds on files; the outer `None` is "not one of these".
fn files(words: &[&str]) -> Option<io::Result<()>> {
    let append = |path: &str, text: &str| {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        writeln!(file, "{text}")
    };
    Some(match words {
        ["read", path] => std::fs::read(path).map(|_| ()),
        ["write", path, text] => std::fs::write(path, text),
        ["append", path, text] => append(path, text),
        ["copy", from, to] => std::fs::copy(from, to).map(|_| ()),
        ["touch", path] => std::fs::OpenOptions::new().create(true).append(true).open(path).map(|_| ()),
        ["open", path, "r"] => std::fs::File::open(path).map(|_| ()),
        ["open", path, "w"] => std::fs::OpenOptions::new().write(true).open(path).map(|_| ()),
        ["mkdir", path] => std::fs::create_dir(path),
        ["rmdir", path] => std::fs::remove_dir(path),
        ["unlink", path] => std::fs::remove_file(path),
        ["link", target, path] => std::os::unix::fs::symlink(target, path),
        ["chmod", mode, path] => u32::from_str_radix(mode, 8)
            .map_err(io::Error::other)
            .and_then(|mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))),
        ["chown", uid, gid, path] => std::os::unix::fs::lchown(path, uid.parse().ok(), gid.parse().ok()),
        ["mknod", path, kind, major, minor] => make_node(path, kind, (major, minor)),
        _ => return None,
    })
}

/// Deeds that ask the kernel for something a container may be refused.
fn kernel(words: &[&str]) -> Option<io::Result<()>> {
    Some(match words {
        ["mount", source, target, kind, flags] => mount((source, target), kind, flags),
        ["umount", target] => {
            nix::mount::umount2(*target, nix::mount::MntFlags::MNT_DETACH).map_err(Into::into)
        }
        ["unshare", what] => unshare(what),
        ["sethostname", name] => nix::unistd::sethostname(name).map_err(Into::into),
        ["setuid", id] => id
            .parse()
            .map_err(io::Error::other)
            .and_then(|id: u32| nix::unistd::setuid(id.into()).map_err(Into::into)),
        ["setgid", id] => id
            .parse()
            .map_err(io::Error::other)
            .and_then(|id: u32| nix::unistd::setgid(id.into()).map_err(Into::into)),
        ["kill", pid, signal] => kill(pid, signal),
        ["socket", family] => socket(family),
        ["notify", text] => notify(text),
        ["reopen", text] => terminal::reopen(text),
        ["spawn", count] => count.parse().map_err(io::Error::other).and_then(spawn),
        ["orphan", code] => orphan(code),
        ["eat", mebibytes] => mebibytes.parse().map_err(io::Error::other).map(eat),
        _ => return None,
    })
}

/// Waits for a signal that would end a program, says its name, and goes on. As process 1 nothing else would end it.
fn wait() -> Outcome {
    let set: SigSet = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
    ]
    .into_iter()
    .collect();
    set.thread_block().map_err(|e| e.to_string())?;
    print("waiting")?;
    let signal = set.wait().map_err(|e| e.to_string())?;
    print(&format!("got {signal}"))
}

/// Gets hold of the file `device:inode` through the executables of other processes, and tries again and again to open it for
/// writing: it is busy as long as anybody runs it, so the moment to wait for is when it is busy no longer.
fn hunt(milliseconds: u64, wanted: (u64, u64)) -> Outcome {
    let end = std::time::Instant::now() + std::time::Duration::from_millis(milliseconds);
    let mut held = Vec::new();
    while std::time::Instant::now() < end {
        for name in
            names("/proc").unwrap_or_default().iter().filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
        {
            let Ok(file) = std::fs::File::open(format!("/proc/{name}/exe")) else { continue };
            let found = file.metadata().is_ok_and(|meta| (meta.dev(), meta.ino()) == wanted);
            if found && held.len() < 32 {
                held.push(file);
            }
        }
        for file in &held {
            let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
            if std::fs::OpenOptions::new().write(true).open(&again).is_ok() {
                return print("hunt: caught: it can be written to");
            }
        }
    }
    print(&format!(
        "hunt: nothing, {}",
        if held.is_empty() { "never seen" } else { "seen but never writable" }
    ))
}

fn flood(bytes: usize) -> Outcome {
    let line = [b'x'; 99];
    let mut out = io::stdout().lock();
    for _ in 0..bytes / 100 {
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(|e| e.to_string())?;
    }
    Ok(None)
}

/// Numbered lines of eight bytes: what is lost, doubled or out of order shows.
fn count(lines: u32) -> Outcome {
    let mut out = io::BufWriter::new(io::stdout().lock());
    (0..lines)
        .try_for_each(|line| writeln!(out, "{line:07}"))
        .and_then(|()| out.flush())
        .map_err(|e| e.to_string())?;
    Ok(None)
}

/// Touches that much memory, page by page.
fn eat(mebibytes: usize) {
    let mut held = Vec::new();
    for _ in 0..mebibytes {
        held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Waits until the terminal has this size.
fn resized(wanted: (u16, u16)) -> Outcome {
    let set = SigSet::from(Signal::SIGWINCH);
    set.thread_block().map_err(|e| e.to_string())?; // first: a change after the look below is then not missed
    while sys::window(io::stdin().as_fd()).map_err(|e| e.to_string())? != wanted {
        set.wait().map_err(|e| e.to_string())?;
    }
    print(&format!("size {} {}: ok", wanted.0, wanted.1))
}

pub(crate) fn names(path: &str) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(path)?
        .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// `TYPE MODE UID:GID [MAJOR:MINOR|SIZE]`.
fn describe(meta: &std::fs::Metadata) -> String {
    let kind = meta.file_type();
    let (word, rest) = if kind.is_char_device() || kind.is_block_device() {
        let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
        (if kind.is_char_device() { "char" } else { "block" }, format!(" {major}:{minor}"))
    } else if kind.is_dir() {
        ("dir", String::new())
    } else if kind.is_symlink() {
        ("link", String::new())
    } else if kind.is_fifo() {
        ("fifo", String::new())
    } else {
        ("file", format!(" {}", meta.size()))
    };
    format!("{word} {:04o} {}:{}{rest}", meta.mode() & 0o7777, meta.uid(), meta.gid())
}

fn make_node(path: &str, kind: &str, (major, minor): (&str, &str)) -> io::Result<()> {
    let kind = if kind == "b" { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
    let device = makedev(major.parse().map_err(io::Error::other)?, minor.parse().map_err(io::Error::other)?);
    mknod(path, kind, Mode::from_bits_truncate(0o600), device).map_err(Into::into)
}

fn mount((source, target): (&str, &str), kind: &str, flags: &str) -> io::Result<()> {
    let mut set = MsFlags::empty();
    for flag in flags.split(',').filter(|f| *f != "-") {
        set |= match flag {
            "bind" => MsFlags::MS_BIND,
            "rbind" => MsFlags::MS_BIND | MsFlags::MS_REC,
            "remount" => MsFlags::MS_REMOUNT,
            "ro" => MsFlags::MS_RDONLY,
            _ => return Err(Errno::EINVAL.into()),
        };
    }
    nix::mount::mount(Some(source), target, Some(kind), set, None::<&str>).map_err(Into::into)
}

fn unshare(what: &str) -> io::Result<()> {
    let flag = match what {
        "user" => CloneFlags::CLONE_NEWUSER,
        "mount" => CloneFlags::CLONE_NEWNS,
        "net" => CloneFlags::CLONE_NEWNET,
        "uts" => CloneFlags::CLONE_NEWUTS,
        _ => return Err(Errno::EINVAL.into()),
    };
    nix::sched::unshare(flag).map_err(Into::into)
}

fn kill(pid: &str, signal: &str) -> io::Result<()> {
    let pid = pid.parse().map_err(io::Error::other)?;
    let signal: Signal = signal.parse()?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).map_err(Into::into)
}

/// To the service manager, as sd_notify(3) finds it.
fn notify(text: &str) -> io::Result<()> {
    let manager = std::env::var_os("NOTIFY_SOCKET").ok_or(Errno::ENOENT)?;
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    socket.send_to(text.as_bytes(), manager).map(|_| ())
}

fn socket(family: &str) -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType};
    let family = match family {
        "inet" => AddressFamily::Inet,
        "unix" => AddressFamily::Unix,
        "packet" => AddressFamily::Packet,
        "vsock" => AddressFamily::Vsock,
        "alg" => AddressFamily::Alg,
        _ => return Err(Errno::EINVAL.into()),
    };
    let kind = if family == AddressFamily::Alg { SockType::SeqPacket } else { SockType::Stream };
    let kind = if family == AddressFamily::Packet { SockType::Raw } else { kind };
    nix::sys::socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map(|_| ()).map_err(Into::into)
}

/// Starts `count` processes that stay until they are killed, with nothing of ours open.
fn spawn(count: u32) -> io::Result<()> {
    for _ in 0..count {
        sys::reset_child_signal()?;
        own(&["stop"])?.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    }
    Ok(())
}

/// Leaves a grandchild that ends with `code` after its parent: only process 1 can reap it.
fn orphan(code: &str) -> io::Result<()> {
    own(&["spawn", "1", ",", "exit", code])?.stdout(Stdio::null()).status().map(|_| ())
}

fn own(words: &[&str]) -> io::Result<Command> {
    let exe = std::env::current_exe()?;
    CString::new(exe.as_os_str().as_encoded_bytes())?;
    let mut command = Command::new(Path::new(&exe));
    command.args(words);
    Ok(command)
}

fn pairs() -> String {
    let mut lines: Vec<String> = std::env::vars_os()
        .map(|(key, value)| format!("{}={}", key.to_string_lossy(), value.to_string_lossy()))
        .collect();
    lines.sort();
    lines.join("\n")
}

fn report(words: &[&str], result: io::Result<()>) -> Outcome {
    let verdict = match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            error.raw_os_error().map_or_else(|| error.to_string(), |n| format!("{:?}", Errno::from_raw(n)))
        }
    };
    print(&format!("{}: {verdict}", words.join(" ")))
}

fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    said(writeln!(out, "{text}").and_then(|()| out.flush()))
}

fn said(result: io::Result<()>) -> Outcome {
    result.map(|()| None).map_err(|e| e.to_string())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}
