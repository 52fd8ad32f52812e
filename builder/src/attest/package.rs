//! Package URLs of images: `pkg:docker/alpine@3.20?platform=linux%2Famd64`.

use crate::image::Platform;
use crate::registry::Reference;

/// What kind of place an image is from, as package URLs call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A registry.
    Docker,
    /// A layout on this machine.
    Oci,
}

/// The image for a platform.
pub(super) fn url(place: Place, reference: &Reference, platform: &Platform) -> String {
    let kind = match place {
        Place::Docker => "docker",
        Place::Oci => "oci",
    };
    let name = reference.familiar_name().split('/').map(escaped).collect::<Vec<_>>().join("/");
    let tag = reference.tag().map(|tag| format!("@{tag}")).unwrap_or_default();
    let digest = reference.digest().map(|digest| format!("digest={digest}&")).unwrap_or_default();
    let platform = platform.to_string().replace('/', "%2F");
    format!("pkg:{kind}/{name}{tag}?{digest}platform={platform}")
}

/// A registry's port is the one thing in a name that an address may not have as it is.
fn escaped(part: &str) -> String {
    part.replace(':', "%3A").replace('[', "%5B").replace(']', "%5D")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_packages() {
        let (amd64, arm) = (Platform::new("linux", "amd64", ""), Platform::new("linux", "arm", "v7"));
        let digest = format!("sha256:{}", "0".repeat(64));
        for (reference, platform, expected) in [
            ("alpine", &amd64, "pkg:docker/alpine@latest?platform=linux%2Famd64".to_owned()),
            ("a/b:1", &arm, "pkg:docker/a/b@1?platform=linux%2Farm%2Fv7".to_owned()),
            (
                "localhost:5000/x/y:1",
                &amd64,
                "pkg:docker/localhost%3A5000/x/y@1?platform=linux%2Famd64".to_owned(),
            ),
            (
                &format!("alpine@{digest}"),
                &amd64,
                format!("pkg:docker/alpine?digest={digest}&platform=linux%2Famd64"),
            ),
        ] {
            assert_eq!(url(Place::Docker, &reference.parse().unwrap(), platform), expected);
        }
    }
}
