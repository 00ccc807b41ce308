//! How much memory, processor time and disk space a conversion needs that runs in a pod of its own.
//!
//! ```text
//!   conversion's memory = BASE + triangles × TRIANGLE + pixels × PIXEL + frames × FRAME + bytes × BYTE
//!   pod's memory        = conversion's memory × factor + PROGRAM
//! ```
//!
//! All numbers of this rule stand here. They follow the peaks of the address space of children, which a child's limit counts:
//!
//! | model, converted to FBX, USD, OBJ and .blend | address space, in MiB | more for each |
//! | --- | --- | --- |
//! | next to nothing | 1,330; USD: 1,710 | |
//! | grids of 0.35, 1.4 and 4.2 million triangles | 1,550, 2,090, 3,530 | triangle: 550 bytes |
//! | textures of 1, 17 and 67 million pixels (3, 48, 192 MB) | 1,330, 1,590, 2,220 | pixel: 14 bytes, files included |
//! | motions of 50 bones with 300, 3,000 and 12,000 frames | 1,330, 1,530, 2,170; USD: 1,720, 1,980, 2,690 | frame of a bone: 1,700 bytes |
//!
//! Half to two thirds of that is used as memory. The rule has a reserve for what a census does not show: modifiers, shapes,
//! several materials for each face.

use crate::domain::Format;

pub use crate::domain::census::Census;

const MIB: u64 = 1 << 20;

/// Memory of a conversion of nothing, in bytes: the address space of Blender, most of which is never touched.
const BASE: u64 = 1792 * MIB;

/// Memory for each triangle, in bytes: it is imported, evaluated, and copied by the exporter.
const TRIANGLE: u64 = 1500;

/// Memory for each pixel of a texture, in bytes: Blender unpacks images, and exporters copy them to floats one by one.
const PIXEL: u64 = 12;

/// Memory for each frame of a channel, in bytes: exporters sample all frames.
const FRAME: u64 = 1500;

/// Memory for each byte of the model's files: importers hold files, or parts of them, several times.
const BYTE: u64 = 3;

/// Memory of a pod besides the conversion, in bytes: the program, and the warm Blender from which the conversion forks.
/// The chart reserves the same for a server.
pub const PROGRAM: u64 = 1024 * MIB;

/// Fewest bytes of a triangle in files that are not counted: text, and binary formats, which may be compressed.
const TEXT_TRIANGLE: u64 = 60;
const BINARY_TRIANGLE: u64 = 25;

/// Processor time in thousandths of a processor. A conversion uses one processor; freeing and filling gigabytes of
/// memory keeps the kernel busy beside it.
const CPU_MILLIS: u32 = 1000;
const LARGE_CPU_MILLIS: u32 = 2000;

/// Memory of a conversion that is large in this sense, in bytes.
const LARGE: u64 = 4096 * MIB;

/// Disk space of a pod without a model, in bytes: the engine's package, logs, and scratch files.
const BASE_STORAGE: u64 = 512 * MIB;

/// Copies of the model's files on the disk: as sent, unpacked, and with the textures that Blender extracts.
const COPIES: u64 = 3;

/// Disk space of the result, in bytes for each triangle, pixel and frame. Text takes most.
const RESULT_TRIANGLE: u64 = 250;
const RESULT_PIXEL: u64 = 4;
const RESULT_FRAME: u64 = 100;

/// Quantities are multiples of this, so that people can read them.
const STEP: u64 = 64 * MIB;

/// The smallest and the largest pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeLimits {
    /// In bytes. A pod has at least what a conversion of nothing needs.
    pub min_memory: u64,
    /// In bytes.
    pub max_memory: u64,
    /// In thousandths of a processor.
    pub max_cpu_millis: u32,
    /// In bytes.
    pub max_storage: u64,
}

/// The resources of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Of the pod, in bytes.
    pub memory_bytes: u64,
    /// In thousandths of a processor.
    pub cpu_millis: u32,
    /// In bytes.
    pub storage_bytes: u64,
}

impl Size {
    /// The memory of the conversion alone, in bytes: what `WORKER_MEMORY_LIMIT` would have to be for it on a worker.
    pub fn conversion_bytes(&self) -> u64 {
        conversion_bytes(self.memory_bytes)
    }
}

/// Returns the memory of the conversion in a pod with this memory, both in bytes.
pub fn conversion_bytes(pod_memory: u64) -> u64 {
    pod_memory.saturating_sub(PROGRAM)
}

/// Returns the size of the pod for a model. `factor` multiplies the memory of the conversion, for an attempt after one
/// that ran out of it. `None` if the limits are too low: the pod would need more memory than they allow, and the
/// attempt before, if there was one, had as much as that.
pub fn size(census: &Census, factor: u32, limits: &SizeLimits) -> Option<Size> {
    let pod = |conversion: u64| conversion.saturating_add(PROGRAM).max(limits.min_memory);
    let first = round_up(pod(memory(census)));
    let wanted = round_up(pod(conversion_bytes(first).saturating_mul(factor.max(1).into())));
    let memory_bytes = if wanted <= limits.max_memory {
        wanted
    } else if factor > 1 && first < limits.max_memory {
        limits.max_memory
    } else {
        return None;
    };
    let is_large = conversion_bytes(memory_bytes) >= LARGE;
    let cpu_millis = if is_large { LARGE_CPU_MILLIS } else { CPU_MILLIS };
    Some(Size {
        memory_bytes,
        cpu_millis: cpu_millis.min(limits.max_cpu_millis),
        storage_bytes: round_up(storage(census)).min(limits.max_storage),
    })
}

/// The memory of the conversion, in bytes.
fn memory(census: &Census) -> u64 {
    sum([
        (1, BASE),
        (triangles(census), TRIANGLE),
        (census.texture_pixels, PIXEL),
        (census.frames, FRAME),
        (census.bytes, BYTE),
    ])
}

/// The disk space of the pod, in bytes.
fn storage(census: &Census) -> u64 {
    sum([
        (1, BASE_STORAGE),
        (census.bytes, COPIES),
        (triangles(census), RESULT_TRIANGLE),
        (census.texture_pixels, RESULT_PIXEL),
        (census.frames, RESULT_FRAME),
    ])
}

/// The triangles that were counted, and the most that the other files may hold.
fn triangles(census: &Census) -> u64 {
    let bytes = match census.uncounted_format {
        Some(Format::Obj | Format::Usda | Format::Gltf) => TEXT_TRIANGLE,
        _ => BINARY_TRIANGLE,
    };
    census.triangles.saturating_add(census.uncounted_bytes / bytes)
}

fn sum<const N: usize>(terms: [(u64, u64); N]) -> u64 {
    terms.into_iter().fold(0, |sum, (count, each)| sum.saturating_add(count.saturating_mul(each)))
}

fn round_up(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(STEP).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;
    const LIMITS: SizeLimits =
        SizeLimits { min_memory: GIB, max_memory: 16 * GIB, max_cpu_millis: 4000, max_storage: 20 * GIB };

    fn memory_of(census: &Census, factor: u32) -> Option<u64> {
        size(census, factor, &LIMITS).map(|size| size.memory_bytes)
    }

    #[test]
    fn a_small_model_gets_what_blender_alone_needs() {
        let smallest = size(&Census::default(), 1, &LIMITS).unwrap();
        assert_eq!(smallest.conversion_bytes(), BASE);
        assert_eq!(smallest.memory_bytes, BASE + PROGRAM);
        assert_eq!(smallest.cpu_millis, CPU_MILLIS);
        let roomy = SizeLimits { min_memory: 4 * GIB, max_cpu_millis: 500, max_storage: GIB / 4, ..LIMITS };
        let size = size(&Census::default(), 1, &roomy).unwrap();
        assert_eq!((size.memory_bytes, size.cpu_millis, size.storage_bytes), (4 * GIB, 500, GIB / 4));
    }

    #[test]
    fn each_kind_of_content_needs_memory() {
        let base = memory_of(&Census::default(), 1).unwrap();
        let million = 1_000_000;
        for (census, each) in [
            (Census { triangles: million, ..Census::default() }, TRIANGLE),
            (Census { texture_pixels: 100 * million, ..Census::default() }, 100 * PIXEL),
            (Census { frames: million, ..Census::default() }, FRAME),
            (Census { bytes: 100 * million, ..Census::default() }, 100 * BYTE),
        ] {
            let more = memory_of(&census, 1).unwrap() - base;
            assert!((million * each..=million * each + STEP).contains(&more), "{census:?}: {more}");
        }
    }

    #[test]
    fn files_that_only_blender_reads_are_estimated_from_their_bytes() {
        let of =
            |format| Census { uncounted_bytes: 60_000_000, uncounted_format: format, ..Census::default() };
        let text = memory_of(&of(Some(Format::Obj)), 1).unwrap();
        let binary = memory_of(&of(Some(Format::Usdc)), 1).unwrap();
        assert_eq!(text, memory_of(&Census { triangles: 1_000_000, ..Census::default() }, 1).unwrap());
        assert!(text < binary);
        assert_eq!(binary, memory_of(&of(None), 1).unwrap());
    }

    #[test]
    fn another_attempt_has_twice_the_memory_as_far_as_there_is_more() {
        let large = Census { triangles: 3_000_000, ..Census::default() };
        let first = size(&large, 1, &LIMITS).unwrap();
        let second = size(&large, 2, &LIMITS).unwrap();
        assert_eq!(second.conversion_bytes(), 2 * first.conversion_bytes());
        assert_eq!((first.cpu_millis, second.cpu_millis), (LARGE_CPU_MILLIS, LARGE_CPU_MILLIS));
        let narrow = SizeLimits { max_memory: first.memory_bytes + STEP, ..LIMITS };
        assert_eq!(size(&large, 2, &narrow).unwrap().memory_bytes, narrow.max_memory);
        // The first attempt had all that there is.
        let exact = SizeLimits { max_memory: first.memory_bytes, ..LIMITS };
        assert!(size(&large, 1, &exact).is_some());
        assert_eq!(size(&large, 2, &exact), None);
    }

    #[test]
    fn a_model_that_can_never_fit_has_no_size() {
        assert_eq!(memory_of(&Census { triangles: 1 << 40, ..Census::default() }, 1), None);
        assert_eq!(memory_of(&Census { triangles: u64::MAX, bytes: u64::MAX, ..Census::default() }, 2), None);
    }

    proptest! {
        #[test]
        fn sizes_are_within_the_limits_and_grow_with_the_model(
            triangles in 0_u64..20_000_000, pixels in 0_u64..1 << 32, frames in 0_u64..1 << 24, factor in 1_u32..4,
        ) {
            let census = Census { triangles, texture_pixels: pixels, frames, ..Census::default() };
            let smaller = Census { triangles: triangles / 2, ..census };
            let Some(size) = size(&census, factor, &LIMITS) else { return Ok(()) };
            prop_assert!((BASE + PROGRAM..=LIMITS.max_memory).contains(&size.memory_bytes));
            prop_assert!(size.storage_bytes <= LIMITS.max_storage);
            let below = super::size(&smaller, factor, &LIMITS).unwrap();
            prop_assert!(below.memory_bytes <= size.memory_bytes && below.storage_bytes <= size.storage_bytes);
        }
    }
}
