//! Numbers in binary files.

/// The type of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
}

impl Number {
    /// Its size in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Reads the little-endian number at the start of `bytes`; missing bytes count as 0.
    pub fn read(self, bytes: &[u8]) -> f64 {
        let byte = |index: usize| bytes.get(index).copied().unwrap_or_default();
        let two = [byte(0), byte(1)];
        let four = [byte(0), byte(1), byte(2), byte(3)];
        match self {
            Self::I8 => f64::from(i8::from_le_bytes([byte(0)])),
            Self::U8 => f64::from(byte(0)),
            Self::I16 => f64::from(i16::from_le_bytes(two)),
            Self::U16 => f64::from(u16::from_le_bytes(two)),
            Self::I32 => f64::from(i32::from_le_bytes(four)),
            Self::U32 => f64::from(u32::from_le_bytes(four)),
            Self::F32 => f64::from(f32::from_le_bytes(four)),
            Self::F64 => f64::from_le_bytes(std::array::from_fn(byte)),
        }
    }
}
