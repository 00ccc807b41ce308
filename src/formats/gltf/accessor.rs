//! How the elements of an accessor are stored.

use crate::formats::number::Number;

/// An element, wide enough for a 4 × 4 matrix; unused numbers are 0.
pub type Element = [f64; 16];

/// The layout of the elements of an accessor.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    number: Number,
    normalized: bool,
    /// Numbers in a column, and columns: 3 and 1 for a VEC3. The columns of small matrices are padded.
    rows: usize,
    columns: usize,
}

impl Layout {
    /// The layout for the members `componentType`, `normalized` and `type`; `None` for values that glTF 2.0 does not
    /// have.
    pub fn new(component_type: u64, normalized: bool, element_type: &str) -> Option<Self> {
        let number = match component_type {
            5120 => Number::I8,
            5121 => Number::U8,
            5122 => Number::I16,
            5123 => Number::U16,
            5125 => Number::U32,
            5126 => Number::F32,
            _ => return None,
        };
        let (rows, columns) = match element_type {
            "SCALAR" => (1, 1),
            "VEC2" => (2, 1),
            "VEC3" => (3, 1),
            "VEC4" => (4, 1),
            "MAT2" => (2, 2),
            "MAT3" => (3, 3),
            "MAT4" => (4, 4),
            _ => return None,
        };
        Some(Self { number, normalized, rows, columns })
    }

    fn column_size(self) -> usize {
        let size = self.rows * self.number.size();
        if self.columns == 1 { size } else { size.next_multiple_of(4) }
    }

    /// The size of an element in bytes.
    pub fn size(self) -> usize {
        self.column_size() * self.columns
    }

    /// Whether elements are three floats.
    pub fn is_point(self) -> bool {
        (self.number, self.rows, self.columns) == (Number::F32, 3, 1)
    }

    /// Brings a number to -1…1 if this accessor is normalised.
    pub fn normalize(self, number: f64) -> f64 {
        let largest = match self.number {
            Number::I8 => f64::from(i8::MAX),
            Number::U8 => f64::from(u8::MAX),
            Number::I16 => f64::from(i16::MAX),
            Number::U16 => f64::from(u16::MAX),
            _ => f64::from(u32::MAX),
        };
        if self.normalized && self.number != Number::F32 { (number / largest).max(-1.0) } else { number }
    }

    /// The element at the start of `bytes`.
    pub fn element(self, bytes: &[u8]) -> Element {
        let mut element = [0.0; 16];
        let positions = (0..self.columns).flat_map(|column| (0..self.rows).map(move |row| (column, row)));
        for (value, (column, row)) in element.iter_mut().zip(positions) {
            let start = column * self.column_size() + row * self.number.size();
            *value = self.normalize(self.number.read(bytes.get(start..).unwrap_or_default()));
        }
        element
    }
}
