//! The words after the global flags, one function for each verb. Pure.

use std::path::Path;

/// What `create` and `restore` have in common.
pub(crate) struct Creation<'a> {
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a Path,
    pub(crate) pid_file: &'a Path,
    pub(crate) console_socket: Option<&'a Path>,
    pub(crate) no_pivot: bool,
    pub(crate) no_new_keyring: bool,
}

fn words<const N: usize>(fixed: [&str; N]) -> Vec<String> {
    fixed.into_iter().map(str::to_owned).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

pub(crate) fn create(creation: &Creation) -> Vec<String> {
    let mut line = words(["create", "--bundle"]);
    line.extend([text(creation.bundle), "--pid-file".into(), text(creation.pid_file)]);
    if let Some(socket) = creation.console_socket {
        line.extend(["--console-socket".into(), text(socket)]);
    }
    if creation.no_pivot {
        line.push("--no-pivot".into());
    }
    if creation.no_new_keyring {
        line.push("--no-new-keyring".into());
    }
    line.push(creation.id.to_owned());
    line
}

/// Where CRIU reads and writes.
pub(crate) struct Images<'a> {
    pub(crate) image: &'a Path,
    pub(crate) work: &'a Path,
}

pub(crate) fn restore(creation: &Creation, images: &Images) -> Vec<String> {
    let mut line = words(["restore", "--detach", "--no-subreaper", "--image-path"]);
    line.extend([text(images.image), "--work-path".into(), text(images.work)]);
    line.extend(["--bundle".into(), text(creation.bundle), "--pid-file".into(), text(creation.pid_file)]);
    if let Some(socket) = creation.console_socket {
        line.extend(["--console-socket".into(), text(socket)]);
    }
    if creation.no_pivot {
        line.push("--no-pivot".into());
    }
    line.push(creation.id.to_owned());
    line
}

pub(crate) fn start(id: &str) -> Vec<String> {
    words(["start", id])
}

pub(crate) struct Execution<'a> {
    pub(crate) id: &'a str,
    pub(crate) process: &'a Path,
    pub(crate) pid_file: &'a Path,
    pub(crate) console_socket: Option<&'a Path>,
}

pub(crate) fn exec(execution: &Execution) -> Vec<String> {
    let mut line = words(["exec", "--process"]);
    line.push(text(execution.process));
    if let Some(socket) = execution.console_socket {
        line.extend(["--console-socket".into(), text(socket)]);
    }
    line.extend(["--detach".into(), "--pid-file".into(), text(execution.pid_file), execution.id.to_owned()]);
    line
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reach {
    Init,
    All,
}

pub(crate) fn kill(id: &str, signal: u32, reach: Reach) -> Vec<String> {
    let number = signal.to_string();
    match reach {
        Reach::Init => words(["kill", id, &number]),
        Reach::All => words(["kill", "--all", id, &number]),
    }
}

pub(crate) fn delete(id: &str) -> Vec<String> {
    words(["delete", id])
}

pub(crate) fn delete_forced(id: &str) -> Vec<String> {
    words(["delete", "--force", id])
}

pub(crate) fn pause(id: &str) -> Vec<String> {
    words(["pause", id])
}

pub(crate) fn resume(id: &str) -> Vec<String> {
    words(["resume", id])
}

pub(crate) fn processes(id: &str) -> Vec<String> {
    words(["ps", "--format", "json", id])
}

/// The new limits come on standard input.
pub(crate) fn update(id: &str) -> Vec<String> {
    words(["update", "--resources", "-", id])
}

pub(crate) fn features() -> Vec<String> {
    words(["features"])
}

/// A checkpoint's switches, each spelled as containerd's message spells it.
#[derive(Default)]
pub(crate) struct Checkpoint {
    pub(crate) exit: bool,
    pub(crate) open_tcp: bool,
    pub(crate) external_unix_sockets: bool,
    pub(crate) terminal: bool,
    pub(crate) file_locks: bool,
    pub(crate) empty_namespaces: Vec<String>,
    pub(crate) cgroups_mode: String,
    /// An earlier image, relative to this one, that has the pages which have not changed since.
    pub(crate) parent: String,
}

pub(crate) fn checkpoint(id: &str, checkpoint: &Checkpoint, images: &Images) -> Vec<String> {
    let mut line = words(["checkpoint", "--image-path"]);
    line.extend([text(images.image), "--work-path".into(), text(images.work)]);
    let switches = [
        (!checkpoint.exit, "--leave-running"),
        (checkpoint.open_tcp, "--tcp-established"),
        (checkpoint.external_unix_sockets, "--ext-unix-sk"),
        (checkpoint.terminal, "--shell-job"),
        (checkpoint.file_locks, "--file-locks"),
    ];
    line.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, word)| word.to_owned()));
    for namespace in &checkpoint.empty_namespaces {
        line.extend(["--empty-ns".into(), namespace.clone()]);
    }
    if !checkpoint.parent.is_empty() {
        line.extend(["--parent-path".into(), checkpoint.parent.clone()]);
    }
    if !checkpoint.cgroups_mode.is_empty() {
        line.extend(["--manage-cgroups-mode".into(), checkpoint.cgroups_mode.clone()]);
    }
    line.push(id.to_owned());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creation(console_socket: Option<&'static Path>) -> Creation<'static> {
        Creation {
            id: "c",
            bundle: Path::new("/b"),
            pid_file: Path::new("/b/init.pid"),
            console_socket,
            no_pivot: console_socket.is_some(),
            no_new_keyring: console_socket.is_some(),
        }
    }

    #[test]
    fn the_lines_are_those_of_containerds_own_shim() {
        let socket = Some(Path::new("/s"));
        let images = Images { image: Path::new("/i"), work: Path::new("/w") };
        let execution = |console_socket| Execution {
            id: "c",
            process: Path::new("/b/p"),
            pid_file: Path::new("/b/e.pid"),
            console_socket,
        };
        let whole = Checkpoint {
            exit: true,
            open_tcp: true,
            external_unix_sockets: true,
            terminal: true,
            file_locks: true,
            empty_namespaces: vec!["network".into()],
            cgroups_mode: "soft".into(),
            parent: "../p".into(),
        };
        for (line, expected) in [
            (create(&creation(None)), "create --bundle /b --pid-file /b/init.pid c"),
            (
                create(&creation(socket)),
                "create --bundle /b --pid-file /b/init.pid --console-socket /s --no-pivot --no-new-keyring c",
            ),
            (
                restore(&creation(None), &images),
                "restore --detach --no-subreaper --image-path /i --work-path /w --bundle /b --pid-file /b/init.pid c",
            ),
            (start("c"), "start c"),
            (exec(&execution(None)), "exec --process /b/p --detach --pid-file /b/e.pid c"),
            (
                exec(&execution(socket)),
                "exec --process /b/p --console-socket /s --detach --pid-file /b/e.pid c",
            ),
            (kill("c", 15, Reach::Init), "kill c 15"),
            (kill("c", 9, Reach::All), "kill --all c 9"),
            (delete("c"), "delete c"),
            (delete_forced("c"), "delete --force c"),
            (pause("c"), "pause c"),
            (resume("c"), "resume c"),
            (processes("c"), "ps --format json c"),
            (update("c"), "update --resources - c"),
            (
                checkpoint("c", &Checkpoint::default(), &images),
                "checkpoint --image-path /i --work-path /w --leave-running c",
            ),
            (
                checkpoint("c", &whole, &images),
                "checkpoint --image-path /i --work-path /w --tcp-established --ext-unix-sk --shell-job --file-locks \
                 --empty-ns network --parent-path ../p --manage-cgroups-mode soft c",
            ),
        ] {
            assert_eq!(line.join(" "), expected);
        }
    }
}
