//! Base images for the tests, written as OCI layout archives with the tools of any Linux: tar, gzip, sha256sum.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process;

const PATIENCE: Duration = Duration::from_secs(120);

/// Writes the archive `to`: one gzip layer, `layer` (an uncompressed tar), under the name `reference`.
pub(crate) fn write(to: &Path, layer: &Path, config: &Value, reference: &str) -> Result<()> {
    let aside = tempfile::Builder::new()
        .prefix(".layout.")
        .tempdir_in(to.parent().context("a folder for the archive")?)?;
    let blobs = aside.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let packed = aside.path().join("layer.gz");
    shell("gzip -1 -n -c \"$1\" >\"$2\"", &[layer, &packed])?;
    let layer_descriptor = keep(&blobs, &packed, "application/vnd.oci.image.layer.v1.tar+gzip")?;
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(layer)?)]},
        "history": [{"created_by": "conformance"}],
    });
    let config_descriptor = keep_json(&blobs, &config, "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config_descriptor, "layers": [layer_descriptor],
    });
    let mut descriptor = keep_json(&blobs, &manifest, "application/vnd.oci.image.manifest.v1+json")?;
    crate::bundle::put(&mut descriptor, "/platform", json!({"architecture": architecture(), "os": "linux"}));
    crate::bundle::put(
        &mut descriptor,
        "/annotations",
        json!({
            "org.opencontainers.image.ref.name": reference, "io.containerd.image.name": reference,
        }),
    );
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [descriptor]});
    std::fs::write(aside.path().join("index.json"), index.to_string())?;
    std::fs::write(aside.path().join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}")?;
    // What Docker before 25 reads instead.
    let path = |descriptor: &Value| {
        format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
    };
    let saved = json!([{
        "Config": path(&config_descriptor), "RepoTags": [reference], "Layers": [path(&layer_descriptor)],
    }]);
    std::fs::write(aside.path().join("manifest.json"), saved.to_string())?;
    shell("tar -C \"$1\" -cf \"$2\" oci-layout index.json manifest.json blobs", &[aside.path(), to])?;
    Ok(std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o644))?)
}

/// An image of the probe alone, with `root` and `user` in its /etc/passwd.
pub(crate) fn of_probe(to: &Path, probe: &Path, config: &Value, reference: &str) -> Result<()> {
    let aside = tempfile::Builder::new()
        .prefix(".root.")
        .tempdir_in(to.parent().context("a folder for the archive")?)?;
    let layer = aside.path().join("layer.tar");
    root_of_probe(&layer, probe)?;
    write(to, &layer, config, reference)
}

/// The only layer of that image, as an uncompressed tar.
pub(crate) fn root_of_probe(to: &Path, probe: &Path) -> Result<()> {
    let aside =
        tempfile::Builder::new().prefix(".root.").tempdir_in(to.parent().context("a folder for the tar")?)?;
    let root = aside.path().join("root");
    std::fs::create_dir_all(root.join("etc"))?;
    std::fs::copy(probe, root.join("probe"))?;
    std::fs::set_permissions(root.join("probe"), std::fs::Permissions::from_mode(0o755))?;
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/probe\nuser:x:1000:1000::/:/probe\n")?;
    std::fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n")?;
    shell(
        "tar -C \"$1\" --numeric-owner --owner=0 --group=0 --mtime=@0 --sort=name -cf \"$2\" .",
        &[&root, to],
    )
}

/// Go's name of this machine's architecture, which images use.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        "x86" => "386",
        other => other,
    }
}

/// The lower-case hexadecimal SHA-256 of a file.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let ended = process::run(Command::new("sha256sum").arg(file), PATIENCE)?.success()?;
    Ok(ended.out.split_whitespace().next().context("read sha256sum's answer")?.to_owned())
}

fn keep(blobs: &Path, file: &Path, media_type: &str) -> Result<Value> {
    let digest = sha256(file)?;
    let size = std::fs::metadata(file)?.len();
    std::fs::rename(file, blobs.join(&digest))?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size}))
}

fn keep_json(blobs: &Path, value: &Value, media_type: &str) -> Result<Value> {
    let file = blobs.join("new");
    std::fs::write(&file, value.to_string())?;
    keep(blobs, &file, media_type)
}

fn shell(script: &str, files: &[&Path]) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).args(files);
    process::run(&mut command, PATIENCE)?.success()?;
    Ok(())
}
