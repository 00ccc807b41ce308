//! The size of an image, from the beginning of its file.

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";
const KTX2: &[u8] = b"\xabKTX 20\xbb\r\n\x1a\n";
const DDS: &[u8] = b"DDS ";
const BMP: &[u8] = b"BM";

/// Returns the number of pixels; `None` if the format is another one, or the size is not in `head`.
pub fn pixels(head: &[u8]) -> Option<u64> {
    let (width, height) = match head {
        _ if head.starts_with(PNG) => (big(head, 16)?, big(head, 20)?),
        _ if head.starts_with(JPEG) => jpeg(head)?,
        _ if head.starts_with(KTX2) => (little(head, 20)?, little(head, 24)?.max(1)),
        _ if head.starts_with(DDS) => (little(head, 16)?, little(head, 12)?),
        // A negative height turns the image upside down.
        _ if head.starts_with(BMP) => (little(head, 18)?, little(head, 22)?.cast_signed().unsigned_abs()),
        _ if head.starts_with(b"RIFF") && head.get(8..12) == Some(&b"WEBP"[..]) => webp(head)?,
        _ => return None,
    };
    Some(u64::from(width) * u64::from(height))
}

/// Finds the frame header among the segments.
fn jpeg(head: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let marker = *head.get(at + 1)?;
        if head.get(at) != Some(&0xff) {
            return None;
        }
        let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if is_frame {
            return Some((two(head, at + 7)?, two(head, at + 5)?));
        }
        // Some markers have no segment, and any number of 0xff may come before one.
        at += match marker {
            0xff => 1,
            0x01 | 0xd0..=0xd8 => 2,
            _ => 2 + two(head, at + 2)? as usize,
        };
    }
}

fn webp(head: &[u8]) -> Option<(u32, u32)> {
    let three = |at| Some(little(head, at)? & 0x00ff_ffff);
    Some(match head.get(12..16)? {
        b"VP8X" => (three(24)? + 1, three(27)? + 1),
        b"VP8L" => {
            let bits = little(head, 21)?;
            ((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1)
        }
        b"VP8 " => {
            let bits = little(head, 26)?;
            (bits & 0x3fff, (bits >> 16) & 0x3fff)
        }
        _ => return None,
    })
}

fn four(head: &[u8], at: usize) -> Option<[u8; 4]> {
    head.get(at..)?.first_chunk().copied()
}

fn big(head: &[u8], at: usize) -> Option<u32> {
    four(head, at).map(u32::from_be_bytes)
}

fn little(head: &[u8], at: usize) -> Option<u32> {
    four(head, at).map(u32::from_le_bytes)
}

fn two(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two).into())
}
