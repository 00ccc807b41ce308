use std::process::ExitCode;

fn main() -> ExitCode {
    // The one implementation of cryptography for all that speaks TLS. Where crates bring two, the first use of TLS
    // panics unless one was chosen. It fails only where one was chosen before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    meshgate::cli::main()
}
