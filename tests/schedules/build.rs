//! Sets the one `cfg` by which `src/sys/sync.rs` takes the checker's locks and atomics; for this
//! package alone, so that what it depends on is built as always.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(scheduled)");
    println!("cargo::rustc-cfg=scheduled");
    println!("cargo::rerun-if-changed=build.rs");
}
