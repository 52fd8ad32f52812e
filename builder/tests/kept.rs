//! What is known before a build to be kept, and what becomes of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use builder::bundle::{DeviceRegistry, Limits};
use builder::context::Tree;
use builder::dockerfile::{self, Source};
use builder::graph::{self, Graph, Inputs, Lowered, NodeId};
use builder::layer::Compression;
use builder::progress::{self, Mode};
use builder::solve::{self, Env};
use builder::step::Credentials;
use builder::store::{Key, Record, Store};

fn graph(text: &str) -> Graph {
    let source = Source { name: "Dockerfile".to_owned(), text: text.to_owned() };
    let file = dockerfile::parse(&source).unwrap();
    let inputs = Inputs::new("linux/amd64".parse().unwrap());
    match graph::lower(&file, &source, &inputs).unwrap().lowered {
        Lowered::Graph(graph) => *graph,
        Lowered::Needs(requests) => panic!("it needs {} images", requests.len()),
    }
}

/// The keys of steps that take nothing from elsewhere.
fn keys(graph: &Graph) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for node in &graph.nodes {
        let of = |id: &NodeId| keys.get(id.0).cloned();
        let below: Vec<Key> = node.inputs.iter().filter_map(of).collect();
        keys.push(graph::key(node, &below, &[]));
    }
    keys
}

fn env(store: &Store, context: &Path) -> Env {
    let (progress, display) = progress::start(Mode::Quiet).unwrap();
    drop(display);
    Env {
        store: store.clone(),
        context: Arc::new(Tree::directory(context, None).unwrap()),
        named: BTreeMap::new(),
        credentials: Credentials::default(),
        runtime: None,
        devices: DeviceRegistry::default(),
        limits: Limits::default(),
        interrupt: Arc::default(),
        terminal: None,
        progress,
        explain: false,
        compression: "none".parse::<Compression>().unwrap(),
        caches: Vec::new(),
        exports: Vec::new(),
        inline_cache: false,
        names_sources: false,
        annotations: Vec::new(),
    }
}

/// A store that says of each step that it changed nothing.
fn store(place: &Path, graph: &Graph) -> Store {
    let store = Store::open(&place.join("store")).unwrap();
    let unchanged = Record { body: "unchanged".into(), ..Record::default() };
    keys(graph).iter().for_each(|key| store.put_record(key, &unchanged).unwrap());
    store
}

/// Nothing could be carried out here: this process has no namespaces.
#[test]
fn what_is_lost_between_the_look_and_the_build_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let graph = graph("FROM scratch\nWORKDIR /one\nWORKDIR /two\n");
    let store = store(place.path(), &graph);
    let env = env(&store, place.path());
    let known = solve::look(&graph, &env);
    assert!(known.is_complete());
    solve::solve(&graph, &env, known).unwrap();
    let known = solve::look(&graph, &env);
    let last = keys(&graph).pop().unwrap();
    fs::remove_file(place.path().join("store/keys").join(last.as_str())).unwrap();
    let error = solve::solve(&graph, &env, known).map(|solved| solved.image).unwrap_err();
    assert_eq!(error.to_string(), "the build cache changed during the build (build again)");
    assert!(!solve::look(&graph, &env).is_complete());
    assert_eq!(fs::read_dir(place.path().join("store/tmp")).unwrap().count(), 0);
}

#[test]
fn what_stands_on_a_lost_step_is_not_known_to_be_kept() {
    let place = tempfile::tempdir().unwrap();
    let graph = graph("FROM scratch\nWORKDIR /one\nWORKDIR /two\n");
    let store = store(place.path(), &graph);
    let env = env(&store, place.path());
    let first = keys(&graph).into_iter().nth_back(1).unwrap();
    fs::remove_file(place.path().join("store/keys").join(first.as_str())).unwrap();
    assert!(!solve::look(&graph, &env).is_complete());
}
