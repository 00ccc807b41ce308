//! Reads text line by line in bounded memory: a line that is longer than any statement comes in pieces.

use std::io::{self, BufRead, Read};

/// Longest line that is passed on whole, in bytes.
const MAX_LINE: u64 = 64 << 10;

/// Calls `each` with every piece of `reader` and whether it is a whole line. Pieces keep their line ends.
///
/// # Errors
/// Errors of reading and of `each`.
pub fn for_each(
    reader: &mut impl BufRead,
    mut each: impl FnMut(&[u8], bool) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = Vec::new();
    let mut at_start = true;
    loop {
        piece.clear();
        if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut piece)? == 0 {
            return Ok(());
        }
        let ends = piece.ends_with(b"\n") || (piece.len() as u64) < MAX_LINE;
        each(&piece, at_start && ends)?;
        at_start = ends;
    }
}

/// Splits a statement such as `mtllib a.mtl` into keyword and argument, without white space around them.
pub fn statement(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.trim_ascii();
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (keyword, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    (keyword, rest.trim_ascii_start())
}
