//! Things that the tests need and that are not built here: made once from Debian packages and a Python index, then kept.
//!
//! A stage folder carries them in `assets/`, so that a host without a network has them as well.
//!
//! Invariant: an asset is made whole (written aside, then renamed) or not at all.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::image;
use crate::process::{self, Ended};

const PATIENCE: Duration = Duration::from_secs(300);

/// Everything that can be in the folder.
const ALL: [&str; 4] = ["busybox", "docker-registry", "wheels", "python.tar"];

/// The folder: that of a stage where there is one, else this user's cache.
pub(crate) fn folder(binaries: &Path) -> PathBuf {
    let staged = binaries.join("assets");
    if staged.is_dir() {
        return staged;
    }
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/cache/coracle");
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    cache.or(home).unwrap_or_else(std::env::temp_dir).join("coracle")
}

/// One asset, or a reason for "not run".
pub(crate) fn get(binaries: &Path, name: &str) -> Result<PathBuf> {
    let path = folder(binaries).join(name);
    if path.exists() {
        return Ok(path);
    }
    if let (false, Some(found)) = (name == "busybox", process::find(name)) {
        return Ok(found);
    }
    Err(crate::case::not_run(format!("{name} is absent: `conformance setup` as root makes it")))
}

/// Makes what is missing; gives one line for each that could not be made.
pub(crate) fn make_all() -> Result<Vec<String>> {
    let folder = folder(Path::new("/nonexistent"));
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut missing = Vec::new();
    for name in ALL {
        if folder.join(name).exists() {
            continue;
        }
        let aside = tempfile::Builder::new().prefix(".new.").tempdir_in(&folder)?;
        std::fs::set_permissions(aside.path(), std::fs::Permissions::from_mode(0o755))?;
        let made = match name {
            "busybox" => busybox(aside.path()),
            "docker-registry" => registry(aside.path()),
            "wheels" => wheels(aside.path()),
            _ => python(aside.path()),
        };
        match made.and_then(|made| Ok(std::fs::rename(made, folder.join(name))?)) {
            Ok(()) => {}
            Err(error) => missing.push(format!("{name}: {error:#}")),
        }
    }
    Ok(missing)
}

fn run(program: &str, args: &[&str], dir: &Path) -> Result<Ended> {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    process::run(&mut command, PATIENCE)?.success()
}

/// Debian's static busybox, from its package: installing it would remove the dynamic one that others may need.
fn busybox(dir: &Path) -> Result<PathBuf> {
    run("apt-get", &["-qq", "download", "busybox-static"], dir)?;
    run("sh", &["-c", "dpkg-deb --extract busybox-static_*.deb out"], dir)?;
    let found =
        ["out/bin/busybox", "out/usr/bin/busybox"].map(|p| dir.join(p)).into_iter().find(|p| p.exists());
    found.context("find busybox in its package")
}

fn registry(dir: &Path) -> Result<PathBuf> {
    let installed =
        process::find("docker-registry").context("find docker-registry (Debian package docker-registry)")?;
    std::fs::copy(installed, dir.join("docker-registry"))?;
    Ok(dir.join("docker-registry"))
}

/// Flask and what it needs, as wheels, for the index that the tests serve.
fn wheels(dir: &Path) -> Result<PathBuf> {
    let target = [
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--dest",
        "wheels",
        "flask",
    ];
    // MarkupSafe is the only one with machine code: it must fit the Python of the base image, which is the host's Debian's.
    let pip = ["/usr/bin/python3", "python3"].into_iter().find_map(process::find).context("find python3")?;
    let mut args = vec!["-m"];
    args.extend(target);
    run(&pip.to_string_lossy(), &args, dir)?;
    ensure!(std::fs::read_dir(dir.join("wheels"))?.count() > 3, "pip downloaded too little");
    Ok(dir.join("wheels"))
}

/// A root file system with Debian's Python, pip, and busybox as the shell, as an OCI archive.
///
/// The packages are unpacked and not installed, so it takes no root and no maintainer script. The marker that forbids pip to
/// install is left out: in this image pip owns the Python.
fn python(dir: &Path) -> Result<PathBuf> {
    let script = r#"
set -eu
list=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    python3-pip | grep -E '^[a-z0-9]' | sed 's/:.*//' | sort -u \
    | grep -vE '^(perl|libperl|debconf|dpkg|cdebconf|libdebian-installer|libtextwrap|libnewt|libslang|install-info|mailcap|mime-support|tar$|libselinux|libacl|ca-certificates|openssl|tzdata|gcc|busybox)' || true)
mkdir debs root
cd debs
apt-get -qq download busybox-static
for name in $list; do apt-get -qq download "$name" 2>/dev/null || true; done
cd ../root
mkdir -p usr/bin usr/lib usr/lib64 usr/sbin etc tmp root proc dev sys var/tmp
for d in bin lib lib64 sbin; do ln -s usr/$d $d; done
chmod 1777 tmp var/tmp
for deb in ../debs/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner; done
rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/perl5 usr/lib/python3*/EXTERNALLY-MANAGED
for tool in sh cat ls env id sleep rm mkdir ln cp mv chmod chown grep sed uname; do [ -e usr/bin/$tool ] || ln -s busybox usr/bin/$tool; done
[ -e usr/bin/python ] || ln -s python3 usr/bin/python
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
echo 'nobody:x:65534:65534:nobody:/:/bin/false' >>etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
printf 'hosts: files dns\n' >etc/nsswitch.conf
tar -c --sort=name --numeric-owner --owner=0 --group=0 --mtime=@0 -f ../root.tar .
"#;
    run("sh", &["-c", script], dir)?;
    let size = std::fs::metadata(dir.join("root.tar"))?.len();
    if size < 20_000_000 {
        bail!("the Python root has only {size} bytes");
    }
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let config =
        serde_json::json!({"Cmd": ["python3"], "Env": [path, "LANG=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"]});
    image::write(
        &dir.join("python.tar"),
        &dir.join("root.tar"),
        &config,
        "docker.io/library/python:3.10-rc-buster",
    )?;
    Ok(dir.join("python.tar"))
}
