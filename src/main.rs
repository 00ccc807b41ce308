use std::process::ExitCode;

/// Gives memory back to the system when it is free, which the usual allocator does only at the end of its heap: after a
/// large model was looked at, gigabytes would stay.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The one implementation of cryptography for all that speaks TLS. Where crates bring two, the first use of TLS
    // panics unless one was chosen. It fails only where one was chosen before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    meshgate::cli::main()
}
