//! The program's very first instructions, before the C library starts: whether it runs from an image that containers cannot write
//! to, and if not, once more from one (`host::seal` says why).
//!
//! A second start costs half a millisecond when it comes after the first one's libc start-up, most of it for nothing: processor
//! features are asked for again (each question traps in a virtual machine), memory is mapped and filled that execve throws away.
//! Here it costs the execve alone. Nothing of the library works yet: no memory of threads, no relocated function, not even memcpy.
//! So there are whole numbers and raw system calls only (no array of zeroes, which is a call of memset), and whatever is not plain
//! is left to `host::seal`.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the first instructions found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// They did not run, or left it open.
    Unknown,
    /// A read-only mount.
    ReadOnly,
    /// Whoever has no more rights than this process cannot write to it.
    OutOfReach,
}

static FOUND: AtomicU8 = AtomicU8::new(0);
const READ_ONLY: u8 = 1;
const OUT_OF_REACH: u8 = 2;

/// The image that this program runs from.
pub fn image() -> Image {
    match FOUND.load(Ordering::Relaxed) {
        READ_ONLY => Image::ReadOnly,
        OUT_OF_REACH => Image::OutOfReach,
        _ => Image::Unknown,
    }
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
mod x86_64 {
    use std::arch::{asm, global_asm};
    use std::ffi::{CStr, c_char};
    use std::mem::MaybeUninit;
    use std::sync::atomic::Ordering;

    use super::super::mount::OPEN_TREE_ATTR;
    use super::{FOUND, OUT_OF_REACH, READ_ONLY};

    // The stack begins with the number of words; rdx is the C library's. Both are as they were when its own entry begins.
    global_asm!(
        ".globl coracle_start",
        ".type coracle_start, @function",
        "coracle_start:",
        "xor ebp, ebp",
        "mov rbx, rdx",
        "mov rdi, rsp",
        "call {first}",
        "mov rdx, rbx",
        "jmp _start",
        first = sym first,
    );

    const SELF: &CStr = c"/proc/self/exe";
    const OPEN_TREE_CLONE: usize = 1;
    const OPEN_TREE_CLOEXEC: usize = 0o2_000_000;
    const AT_FDCWD: usize = usize::MAX - 99;
    const AT_EMPTY_PATH: usize = 0x1000;
    const AT_EUID: usize = 12;
    const ST_RDONLY: u64 = 1;

    /// struct statfs of asm-generic/statfs.h, whose flags the libc crate keeps to itself.
    #[repr(C)]
    struct Statfs {
        before: [u64; 10],
        flags: u64,
        after: [u64; 4],
    }

    /// struct mount_attr of linux/mount.h: what to set, what to clear, propagation, user namespace.
    static ONLY_READ: [u64; 4] = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];

    /// One system call; the kernel's own convention: small negative numbers are errors.
    fn call5(number: libc::c_long, [a, b, c, d, e]: &[usize; 5]) -> i64 {
        let result: i64;
        // SAFETY: the instruction changes rax, rcx and r11 only; whether the call itself is sound is told where it is made.
        unsafe {
            asm!("syscall", inlateout("rax") number => result, in("rdi") *a, in("rsi") *b, in("rdx") *c,
                 in("r10") *d, in("r8") *e, lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        result
    }

    /// One with fewer arguments.
    fn call(number: libc::c_long, a: usize, b: usize, c: usize) -> i64 {
        let result: i64;
        // SAFETY: as above.
        unsafe {
            asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
                 lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        result
    }

    fn address<T>(of: *const T) -> usize {
        of.expose_provenance()
    }

    /// Returns where the program may go on, becomes itself again from a read-only mount where it should not.
    extern "C" fn first(stack: *const usize) {
        // SAFETY: the kernel puts the number of arguments there.
        let count = unsafe { *stack };
        // SAFETY: their pointers follow, then null, then those of the environment (System V ABI, "Process Initialization").
        let words = unsafe { stack.add(1) };
        // SAFETY: as above.
        let env = unsafe { words.add(count.wrapping_add(1)) };
        if !begins_a_process(words.cast(), count) {
            return;
        }
        if is_read_only() {
            FOUND.store(READ_ONLY, Ordering::Relaxed);
        } else if is_out_of_reach(env) {
            FOUND.store(OUT_OF_REACH, Ordering::Relaxed);
        } else {
            start_again(words, env);
        }
    }

    /// A word of the command line is one of those verbs. Another word may be one by chance, which costs a little time.
    fn begins_a_process(words: *const *const c_char, count: usize) -> bool {
        let mut at = 1;
        while at < count {
            // SAFETY: `at` is below the number of pointers.
            let word = unsafe { words.wrapping_add(at).read() };
            if is(word, b"run\0") || is(word, b"create\0") || is(word, b"exec\0") {
                return true;
            }
            at = at.wrapping_add(1);
        }
        false
    }

    /// Compares with a text that ends with its only NUL.
    fn is(word: *const c_char, text: &[u8]) -> bool {
        let (mut word, mut text) = (word.cast::<u8>(), text.as_ptr());
        loop {
            // SAFETY: nothing is read beyond the first NUL or the first difference, and it ends with a NUL. (Volatile, or the loop
            // would become a call of strcmp.)
            let one = unsafe { word.read_volatile() };
            // SAFETY: as above.
            let other = unsafe { text.read_volatile() };
            if one != other {
                return false;
            }
            if one == 0 {
                return true;
            }
            (word, text) = (word.wrapping_add(1), text.wrapping_add(1));
        }
    }

    fn is_read_only() -> bool {
        let mut found = MaybeUninit::<Statfs>::uninit();
        // The kernel reads a path that ends with NUL and writes one statfs.
        let got = call(libc::SYS_statfs, address(SELF.as_ptr()), address(found.as_mut_ptr()), 0);
        // SAFETY: the call has succeeded and filled it.
        got == 0 && unsafe { (*found.as_ptr()).flags } & ST_RDONLY != 0
    }

    /// A container runs with our own rights at most: it can write what we can. (Root of the host can, whatever the mode says.)
    fn is_out_of_reach(env: *const usize) -> bool {
        let own = effective_user(env);
        if own == 0 {
            return false;
        }
        let mut found = MaybeUninit::<libc::stat>::uninit();
        // The kernel reads a path that ends with NUL and writes one stat.
        if call(libc::SYS_stat, address(SELF.as_ptr()), address(found.as_mut_ptr()), 0) != 0 {
            return false;
        }
        // SAFETY: the call has succeeded and filled it.
        let owner = unsafe { (*found.as_ptr()).st_uid };
        // SAFETY: as above.
        let mode = unsafe { (*found.as_ptr()).st_mode };
        usize::try_from(owner) != Ok(own) && mode & 0o022 == 0
    }

    /// The kernel says it at the start, behind the environment; root where it does not, which changes nothing for the better.
    fn effective_user(env: *const usize) -> usize {
        let mut at = env;
        // SAFETY: the environment ends with null.
        while unsafe { at.read() } != 0 {
            at = at.wrapping_add(1);
        }
        let mut pair = at.wrapping_add(1);
        loop {
            // SAFETY: pairs follow, of which the last has the kind AT_NULL (getauxval(3)).
            let kind = unsafe { pair.read() };
            // SAFETY: as above.
            let value = unsafe { pair.wrapping_add(1).read() };
            match kind {
                AT_EUID => return value,
                0 => return 0,
                _ => pair = pair.wrapping_add(2),
            }
        }
    }

    /// Returns when it cannot be done here.
    fn start_again(words: *const usize, env: *const usize) {
        let Some(tree) = read_only_copy() else { return };
        let empty = address(c"".as_ptr());
        // Both lists are the kernel's own of this process. It returns only where it fails.
        call5(libc::SYS_execveat, &[tree, empty, address(words), address(env), AT_EMPTY_PATH]);
        call(libc::SYS_close, tree, 0, 0);
    }

    /// A detached mount of the program's file: by one call since Linux 6.15, by two before.
    fn read_only_copy() -> Option<usize> {
        let (own, flags) = (address(SELF.as_ptr()), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        let (attr, size) = (address(&raw const ONLY_READ), size_of_val(&ONLY_READ));
        // The kernel reads a path that ends with NUL, and exactly the size given.
        let tree = call5(OPEN_TREE_ATTR, &[AT_FDCWD, own, flags, attr, size]);
        if let Ok(tree) = usize::try_from(tree) {
            return Some(tree);
        }
        let tree = usize::try_from(call(libc::SYS_open_tree, AT_FDCWD, own, flags)).ok()?;
        let empty = address(c"".as_ptr());
        match call5(libc::SYS_mount_setattr, &[tree, empty, AT_EMPTY_PATH, attr, size]) {
            0 => Some(tree),
            _ => {
                call(libc::SYS_close, tree, 0, 0);
                None
            }
        }
    }
}
