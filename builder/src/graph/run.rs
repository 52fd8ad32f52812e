//! RUN: the process, its environment and its mounts.

use super::inputs::Entitlement;
use super::stage::Stage;
use super::{Inline, MountKind, Network, NodeId, Operation, Run, Security, devices, mounts};
use super::{args, history as lines};
use crate::dockerfile::ast::{self, Command, Instruction, Word};
use crate::dockerfile::heredoc;
use crate::error::Error;

pub(super) fn lower(
    stage: &mut Stage<'_, '_>,
    instruction: &Instruction,
    run: &ast::Run,
) -> Result<(), Error> {
    let (args, scripts) = command(stage, run);
    let mut lowered = Vec::new();
    for word in &run.mounts {
        lowered.extend(mounts::lower(stage, word)?);
    }
    let env = stage.state.run_env();
    mounts::number_agents(&mut lowered, &env);
    let network = match &run.network {
        Some(word) => network(stage, word)?,
        None => stage.walk.inputs.network,
    };
    let security = match &run.security {
        Some(word) => security(stage, word)?,
        None => Security::Sandbox,
    };
    let devices = run.devices.iter().map(|word| devices::lower(stage, word)).collect::<Result<_, _>>()?;
    if stage.waits {
        return Ok(());
    }
    let created_by = history(stage, &args);
    let others = lowered.iter().filter_map(source_node).collect();
    let operation = Run {
        args,
        shell: stage.state.shell(),
        env,
        proxy: args::proxies(stage.walk.inputs),
        user: stage.state.config.config.user.clone(),
        cwd: stage.state.cwd().to_owned(),
        mounts: lowered,
        devices,
        network,
        security,
        scripts,
        hostname: stage.walk.inputs.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned(),
        add_hosts: stage.walk.inputs.add_hosts.clone(),
    };
    let node = stage.step(instruction, Operation::Run(Box::new(operation)), others);
    stage.state.record(created_by, Some(node));
    Ok(())
}

fn source_node(mount: &super::Mount) -> Option<NodeId> {
    match &mount.kind {
        MountKind::Bind { from: super::From::Node(node), .. }
        | MountKind::Cache { from: Some(super::From::Node(node)), .. } => Some(*node),
        _ => None,
    }
}

/// The argument vector, and the scripts that it runs.
fn command(stage: &Stage<'_, '_>, run: &ast::Run) -> (Vec<String>, Vec<Inline>) {
    let line = match &run.command {
        Command::Exec(words) => return (words.clone(), Vec::new()),
        Command::Shell(line) => line,
    };
    let Some(first) = run.heredocs.first() else { return (stage.state.in_shell(line), Vec::new()) };
    if heredoc::marker(line).is_some() {
        // The document is the command: a script of its own if it says by what, else lines for the shell.
        let body = first.body();
        if body.starts_with("#!") {
            let script = Inline { name: first.name.clone(), content: body };
            return (stage.state.in_shell(&format!("/dev/pipes/{}", first.name)), vec![script]);
        }
        return (stage.state.in_shell(&body), Vec::new());
    }
    let mut full = line.clone();
    for document in &run.heredocs {
        full.push('\n');
        full.push_str(&document.content);
        full.push_str(&document.name);
    }
    (stage.state.in_shell(&full), Vec::new())
}

/// `RUN |1 A=b /bin/sh -c make`: the arguments that were in scope stand before the command.
fn history(stage: &Stage<'_, '_>, args: &[String]) -> String {
    let state = &stage.state;
    let mut shown: Vec<String> = Vec::new();
    for (number, (name, _)) in state.args.iter().enumerate() {
        if !state.args.iter().take(number).any(|(earlier, _)| earlier == name) {
            shown.push(format!("{name}={}", state.variable(name).unwrap_or_default()));
        }
    }
    let command = args.join(" ");
    lines::of_step(&match shown.len() {
        0 => format!("RUN {command}"),
        count => format!("RUN |{count} {} {command}", shown.join(" ")),
    })
}

fn network(stage: &mut Stage<'_, '_>, word: &Word) -> Result<Network, Error> {
    match stage.text(word)?.as_str() {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => {
            allow(stage, word, Entitlement::NetworkHost)?;
            Ok(Network::Host)
        }
        other => Err(stage.error(word, format!("network {other} is not default, none or host"))),
    }
}

fn security(stage: &mut Stage<'_, '_>, word: &Word) -> Result<Security, Error> {
    match stage.text(word)?.as_str() {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => {
            allow(stage, word, Entitlement::SecurityInsecure)?;
            Ok(Security::Insecure)
        }
        other => Err(stage.error(word, format!("security {other} is not sandbox or insecure"))),
    }
}

/// Whoever wrote the Dockerfile does not decide that; whoever runs the build does.
fn allow(stage: &Stage<'_, '_>, word: &Word, entitlement: Entitlement) -> Result<(), Error> {
    if stage.walk.inputs.allowed.contains(&entitlement) {
        return Ok(());
    }
    let name = match entitlement {
        Entitlement::NetworkHost => "network.host",
        Entitlement::SecurityInsecure => "security.insecure",
    };
    Err(stage.error(word, format!("{} is not allowed", word.text)).hint(format!("build with --allow {name}")))
}
