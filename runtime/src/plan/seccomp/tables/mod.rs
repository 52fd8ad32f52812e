//! Numbers of system calls by architecture: facts of the kernel's interface, which never change once released.

pub(super) mod aarch64;
pub(super) mod arm;
pub(super) mod loongarch64;
pub(super) mod powerpc64;
pub(super) mod riscv64;
pub(super) mod s390x;
pub(super) mod x32;
pub(super) mod x86;
pub(super) mod x86_64;
