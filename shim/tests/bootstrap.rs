//! `start`, `delete` and the socket between them, as containerd of each generation uses them; no runtime, no privilege.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod client;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use client::{Client, bundle, run};
use containerd_shim_protos::api;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use protobuf::Message;

const V2: &str = "containerd.task.v2.Task";
const V3: &str = "containerd.task.v3.Task";

/// What containerd 2.3 writes to the standard input of `start`.
fn params(id: &str, socket_dir: &Path) -> Vec<u8> {
    let params = BootstrapParams {
        instance_id: id.into(),
        namespace: "test".into(),
        containerd_version: "v2.3.0".into(),
        containerd_grpc_address: "/nowhere/containerd.sock".into(),
        containerd_ttrpc_address: "/nowhere/containerd.sock.ttrpc".into(),
        socket_dir: Some(socket_dir.display().to_string()),
        ..BootstrapParams::default()
    };
    params.write_to_bytes().unwrap()
}

fn start(bundle: &Path, id: &str, sockets: &Path) -> String {
    let output = run(bundle, &["start"], &[], &params(id, sockets));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
    let result = BootstrapResult::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    result.address
}

fn shut_down(address: &str) {
    let mut client = Client::connect(address);
    client.call(V3, "Shutdown", &api::ShutdownRequest::default()).unwrap();
    client.wait_for_the_end();
    assert!(!Path::new(address.strip_prefix("unix://").unwrap()).exists(), "the socket is left");
}

#[test]
fn each_containerd_gets_the_bytes_it_reads() {
    let top = tempfile::tempdir().unwrap();
    for (id, version, prefix, suffix) in [
        ("old", None, "", ""),
        ("seven", Some("2"), r#"{"version":2,"address":""#, r#"","protocol":"ttrpc"}"#),
        ("two", Some("3"), r#"{"version":3,"address":""#, r#"","protocol":"ttrpc"}"#),
    ] {
        let bundle = bundle(top.path(), id, "null");
        let socket = top.path().join(format!("{id}.sock"));
        let environment: Vec<(&str, &str)> =
            version.map(|version| ("MAX_SHIM_VERSION", version)).into_iter().collect();
        let flags = [
            "-namespace",
            "test",
            "-id",
            id,
            "-address",
            "/nowhere/c.sock",
            "-socket",
            socket.to_str().unwrap(),
            "start",
        ];
        let output = run(&bundle, &flags, &environment, b"");
        let address = format!("unix://{}", socket.display());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{prefix}{address}{suffix}"));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert_eq!(std::fs::read_to_string(bundle.join("address")).unwrap(), address);
        shut_down(&address);
    }
}

#[test]
fn the_newest_gets_a_bootstrap_result_and_a_socket_in_a_private_directory() {
    let top = tempfile::tempdir().unwrap();
    let sockets = top.path().join("s");
    let bundle = bundle(top.path(), "a", "null");
    let output = run(&bundle, &["start"], &[], &params("a", &sockets));
    // printf /nowhere/containerd.sock/test/a | sha256sum | head -c 32
    let name = "167289805f73954658faef4d7811d1b2";
    let address = format!("unix://{}/coracle/{name}", sockets.display());
    let length = u8::try_from(address.len()).unwrap();
    let expected = [b"\x08\x03\x12".as_slice(), &[length], address.as_bytes(), b"\x1a\x05ttrpc"].concat();
    assert_eq!(output.stdout, expected);
    assert_eq!(std::fs::metadata(sockets.join("coracle")).unwrap().permissions().mode() & 0o777, 0o700);
    shut_down(&address);
}

#[test]
fn containers_of_a_pod_share_a_shim_and_others_do_not() {
    let top = tempfile::tempdir().unwrap();
    let sockets = top.path().join("s");
    let pod = r#"{"io.kubernetes.cri.sandbox-id":"pod"}"#;
    let first = start(&bundle(top.path(), "pod", pod), "pod", &sockets);
    let second_bundle = bundle(top.path(), "app", pod);
    assert_eq!(start(&second_bundle, "app", &sockets), first);
    assert_eq!(std::fs::read_to_string(second_bundle.join("address")).unwrap(), first);
    let other = start(&bundle(top.path(), "other", "{}"), "other", &sockets);
    assert_ne!(other, first);
    shut_down(&first);
    shut_down(&other);
}

#[test]
fn two_starts_at_once_of_one_pod_are_one_shim() {
    let top = tempfile::tempdir().unwrap();
    let sockets = top.path().join("s");
    let pod = r#"{"io.kubernetes.cri.sandbox-id":"pod"}"#;
    let bundles: Vec<_> =
        (0..8).map(|n| (format!("c{n}"), bundle(top.path(), &format!("c{n}"), pod))).collect();
    let addresses: Vec<String> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            bundles.iter().map(|(id, bundle)| scope.spawn(|| start(bundle, id, &sockets))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    let pids: std::collections::BTreeSet<u32> = addresses.iter().map(|address| shim_pid(address)).collect();
    assert_eq!(pids.len(), 1);
    shut_down(&addresses[0]);
}

fn shim_pid(address: &str) -> u32 {
    let answer = Client::connect(address).call(V3, "Connect", &api::ConnectRequest::default()).unwrap();
    api::ConnectResponse::parse_from_bytes(&answer).unwrap().shim_pid
}

#[test]
fn both_versions_of_the_service_answer_and_errors_have_their_codes() {
    let top = tempfile::tempdir().unwrap();
    let address = start(&bundle(top.path(), "a", "null"), "a", &top.path().join("s"));
    let mut client = Client::connect(&address);
    let unknown = api::StateRequest { id: "a".into(), ..Default::default() };
    for service in [V2, V3] {
        let answer = client.call(service, "Connect", &api::ConnectRequest::default()).unwrap();
        assert_eq!(api::ConnectResponse::parse_from_bytes(&answer).unwrap().task_pid, 0);
        assert_eq!(
            client.call(service, "State", &unknown),
            Err((5, "container a: there is no such container in this shim".into()))
        );
    }
    assert_eq!(client.call(V3, "Fork", &unknown), Err((12, format!("method Fork of {V3}"))));
    assert_eq!(client.call("x.Y", "State", &unknown), Err((12, "service x.Y".into())));
    let options = protobuf::well_known_types::any::Any { type_url: "x.Options".into(), ..Default::default() };
    let create = api::CreateTaskRequest {
        id: "a".into(),
        bundle: top.path().join("a").display().to_string(),
        options: Some(options).into(),
        ..Default::default()
    };
    assert_eq!(
        client.call(V3, "Create", &create),
        Err((3, "runtime options of type x.Options are not known".into()))
    );
    shut_down(&address);
}

#[test]
fn a_message_that_is_too_long_is_the_error_of_its_call_alone() {
    let top = tempfile::tempdir().unwrap();
    let address = start(&bundle(top.path(), "a", "null"), "a", &top.path().join("s"));
    let mut client = Client::connect(&address);
    let long = api::StateRequest { id: "x".repeat(5 << 20), ..api::StateRequest::default() };
    let (code, text) = client.call(V2, "State", &long).unwrap_err();
    assert_eq!((code, text.ends_with(" bytes is longer than 4194304")), (8, true), "{text}");
    client.call(V2, "Connect", &api::ConnectRequest::default()).unwrap();
    drop(client);
    shut_down(&address);
}

#[test]
fn a_stale_socket_is_taken_over() {
    let top = tempfile::tempdir().unwrap();
    let sockets = top.path().join("s");
    let bundle = bundle(top.path(), "a", "null");
    let address = start(&bundle, "a", &sockets);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(shim_pid(&address)).unwrap());
    let client = Client::connect(&address);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    client.wait_for_the_end();
    assert!(Path::new(address.strip_prefix("unix://").unwrap()).exists());
    assert_eq!(start(&bundle, "a", &sockets), address);
    shut_down(&address);
}

#[test]
fn delete_answers_137_even_for_what_was_never_made_and_removes_the_dead_socket() {
    let top = tempfile::tempdir().unwrap();
    let bundle = bundle(top.path(), "a", "null");
    let socket = top.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    std::fs::write(bundle.join("address"), format!("unix://{}", socket.display())).unwrap();
    std::fs::write(bundle.join("coracle.json"), r#"{"binary_name":"/bin/true"}"#).unwrap();
    std::fs::write(bundle.join("init.pid"), "77").unwrap();
    let flags = ["-namespace", "test", "-id", "a", "-bundle", bundle.to_str().unwrap(), "delete"];
    let output = run(&bundle, &flags, &[], b"");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let response = api::DeleteResponse::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!((response.pid, response.exit_status), (77, 137));
    assert!(!socket.exists());
}

#[test]
fn what_delete_cannot_do_is_a_warning_and_the_answer_the_same() {
    let top = tempfile::tempdir().unwrap();
    let bundle = bundle(top.path(), "a", "null");
    std::fs::write(bundle.join("coracle.json"), r#"{"binary_name":"/bin/false"}"#).unwrap();
    let output = run(&bundle, &["-namespace", "test", "-id", "a", "delete"], &[], b"");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "level=warning msg=\"delete container a: exit status 1\"\n"
    );
    assert_eq!(api::DeleteResponse::parse_from_bytes(&output.stdout).unwrap().exit_status, 137);
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let top = tempfile::tempdir().unwrap();
    let sockets = top.path().join("s");
    let empty = top.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let output = run(&empty, &["start"], &[], &params("a", &sockets));
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!(
            "containerd-shim-coracle-v2: read {}: No such file or directory\n",
            empty.join("config.json").display()
        )
    );
    assert_eq!(output.stdout, b"");
    assert!(!sockets.exists() || std::fs::read_dir(&sockets).unwrap().next().is_none());
}

#[test]
fn info_names_the_shim_and_gives_the_runtimes_features_if_it_has_any() {
    use containerd_shim_protos::types::introspection::RuntimeInfo;
    let top = tempfile::tempdir().unwrap();
    let output = run(top.path(), &["-info"], &[("PATH", "/nowhere")], b"");
    let info = RuntimeInfo::parse_from_bytes(&output.stdout).unwrap();
    assert_eq!(info.name, "io.containerd.coracle.v2");
    assert_eq!(info.version.version, env!("CARGO_PKG_VERSION"));
}
