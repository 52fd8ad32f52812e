//! What is built: the cases of the comparison, each a Dockerfile and a context, generated.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// Files of the context, and files that a RUN makes, in the case of many files.
const CONTEXT: usize = 5_000;
const MADE: usize = 20_000;

/// One case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workload {
    /// Ten small RUN steps.
    Steps,
    /// A RUN that makes 20,000 small files, and a COPY of 5,000.
    Files,
    /// Three stages that do not need each other, each of which waits two seconds.
    Stages,
    /// A layer of 256 MiB that compresses by half.
    Large,
}

pub(super) const ALL: [Workload; 4] = [Workload::Steps, Workload::Files, Workload::Stages, Workload::Large];

impl Workload {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Steps => "a: 10 RUN",
            Self::Files => "b: 20k files by RUN, 5k by COPY",
            Self::Stages => "c: 3 stages that wait 2 s",
            Self::Large => "d: a layer of 256 MiB",
        }
    }

    /// What a cold build cannot fall below, whoever builds: the steps sleep that long.
    pub(super) fn floor(self) -> Duration {
        Duration::from_secs(if self == Self::Stages { 2 } else { 0 })
    }

    fn dockerfile(self) -> String {
        let mut text = String::from("FROM base\n");
        match self {
            Self::Steps => text.extend((0..10).map(|n| format!("RUN echo {n} > /{n}\n"))),
            Self::Files => {
                let word = "some text of a small file that compresses as source code does ";
                // Writing to a string cannot fail.
                let _always = write!(
                    text,
                    "RUN mkdir -p /made && cd /made && for d in $(seq 200); do mkdir $d; for f in $(seq {}); do \
                     echo \"$d $f {}\" > $d/$f; done; done\nCOPY . /context/\n",
                    MADE / 200,
                    word.repeat(8)
                );
            }
            Self::Stages => {
                text.clear();
                for name in ["one", "two", "three"] {
                    let _always = writeln!(text, "FROM base AS {name}\nRUN sleep 2; echo {name} > /{name}");
                }
                text.push_str(
                    "FROM base\nCOPY --from=one /one /\nCOPY --from=two /two /\nCOPY --from=three /three /\n",
                );
            }
            Self::Large => text.push_str("COPY large /large\n"),
        }
        text
    }

    /// Writes Dockerfile and context below `dir`; the folder of the first, then the second.
    pub(super) fn write(self, dir: &Path) -> Result<(PathBuf, PathBuf)> {
        let (folder, context) = (dir.join("dockerfile"), dir.join("context"));
        for made in [&folder, &context] {
            std::fs::create_dir_all(made).with_context(|| format!("make {}", made.display()))?;
        }
        std::fs::write(folder.join("Dockerfile"), self.dockerfile())?;
        match self {
            Self::Files => {
                for number in 0..CONTEXT {
                    let sub = context.join(format!("d{}", number / 100));
                    std::fs::create_dir_all(&sub)?;
                    std::fs::write(sub.join(format!("f{number}")), noise(number as u64, 2048))?;
                }
            }
            Self::Large => {
                for number in 0..64 {
                    std::fs::create_dir_all(context.join("large"))?;
                    std::fs::write(context.join(format!("large/{number}")), noise(number, 4 << 20))?;
                }
            }
            Self::Steps | Self::Stages => {}
        }
        Ok((folder, context))
    }

    /// Changes one file of the context; false where it has none.
    pub(super) fn change(self, context: &Path, number: u64) -> Result<bool> {
        if self != Self::Files {
            return Ok(false);
        }
        std::fs::write(context.join("d7/f777"), noise(1_000_000 + number, 2048))?;
        Ok(true)
    }
}

/// Bytes of which half are drawn from a small alphabet, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(b"the same");
    }
    bytes.truncate(length);
    bytes
}
