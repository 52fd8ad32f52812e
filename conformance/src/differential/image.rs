//! A built image as it is compared: its config, and its tree after each layer.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::tree::{Layer, Tree};
use crate::process;

#[derive(Debug)]
pub(super) struct Image {
    pub(super) config: Value,
    layers: Vec<Rc<Layer>>,
}

impl Image {
    /// Its files.
    pub(super) fn tree(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for layer in &self.layers {
            tree.apply(layer)?;
        }
        Ok(tree)
    }
}

/// Images of one builder; a layer that many have is read once.
#[derive(Debug, Default)]
pub(super) struct Reader {
    layers: HashMap<PathBuf, Rc<Layer>>,
    /// No two files of any layers have one number.
    next: u64,
}

impl Reader {
    /// From a folder of content-addressed blobs and the digest of a manifest.
    pub(super) fn layout(&mut self, blobs: &Path, manifest: &str) -> Result<Image> {
        let blob = |digest: &Value| -> Result<PathBuf> {
            let digest = digest.as_str().context("read a digest")?;
            Ok(blobs.join(digest.replace(':', "/")))
        };
        let manifest = json(&blob(&Value::from(manifest))?)?;
        let config = json(&blob(&manifest["config"]["digest"])?)?;
        let layers = manifest["layers"].as_array().context("read a manifest's layers")?;
        let layers = layers.iter().map(|layer| blob(&layer["digest"])).collect::<Result<Vec<_>>>()?;
        self.image(config, &layers)
    }

    /// From an entry of the manifest.json of an unpacked `docker save`.
    pub(super) fn saved(&mut self, dir: &Path, entry: &Value) -> Result<Image> {
        let config = json(&dir.join(entry["Config"].as_str().context("find the config")?))?;
        let layers = entry["Layers"].as_array().context("find the layers")?;
        let layers: Vec<PathBuf> =
            layers.iter().filter_map(|layer| Some(dir.join(layer.as_str()?))).collect();
        self.image(config, &layers)
    }

    fn image(&mut self, config: Value, files: &[PathBuf]) -> Result<Image> {
        let layers = files.iter().map(|file| self.layer(file)).collect::<Result<Vec<_>>>()?;
        Ok(Image { config, layers })
    }

    fn layer(&mut self, file: &Path) -> Result<Rc<Layer>> {
        let file = file.canonicalize().with_context(|| format!("find {}", file.display()))?;
        if let Some(layer) = self.layers.get(&file) {
            return Ok(Rc::clone(layer));
        }
        let layer = Rc::new(
            Layer::read(uncompressed(&file)?, self.next)
                .with_context(|| format!("read {}", file.display()))?,
        );
        self.next += 1 << 32;
        self.layers.insert(file, Rc::clone(&layer));
        Ok(layer)
    }
}

pub(super) fn json(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("parse {}", file.display()))
}

/// The archive in a layer, which gzip may have packed: the base image's is.
fn uncompressed(file: &Path) -> Result<File> {
    let mut start = [0; 2];
    let opened = File::open(file)?;
    let read = std::os::unix::fs::FileExt::read_at(&opened, &mut start, 0)?;
    if read < 2 || start != [0x1f, 0x8b] {
        return Ok(opened);
    }
    let mut plain = tempfile::tempfile()?;
    let status =
        process::spawn(Command::new("gzip").arg("-dc").stdin(opened).stdout(plain.try_clone()?))?.wait()?;
    ensure!(status.success(), "gzip ended with {status}");
    std::io::Seek::rewind(&mut plain)?;
    Ok(plain)
}
