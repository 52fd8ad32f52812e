//! What a container may use at most.

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxResourcesBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType,
};

use super::spec::built;
use crate::error::{Error, Kind};

/// Nothing set: as much as there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Thousandths of a processor.
    pub cpus: Option<u32>,
    /// Limits of each process.
    pub processes: Vec<Ulimit>,
    /// Bytes of `/dev/shm`.
    pub shm: Option<u64>,
}

/// `NAME=SOFT[:HARD]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    kind: PosixRlimitType,
    soft: u64,
    hard: u64,
}

impl std::str::FromStr for Ulimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::new(Kind::Invalid, format!("ulimit {text}: {why}"));
        let (name, values) = text.split_once('=').ok_or_else(|| invalid("expected NAME=SOFT[:HARD]"))?;
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(u64::MAX),
            digits => digits.parse().map_err(|_| invalid("a limit is a number, or unlimited")),
        };
        let kind = kind(name)
            .ok_or_else(|| invalid("there is no such limit").hint("nofile, nproc, core, stack..."))?;
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            Err(invalid("the soft limit is above the hard one"))
        } else {
            Ok(Self { kind, soft, hard })
        }
    }
}

fn kind(name: &str) -> Option<PosixRlimitType> {
    Some(match name {
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        _ => return None,
    })
}

impl Limits {
    /// What stands in `process.rlimits`.
    pub(super) fn rlimits(&self) -> Result<Vec<PosixRlimit>, Error> {
        let one = |limit: &Ulimit| {
            built(
                "limits",
                PosixRlimitBuilder::default().typ(limit.kind).soft(limit.soft).hard(limit.hard).build(),
            )
        };
        self.processes.iter().map(one).collect()
    }

    /// Adds what is for the control group; whether there was anything.
    pub(super) fn of_group(
        &self,
        mut to: LinuxResourcesBuilder,
    ) -> Result<(LinuxResourcesBuilder, bool), Error> {
        const PERIOD: u64 = 100_000;
        if let Some(bytes) = self.memory {
            to = to.memory(built(
                "memory limit",
                LinuxMemoryBuilder::default().limit(bytes).swap(bytes).build(),
            )?);
        }
        if let Some(thousandths) = self.cpus {
            let quota = i64::from(thousandths) * 100;
            to = to.cpu(built("cpu limit", LinuxCpuBuilder::default().period(PERIOD).quota(quota).build())?);
        }
        Ok((to, self.memory.is_some() || self.cpus.is_some()))
    }
}

/// Bytes: a number and b, k, m or g.
///
/// # Errors
/// What is no such number.
pub fn parse_bytes(text: &str) -> Result<u64, Error> {
    let invalid =
        || Error::new(Kind::Invalid, format!("size {text}: expected a number and b, k, m or g, as in 512m"));
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match lower.strip_prefix(digits).unwrap_or_default() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(invalid()),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(invalid)
}

/// Thousandths of a processor: `1.5`.
///
/// # Errors
/// What is no positive number with at most three decimals.
pub fn parse_cpus(text: &str) -> Result<u32, Error> {
    let invalid = || Error::new(Kind::Invalid, format!("cpus {text}: expected a number such as 1.5"));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let part: u32 = format!("{part:0<3}").parse().map_err(|_| invalid())?;
    let whole: u32 = whole.parse().map_err(|_| invalid())?;
    whole
        .checked_mul(1000)
        .and_then(|whole| whole.checked_add(part))
        .filter(|all| *all > 0)
        .ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_units() {
        for (text, expected) in [("512m", 512 << 20), ("1G", 1 << 30), ("7", 7), ("2kib", 2048)] {
            assert_eq!(parse_bytes(text).unwrap(), expected, "{text}");
        }
        for (text, expected) in [("1", 1000), ("0.5", 500), ("2.25", 2250)] {
            assert_eq!(parse_cpus(text).unwrap(), expected, "{text}");
        }
        for (found, expected) in [
            (parse_bytes("x").unwrap_err(), "size x: expected a number and b, k, m or g, as in 512m"),
            (parse_cpus("0").unwrap_err(), "cpus 0: expected a number such as 1.5"),
            (
                "nofile=2:1".parse::<Ulimit>().unwrap_err(),
                "ulimit nofile=2:1: the soft limit is above the hard one",
            ),
            (
                "files=1".parse::<Ulimit>().unwrap_err(),
                "ulimit files=1: there is no such limit (nofile, nproc, core, stack...)",
            ),
        ] {
            assert_eq!(found.to_string(), expected);
        }
    }
}
