//! Prints the children's seccomp program, for the tests of the Python side.

fn main() -> Result<(), seccompiler::Error> {
    println!("{}", meshgate::executor::local::seccomp::seccomp_program()?);
    Ok(())
}
