//! What stands in addresses.

use ureq::http::Uri;

/// A redirect's target: absolute, from the root, another query, or beside the last part of the path.
pub(super) fn join(from: &Uri, location: &str) -> Option<Uri> {
    if has_scheme(location) {
        let uri: Uri = location.parse().ok()?;
        return uri
            .host()
            .is_some()
            .then_some(uri)
            .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    }
    let origin = format!("{}://{}", from.scheme_str()?, from.authority()?);
    if let Some(authority) = location.strip_prefix("//") {
        return format!("{}://{authority}", from.scheme_str()?).parse().ok();
    }
    let path = if location.starts_with('/') {
        location.to_owned()
    } else if location.starts_with('?') {
        format!("{}{location}", from.path())
    } else {
        let beside = from.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{beside}/{location}")
    };
    format!("{origin}{path}").parse().ok()
}

/// RFC 3986, 3.1: there may be other addresses in a query.
fn has_scheme(location: &str) -> bool {
    location.split_once(':').is_some_and(|(scheme, _)| {
        let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic()) && scheme.bytes().all(may_stand)
    })
}

/// `%2F` is a slash; what is no text then has substitutes in it.
#[must_use]
pub fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.as_bytes() {
            [high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push((digit(*high) << 4) | digit(*low));
                bytes.extend(rest);
            }
            _ => bytes.extend([b'%'].iter().chain(part.as_bytes())),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(letter: u8) -> u8 {
    match letter {
        b'0'..=b'9' => letter - b'0',
        _ => (letter | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined_as_urls_are() {
        let from: Uri = "https://r.example/v2/a/blobs/uploads/id?s=0".parse().unwrap();
        for (location, expected) in [
            ("https://cdn.example/x?y=1", Some("https://cdn.example/x?y=1")),
            ("/v2/a/up?s=1", Some("https://r.example/v2/a/up?s=1")),
            ("next", Some("https://r.example/v2/a/blobs/uploads/next")),
            ("//other.example/x", Some("https://other.example/x")),
            (
                "up?to=http://x.example/y",
                Some("https://r.example/v2/a/blobs/uploads/up?to=http://x.example/y"),
            ),
            ("/v2/up?to=http://x.example/y", Some("https://r.example/v2/up?to=http://x.example/y")),
            ("1up://x", Some("https://r.example/v2/a/blobs/uploads/1up://x")),
            ("?s=1", Some("https://r.example/v2/a/blobs/uploads/id?s=1")),
            ("mailto:a@b.example", None),
            ("ftp://r.example/", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(join(&from, location).map(|uri| uri.to_string()).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn letters_are_decoded() {
        for (text, expected) in
            [("a%2Fb%3d", "a/b="), ("100%", "100%"), ("%+1%zz", "%+1%zz"), ("%c3%a9", "\u{e9}"), ("%", "%")]
        {
            assert_eq!(decoded(text), expected, "{text}");
        }
    }
}
