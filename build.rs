//! Without this a new file of the embedded Python package would not be noticed.

fn main() {
    println!("cargo::rerun-if-changed=blender/meshgate_engine");
}
