//! `--output`: what a build gives besides the image in the store, as the command line says it.

use std::path::PathBuf;

use crate::attest::Storage;
use crate::error::{Error, Kind};
use crate::layer::Compression;
use crate::registry::Reference;

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) form: Form,
    /// Names of the image there; empty: those of `--tag`.
    pub(crate) names: Vec<Reference>,
    /// How its layers are compressed; `None`: as the build made them.
    pub(crate) compression: Option<Compression>,
    pub(crate) reach: Reach,
    /// How an index carries what is said of its images.
    pub(crate) storage: Storage,
}

/// What is written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// An OCI layout in a tar.
    Oci(Dest),
    /// An OCI layout as a directory.
    OciDirectory(PathBuf),
    /// What `docker load` takes.
    Docker(Dest),
    /// The image's files in a tar.
    Tar(Dest),
    /// The image's files in a directory.
    Local(PathBuf),
    /// Sent to the registries that the names are of.
    Registry,
    /// Nothing but the image in the store, under these names.
    Image,
}

/// Where one stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dest {
    /// Standard output.
    Stdout,
    /// A file, which appears when it is whole.
    File(PathBuf),
}

/// Which layers get the output's compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of this build.
    New,
    /// The base's too: `force-compression=true`.
    All,
}

impl Output {
    /// `type=NAME,KEY=VALUE,...`; `DIRECTORY` for `type=local`, and `-` for `type=tar`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text == "-" {
            return Ok(Self::of(Form::Tar(Dest::Stdout)));
        }
        if !text.contains('=') {
            return Ok(Self::of(Form::Local(PathBuf::from(text))));
        }
        let mut read = Read::default();
        for part in text.split(',') {
            let (key, value) =
                part.split_once('=').ok_or_else(|| refuse(text, &format!("{part} is not KEY=VALUE")))?;
            read.take(text, key, value)?;
        }
        read.finish(text)
    }

    fn of(form: Form) -> Self {
        Self { form, names: Vec::new(), compression: None, reach: Reach::New, storage: Storage::default() }
    }

    /// Whether its bytes go to standard output, which is then for nothing else.
    pub(crate) fn takes_stdout(&self) -> bool {
        matches!(&self.form, Form::Oci(Dest::Stdout) | Form::Docker(Dest::Stdout) | Form::Tar(Dest::Stdout))
    }
}

/// The keys as they come.
#[derive(Default)]
struct Read {
    kind: String,
    dest: Option<String>,
    names: Vec<Reference>,
    compression: Option<String>,
    level: Option<String>,
    is_forced: bool,
    is_pushed: bool,
    is_directory: bool,
    storage: Option<Storage>,
}

impl Read {
    fn take(&mut self, text: &str, key: &str, value: &str) -> Result<(), Error> {
        let flag = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(refuse(text, &format!("{key} is true or false"))),
        };
        match key {
            "type" => value.clone_into(&mut self.kind),
            "dest" => self.dest = Some(value.to_owned()),
            "name" => self.names.push(value.parse()?),
            "compression" => self.compression = Some(value.to_owned()),
            "compression-level" => self.level = Some(value.to_owned()),
            "force-compression" => self.is_forced = flag()?,
            "push" => self.is_pushed = flag()?,
            "tar" => self.is_directory = !flag()?,
            // Manifests and layers have OCI's media types here, whatever they hold.
            "oci-mediatypes" if flag()? => {}
            "oci-artifact" => self.storage = Some(if flag()? { Storage::Artifact } else { Storage::Image }),
            _ => {
                let known = "type, dest, name, compression, compression-level, force-compression, oci-artifact, push, tar";
                return Err(refuse(text, &format!("{key}={value} is not supported")).hint(known));
            }
        }
        Ok(())
    }

    fn finish(self, text: &str) -> Result<Output, Error> {
        let form = match self.kind.as_str() {
            "oci" if self.is_directory => Form::OciDirectory(self.path(text)?),
            "oci" => Form::Oci(self.stream()),
            "docker" => Form::Docker(self.stream()),
            "tar" => Form::Tar(self.stream()),
            "local" => Form::Local(self.path(text)?),
            "registry" => Form::Registry,
            "image" if self.is_pushed => Form::Registry,
            "image" => Form::Image,
            "" => return Err(refuse(text, "it has no type")),
            other => {
                return Err(refuse(text, &format!("type {other} is not known"))
                    .hint("oci, docker, tar, local, registry or image"));
            }
        };
        if self.is_directory && !matches!(form, Form::OciDirectory(_)) {
            return Err(refuse(text, "tar=false is for type=oci"));
        }
        if self.dest.is_some() && matches!(form, Form::Registry | Form::Image) {
            return Err(refuse(text, "an image in the store or a registry has no dest"));
        }
        if self.storage.is_some() && matches!(form, Form::Docker(_) | Form::Tar(_) | Form::Local(_)) {
            return Err(refuse(
                text,
                "oci-artifact is for types that carry attestations: oci, registry, image",
            ));
        }
        let compression = match (self.compression, self.level) {
            (None, None) => None,
            (Some(name), None) => Some(name.parse()?),
            (Some(name), Some(level)) => Some(format!("{name}:{level}").parse()?),
            (None, Some(_)) => return Err(refuse(text, "compression-level needs a compression")),
        };
        let reach = if self.is_forced { Reach::All } else { Reach::New };
        let storage = self.storage.unwrap_or_default();
        Ok(Output { form, names: self.names, compression, reach, storage })
    }

    fn stream(&self) -> Dest {
        match self.dest.as_deref() {
            None | Some("-") => Dest::Stdout,
            Some(path) => Dest::File(PathBuf::from(path)),
        }
    }

    fn path(&self, text: &str) -> Result<PathBuf, Error> {
        match self.dest.as_deref() {
            None | Some("" | "-") => Err(refuse(text, "it needs dest=DIRECTORY")),
            Some(path) => Ok(PathBuf::from(path)),
        }
    }
}

fn refuse(text: &str, why: &str) -> Error {
    Error::new(Kind::Invalid, format!("output {text}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_they_are_written() {
        let oci = Output {
            form: Form::Oci(Dest::File("a.tar".into())),
            names: vec!["x:1".parse().unwrap()],
            compression: Some(Compression::Gzip(9)),
            reach: Reach::All,
            storage: Storage::Image,
        };
        let text = "type=oci,dest=a.tar,name=x:1,compression=gzip,compression-level=9,force-compression=true,oci-artifact=false";
        for (text, expected) in [
            ("-", Output::of(Form::Tar(Dest::Stdout))),
            ("out", Output::of(Form::Local("out".into()))),
            ("type=local,dest=out", Output::of(Form::Local("out".into()))),
            ("type=docker", Output::of(Form::Docker(Dest::Stdout))),
            ("type=oci,tar=false,dest=d", Output::of(Form::OciDirectory("d".into()))),
            ("type=image,push=true", Output::of(Form::Registry)),
            (text, oci),
        ] {
            assert_eq!(Output::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_an_output_cannot_have_is_an_error_that_says_so() {
        for (text, expected) in [
            ("dest=x", "output dest=x: it has no type"),
            ("type=local", "output type=local: it needs dest=DIRECTORY"),
            (
                "type=zip",
                "output type=zip: type zip is not known (oci, docker, tar, local, registry or image)",
            ),
            ("type=tar,x", "output type=tar,x: x is not KEY=VALUE"),
            ("type=tar,tar=false,dest=x", "output type=tar,tar=false,dest=x: tar=false is for type=oci"),
            (
                "type=image,dest=x",
                "output type=image,dest=x: an image in the store or a registry has no dest",
            ),
            (
                "type=oci,attestation=1",
                "output type=oci,attestation=1: attestation=1 is not supported (type, dest, name, compression, compression-level, force-compression, oci-artifact, push, tar)",
            ),
            (
                "type=local,dest=x,oci-artifact=false",
                "output type=local,dest=x,oci-artifact=false: oci-artifact is for types that carry attestations: oci, registry, image",
            ),
            (
                "type=oci,compression-level=3",
                "output type=oci,compression-level=3: compression-level needs a compression",
            ),
        ] {
            assert_eq!(Output::parse(text).unwrap_err().to_string(), expected);
        }
    }
}
