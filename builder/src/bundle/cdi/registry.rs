//! Which devices there are, and which of them a name means.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::document::{Document, Edits, is_kind};
use crate::error::{Error, Kind};

/// BuildKit's, for devices that need no permission, and for names that mean several.
const NEEDS_NO_PERMISSION: &str = "org.mobyproject.buildkit.device.autoallow";
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// The devices of some directories, and what the user permits.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Where the files are; a device of a later directory stands before one of an earlier.
    pub directories: Vec<PathBuf>,
    /// `--allow device=`: names and kinds; an empty text permits all.
    pub allowed: Vec<String>,
}

/// A device and what belongs to it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) edits: Edits,
    /// The file that it is of, and what every device of that file brings.
    pub(super) file: PathBuf,
    pub(super) common: Edits,
    annotations: BTreeMap<String, String>,
}

impl Registry {
    /// The devices of a name, in order: `KIND` is the first, `KIND=*` all, `KIND=CLASS` those of a class. Files that cannot be
    /// used are told of.
    pub(super) fn find(&self, name: &str, warn: &dyn Fn(&str)) -> Result<Vec<Found>, Error> {
        let (kind, device) = name.split_once('=').unwrap_or((name, ""));
        if !is_kind(kind) {
            return Err(Error::new(Kind::Invalid, format!("device {name}: it is not VENDOR/CLASS[=NAME]")));
        }
        let all = self.all(kind, warn)?;
        Ok(match (device, all.get(name)) {
            ("", _) => all.into_values().take(1).collect(),
            ("*", _) => all.into_values().collect(),
            (_, Some(found)) => vec![found.clone()],
            (class, None) => {
                let of_class = |found: &Found| found.annotations.get(CLASS).is_some_and(|its| its == class);
                all.into_values().filter(of_class).collect()
            }
        })
    }

    /// The devices of a kind by their whole names.
    fn all(&self, kind: &str, warn: &dyn Fn(&str)) -> Result<BTreeMap<String, Found>, Error> {
        let mut all = BTreeMap::new();
        for directory in &self.directories {
            let mut here = BTreeMap::new();
            for file in files(directory)? {
                let read = fs::read_to_string(&file).map_err(|error| error.to_string());
                match read.and_then(|text| Document::parse(&text)) {
                    Err(why) => warn(&format!("{} is left out: {why}", file.display())),
                    Ok(document) if document.kind == kind => add(&mut here, document, &file)?,
                    Ok(_) => {}
                }
            }
            all.extend(here);
        }
        Ok(all)
    }

    /// An error where the user does not permit a device. Whoever wrote the Dockerfile does not decide that.
    pub(super) fn check(&self, found: &Found) -> Result<(), Error> {
        let kind = found.name.split('=').next().unwrap_or_default();
        let needs_none = found.annotations.get(NEEDS_NO_PERMISSION).is_some_and(|value| value == "true");
        let is_named = |allowed: &String| allowed.is_empty() || *allowed == found.name || allowed == kind;
        if needs_none || self.allowed.iter().any(is_named) {
            return Ok(());
        }
        Err(Error::new(Kind::Invalid, format!("device {} is not allowed", found.name))
            .hint(format!("build with --allow device={}", found.name)))
    }
}

fn add(here: &mut BTreeMap<String, Found>, document: Document, file: &Path) -> Result<(), Error> {
    for device in document.devices {
        let name = format!("{}={}", document.kind, device.name);
        let mut annotations = document.annotations.clone();
        annotations.extend(device.annotations);
        let common = document.container_edits.clone();
        let file = file.to_owned();
        let found = Found { name: name.clone(), edits: device.container_edits, file, common, annotations };
        if let Some(other) = here.insert(name.clone(), found) {
            let text = format!("device {name}: {} describes it too", other.file.display());
            return Err(Error::new(Kind::Invalid, text).hint("leave one of the files"));
        }
    }
    Ok(())
}

/// The files of a directory that describe devices, by name; none where there is no directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other
            .map_err(|error| Error::system(format!("look for devices in {}", directory.display()), error))?,
    };
    let is_wanted =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "yaml" || end == "yml");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_wanted).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(registry: &Registry, name: &str) -> Vec<String> {
        registry.find(name, &|_| {}).unwrap().into_iter().map(|found| found.name).collect()
    }

    #[test]
    fn a_name_is_a_device_a_kind_a_class_or_all_of_a_kind() {
        let place = tempfile::tempdir().unwrap();
        let [one, other] = ["1", "2"].map(|name| place.path().join(name));
        let write = |directory: &Path, name: &str, text: &str| {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join(name), text).unwrap();
        };
        let of = |device: &str, more: &str| {
            format!(
                "cdiVersion: 0.6.0\nkind: v.com/c\ndevices:\n- {{name: {device}, containerEdits: {{env: [\"X={more}\"]}}, \
                     annotations: {{{CLASS}: k}}}}\n"
            )
        };
        write(&one, "a.yaml", &of("a", "first"));
        write(&one, "b.yml", &of("b", "first"));
        write(&one, "not-read.txt", "nonsense");
        write(&other, "a.json", &of("a", "second"));
        write(&other, "broken.yaml", "nonsense");
        let registry = Registry {
            directories: vec![one.clone(), other.clone(), place.path().join("absent")],
            allowed: vec!["v.com/c=a".to_owned()],
        };
        assert_eq!(names(&registry, "v.com/c"), ["v.com/c=a"]);
        assert_eq!(names(&registry, "v.com/c=*"), ["v.com/c=a", "v.com/c=b"]);
        assert_eq!(names(&registry, "v.com/c=k"), ["v.com/c=a", "v.com/c=b"]);
        assert_eq!(names(&registry, "v.com/c=b"), ["v.com/c=b"]);
        assert_eq!(names(&registry, "v.com/other=b"), [""; 0]);
        let warned = std::cell::RefCell::new(Vec::new());
        let found = registry.find("v.com/c=a", &|text| warned.borrow_mut().push(text.to_owned())).unwrap();
        assert_eq!(found[0].edits.env, ["X=second"]);
        let left_out = format!("{} is left out: ", other.join("broken.yaml").display());
        assert!(warned.borrow().iter().all(|text| text.starts_with(&left_out)), "{warned:?}");
        assert_eq!(warned.borrow().len(), 1);
        assert!(registry.check(&found[0]).is_ok());
        let denied = registry.check(&registry.find("v.com/c=b", &|_| {}).unwrap()[0]).unwrap_err();
        let said = "device v.com/c=b is not allowed (build with --allow device=v.com/c=b)";
        assert_eq!(denied.to_string(), said);
        write(&one, "again.yaml", &of("a", "third"));
        let said = format!(
            "device v.com/c=a: {} describes it too (leave one of the files)",
            one.join("a.yaml").display()
        );
        assert_eq!(registry.find("v.com/c", &|_| {}).unwrap_err().to_string(), said);
    }
}
