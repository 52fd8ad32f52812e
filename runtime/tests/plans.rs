//! Decisions as text: a configuration and a host go in, the plan comes out. `UPDATE=1 cargo test` rewrites the texts; what a reviewer
//! reads is their difference.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use runtime::plan::caps::CapSet;
use runtime::plan::cgroup::Manager;
use runtime::plan::devices::Null;
use runtime::plan::facts::{
    Caller, Cgroups, Facts, Hierarchy, Interest, Kernel, Maker, Ownership, Security, Setgroups, UserNs,
};
use runtime::plan::rootfs::Pivot;
use runtime::plan::{Keyring, Options};
use runtime::{bundle, plan};
use serde_json::{Value, json};

fn hierarchy(controllers: &[&str], mount: &str, own: &str) -> Hierarchy {
    let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
    Hierarchy { controllers, mount: PathBuf::from(mount), own: PathBuf::from(own) }
}

/// Root, on a host with cgroup v2 alone.
fn root() -> Facts {
    Facts {
        caller: Caller {
            uid: 0,
            outer_uid: 0,
            gid: 0,
            effective: CapSet((1 << 41) - 1),
            bounding: CapSet((1 << 41) - 1),
            user_ns: UserNs::Initial,
            setgroups: Setgroups::Allow,
            network: Ownership::Ours,
            ignored_signals: 0,
        },
        kernel: Kernel { major: 6, minor: 12 },
        security: Security { apparmor: false, selinux: false },
        cgroups: Cgroups {
            v1: Vec::new(),
            v2: Some(hierarchy(&[], "/sys/fs/cgroup", "/")),
            maker: Maker::Caller,
        },
    }
}

/// An ordinary user, logged in.
fn user() -> Facts {
    let mut facts = root();
    facts.caller.uid = 1000;
    facts.caller.outer_uid = 1000;
    facts.caller.gid = 1000;
    facts.caller.effective = CapSet(0);
    facts.caller.network = Ownership::Foreign;
    let own = "/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope";
    facts.cgroups.v2 = Some(hierarchy(&[], "/sys/fs/cgroup", own));
    facts
}

/// Root, on a host with both versions.
fn hybrid() -> Facts {
    let mut facts = root();
    facts.cgroups = Cgroups {
        v1: ["memory", "cpu", "cpuset", "pids", "devices", "freezer"]
            .map(|name| hierarchy(&[name], &format!("/sys/fs/cgroup/{name}"), "/"))
            .to_vec(),
        v2: Some(hierarchy(&[], "/sys/fs/cgroup/unified", "/")),
        maker: Maker::Caller,
    };
    facts
}

fn options() -> Options {
    Options {
        id: "box".to_owned(),
        bundle: PathBuf::from("/bundle"),
        pivot: Pivot::PivotRoot,
        keyring: Keyring::Own("_ses.box".to_owned()),
        preserve_fds: 0,
        cgroups: Manager::Cgroupfs,
        rootless: None,
    }
}

/// The smallest configuration that is one.
fn small() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["sh"], "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } },
        "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }, { "type": "uts" }] },
    })
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn decide(config: &Value, facts: &Facts) -> Result<String, String> {
    let spec = bundle::recorded(&config.to_string()).map_err(|error| error.to_string())?;
    bundle::check(&spec).map_err(|error| error.to_string())?;
    let plan = |facts: &Facts| {
        plan::plan(&spec, facts, &options()).map(|plan| plan::show(&plan)).map_err(|error| error.to_string())
    };
    let decided = plan(facts);
    // What is not measured for it decides nothing.
    assert_eq!(plan(&measured(facts, Interest::of(&spec))), decided);
    decided
}

fn measured(facts: &Facts, interest: Interest) -> Facts {
    let mut facts = facts.clone();
    if !interest.kernel {
        facts.kernel = Kernel::default();
    }
    if !interest.security {
        facts.security = Security::default();
    }
    if !interest.cgroups {
        facts.cgroups = Cgroups::default();
    }
    if !interest.maker {
        facts.cgroups.maker = Maker::Caller;
    }
    facts
}

fn golden(name: &str, config: &Value, facts: &Facts) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/plans/{name}.txt"));
    let text = format!("{}\n", decide(config, facts).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}

#[test]
fn the_smallest_container() {
    golden("small", &small(), &root());
}

#[test]
fn an_ordinary_user() {
    let mut config = small();
    merge(
        &mut config,
        json!({
            "linux": {
                "namespaces": [{ "type": "mount" }, { "type": "user" }],
                "uidMappings": [{ "containerID": 0, "hostID": 1000, "size": 1 }, { "containerID": 1, "hostID": 100_000, "size": 65536 }],
                "gidMappings": [{ "containerID": 0, "hostID": 1000, "size": 1 }],
            },
            "mounts": [{ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] }],
        }),
    );
    golden("user", &config, &user());
}

#[test]
fn a_shared_root_takes_a_kernel_that_parts_it_from_the_host() {
    let mut config = small();
    merge(&mut config, json!({ "linux": { "rootfsPropagation": "rshared" } }));
    let old = Facts { kernel: Kernel { major: 5, minor: 11 }, ..root() };
    let refused = Err("linux.rootfsPropagation: a shared root needs Linux 5.12".to_owned());
    assert_eq!(decide(&config, &old).map(drop), refused);
    let new = Facts { kernel: Kernel { major: 5, minor: 12 }, ..root() };
    assert_eq!(decide(&config, &new).map(drop), Ok(()));
}

fn limits() -> Value {
    json!({ "linux": { "resources": {
        "memory": { "limit": 100_000_000, "swap": 150_000_000, "reservation": 50_000_000 },
        "cpu": { "shares": 1024, "quota": 50000, "period": 100_000, "cpus": "0-1" },
        "pids": { "limit": 0 },
        "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "r" }],
    } } })
}

#[test]
fn limits_on_v2() {
    let mut config = small();
    merge(&mut config, limits());
    golden("limits_v2", &config, &root());
}

/// Logged in by ssh: in a scope of the machine's systemd, which is not his.
#[test]
fn a_limit_in_a_session_is_a_scope_of_the_users_systemd() {
    let mut facts = user();
    let own = "/user.slice/user-1000.slice/session-3.scope";
    facts.cgroups.v2 = Some(hierarchy(&[], "/sys/fs/cgroup", own));
    facts.cgroups.maker = Maker::Systemd;
    let limit = json!({ "linux": { "resources": { "pids": { "limit": 20 } } } });
    let place = json!({ "linux": { "cgroupsPath": "/a/box" } });
    let devices = json!({ "linux": { "resources": { "devices": [{ "allow": false, "access": "rwm" }] } } });
    for (patches, expected) in [
        (vec![&limit], "user.slice/user-1000.slice/user@1000.service/user.slice/runc-box.scope"),
        (vec![&limit, &place], "a/box"),
        (vec![&devices], "user.slice/user-1000.slice/box"),
        (vec![], "user.slice/user-1000.slice/box"),
    ] {
        let mut config = small();
        patches.into_iter().for_each(|patch| merge(&mut config, patch.clone()));
        let decided = decide(&config, &facts).unwrap();
        assert!(decided.contains(&format!("path: \"{expected}\"")), "{config}: {decided}");
        assert_eq!(decided.contains("manager: Systemd"), expected.ends_with(".scope"), "{config}");
    }
}

#[test]
fn a_memory_policy() {
    let mut config = small();
    let policy = json!({ "mode": "MPOL_BIND", "nodes": "5, 0-1,1", "flags": ["MPOL_F_STATIC_NODES"] });
    merge(&mut config, json!({ "linux": { "memoryPolicy": policy } }));
    golden("memory_policy", &config, &root());
}

#[test]
fn limits_on_v1() {
    let mut config = small();
    merge(&mut config, limits());
    golden("limits_v1", &config, &hybrid());
}

/// `tests/plans/errors.txt`: a line with a patch to the smallest configuration, a line with what is said of it, an empty line.
#[test]
fn what_is_wrong_is_said_with_its_place() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/errors.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let patches = text.lines().step_by(3);
    let said = patches.map(|patch| {
        let mut config = small();
        merge(&mut config, serde_json::from_str(patch).unwrap());
        format!("{patch}\n{}\n", decide(&config, &root()).unwrap_err())
    });
    let said = said.collect::<Vec<_>>().join("\n");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &said).unwrap();
    }
    assert_eq!(said, text);
}

#[test]
fn the_null_device_is_known_only_where_nobody_else_had_a_hand_in_it() {
    let null = |more: Value, facts: &Facts| {
        let mut config = small();
        merge(&mut config, more);
        let spec = bundle::recorded(&config.to_string()).unwrap();
        plan::devices::null(&plan::plan(&spec, facts, &options()).unwrap())
    };
    let dev = json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"});
    let bind = json!({"destination": "/dev/null", "type": "bind", "source": "/x", "options": ["bind"]});
    let hooks = json!({"createContainer": [{"path": "/bin/true"}]});
    assert_eq!(null(json!({"mounts": [dev]}), &root()), Null::Made);
    assert_eq!(null(json!({}), &root()), Null::Unknown);
    assert_eq!(null(json!({"mounts": [dev, bind]}), &root()), Null::Unknown);
    assert_eq!(null(json!({"mounts": [dev], "hooks": hooks}), &root()), Null::Unknown);
    let namespaces = json!([{"type": "mount"}, {"type": "user"}]);
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let user =
        json!({"mounts": [dev], "linux": {"namespaces": namespaces, "uidMappings": map, "gidMappings": map}});
    assert_eq!(null(user, &root()), Null::Unknown);
}
