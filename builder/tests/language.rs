//! Goldens of the language: each `language/NAME.Dockerfile` against `language/NAME.txt`.
//!
//! A text shows the statements, the broken rules, the graph and its keys, or the error. `UPDATE=1` rewrites.
//! A last line `# test: NAME=VALUE ... target=STAGE platform=P` gives build arguments and the like;
//! an ignore file stands beside as `NAME.dockerignore`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use builder::dockerfile::ignore::Ignore;
use builder::dockerfile::rule::RULES;
use builder::dockerfile::{self, Source, lexer, lint};
use builder::error::Error;
use builder::graph::{self, Entitlement, Graph, Inputs, Lowered, NamedContext, Resolved, Taken};
use builder::image::{Config, Digest, Platform};

#[test]
fn dockerfiles_become_what_their_goldens_say() {
    let files = cases();
    let mut wrong = Vec::new();
    for path in &files {
        let shown = show(path);
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &shown).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            wrong.push(format!("{}:\n{shown}", path.display()));
        }
    }
    assert!(files.len() > 60, "only {} cases were found", files.len());
    assert!(wrong.is_empty(), "{} differ; UPDATE=1 rewrites\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_rule_is_broken_by_some_golden() {
    let goldens: Vec<String> =
        cases().iter().map(|path| std::fs::read_to_string(path.with_extension("txt")).unwrap()).collect();
    for rule in RULES {
        let line = format!("\n{}: ", rule.name());
        assert!(goldens.iter().any(|golden| golden.contains(&line)), "{} is broken nowhere", rule.name());
    }
}

/// Strangers write Dockerfiles: whatever stands in one, the answer is a graph or an error, soon.
#[test]
fn a_damaged_dockerfile_never_panics() {
    for path in cases() {
        let text = std::fs::read_to_string(&path).unwrap();
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        // Every fifth place: the cases overlap enough for all kinds of damage to occur.
        for &at in ends.iter().step_by(5) {
            let rest = text[at..].chars().next().map_or(0, char::len_utf8);
            let without = format!("{}{}", &text[..at], &text[at + rest..]);
            let doubled = format!("{}{}", &text[..at + rest], &text[at..]);
            for damaged in
                [text[..at].to_owned(), without, doubled, format!("{}${{{}", &text[..at], &text[at..])]
            {
                let source = Source { name: "damaged".to_owned(), text: damaged };
                drop(build(&path, &source, &mut String::new()));
            }
        }
    }
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/language");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "Dockerfile"));
    files.sort();
    files
}

fn show(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let source = Source { name, text: std::fs::read_to_string(path).unwrap() };
    let mut out = String::new();
    if let Err(error) = build(path, &source, &mut out) {
        writeln!(out, "error: {error}").unwrap();
        writeln!(out, "{}", error.shown_excerpt().unwrap_or_default()).unwrap();
    }
    out
}

fn build(path: &Path, source: &Source, out: &mut String) -> Result<(), Error> {
    let lexed = lexer::lex(source)?;
    for statement in &lexed.statements {
        let (line, column) = source.position(statement.place.start);
        writeln!(out, "{line}:{column} {:?}", statement.text).unwrap();
        for document in &statement.heredocs {
            writeln!(out, "    << {} {:?} {:?}", document.name, document.expansion, document.body()).unwrap();
        }
    }
    let file = dockerfile::parse(source)?;
    let ignored = std::fs::read_to_string(path.with_extension("dockerignore")).ok();
    let ignore =
        ignored.map(|text| Ignore::parse(&Source { name: ".dockerignore".to_owned(), text })).transpose()?;
    let mut inputs = inputs(&source.text);
    let (graph, lowered) = loop {
        let lowering = graph::lower(&file, source, &inputs)?;
        match lowering.lowered {
            Lowered::Graph(graph) => break (graph, lowering.warnings),
            Lowered::Needs(requests) => {
                for request in requests {
                    writeln!(out, "needs {} {}", request.reference, request.platform).unwrap();
                    inputs.bases.insert(request.key(), base(&request.reference.familiar()));
                }
            }
        }
    };
    let warnings = lint::lint(&file, ignore.as_ref()).into_iter().chain(lowered).collect();
    for warning in lint::kept(warnings, &file.directives.check) {
        let excerpt = source.excerpt(warning.place);
        writeln!(out, "{}: {}\n{excerpt}", warning.rule.name(), warning.message).unwrap();
    }
    out.push_str(&graph::show(&graph));
    keys(&graph, out);
    Ok(())
}

fn keys(graph: &Graph, out: &mut String) {
    let mut keys: Vec<builder::store::Key> = Vec::new();
    for node in &graph.nodes {
        let below: Vec<_> = node.inputs.iter().map(|id| keys[id.0].clone()).collect();
        let key = graph::key(node, &below, &vec![Taken::Node; 8]);
        writeln!(out, "key #{} {}", node.id.0, key.as_str()).unwrap();
        keys.push(key);
    }
}

fn inputs(text: &str) -> Inputs {
    let mut inputs = Inputs::new("linux/amd64".parse::<Platform>().unwrap());
    let last = text.lines().last().unwrap_or_default();
    for word in last.strip_prefix("# test:").unwrap_or_default().split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "target" => inputs.target = Some(value.to_owned()),
            "platform" => inputs.platform = value.parse().unwrap_or(inputs.platform),
            "context" => drop(inputs.contexts.insert(value.to_owned(), NamedContext::Directory)),
            "allow" => {
                inputs.allowed = [Entitlement::NetworkHost, Entitlement::SecurityInsecure].into();
            }
            _ => drop(inputs.build_args.insert(name.to_owned(), value.to_owned())),
        }
    }
    inputs
}

/// The image that every test's base is; what its name says is added.
fn base(name: &str) -> Resolved {
    let mut config = Config::scratch(&Platform::new("linux", "amd64", ""));
    config.created = Some("2024-01-02T03:04:05.678Z".to_owned());
    config.config.env = vec!["PATH=/usr/bin:/bin".to_owned(), "BASE=b".to_owned()];
    config.config.cmd = Some(vec!["sh".to_owned()]);
    config.rootfs.diff_ids = vec![Digest::of(name.as_bytes())];
    if name.starts_with("triggers") {
        config.config.on_build = vec![
            "COPY --from=tools /t /t".to_owned(),
            "RUN <<EOF\necho $BASE\nEOF".to_owned(),
            "ENV TRIGGERED=yes".to_owned(),
        ];
    }
    if name.starts_with("user") {
        config.config.user = "app".to_owned();
        config.config.working_dir = "/home/app".to_owned();
    }
    Resolved { manifest: Digest::of(format!("manifest {name}").as_bytes()), config }
}
