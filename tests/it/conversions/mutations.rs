//! Truncated and bit-flipped files of every format: each gets an answer, and the next conversion works.

use std::path::Path;

use meshgate::domain::{ErrorCode, Format};

use super::{Fixture, example};

/// Mutations of each kind and format.
const MUTATIONS: u64 = 50;

/// A seeded random generator, so that failures are reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_of_every_format_get_a_clear_outcome() {
    let fixture = Fixture::new();
    // Small, so that flipped bits hit important values.
    let cube = fixture.put("cube.obj", super::bad_input::CUBE);
    for format in Format::all() {
        let model = match format {
            Format::Vrm => example("humanoid.vrm"),
            Format::Bvh => example("walk.bvh"),
            Format::Vrma => fixture.make(&example("walk.bvh"), Format::Vrma).await,
            _ => fixture.make(&cube, format).await,
        };
        let whole = std::fs::read(&model).unwrap();
        for seed in 0..MUTATIONS {
            let (cut, flipped) = (cut(&whole, seed), flipped(&whole, seed));
            tokio::join!(
                answer(&fixture, format, seed, "cut", &cut),
                answer(&fixture, format, seed, "flip", &flipped)
            );
        }
        let after = fixture.convert(&model, format).await;
        assert!(after.is_ok(), "after the damaged files of {format}: {:?}", after.err());
    }
    fixture.converter.executor().shutdown().await;
}

fn cut(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed + 1);
    whole[..random.below(whole.len())].to_vec()
}

fn flipped(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed + 7919);
    let mut damaged = whole.to_vec();
    for _ in 0..=random.below(8) {
        let place = random.below(damaged.len());
        damaged[place] ^= 1 << random.below(8);
    }
    damaged
}

/// Converts the file; a failure must be one sentence, with a code for faults of the model.
async fn answer(fixture: &Fixture, format: Format, seed: u64, how: &str, content: &[u8]) {
    let model = fixture.put(&format!("{how}/{format}-{seed}.{format}"), content);
    let target = if format.unsupported_reason(Format::Glb).is_some() { Format::Bvh } else { Format::Fbx };
    let result = fixture.convert(Path::new(&model), target).await;
    let Err(error) = result else { return };
    let ours = [ErrorCode::Internal, ErrorCode::Io, ErrorCode::EngineUnavailable, ErrorCode::Timeout];
    assert!(!ours.contains(&error.code), "{how} {format} {seed}: {} {error}", error.code);
    assert!(
        !error.detail.is_empty() && error.detail.len() < 400 && !error.detail.contains(['\n', '\r']),
        "{how} {format} {seed}: {error}"
    );
    for leak in ["Traceback", "/tmp", "File \"", ".py"] {
        assert!(!error.detail.contains(leak), "{how} {format} {seed}: {error}");
    }
}
