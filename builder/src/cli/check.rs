//! `builder check`, and the warnings that a build shows.

use std::io::Write;
use std::process::ExitCode;

use crate::cli::Global;
use crate::cli::recipe::{Loaded, Recipe};
use crate::dockerfile::lint;
use crate::dockerfile::rule::{Rule, Warning};
use crate::error::{Error, Kind};
use crate::graph::{self, Graph, Inputs, Lowered, Resolved};
use crate::image::{Config, Digest};

/// Checks a Dockerfile against the rules, without building
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) recipe: Recipe,
}

/// Prints every broken rule to stdout; the exit code says whether there was one.
pub(crate) fn check(args: &Args, global: &Global) -> Result<ExitCode, Error> {
    let loaded = args.recipe.load(global, None)?;
    let mut inputs = args.recipe.inputs(&loaded, args.recipe.platform()?)?;
    let warnings = offline(&loaded, &mut inputs)?;
    let mut stdout = std::io::stdout().lock();
    let written = warnings.iter().try_for_each(|warning| {
        let (message, excerpt) = shown(&loaded, warning);
        writeln!(stdout, "{message}\n{excerpt}")
    });
    written.map_err(|e| Error::system("write to stdout", e))?;
    if warnings.is_empty() {
        writeln!(stdout, "{}: no rule is broken", loaded.source.name)
            .map_err(|e| Error::system("write to stdout", e))?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// The broken rules as far as they show without the base images.
fn offline(loaded: &Loaded, inputs: &mut Inputs) -> Result<Vec<Warning>, Error> {
    let (_, lowered, bases) = without_bases(loaded, inputs)?;
    let mut found = lint::lint(&loaded.file, loaded.ignore.as_ref());
    let may_be_known = |warning: &Warning| {
        // A variable may be the base's, unless it looks like a slip of the fingers.
        warning.rule == Rule::UndefinedVar
            && bases == Bases::StoodIn
            && !warning.message.contains("did you mean")
    };
    found.extend(lowered.into_iter().filter(|warning| !may_be_known(warning)));
    Ok(lint::kept(found, &loaded.file.directives.check))
}

/// Whether a graph was made with the images that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bases {
    /// It names none.
    Known,
    /// Empty ones stood in for them.
    StoodIn,
}

/// The graph as far as it shows without the base images: nothing is fetched for looking at a file.
pub(crate) fn without_bases(
    loaded: &Loaded,
    inputs: &mut Inputs,
) -> Result<(Graph, Vec<Warning>, Bases), Error> {
    let mut bases = Bases::Known;
    loop {
        let lowering = graph::lower(&loaded.file, &loaded.source, inputs)?;
        match lowering.lowered {
            Lowered::Graph(graph) => return Ok((*graph, lowering.warnings, bases)),
            Lowered::Needs(requests) => {
                bases = Bases::StoodIn;
                for request in requests {
                    let config = Config::scratch(&request.platform);
                    inputs.bases.insert(request.key(), Resolved { manifest: Digest::of(b""), config });
                }
            }
        }
    }
}

/// The warnings of a build, of which lowering found some; an error where the file asks for it.
pub(crate) fn warnings(loaded: &Loaded, lowered: Vec<Warning>) -> Result<Vec<Warning>, Error> {
    let mut found = lint::lint(&loaded.file, loaded.ignore.as_ref());
    found.extend(lowered);
    let kept = lint::kept(found, &loaded.file.directives.check);
    match kept.first() {
        Some(first) if loaded.file.directives.check.error => {
            let (message, excerpt) = shown(loaded, first);
            let message = format!("{message}, and {} more", kept.len() - 1);
            let message = if kept.len() == 1 { shown(loaded, first).0 } else { message };
            Err(Error::new(Kind::Invalid, message).excerpt(excerpt).hint("the file has check=error=true"))
        }
        _ => Ok(kept),
    }
}

/// `Dockerfile:3: RuleName: message`, and the line below it.
pub(crate) fn shown(loaded: &Loaded, warning: &Warning) -> (String, String) {
    let (line, _) = loaded.source.position(warning.place.start);
    let message = format!("{}:{line}: {}: {}", loaded.source.name, warning.rule.name(), warning.message);
    (message, loaded.source.excerpt(warning.place))
}
