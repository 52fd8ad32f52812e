//! `--attest`, `--provenance`, `--sbom`: what a build is to say of itself, as the command line has it.

use std::collections::BTreeMap;

use crate::attest::{Mode, Provenance, Version};
use crate::error::{Error, Kind};
use crate::graph::Scanner;

/// The scanner that BuildKit runs where none is named.
const SCANNER: &str = "docker/buildkit-syft-scanner:stable-1";
const PROVENANCE_KEYS: &str =
    "mode, version, builder-id, reproducible, complete-materials, inline-only, filename, disabled";

/// The flags.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Flags {
    /// What to say of the image beside it: type=provenance,mode=min|max,... or type=sbom,generator=IMAGE
    #[arg(long = "attest", value_name = "type=TYPE,...")]
    attests: Vec<String>,
    /// How the image was built, beside it: true, false, or mode=min|max,version=v1|v0.2,... [default: false]
    #[arg(long, value_name = "true|false|KEY=VALUE,...")]
    provenance: Option<String>,
    /// What the image contains, beside it, as a scanner's image finds it: true, false, or generator=IMAGE [default: false]
    #[arg(long, value_name = "true|false|generator=IMAGE,...")]
    sbom: Option<String>,
}

/// What is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) provenance: Option<Provenance>,
    pub(crate) scanner: Option<Scanner>,
}

impl Wanted {
    pub(crate) fn is_anything(&self) -> bool {
        self.provenance.is_some() || self.scanner.is_some()
    }
}

impl Flags {
    /// The last word on each kind counts; the short flags come after `--attest`.
    pub(crate) fn wanted(&self) -> Result<Wanted, Error> {
        let mut wanted = Wanted::default();
        for text in &self.attests {
            let fields = Fields::parse("--attest", text, text)?;
            match fields.kind.as_deref() {
                Some("provenance") => wanted.provenance = fields.provenance()?,
                Some("sbom") => wanted.scanner = fields.scanner()?,
                Some(other) => {
                    return Err(fields
                        .refuse(&format!("type {other} is not known"))
                        .hint("provenance or sbom"));
                }
                None => return Err(fields.refuse("it has no type").hint("provenance or sbom")),
            }
        }
        let short = |flag: &'static str, text: &Option<String>| {
            let Some(text) = text.clone() else { return Ok(None) };
            let long = match text.as_str() {
                "true" | "1" => String::new(),
                "false" | "0" => "disabled=true".to_owned(),
                _ => text.clone(),
            };
            Fields::parse(flag, &text, &long).map(Some)
        };
        if let Some(fields) = short("--provenance", &self.provenance)? {
            wanted.provenance = fields.provenance()?;
        }
        if let Some(fields) = short("--sbom", &self.sbom)? {
            wanted.scanner = fields.scanner()?;
        }
        Ok(wanted)
    }
}

/// `KEY=VALUE,...` taken apart.
struct Fields {
    /// Flag and value, for errors.
    written: String,
    kind: Option<String>,
    others: Vec<(String, String)>,
}

impl Fields {
    fn parse(flag: &str, written: &str, text: &str) -> Result<Self, Error> {
        let mut fields = Self { written: format!("{flag} {written}"), kind: None, others: Vec::new() };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("type", kind)) if flag == "--attest" => fields.kind = Some(kind.to_owned()),
                Some((key, value)) if !key.is_empty() => {
                    fields.others.push((key.to_owned(), value.to_owned()))
                }
                _ => return Err(fields.refuse(&format!("{part} is not KEY=VALUE"))),
            }
        }
        Ok(fields)
    }

    fn refuse(&self, why: &str) -> Error {
        Error::new(Kind::Invalid, format!("{}: {why}", self.written))
    }

    fn flag(&self, key: &str, value: &str) -> Result<bool, Error> {
        match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.refuse(&format!("{key} is true or false"))),
        }
    }

    fn provenance(&self) -> Result<Option<Provenance>, Error> {
        let (mut is_off, mut inline_only, mut filename) = (false, false, "provenance.json".to_owned());
        let mut wanted = Provenance {
            mode: Mode::Max,
            version: Version::V1,
            builder_id: String::new(),
            is_reproducible: false,
            complete_materials: false,
            filename: None,
        };
        for (key, value) in &self.others {
            match (key.as_str(), value.as_str()) {
                ("mode", "min") => wanted.mode = Mode::Min,
                ("mode", "max" | "full") => wanted.mode = Mode::Max,
                ("mode", _) => return Err(self.refuse("mode is min or max")),
                ("version", "v1") => wanted.version = Version::V1,
                ("version", "v0.2") => wanted.version = Version::V02,
                ("version", _) => return Err(self.refuse("version is v1 or v0.2")),
                ("builder-id", id) => id.clone_into(&mut wanted.builder_id),
                ("reproducible", text) => wanted.is_reproducible = self.flag(key, text)?,
                ("complete-materials", text) => wanted.complete_materials = self.flag(key, text)?,
                ("inline-only", text) => inline_only = self.flag(key, text)?,
                ("filename", name) if !name.is_empty() && !name.contains('/') && !name.starts_with('.') => {
                    name.clone_into(&mut filename);
                }
                ("filename", _) => return Err(self.refuse("filename is the name of a file")),
                ("disabled", text) => is_off = self.flag(key, text)?,
                _ => {
                    let why = format!("{key}={value} is not supported");
                    return Err(self.refuse(&why).hint(PROVENANCE_KEYS));
                }
            }
        }
        wanted.filename = (!inline_only).then_some(filename);
        Ok((!is_off).then_some(wanted))
    }

    /// What the builder does not know is the scanner's.
    fn scanner(&self) -> Result<Option<Scanner>, Error> {
        let (mut is_off, mut generator, mut parameters) = (false, SCANNER, BTreeMap::new());
        for (key, value) in &self.others {
            match key.as_str() {
                "disabled" => is_off = self.flag(key, value)?,
                "generator" => generator = value,
                _ => drop(parameters.insert(key.clone(), value.clone())),
            }
        }
        if is_off {
            return Ok(None);
        }
        let image = generator.parse().map_err(|error: Error| error.during(&self.written))?;
        Ok(Some(Scanner { image, parameters }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(attests: &[&str], provenance: Option<&str>, sbom: Option<&str>) -> Result<Wanted, String> {
        let own = |text: &str| text.to_owned();
        let attests = attests.iter().map(|text| own(text)).collect();
        let flags = Flags { attests, provenance: provenance.map(own), sbom: sbom.map(own) };
        flags.wanted().map_err(|error| error.to_string())
    }

    fn provenance() -> Provenance {
        Provenance {
            mode: Mode::Max,
            version: Version::V1,
            builder_id: String::new(),
            is_reproducible: false,
            complete_materials: false,
            filename: Some("provenance.json".to_owned()),
        }
    }

    #[test]
    fn provenance_is_what_the_last_flag_says() {
        let min = Provenance { mode: Mode::Min, version: Version::V02, ..provenance() };
        let inline = Provenance { filename: None, builder_id: "https://b".to_owned(), ..provenance() };
        for (attests, short, expected) in [
            (&[][..], None, None),
            (&[], Some("false"), None),
            (&[], Some("true"), Some(provenance())),
            (&["type=provenance"], None, Some(provenance())),
            (&["type=provenance,disabled=true"], None, None),
            (&["type=provenance"], Some("false"), None),
            (&[], Some("mode=min,version=v0.2"), Some(min)),
            (&["type=provenance,inline-only=true,builder-id=https://b"], None, Some(inline)),
        ] {
            assert_eq!(wanted(attests, short, None).unwrap().provenance, expected, "{attests:?} {short:?}");
        }
    }

    #[test]
    fn a_scanner_is_named_or_the_usual_one_and_gets_its_own_parameters() {
        let scanner = |image: &str, parameters: &[(&str, &str)]| Scanner {
            image: image.parse().unwrap(),
            parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        for (text, expected) in [
            ("false", None),
            ("true", Some(scanner(SCANNER, &[]))),
            ("generator=a/b:1,SOME=x", Some(scanner("a/b:1", &[("SOME", "x")]))),
        ] {
            assert_eq!(wanted(&[], None, Some(text)).unwrap().scanner, expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_an_error() {
        for (attest, provenance, expected) in [
            (Some("mode=max"), None, "--attest mode=max: it has no type (provenance or sbom)"),
            (Some("type=log"), None, "--attest type=log: type log is not known (provenance or sbom)"),
            (None, Some("maybe"), "--provenance maybe: maybe is not KEY=VALUE"),
            (None, Some("mode=all"), "--provenance mode=all: mode is min or max"),
            (None, Some("version=v2"), "--provenance version=v2: version is v1 or v0.2"),
            (None, Some("reproducible=x"), "--provenance reproducible=x: reproducible is true or false"),
            (None, Some("filename=../x"), "--provenance filename=../x: filename is the name of a file"),
            (
                None,
                Some("capture-usage=true"),
                "--provenance capture-usage=true: capture-usage=true is not supported (mode, version, builder-id, reproducible, complete-materials, inline-only, filename, disabled)",
            ),
        ] {
            let attests: Vec<&str> = attest.into_iter().collect();
            assert_eq!(wanted(&attests, provenance, None).unwrap_err(), expected);
        }
    }
}
