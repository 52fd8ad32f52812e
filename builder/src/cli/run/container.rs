//! From an image and a request to a bundle, and its run.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::record::Claim;
use super::request::{Request, Streams};
use super::supervise::{self, Stopping};
use crate::bundle::{
    self, Account, Choice, Container, Devices, Exit, Extra, Host, Isolation, Limits, Network, Runtime,
    Source, Stdio, StubKind,
};
use crate::error::{Error, Kind};
use crate::image::{Execution, Image};
use crate::snapshot::{self, Draft, View, Wanted};
use crate::store::{Key, Store};
use crate::sys::{interrupt, root, umask};

/// Everything that a container stands on; dropped from the top to the bottom.
struct Ground {
    _network: Network,
    _view: View,
    bundle: PathBuf,
    runtime: Runtime,
    _draft: Draft,
    _shared: crate::store::Lock,
}

/// Runs it with the user looking on.
pub(super) fn in_foreground(store: &Store, request: &Request, image: &Image) -> Result<Exit, Error> {
    // From here on signals are ours to pass on.
    let signals = interrupt::open().map_err(|error| Error::system("watch for signals", error))?;
    let ground = prepare(store, request, image)?;
    let input = request.streams != Streams::OutputOnly;
    let child = ground.runtime.start(&ground.bundle, &request.id, Stdio::Inherited { input })?;
    let stopping = Stopping::new(&ground.runtime, &request.id, &image.config.config, input);
    supervise::foreground(&signals, &stopping, child, &ground.bundle)
}

/// Starts it, tells the one who waits, and looks after it; its exit code.
pub(super) fn in_background(
    store: &Store,
    request: &Request,
    (image, record): (&Image, &Claim),
    tell: &mut File,
) -> Result<u8, Error> {
    let signals = interrupt::open().map_err(|error| Error::system("watch for signals", error))?;
    let ground = prepare(store, request, image)?;
    let pid = ground.runtime.start_alone(&ground.bundle, &request.id, Stdio::Logged(record.log()?))?;
    // Whoever waited may have been killed: the container runs all the same.
    drop(writeln!(tell, "started {}", request.id));
    let stopping = Stopping::new(&ground.runtime, &request.id, &image.config.config, false);
    let code = supervise::background(&signals, &stopping, pid);
    ground.runtime.delete(&request.id)?;
    code
}

fn prepare(store: &Store, request: &Request, image: &Image) -> Result<Ground, Error> {
    let shared = store.share()?;
    let _modes = umask::Usual::set();
    let draft = Draft::new(store, layers(store, image)?)?;
    let bundle = draft.workspace().to_owned();
    let runtime = Runtime::find(request.runtime.as_deref(), &bundle.join("state"))?;
    let network = network(request, &bundle)?;
    let mut view = draft.view()?;
    let place = bundle.join("rootfs");
    view.attach(&place)?;
    let at = view.root().ok_or_else(|| Error::new(Kind::System, "the container has no file system"))?;
    let container = describe(store, request, (image, &network), (at, &bundle))?;
    bundle::write(&bundle, &Container { root: place, ..container })?;
    Ok(Ground { _network: network, _view: view, bundle, runtime, _draft: draft, _shared: shared })
}

fn layers(store: &Store, image: &Image) -> Result<snapshot::Stack, Error> {
    let keys = Key::chain(&image.config.rootfs.diff_ids);
    let wanted: Vec<Wanted> = keys
        .into_iter()
        .zip(&image.manifest.layers)
        .zip(&image.config.rootfs.diff_ids)
        .map(|((key, blob), diff_id)| Wanted { key, blob: blob.clone(), diff_id: diff_id.clone() })
        .collect();
    snapshot::open_layers(store, &wanted, None)
}

/// Without a helper and without ports the container gets its loopback, and the user a warning.
fn network(request: &Request, bundle: &Path) -> Result<Network, Error> {
    let mut choice = request.network;
    if choice == Choice::Own
        && request.ports.is_empty()
        && let Err(why) = bundle::network_usable()
    {
        // A closed standard error leaves nobody to warn.
        drop(writeln!(std::io::stderr(), "builder: warning: the container has no network: {why}"));
        choice = Choice::None;
    }
    bundle::attach_network(bundle, choice, request.ports.clone())
}

fn describe(
    store: &Store,
    request: &Request,
    (image, network): (&Image, &Network),
    (at, bundle): (BorrowedFd<'_>, &Path),
) -> Result<Container, Error> {
    let execution = &image.config.config;
    let account = bundle::resolve_account(at, request.user.as_deref().unwrap_or(&execution.user))?;
    let cwd = match request.workdir.as_deref().unwrap_or(&execution.working_dir) {
        "" => "/".to_owned(),
        given => Path::new("/").join(given).to_string_lossy().into_owned(),
    };
    root::make_dirs(at, Path::new(&cwd), |_, _, _| Ok(()))
        .map_err(|error| Error::system(format!("make the directory {cwd}"), error))?;
    let hostname = request.hostname.clone().unwrap_or_else(|| short(&request.id));
    let mut mounts = files(request, (network, &hostname), bundle)?;
    for volume in &request.volumes {
        mounts.push(volume_mount(store, volume)?);
    }
    // What is made here is the container's own and goes with it: nothing has to be taken away.
    bundle::make_stubs(at, mounts.iter().map(|(mount, kind)| (mount.target(), *kind)))?;
    Ok(Container {
        limits: Limits::default(),
        devices: Devices::default(),
        args: arguments(request, execution)?,
        env: environment(request, execution, (&account, &hostname)),
        cwd,
        account,
        terminal: request.streams == Streams::Terminal,
        hostname,
        root: PathBuf::new(),
        mounts: mounts.into_iter().map(|(mount, _)| mount).collect(),
        network: network.namespace.clone(),
        isolation: Isolation::Sandbox,
        cgroup: bundle::cgroup_of(&request.id),
    })
}

fn short(id: &str) -> String {
    id.rsplit('-').next().unwrap_or(id).chars().take(12).collect()
}

/// The entrypoint and its arguments: a new entrypoint drops the image's command, a new command replaces it.
fn arguments(request: &Request, execution: &Execution) -> Result<Vec<String>, Error> {
    let own_command = || execution.cmd.clone().unwrap_or_default();
    let mut arguments = match &request.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.clone()],
        None => execution.entrypoint.clone().unwrap_or_default(),
    };
    let replaced = !request.command.is_empty() || request.entrypoint.is_some();
    arguments.extend(if replaced { request.command.clone() } else { own_command() });
    if arguments.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            format!("the image {} names no command", request.image.familiar()),
        )
        .hint("write one after the image"));
    }
    Ok(arguments)
}

fn environment(
    request: &Request,
    execution: &Execution,
    (account, hostname): (&Account, &str),
) -> Vec<String> {
    let mut env: Vec<(String, String)> = vec![
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOSTNAME".to_owned(), hostname.to_owned()),
        ("HOME".to_owned(), account.home.clone()),
    ];
    if request.streams == Streams::Terminal {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let image = execution.env.iter().filter_map(|line| line.split_once('='));
    let image = image.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in image.chain(request.env.iter().cloned()) {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => env.push((name, value)),
        }
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn files(
    request: &Request,
    (network, hostname): (&Network, &str),
    bundle: &Path,
) -> Result<Vec<(Extra, StubKind)>, Error> {
    let host =
        Host { name: hostname.to_owned(), address: network.address.clone(), others: request.hosts.clone() };
    let contents = [
        ("hosts", host.hosts()),
        ("resolv.conf", network.resolver.text()),
        ("hostname", format!("{hostname}\n")),
    ];
    contents
        .into_iter()
        .map(|(name, content)| {
            let source = bundle.join(name);
            fs::write(&source, content)
                .map_err(|error| Error::system(format!("write {}", source.display()), error))?;
            Ok((Extra::Bind { source, target: format!("/etc/{name}"), writable: true }, StubKind::File))
        })
        .collect()
}

fn volume_mount(store: &Store, volume: &bundle::Volume) -> Result<(Extra, StubKind), Error> {
    let source = match &volume.source {
        Source::Path(path) => path.clone(),
        Source::Name(name) => {
            let home = store.root().join("volumes");
            let path = home.join(name);
            // Set-id files in it are for containers alone, wherever the store is.
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&home)
                .and_then(|()| fs::create_dir_all(&path))
                .map_err(|error| Error::system(format!("make the volume {name}"), error))?;
            path
        }
    };
    let found = fs::metadata(&source).map_err(|error| {
        Error::system(format!("mount {} on {}", source.display(), volume.target), error)
            .hint("pass a source that exists")
    })?;
    let kind = if found.is_dir() { StubKind::Directory } else { StubKind::File };
    Ok((Extra::Bind { source, target: volume.target.clone(), writable: volume.writable }, kind))
}
