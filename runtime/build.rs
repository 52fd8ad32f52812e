//! The program begins at `sys::first`, which goes on to the C library's own entry; the functions that every container uses lie
//! together.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=layout.ld");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") != "linux" {
        return;
    }
    if target("ARCH") == "x86_64" && target("POINTER_WIDTH") == "64" {
        println!("cargo::rustc-link-arg-bins=-Wl,--entry=coracle_start");
    }
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg-bins=-Wl,-T,{here}/layout.ld");
}
