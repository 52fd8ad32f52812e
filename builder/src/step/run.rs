//! RUN: a process in a container of its own.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::memory::Memory;
use super::mounts::{self, Mounts};
use super::{Hands, Interrupt, devices, shell};
use crate::bundle::{
    self, Account, Choice, Container, Devices, Exit, Extra, Host, Isolation, Network, Stdio, StubKind,
};
use crate::error::{Error, Kind};
use crate::graph::{Network as Asked, Run, Security};
use crate::progress::{Step, Stream};
use crate::snapshot::{Draft, View};

/// What a RUN's host is called unless the build says otherwise, as BuildKit has it.
const HOSTNAME: &str = "buildkitsandbox";

pub(super) fn run(run: &Run, draft: &Draft, hands: &Hands<'_>) -> Result<(), Error> {
    let directory = draft.workspace();
    let mut view = draft.view()?;
    let place = directory.join("rootfs");
    view.attach(&place)?;
    let at = view.root().ok_or_else(|| Error::new(Kind::System, "the step has no file system"))?;
    let mut account = bundle::resolve_account(at, &run.user)?;
    let network = network(run.network, directory, hands.progress)?;
    let mut mounts = mounts::prepare(&run.mounts, draft, hands)?;
    let mut devices = devices::grant(&run.devices, hands)?;
    account.groups.append(&mut devices.groups);
    let mut extras = files(run, &network, directory)?;
    extras.append(&mut mounts.extras);
    extras.append(&mut devices.mounts);
    let targets = extras.iter().map(|(extra, kind)| (extra.target(), *kind));
    let stubs = bundle::make_stubs(at, targets)?;
    let id = bundle::new_id()?;
    let container = Container {
        args: run.args.clone(),
        env: environment(run, &account, (&mounts, &devices)),
        cwd: run.cwd.clone(),
        account,
        terminal: false,
        hostname: run.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned()),
        root: place,
        mounts: extras.into_iter().map(|(extra, _)| extra).collect(),
        network: network.namespace.clone(),
        isolation: match run.security {
            Security::Sandbox => Isolation::Sandbox,
            Security::Insecure => Isolation::Insecure,
        },
        cgroup: bundle::cgroup_of(&id),
        limits: hands.limits.clone(),
        devices,
    };
    // The environment may have a secret in it, and the runtime's record repeats it.
    let memory = Memory::at(directory.join("bundle"))
        .map_err(|error| Error::system("make a bundle in memory", error))?;
    bundle::write(memory.path(), &container)?;
    let exit = carry_out(&id, memory.path(), hands).and_then(|exit| judge(run, &exit));
    let done = exit.map_err(|error| {
        let open = |terminal: &File| shell::open((&run.shell, &container), directory, terminal, hands);
        (hands.attend)(error, &open)
    });
    stubs.remove()?;
    let view: View = view;
    drop((memory, mounts, network, view));
    done
}

/// Runs the bundle to its end, passing its output on.
fn carry_out(id: &str, bundle: &Path, hands: &Hands<'_>) -> Result<Exit, Error> {
    let runtime = hands.runtime()?.with_state(&bundle.join("state"));
    let mut child = runtime.start(bundle, id, Stdio::Captured)?;
    let watched = hands.interrupt.watch(id, child.id());
    std::thread::scope(|scope| {
        if let Some(output) = child.stdout.take() {
            scope.spawn(|| pass_on(output, Stream::Stdout, hands.progress));
        }
        if let Some(output) = child.stderr.take() {
            scope.spawn(|| pass_on(output, Stream::Stderr, hands.progress));
        }
        let exit = runtime.wait(&mut child, bundle);
        let is_given_up = hands.interrupt.is_raised();
        // The runtime was killed: its container may live, and hold the pipes open.
        let removed = if is_given_up { runtime.delete(id) } else { Ok(()) };
        hands.interrupt.forget(id);
        if is_given_up { removed.and(Err(Interrupt::error())) } else { watched.and(exit) }
    })
}

fn pass_on(mut from: impl Read, stream: Stream, step: &Step) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        step.log(stream, buffer.get(..count).unwrap_or_default());
    }
}

fn judge(run: &Run, exit: &Exit) -> Result<(), Error> {
    // One line, whatever the here-document was.
    let command = run.args.join(" ").trim_end().replace('\n', "; ");
    match exit {
        Exit::Code(0) => Ok(()),
        Exit::Code(code) => {
            let failed = Error::new(Kind::System, format!("run {command}: exit code {code}"));
            Err(match code {
                137 => failed.hint("it was killed, perhaps for want of memory"),
                _ => failed,
            })
        }
        Exit::NotStarted(words) => {
            let failed = Error::new(Kind::System, format!("run {command}: {words}"));
            Err(match words.to_ascii_lowercase().contains("exec format error") {
                true => failed.hint(
                    "it is for another processor: register an emulator with binfmt_misc (Debian: qemu-user-static)",
                ),
                false => failed,
            })
        }
    }
}

/// The network that was asked for. Without a helper a step still runs, but sees its loopback only: most steps need
/// no network, and those that do fail with the warning above their own words.
fn network(asked: Asked, directory: &Path, step: &Step) -> Result<Network, Error> {
    let choice = match asked {
        Asked::Default => match bundle::network_usable() {
            Ok(()) => Choice::Own,
            Err(why) => {
                let warning = format!("warning: this step has no network: {why}\n");
                step.log(Stream::Stderr, warning.as_bytes());
                Choice::None
            }
        },
        Asked::None => Choice::None,
        Asked::Host => Choice::Host,
    };
    bundle::attach_network(directory, choice, Vec::new())
}

/// The files that every container gets, and the here-documents of this one.
fn files(run: &Run, network: &Network, directory: &Path) -> Result<Vec<(Extra, StubKind)>, Error> {
    let host = Host {
        name: run.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned()),
        address: network.address.clone(),
        others: run.add_hosts.clone(),
    };
    let mut extras = Vec::new();
    let mut add = |name: &str, target: String, content: &str, mode: u32| {
        let path = directory.join(name);
        fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .map_err(|error| Error::system(format!("write {}", path.display()), error))?;
        extras.push((Extra::Bind { source: path, target, writable: false }, StubKind::File));
        Ok::<(), Error>(())
    };
    add("hosts", "/etc/hosts".to_owned(), &host.hosts(), 0o644)?;
    add("resolv.conf", "/etc/resolv.conf".to_owned(), &network.resolver.text(), 0o644)?;
    for (number, script) in run.scripts.iter().enumerate() {
        add(&format!("script-{number}"), format!("/dev/pipes/{}", script.name), &script.content, 0o755)?;
    }
    Ok(extras)
}

fn environment(run: &Run, account: &Account, (mounts, devices): (&Mounts, &Devices)) -> Vec<String> {
    let mut env: Vec<String> =
        run.env.iter().chain(&run.proxy).map(|(name, value)| format!("{name}={value}")).collect();
    if !run.env.iter().any(|(name, _)| name == "HOME") {
        env.push(format!("HOME={}", account.home));
    }
    env.extend(mounts.env.iter().cloned());
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    env.retain(|pair| !devices.env.iter().any(|other| name(other) == name(pair)));
    env.extend(devices.env.iter().cloned());
    env
}
