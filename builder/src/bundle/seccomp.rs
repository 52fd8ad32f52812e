//! The system calls that a container may make.
//!
//! An allow list: what is not named answers EPERM. Left out is what reaches beyond the container (modules, clocks, swap, reboot, keyrings,
//! tracing the kernel) and what its capabilities do not cover anyway.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder, LinuxSeccompOperator,
    LinuxSyscall, LinuxSyscallBuilder,
};

use crate::error::{Error, Kind};

const FILES: &str = "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat \
    faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl \
    fcntl64 fdatasync fgetxattr file_getattr file_setattr flistxattr flock fremovexattr fsetxattr fstat fstat64 \
    fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat \
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents \
    io_pgetevents_time64 io_setup io_submit ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat \
    llistxattr lremovexattr lseek _llseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at \
    newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink \
    readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile sendfile64 setxattr \
    setxattrat splice stat stat64 statfs statfs64 statmount statx listmount symlink symlinkat sync sync_file_range \
    sync_file_range2 arm_sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat \
    utimensat_time64 utimes vmsplice write writev cachestat fanotify_mark chroot";

const MEMORY: &str = "brk madvise membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect \
    mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise process_mrelease \
    remap_file_pages set_mempolicy get_mempolicy mbind move_pages set_mempolicy_home_node map_shadow_stack \
    riscv_flush_icache riscv_hwprobe cacheflush arm_fadvise64_64 swapcontext sync_file_range2 s390_pci_mmio_read \
    s390_pci_mmio_write s390_runtime_instr";

const PROCESSES: &str = "alarm arch_prctl breakpoint set_tls set_thread_area get_thread_area modify_ldt capget capset \
    execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake \
    get_robust_list getcpu getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer \
    getpgid getpgrp getpid getppid getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid \
    gettid getuid getuid32 ioprio_get ioprio_set kcmp kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self nanosleep nice pause pidfd_getfd pidfd_open pidfd_send_signal prctl prlimit64 \
    process_vm_readv process_vm_writev ptrace restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask \
    rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo \
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp set_robust_list set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 \
    setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 \
    setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sigaltstack signal sigaction \
    sigpending sigprocmask sigreturn sigsuspend signalfd signalfd4 tgkill tkill ugetrlimit vfork wait4 waitid \
    waitpid rtas spu_create spu_run lsm_get_self_attr lsm_list_modules lsm_set_self_attr uretprobe";

const WAITING: &str = "clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep \
    clock_nanosleep_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old eventfd eventfd2 gettimeofday newselect _newselect pipe pipe2 poll ppoll ppoll_time64 pselect6 \
    pselect6_time64 select time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 \
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
    timerfd_settime64 times adjtimex clock_adjtime clock_adjtime64 getrandom sysinfo uname oldolduname olduname";

const TALKING: &str = "accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr \
    mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget \
    msgrcv msgsnd recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop semtimedop_time64 \
    send sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketcall socketpair";

/// Bits of `clone` that make namespaces: the container has no right to them.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// `AF_ALG` (38) and `AF_VSOCK` (40) reach the kernel's crypto and the machine's host.
const SOCKET_FAMILIES: [(u64, LinuxSeccompOperator); 3] = [
    (38, LinuxSeccompOperator::ScmpCmpLt),
    (39, LinuxSeccompOperator::ScmpCmpEq),
    (40, LinuxSeccompOperator::ScmpCmpGt),
];

const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

pub(super) fn profile() -> Result<LinuxSeccomp, Error> {
    let mut calls = Vec::new();
    for list in [FILES, MEMORY, PROCESSES, WAITING, TALKING] {
        let names = list.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let rule =
            LinuxSyscallBuilder::default().names(names).action(LinuxSeccompAction::ScmpActAllow).build();
        calls.push(described(rule)?);
    }
    for personality in PERSONALITIES {
        calls.push(allow_if("personality", personality, None, LinuxSeccompOperator::ScmpCmpEq)?);
    }
    // On s390 the flags are the second argument; there the call is refused.
    calls.push(allow_if("clone", NEW_NAMESPACES, Some(0), LinuxSeccompOperator::ScmpCmpMaskedEq)?);
    for (family, operator) in SOCKET_FAMILIES {
        calls.push(allow_if("socket", family, None, operator)?);
    }
    // The flags of clone3 are in memory, where no filter sees them: ENOSYS makes the C library use clone.
    let refused = LinuxSyscallBuilder::default()
        .names(vec!["clone3".to_owned()])
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(libc::ENOSYS.unsigned_abs())
        .build();
    calls.push(described(refused)?);
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(libc::EPERM.unsigned_abs())
        .syscalls(calls)
        .build();
    described(profile)
}

/// Allows a call when its first argument compares well.
fn allow_if(
    name: &str,
    value: u64,
    second: Option<u64>,
    operator: LinuxSeccompOperator,
) -> Result<LinuxSyscall, Error> {
    let mut argument = LinuxSeccompArgBuilder::default().index(0_usize).value(value).op(operator);
    if let Some(second) = second {
        argument = argument.value_two(second);
    }
    let rule = LinuxSyscallBuilder::default()
        .names(vec![name.to_owned()])
        .action(LinuxSeccompAction::ScmpActAllow)
        .args(vec![described(argument.build())?])
        .build();
    described(rule)
}

fn described<T, E: std::fmt::Display>(part: Result<T, E>) -> Result<T, Error> {
    part.map_err(|error| Error::new(Kind::Invalid, format!("describe the seccomp profile: {error}")))
}
