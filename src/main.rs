use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything could want TLS. It fails only where there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    meshgate::cli::main()
}
