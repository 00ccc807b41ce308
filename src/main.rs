use std::process::ExitCode;

/// Returns free memory to the system. The default allocator does so only at the end of its heap, so gigabytes would
/// stay after a large model.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Chooses the cryptography for TLS: if crates bring two implementations, the first use of TLS panics without a
    // choice. The call fails only if one was chosen before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    meshgate::cli::main()
}
