//! `conformance layout`: the order in which the linker puts the functions of a runtime, by what containers use of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::sys::steps;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The linker's map of that program (lld's: -Wl,-Map=FILE).
    #[arg(long)]
    map: PathBuf,
    /// The program, linked without an order.
    #[arg(long)]
    program: PathBuf,
    /// What uses it, often a shell with several commands.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<String>,
}

/// One function, or all functions of one object of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    /// A member of an archive; the compiler's own object otherwise.
    member: Option<String>,
    name: String,
}

const HEAD: &str = "\
/* Made by `conformance layout` (conformance/README.md): the functions that containers use, first those that init uses, each in the
   order of its first use. Pages of a program are mapped in pieces of 64 KiB; scattered over the whole file, nearly all of them
   would be. A pattern that matches nothing does no harm: that function stays where it would be without it. */
SECTIONS
{
  .text.container : {
";

/// Runs the command step by step and prints a linker script.
pub(crate) fn layout(args: &Args) -> Result<ExitCode> {
    let text = std::fs::read_to_string(&args.map).context("read the linker's map")?;
    let map = sections(&text);
    ensure!(!map.is_empty(), "{}: no map of sections", args.map.display());
    let (program, words) = args.words.split_first().context("no command")?;
    let used = steps::run(Command::new(program).args(words), &args.program).context("trace the command")?;
    ensure!(!used.cloned.is_empty(), "the command has not made any process of {}", args.program.display());
    let mut script = HEAD.to_owned();
    let mut known = BTreeSet::new();
    for address in used.cloned.iter().chain(&used.begun) {
        let Some((_, (end, section))) = map.range(..=*address).next_back() else { continue };
        if address < end {
            let line = pattern(section);
            if known.insert(line.clone()) {
                script.push_str(&format!("    {line}\n"));
            }
        }
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    std::io::stdout().write_all(script.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Sections of code by their address, with their end. A line is `VMA LMA Size Align FILE:(SECTION)`, in hexadecimal.
fn sections(map: &str) -> BTreeMap<u64, (u64, Section)> {
    let section = |line: &str| {
        let (numbers, name) = line.strip_suffix(')')?.split_once(":(")?;
        let mut fields = numbers.split_whitespace();
        let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
        let (at, _, size) = (number()?, number()?, number()?);
        let file = fields.nth(1)?.rsplit('/').next()?;
        let member = file
            .split_once('(')
            .map(|(archive, member)| format!("{archive}:{}", member.trim_end_matches(')')));
        let is_code = name.starts_with(".text") && (member.is_some() || name.starts_with(".text."));
        is_code.then(|| (at, (at + size, Section { member, name: name.to_owned() })))
    };
    map.lines().filter_map(section).collect()
}

/// The hash of a name changes with the compiler and the versions of crates. Without it all instances of a generic function come along,
/// which is half as much again, and stays right.
fn pattern(Section { member, name }: &Section) -> String {
    match member {
        Some(member) => format!("*{member}({name})"),
        None => format!("*({})", without_hashes(name)),
    }
}

/// `17h` and 16 digits before the last `E` (legacy mangling); `Cs`, digits and letters, `_` (the crates of v0).
fn without_hashes(name: &str) -> String {
    if let Some((path, hash)) = name.strip_suffix('E').and_then(|name| name.rsplit_once("17h"))
        && hash.len() == 16
    {
        return format!("{path}17h*E");
    }
    if !name.contains("._R") {
        return name.to_owned();
    }
    let mut parts = name.split("Cs");
    let mut general = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('_') {
            Some((hash, rest)) if (9..=13).contains(&hash.len()) => general.push_str(&format!("Cs*_{rest}")),
            _ => general.push_str(&format!("Cs{part}")),
        }
    }
    general
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
             VMA              LMA     Size Align Out     In      Symbol
          31c740           31c740   461498    64 .text
          31c740           31c740       31    16         usr/lib/x86_64-linux-gnu/crt1.o:(.text)
          31c7a0           31c7a0       10    16         a/b.rcgu.o:(.text._ZN1a1b17h0123456789abcdefE)
          31c7b0           31c7b0       10    16         a/b.rcgu.o:(.text._ZN1a1c17h0123456789abcdefE)
          31c7c0           31c7c0       10    16         a/b.rcgu.o:(.text._ZN1a1c17hfedcba9876543210E)
          31c7d0           31c7d0       10    16         a/b.rcgu.o:(.text._RNvNtCsjrHSEGnQ3l9_3std2fs)
          31c7e0           31c7e0       10    16         usr/lib/libc.a(malloc.o):(.text)
          31c7e0           31c7e0        0     1                 malloc
";

    #[test]
    fn no_hash_is_named() {
        let map = sections(MAP);
        let lines: Vec<String> = map.values().map(|(_, section)| pattern(section)).collect();
        let expected = [
            "*(.text._ZN1a1b17h*E)",
            "*(.text._ZN1a1c17h*E)",
            "*(.text._ZN1a1c17h*E)",
            "*(.text._RNvNtCs*_3std2fs)",
            "*libc.a:malloc.o(.text)",
        ];
        assert_eq!(lines, expected);
    }
}
