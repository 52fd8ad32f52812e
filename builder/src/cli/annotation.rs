//! `--annotation`: free text on manifests, on their descriptors, and on the index over them.

use std::collections::BTreeMap;

use crate::error::{Error, Kind};
use crate::image::Platform;

/// One `--annotation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotation {
    pub(crate) target: Target,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// What it is written on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Manifests, or the one for a platform.
    Manifest(Option<Platform>),
    /// Their descriptors in the index.
    ManifestDescriptor(Option<Platform>),
    /// The index.
    Index,
}

impl Annotation {
    /// `[WHERE[PLATFORM]:]NAME=VALUE`, where WHERE is manifest, manifest-descriptor or index.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::new(Kind::Invalid, format!("annotation {text}: {why}"));
        let (left, value) = text.split_once('=').ok_or_else(|| refuse("it is not NAME=VALUE"))?;
        let (place, name) = left.split_once(':').unwrap_or(("manifest", left));
        if name.is_empty() {
            return Err(refuse("it has no name"));
        }
        let (place, platform) = match place.strip_suffix(']').and_then(|place| place.split_once('[')) {
            Some((place, platform)) => (place, Some(platform.parse::<Platform>()?)),
            None => (place, None),
        };
        let target = match (place, platform) {
            ("manifest", platform) => Target::Manifest(platform),
            ("manifest-descriptor", platform) => Target::ManifestDescriptor(platform),
            ("index", None) => Target::Index,
            ("index", Some(_)) => return Err(refuse("an index is for every platform")),
            _ => {
                return Err(refuse(&format!("{place} is not known"))
                    .hint("manifest, manifest-descriptor or index, before the colon"));
            }
        };
        Ok(Self { target, name: name.to_owned(), value: value.to_owned() })
    }
}

/// Those that `is_meant` by their target.
pub(crate) fn chosen(
    annotations: &[Annotation],
    is_meant: impl Fn(&Target) -> bool,
) -> BTreeMap<String, String> {
    let meant = annotations.iter().filter(|annotation| is_meant(&annotation.target));
    meant.map(|annotation| (annotation.name.clone(), annotation.value.clone())).collect()
}

/// Whether one that is for a platform, or for every one, is for this.
pub(crate) fn suits(wanted: Option<&Platform>, platform: &Platform) -> bool {
    wanted.is_none_or(|wanted| platform.suits(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_say_where_they_go() {
        let arm: Platform = "linux/arm64".parse().unwrap();
        for (text, target) in [
            ("a=b", Target::Manifest(None)),
            ("manifest:a=b", Target::Manifest(None)),
            ("manifest[linux/arm64]:a=b", Target::Manifest(Some(arm.clone()))),
            ("manifest-descriptor[linux/arm64]:a=b", Target::ManifestDescriptor(Some(arm))),
            ("index:a=b", Target::Index),
        ] {
            let expected = Annotation { target, name: "a".to_owned(), value: "b".to_owned() };
            assert_eq!(Annotation::parse(text).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            ("a", "annotation a: it is not NAME=VALUE"),
            ("index:=b", "annotation index:=b: it has no name"),
            (
                "layer:a=b",
                "annotation layer:a=b: layer is not known (manifest, manifest-descriptor or index, before the colon)",
            ),
        ] {
            assert_eq!(Annotation::parse(text).unwrap_err().to_string(), expected);
        }
    }
}
