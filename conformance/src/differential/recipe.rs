//! A recipe: one Dockerfile with what belongs to it, as the `.cases` files hold them.
//!
//! A recipe begins with `== NAME [WORD...]`; the words are `since=FRONTEND` (the version of the Dockerfile frontend that has it),
//! `fails` (no builder may build it), `needs=PROGRAM` (without which the context lacks something) and flags for the builder. What follows is the Dockerfile, or several files, each begun by
//! `-- NAME [crlf|bom]`.

use anyhow::{Context, Result, bail, ensure};

/// The recipes of the house, by topic.
const TOPICS: [&str; 13] = [
    include_str!("../../differential/from.cases"),
    include_str!("../../differential/metadata.cases"),
    include_str!("../../differential/args.cases"),
    include_str!("../../differential/expansion.cases"),
    include_str!("../../differential/syntax.cases"),
    include_str!("../../differential/run.cases"),
    include_str!("../../differential/workdir.cases"),
    include_str!("../../differential/copy.cases"),
    include_str!("../../differential/options.cases"),
    include_str!("../../differential/add.cases"),
    include_str!("../../differential/heredoc.cases"),
    include_str!("../../differential/ignore.cases"),
    include_str!("../../differential/errors.cases"),
];

/// A version of the Dockerfile language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Frontend(pub(super) u32, pub(super) u32);

impl std::fmt::Display for Frontend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What is to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Image,
    Failure,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) name: String,
    pub(super) since: Frontend,
    pub(super) expected: Expected,
    /// A program that its part of the context is made with.
    pub(super) needs: Option<String>,
    /// Flags that every builder has, as `--NAME=VALUE`.
    pub(super) flags: Vec<String>,
    /// Names and contents; the first named `Dockerfile` is built.
    pub(super) files: Vec<(String, String)>,
}

impl Recipe {
    /// The name as a file or a tag may have it.
    pub(super) fn slug(&self) -> String {
        self.name.replace('/', ".")
    }

    /// True where it has files for a context of its own.
    pub(super) fn has_own_context(&self) -> bool {
        self.files.len() > 1
    }
}

/// Every recipe of the house.
pub(super) fn all() -> Result<Vec<Recipe>> {
    let mut recipes = Vec::new();
    for topic in TOPICS {
        recipes.extend(parse(topic)?);
    }
    let mut names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        bail!("two recipes are named {}", pair.concat());
    }
    Ok(recipes)
}

fn parse(text: &str) -> Result<Vec<Recipe>> {
    text.split("\n== ")
        .map(|part| part.strip_prefix("== ").unwrap_or(part))
        .filter(|part| !part.trim().is_empty())
        .map(|part| recipe(part).with_context(|| format!("read {}", part.lines().next().unwrap_or_default())))
        .collect()
}

fn recipe(text: &str) -> Result<Recipe> {
    let (head, body) = text.split_once('\n').context("find a Dockerfile")?;
    let mut words = head.split_whitespace();
    let mut recipe = Recipe {
        name: words.next().context("find a name")?.to_owned(),
        since: Frontend(1, 0),
        expected: Expected::Image,
        needs: None,
        flags: Vec::new(),
        files: Vec::new(),
    };
    for word in words {
        if let Some(version) = word.strip_prefix("since=") {
            recipe.since = frontend(version)?;
        } else if let Some(program) = word.strip_prefix("needs=") {
            recipe.needs = Some(program.to_owned());
        } else if word == "fails" {
            recipe.expected = Expected::Failure;
        } else {
            ensure!(word.starts_with("--"), "{word} is no flag");
            recipe.flags.push(word.to_owned());
        }
    }
    recipe.files = files(body)?;
    ensure!(recipe.files.iter().any(|(name, _)| name == "Dockerfile"), "there is no Dockerfile");
    Ok(recipe)
}

/// Reads a version, as 1.7.
pub(super) fn frontend(text: &str) -> Result<Frontend> {
    let (major, minor) = text.split_once('.').with_context(|| format!("read the version {text}"))?;
    Ok(Frontend(major.parse()?, minor.parse()?))
}

fn files(body: &str) -> Result<Vec<(String, String)>> {
    let body = format!("{}\n", body.trim_end_matches('\n'));
    if !body.starts_with("-- ") {
        return Ok(vec![("Dockerfile".to_owned(), body)]);
    }
    let mut files: Vec<(String, String, Option<&str>)> = Vec::new();
    for line in body.split_inclusive('\n') {
        if let Some(head) = line.strip_prefix("-- ") {
            let mut words = head.split_whitespace();
            let name = words.next().context("find the name of a file")?;
            files.push((name.to_owned(), String::new(), words.next()));
        } else if let Some((_, text, _)) = files.last_mut() {
            text.push_str(line);
        }
    }
    files
        .into_iter()
        .map(|(name, text, form)| match form {
            None => Ok((name, text)),
            Some("crlf") => Ok((name, text.replace('\n', "\r\n"))),
            Some("bom") => Ok((name, format!("\u{feff}{text}"))),
            Some(other) => bail!("{other} is no form of a file"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_a_head_and_a_dockerfile_or_several_files() {
        let text = "== a/b  since=1.4 fails --target=x\nFROM scratch\nCOPY a b\n\n== c needs=xz\n-- .dockerignore\n*\n-- Dockerfile crlf\nFROM base\n";
        let parsed = parse(text).unwrap();
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(
            parsed,
            [
                Recipe {
                    name: "a/b".to_owned(),
                    since: Frontend(1, 4),
                    expected: Expected::Failure,
                    needs: None,
                    flags: vec!["--target=x".to_owned()],
                    files: vec![file("Dockerfile", "FROM scratch\nCOPY a b\n")],
                },
                Recipe {
                    name: "c".to_owned(),
                    since: Frontend(1, 0),
                    expected: Expected::Image,
                    needs: Some("xz".to_owned()),
                    flags: Vec::new(),
                    files: vec![file(".dockerignore", "*\n"), file("Dockerfile", "FROM base\r\n")],
                },
            ]
        );
    }

    #[test]
    fn every_recipe_can_be_read_and_there_are_enough() {
        let recipes = all().unwrap();
        assert!(recipes.len() >= 150, "{} recipes", recipes.len());
    }
}
