//! Makes Cargo notice new files of the embedded Python package.

fn main() {
    println!("cargo::rerun-if-changed=blender/meshgate_engine");
}
