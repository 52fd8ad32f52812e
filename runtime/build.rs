//! The program begins at `sys::first`, which goes on to the C library's own entry.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("ARCH") == "x86_64" && target("POINTER_WIDTH") == "64" && target("OS") == "linux" {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=coracle_start");
    }
}
