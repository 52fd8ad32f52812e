//! The tests that cross packages: the builder, the runtime, the shim, registries and engines, as a user has them.
//!
//! Invariant: nothing is mocked, and nothing is used of a package but its command line and its files.

mod agents;
mod attested;
mod bad_input;
mod blocks;
mod building;
mod buildkit;
mod checkpointed;
pub(crate) mod containerd;
mod copies;
mod cri;
mod crio;
mod delegated;
mod demo;
mod devices;
mod direct;
mod docker;
mod engine;
mod failed;
mod flask;
mod git_ssh;
mod handmade;
mod hello;
mod index;
mod interrupted;
mod limits;
mod lone;
mod lone_calls;
mod lone_mounts;
mod lone_streams;
mod many;
mod place;
mod registry;
mod secrets;
mod streams;
mod sudden;
mod ttrpc;
mod web;

use crate::case::Case;

/// All tables.
pub(crate) const ALL: &[&[Case]] = &[
    handmade::CASES,
    hello::CASES,
    demo::CASES,
    flask::CASES,
    bad_input::CASES,
    building::CASES,
    agents::CASES,
    attested::CASES,
    git_ssh::CASES,
    copies::CASES,
    devices::CASES,
    failed::CASES,
    interrupted::CASES,
    secrets::CASES,
    containerd::CASES,
    engine::CASES,
    many::CASES,
    limits::CASES,
    streams::CASES,
    sudden::CASES,
    checkpointed::CASES,
    cri::CASES,
    crio::CASES,
    buildkit::CASES,
    delegated::CASES,
    direct::CASES,
    lone_calls::CASES,
    lone_mounts::CASES,
    lone_streams::CASES,
    docker::CASES,
];
