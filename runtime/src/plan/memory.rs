//! On which NUMA nodes the container's processes get their memory: `linux.memoryPolicy`.

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use super::text;
use crate::error::Error;

/// `set_mempolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// With its flags, in one number.
    pub mode: i32,
    /// In ascending order.
    pub nodes: Vec<u32>,
}

/// What `features` lists, in its order.
pub const MODES: [Mode; 7] = [
    Mode::MpolBind,
    Mode::MpolDefault,
    Mode::MpolInterleave,
    Mode::MpolLocal,
    Mode::MpolPreferred,
    Mode::MpolPreferredMany,
    Mode::MpolWeightedInterleave,
];
pub const FLAGS: [Flag; 3] = [Flag::MpolFNumaBalancing, Flag::MpolFRelativeNodes, Flag::MpolFStaticNodes];

/// The kernel's own ceiling (CONFIG_NODES_SHIFT).
pub const MOST_NODES: u32 = 1024;

/// The policy with as many nodes as its mode takes (set_mempolicy(2)), of which the kernel would only say that it is invalid.
pub fn plan(asked: Option<&LinuxMemoryPolicy>) -> Result<Option<MemoryPolicy>, Error> {
    let Some(asked) = asked else { return Ok(None) };
    let nodes = nodes(asked.nodes().as_deref().unwrap_or_default())?;
    let count = nodes.len();
    let wrong = |text: &str| Err(text::invalid("linux.memoryPolicy.nodes", text));
    match asked.mode() {
        Mode::MpolDefault | Mode::MpolLocal if count > 0 => {
            return wrong(&format!("memory policy mode requires 0 nodes but got {count}"));
        }
        Mode::MpolBind | Mode::MpolInterleave | Mode::MpolPreferredMany | Mode::MpolWeightedInterleave
            if count == 0 =>
        {
            return wrong("memory policy mode requires at least one node but got 0");
        }
        _ => {}
    }
    let flags = asked.flags().iter().flatten().fold(0, |sum, flag| sum | flag_bit(*flag));
    Ok(Some(MemoryPolicy { mode: mode_number(asked.mode()) | flags, nodes }))
}

fn nodes(list: &str) -> Result<Vec<u32>, Error> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    text::ranges(list, MOST_NODES).ok_or_else(|| {
        let reason = format!("invalid memory policy nodes {list:?}: no list of numbers below {MOST_NODES}");
        text::invalid("linux.memoryPolicy.nodes", reason)
    })
}

/// linux/mempolicy.h; the C library's names end at 4.
fn mode_number(mode: Mode) -> i32 {
    match mode {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    }
}

fn flag_bit(flag: Flag) -> i32 {
    match flag {
        Flag::MpolFNumaBalancing => 1 << 13,
        Flag::MpolFRelativeNodes => 1 << 14,
        Flag::MpolFStaticNodes => 1 << 15,
    }
}
