//! Seccomp: actions, comparisons, errno, the same filter for exec, calls newer than the profile.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::bundle::{push, put};
use crate::case::{Case, Ctx};
use crate::needs::Need;

pub(crate) const CASES: &[Case] = &[
    Case { name: "seccomp/errno", source: "runtime-spec config-linux.md#seccomp", needs: &[], run: errno },
    Case {
        name: "seccomp/errno-of-ones-own",
        source: "runtime-spec config-linux.md#seccomp: errnoRet",
        needs: &[],
        run: errno_ret,
    },
    Case {
        name: "seccomp/arguments",
        source: "runtime-spec config-linux.md#seccomp: args",
        needs: &[],
        run: arguments,
    },
    Case {
        name: "seccomp/kill",
        source: "runtime-spec config-linux.md#seccomp: SCMP_ACT_KILL_PROCESS",
        needs: &[],
        run: kill,
    },
    Case {
        name: "seccomp/exec-is-filtered-too",
        source: "facts/runtime-compat (youki: none)",
        needs: &[],
        run: exec,
    },
    Case {
        name: "seccomp/without-no-new-privileges",
        source: "facts/runtime-compat: the filter loads before capabilities drop",
        needs: &[Need::Root],
        run: privileged,
    },
    Case {
        name: "seccomp/an-allow-list",
        source: "runtime-spec config-linux.md#seccomp: defaultAction, defaultErrnoRet",
        needs: &[],
        run: allow_list,
    },
    Case {
        name: "seccomp/newer-than-the-profile-is-enosys",
        source: "facts/runtime-compat: rather than the default errno",
        needs: &[],
        run: newer,
    },
    Case {
        name: "seccomp/notify-on-write-is-refused",
        source: "facts/runtime-compat",
        needs: &[],
        run: notify_write,
    },
    Case {
        name: "seccomp/notify-without-a-listener-is-an-error",
        source: "facts/runtime-compat (crun)",
        needs: &[],
        run: no_listener,
    },
    Case {
        name: "seccomp/an-architecture-of-other-machines-is-passed-over",
        source: "runtime-spec config-linux.md#seccomp: architectures; one profile is for many machines",
        needs: &[],
        run: other_machines,
    },
    Case {
        name: "seccomp/waiting-killable-takes-nobody-to-wait-for",
        source: "seccomp(2): SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is refused without a listener",
        needs: &[],
        run: killable,
    },
    Case {
        name: "seccomp/an-unknown-action-is-refused",
        source: "facts/security: malformed config",
        needs: &[],
        run: unknown,
    },
];

fn architectures() -> Value {
    match std::env::consts::ARCH {
        "x86_64" => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        "aarch64" => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        "riscv64" => json!(["SCMP_ARCH_RISCV64"]),
        _ => json!([]),
    }
}

pub(super) fn filter(default: &str, rules: Value) -> Value {
    let mut filter = json!({"defaultAction": default, "syscalls": rules});
    put(&mut filter, "/architectures", architectures());
    filter
}

pub(super) const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

fn errno(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["mkdir", "/tmp/a", ",", "show"])?;
    bundle.set(
        "/linux/seccomp",
        filter("SCMP_ACT_ALLOW", json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}])),
    )?;
    let seen = ctx.output(&bundle)?;
    let (first, rest) = seen.split_once('\n').unwrap_or_default();
    ensure!(first == "mkdir /tmp/a: EPERM", "{first}");
    let shown: Value = serde_json::from_str(rest)?;
    ensure!(
        shown["status"]["Seccomp"] == "2" && shown["status"]["Seccomp_filters"] == "1",
        "{}",
        shown["status"]
    );
    Ok(())
}

fn errno_ret(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["mkdir", "/tmp/a"])?;
    let rule = json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]);
    bundle.set("/linux/seccomp", filter("SCMP_ACT_ALLOW", rule))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "mkdir /tmp/a: EADDRNOTAVAIL\n", "{seen}");
    Ok(())
}

/// AF_UNIX is 1, AF_INET 2, AF_ALG 38.
fn arguments(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["socket", "unix", ",", "socket", "inet", ",", "socket", "alg"])?;
    let refuse = |op: &str, value: u64| json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [{"index": 0, "value": value, "op": op}]});
    bundle.set(
        "/linux/seccomp",
        filter("SCMP_ACT_ALLOW", json!([refuse("SCMP_CMP_EQ", 2), refuse("SCMP_CMP_GT", 37)])),
    )?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "socket unix: ok\nsocket inet: EACCES\nsocket alg: EACCES\n", "{seen}");
    Ok(())
}

fn kill(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["mkdir", "/tmp/a", ",", "print", "alive"])?;
    bundle.set(
        "/linux/seccomp",
        filter("SCMP_ACT_ALLOW", json!([{"names": MKDIR, "action": "SCMP_ACT_KILL_PROCESS"}])),
    )?;
    // 128 + SIGSYS.
    ctx.run(&bundle, &ctx.id("c"))?.code(159)?.out("")?;
    Ok(())
}

fn exec(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["write", "/ready", "", ",", "wait"])?;
    bundle.set(
        "/linux/seccomp",
        filter("SCMP_ACT_ALLOW", json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}])),
    )?;
    let id = ctx.detached(&bundle, "c")?;
    ctx.rt(&["exec", &id, "/probe", "mkdir", "/tmp/a"])?.success()?.out("mkdir /tmp/a: EPERM\n")?;
    Ok(())
}

fn privileged(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["mkdir", "/tmp/a"])?;
    bundle.set("/process/noNewPrivileges", json!(false))?;
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}))?;
    bundle.set(
        "/linux/seccomp",
        filter("SCMP_ACT_ALLOW", json!([{"names": MKDIR, "action": "SCMP_ACT_ERRNO", "errnoRet": 13}])),
    )?;
    std::fs::set_permissions(
        bundle.root().join("tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "mkdir /tmp/a: EACCES\n", "{seen}");
    Ok(())
}

/// What a static Rust program and a runtime's last steps before it need, and more.
const ALLOWED: &str = "read write open openat close stat fstat lstat newfstatat statx poll lseek mmap mprotect munmap brk \
    rt_sigaction rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe pipe2 select sched_yield mremap madvise \
    dup dup2 dup3 pause nanosleep clock_nanosleep getpid socket connect sendto recvfrom sendmsg recvmsg shutdown bind listen \
    getsockname getpeername socketpair setsockopt getsockopt clone clone3 fork vfork execve execveat exit wait4 kill uname fcntl flock \
    fsync fdatasync truncate ftruncate getdents64 getcwd chdir fchdir rename unlink unlinkat readlink readlinkat chmod fchmod chown \
    fchown umask gettimeofday getrlimit getrusage sysinfo times getuid getgid setuid setgid geteuid getegid setpgid getppid getpgrp \
    setsid getgroups setgroups setresuid setresgid getpgid getsid capget capset rt_sigpending rt_sigtimedwait sigaltstack personality \
    statfs fstatfs sched_getscheduler sched_setscheduler prctl arch_prctl setrlimit gettid futex sched_setaffinity sched_getaffinity \
    set_tid_address restart_syscall clock_gettime clock_getres exit_group epoll_wait epoll_ctl tgkill waitid ioprio_get ioprio_set \
    openat2 faccessat faccessat2 pselect6 ppoll set_robust_list get_robust_list splice utimensat epoll_pwait epoll_create1 \
    prlimit64 getrandom memfd_create rseq close_range pidfd_open pidfd_send_signal landlock_create_ruleset futex_waitv";

fn allow_list_filter(default_errno: u64) -> Value {
    let names: Vec<&str> = ALLOWED.split_whitespace().collect();
    let mut filter = filter("SCMP_ACT_ERRNO", json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]));
    put(&mut filter, "/defaultErrnoRet", json!(default_errno));
    filter
}

fn allow_list(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["mkdir", "/tmp/a", ",", "write", "/tmp/b", "1"])?;
    bundle.set("/linux/seccomp", allow_list_filter(13))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "mkdir /tmp/a: EACCES\nwrite /tmp/b 1: ok\n", "{seen}");
    Ok(())
}

fn newer(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["syscall", "600", ",", "mkdir", "/tmp/a"])?;
    bundle.set("/linux/seccomp", allow_list_filter(1))?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "syscall 600: ENOSYS\nmkdir /tmp/a: EPERM\n", "{seen}");
    Ok(())
}

fn notify_write(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let mut filter = filter("SCMP_ACT_ALLOW", json!([{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]));
    put(&mut filter, "/listenerPath", json!(ctx.path("listener.sock")));
    bundle.set("/linux/seccomp", filter)?;
    ctx.run(&bundle, &ctx.id("c"))?.failure()?.says("SCMP_ACT_NOTIFY")?.says("write")?;
    Ok(())
}

fn no_listener(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    let mut filter = filter("SCMP_ACT_ALLOW", json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]));
    bundle.set("/linux/seccomp", filter.clone())?;
    ctx.run(&bundle, &ctx.id("a"))?.failure()?.says("listenerPath")?;
    put(&mut filter, "/listenerPath", json!(ctx.path("nobody.sock")));
    bundle.set("/linux/seccomp", filter)?;
    ctx.run(&bundle, &ctx.id("b"))?.failure()?.says("nobody.sock")?;
    Ok(())
}

/// A filter that is changed so still refuses mkdir, and nothing else.
fn refuses_mkdir(ctx: &Ctx, change: impl FnOnce(&mut Value)) -> Result<()> {
    let bundle = ctx.bundle(&["mkdir", "/tmp/x"])?;
    let rules = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    let mut filter = filter("SCMP_ACT_ALLOW", rules);
    change(&mut filter);
    bundle.set("/linux/seccomp", filter)?;
    let seen = ctx.output(&bundle)?;
    ensure!(seen == "mkdir /tmp/x: EPERM\n", "{seen}");
    Ok(())
}

fn other_machines(ctx: &Ctx) -> Result<()> {
    refuses_mkdir(ctx, |filter| push(filter, "/architectures", json!("SCMP_ARCH_MIPSEL64")))
}

fn killable(ctx: &Ctx) -> Result<()> {
    refuses_mkdir(ctx, |filter| put(filter, "/flags", json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])))
}

fn unknown(ctx: &Ctx) -> Result<()> {
    let bundle = ctx.bundle(&["exit", "0"])?;
    for rules in [
        json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOSUCH"}]),
        json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]),
        json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_NOSUCH"}]}]),
    ] {
        bundle.set("/linux/seccomp", filter("SCMP_ACT_ALLOW", rules.clone()))?;
        let ended = ctx.run(&bundle, &ctx.id("c"))?;
        ensure!(ended.code != 0, "{}", ended.unexpected(&format!("accepted: {rules}")));
    }
    Ok(())
}
