//! Prints the children's seccomp program, for the tests of the Python side.

fn main() -> Result<(), seccompiler::Error> {
    println!("{}", meshgate::engine::blender::sandbox::seccomp_program()?);
    Ok(())
}
