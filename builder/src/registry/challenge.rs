//! `WWW-Authenticate`: how a registry wants to be asked.

use std::collections::BTreeMap;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token from a service.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Reads the header; a bearer challenge is preferred. `None` for schemes that are not known.
pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        let mut parameters = parameters(rest);
        if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = parameters.remove("realm")
        {
            let (service, scope) = (parameters.remove("service"), parameters.remove("scope"));
            return Some(Challenge::Bearer { realm, service, scope });
        }
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

/// `name=value` and `name="quoted, with \" in it"`, separated by commas.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut letters = text.chars().peekable();
    loop {
        let name: String = std::iter::from_fn(|| letters.next_if(|c| *c != '=')).collect();
        if letters.next().is_none() {
            return found;
        }
        let mut value = String::new();
        if letters.next_if_eq(&'"').is_some() {
            while let Some(letter) = letters.next() {
                match letter {
                    '"' => break,
                    '\\' => value.extend(letters.next()),
                    other => value.push(other),
                }
            }
        }
        while let Some(letter) = letters.next_if(|c| *c != ',') {
            value.push(letter);
        }
        letters.next();
        found.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_real_registries() {
        let bearer = |realm: &str, service: &str, scope: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            Some(Challenge::Bearer { realm: realm.to_owned(), service: some(service), scope: some(scope) })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull,push""#,
                bearer(
                    "https://auth.docker.io/token",
                    "registry.docker.io",
                    "repository:library/a:pull,push",
                ),
            ),
            (r#"bearer realm="https://a/t""#, bearer("https://a/t", "", "")),
            (r#"Bearer service=x , realm="a\"b""#, bearer("a\"b", "x", "")),
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Bearer", None),
            ("Negotiate", None),
            (r#"Bearer realm="unfinished"#, bearer("unfinished", "", "")),
        ] {
            assert_eq!(parse([header].into_iter()), expected, "{header}");
        }
    }
}
