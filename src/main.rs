use std::process::ExitCode;

fn main() -> ExitCode {
    meshgate::cli::main()
}
