//! The elements of an accessor, one after the other, through small buffers.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use super::document::{Accessor, BufferView, Document, SparsePart};
use crate::domain::{Cancel, ConversionError};
use crate::formats::gltf::byte_range::ByteRange;
use crate::inspect::{malformed, reading};

/// An element, wide enough for a 4 × 4 matrix; what it does not fill is 0.
pub type Element = [f64; 16];

/// The type of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Component {
    I8,
    U8,
    I16,
    U16,
    U32,
    F32,
}

impl Component {
    fn of(code: u32) -> Option<Self> {
        Some(match code {
            5120 => Self::I8,
            5121 => Self::U8,
            5122 => Self::I16,
            5123 => Self::U16,
            5125 => Self::U32,
            5126 => Self::F32,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }

    /// The number at the start of `bytes`; a normalised one is brought to -1…1.
    fn read(self, bytes: &[u8], normalized: bool) -> f64 {
        let byte = |index: usize| bytes.get(index).copied().unwrap_or_default();
        let two = [byte(0), byte(1)];
        let four = [byte(0), byte(1), byte(2), byte(3)];
        let (value, largest) = match self {
            Self::I8 => (f64::from(i8::from_le_bytes([byte(0)])), f64::from(i8::MAX)),
            Self::U8 => (f64::from(byte(0)), f64::from(u8::MAX)),
            Self::I16 => (f64::from(i16::from_le_bytes(two)), f64::from(i16::MAX)),
            Self::U16 => (f64::from(u16::from_le_bytes(two)), f64::from(u16::MAX)),
            Self::U32 => (f64::from(u32::from_le_bytes(four)), f64::from(u32::MAX)),
            Self::F32 => return f64::from(f32::from_le_bytes(four)),
        };
        if normalized { (value / largest).max(-1.0) } else { value }
    }
}

/// How the elements of an accessor lie in memory.
#[derive(Debug, Clone, Copy)]
struct Shape {
    component: Component,
    normalized: bool,
    /// Numbers in a column, and columns: 3 and 1 for a VEC3. The columns of small matrices are padded.
    rows: usize,
    columns: usize,
}

impl Shape {
    fn of(component_type: u32, normalized: bool, kind: &str) -> Option<Self> {
        let (rows, columns) = match kind {
            "SCALAR" => (1, 1),
            "VEC2" => (2, 1),
            "VEC3" => (3, 1),
            "VEC4" => (4, 1),
            "MAT2" => (2, 2),
            "MAT3" => (3, 3),
            "MAT4" => (4, 4),
            _ => return None,
        };
        Some(Self { component: Component::of(component_type)?, normalized, rows, columns })
    }

    fn column_size(self) -> usize {
        let size = self.rows * self.component.size();
        if self.columns == 1 { size } else { size.next_multiple_of(4) }
    }

    fn size(self) -> usize {
        self.column_size() * self.columns
    }

    /// Whether elements are three floats.
    fn is_point(self) -> bool {
        (self.component, self.rows, self.columns) == (Component::F32, 3, 1)
    }

    fn element(self, bytes: &[u8]) -> Element {
        let mut element = [0.0; 16];
        let places = (0..self.columns).flat_map(|column| (0..self.rows).map(move |row| (column, row)));
        for (value, (column, row)) in element.iter_mut().zip(places) {
            let start = column * self.column_size() + row * self.component.size();
            *value = self.component.read(bytes.get(start..).unwrap_or_default(), self.normalized);
        }
        element
    }
}

/// About so many bytes are read at a time.
const BLOCK: usize = 1 << 16;

/// The bytes of one run of elements, read in blocks.
struct Run {
    reader: Box<dyn Read>,
    shape: Shape,
    stride: usize,
    /// What was read last, and how much of it has been passed on.
    block: Vec<u8>,
    used: usize,
    /// Elements that have not been read.
    left: u64,
    /// Looked at before each block.
    cancel: Cancel,
}

impl Run {
    /// The element after the last one.
    fn next(&mut self) -> Result<Option<Element>, ConversionError> {
        if self.used >= self.block.len() && !self.fill()? {
            return Ok(None);
        }
        let element = self.shape.element(self.block.get(self.used..).unwrap_or_default());
        self.used += self.stride;
        Ok(Some(element))
    }

    /// Reads whole elements into the block; `false` at the end.
    fn fill(&mut self) -> Result<bool, ConversionError> {
        self.cancel.check()?;
        self.used = 0;
        self.block.clear();
        let count = self.left.min((BLOCK / self.stride).max(1) as u64);
        let Some(strides) = (count as usize).checked_sub(1) else { return Ok(false) };
        self.left -= count;
        // The last element may end where the view does, before its stride is full.
        let last = if self.left == 0 { self.shape.size() } else { self.stride };
        self.block.resize(strides * self.stride + last, 0);
        self.reader.read_exact(&mut self.block).map_err(|error| reading(&error))?;
        Ok(true)
    }

    /// Passes on all points that are left; for runs of three floats each.
    fn each_point(&mut self, mut each: impl FnMut([f64; 3])) -> Result<(), ConversionError> {
        while self.fill()? {
            for bytes in self.block.chunks(self.stride) {
                let [x, y, z] = [bytes.get(..4), bytes.get(4..8), bytes.get(8..12)].map(|bytes| {
                    let four = bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
                    f64::from(f32::from_le_bytes(four))
                });
                each([x, y, z]);
            }
        }
        Ok(())
    }
}

/// The elements of an accessor.
pub struct Elements {
    /// Absent where the elements are all 0 but for the sparse ones.
    run: Option<Run>,
    left: u64,
    sparse: Option<(Run, Run)>,
    /// The next element that is replaced, and by what.
    replacement: Option<(u64, Element)>,
    index: u64,
}

impl Elements {
    /// The next element, `None` at the end.
    ///
    /// # Errors
    /// `import_failed` where the bytes are not there.
    pub fn next(&mut self) -> Result<Option<Element>, ConversionError> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut element = match &mut self.run {
            Some(run) => run.next()?.unwrap_or_default(),
            None => [0.0; 16],
        };
        if let Some((index, value)) = self.replacement
            && index == self.index
        {
            element = value;
            self.next_replacement()?;
        }
        self.index += 1;
        self.left -= 1;
        Ok(Some(element))
    }

    /// Passes on what is left as points: the first three numbers of each element.
    ///
    /// # Errors
    /// As [`Elements::next`].
    pub fn each_point(&mut self, mut each: impl FnMut([f64; 3])) -> Result<(), ConversionError> {
        // What nearly all positions are, and all large files are made of, goes without a detour.
        if let (Some(run), None, 0) = (&mut self.run, &self.sparse, self.index)
            && run.shape.is_point()
        {
            self.left = 0;
            return run.each_point(each);
        }
        while let Some([x, y, z, ..]) = self.next()? {
            each([x, y, z]);
            self.skip_zeros();
        }
        Ok(())
    }

    /// Whether every element has bytes of its own in the file, so that reading them all is bounded by its size.
    pub fn has_bytes(&self) -> bool {
        self.run.is_some()
    }

    /// Skips elements that have no bytes and are 0, as the last one was: they say no more than one of them.
    pub fn skip_zeros(&mut self) {
        if self.run.is_none() {
            let next = self.replacement.map_or(u64::MAX, |(index, _)| index);
            let skipped = next.saturating_sub(self.index).min(self.left);
            self.index += skipped;
            self.left -= skipped;
        }
    }

    fn next_replacement(&mut self) -> Result<(), ConversionError> {
        let Some((indices, values)) = &mut self.sparse else { return Ok(()) };
        let index = indices.next()?;
        let value = values.next()?;
        let before = self.replacement.map(|(index, _)| index);
        self.replacement = index.zip(value).map(|(index, value)| (index[0] as u64, value));
        match (before, self.replacement) {
            (Some(before), Some((index, _))) if index <= before => {
                Err(malformed("a sparse accessor in the file is not in order"))
            }
            _ => Ok(()),
        }
    }
}

/// The accessors of a document and the bytes behind them.
pub struct Data<'a> {
    pub document: &'a Document<'a>,
    /// One for each buffer; `None` for one that has no bytes.
    pub buffers: Vec<Option<ByteRange>>,
    /// Checked between steps.
    pub cancel: Cancel,
}

/// So many elements are looked at in any file, instances included, and one more for every 4 bytes of its buffers, of which
/// several may be the same file.
/// After that, the boxes of whole meshes have to do: a small file with many instances of one mesh, or with many
/// accessors over the same bytes, would take hours.
const BUDGET: u64 = 1_000_000;

/// As how many elements it counts to find an accessor's bytes in their file.
const OPENING: u64 = 64;

/// Bytes that are read in the time that one element takes: those between elements are read as well.
const READ_PER_ELEMENT: u64 = 128;

impl Data<'_> {
    /// How many elements may be looked at for one purpose.
    pub fn budget(&self) -> u64 {
        let mut there: HashMap<(&Path, u64), u64> = HashMap::new();
        for buffer in self.buffers.iter().flatten() {
            let known = there.entry(buffer.place()).or_default();
            *known = buffer.length().max(*known);
        }
        BUDGET.saturating_add(there.values().sum::<u64>() / 4)
    }

    /// The accessor `index`.
    ///
    /// # Errors
    /// `import_failed` when there is none.
    pub fn accessor(&self, index: usize) -> Result<&Accessor, ConversionError> {
        self.document
            .accessors
            .get(index)
            .ok_or_else(|| malformed(format!("the file has no accessor {index}")))
    }

    /// What it takes to read the accessor `index`, in elements; nothing where there is none.
    pub fn cost(&self, index: usize) -> u64 {
        let Some(accessor) = self.document.accessors.get(index) else { return 0 };
        let of = |view: Option<usize>, count: u64| {
            let Some(view) = view.and_then(|view| self.document.buffer_views.get(view)) else { return 0 };
            count.saturating_mul(1 + view.byte_stride.unwrap_or_default() / READ_PER_ELEMENT)
        };
        let sparse = accessor.sparse.as_ref().map_or(0, |sparse| {
            [sparse.indices.buffer_view, sparse.values.buffer_view]
                .map(|view| of(Some(view), sparse.count))
                .into_iter()
                .fold(0, u64::saturating_add)
        });
        of(accessor.buffer_view, accessor.count).saturating_add(sparse).saturating_add(OPENING)
    }

    /// Checks that every accessor lies within its buffer view and every view within its buffer.
    ///
    /// # Errors
    /// `import_failed` that names the first that does not.
    pub fn check(&self) -> Result<(), ConversionError> {
        for (index, view) in self.document.buffer_views.iter().enumerate() {
            let buffer = self
                .buffers
                .get(view.buffer)
                .ok_or_else(|| malformed(format!("the file has no buffer {}", view.buffer)))?;
            let end = view.byte_offset.checked_add(view.byte_length);
            if let Some(buffer) = buffer
                && end.is_none_or(|end| end > buffer.length())
            {
                return Err(malformed(format!("buffer view {index} of the file reaches past its buffer")));
            }
        }
        for (index, accessor) in self.document.accessors.iter().enumerate() {
            let shape = shape(index, accessor)?;
            if let Some(view) = accessor.buffer_view {
                self.place(index, view, accessor.byte_offset, accessor.count, shape)?;
            }
            if let Some(sparse) = &accessor.sparse {
                let indices = index_shape(index, &sparse.indices)?;
                for (part, shape) in [(&sparse.indices, indices), (&sparse.values, shape)] {
                    self.place(index, part.buffer_view, part.byte_offset, sparse.count, shape)?;
                }
            }
        }
        Ok(())
    }

    /// The elements of the accessor `index`, or `None` where they are compressed.
    ///
    /// # Errors
    /// `import_failed` when they are not where it says.
    pub fn elements(&self, index: usize) -> Result<Option<Elements>, ConversionError> {
        let accessor = self.accessor(index)?;
        let shape = shape(index, accessor)?;
        let mut run = None;
        if let Some(view) = accessor.buffer_view {
            run = self.run(index, view, accessor.byte_offset, accessor.count, shape)?;
            if run.is_none() {
                return Ok(None);
            }
        }
        let mut elements = Elements { run, left: accessor.count, sparse: None, replacement: None, index: 0 };
        if let Some(sparse) = &accessor.sparse {
            let indices = index_shape(index, &sparse.indices)?;
            let run = |part: &SparsePart, shape| {
                self.run(index, part.buffer_view, part.byte_offset, sparse.count, shape)
            };
            let Some(parts) = run(&sparse.indices, indices)?.zip(run(&sparse.values, shape)?) else {
                return Ok(None);
            };
            elements.sparse = Some(parts);
            elements.next_replacement()?;
        }
        Ok(Some(elements))
    }

    /// Checks where `count` elements are: their view and the distance from one to the next.
    fn place(
        &self,
        accessor: usize,
        view: usize,
        offset: u64,
        count: u64,
        shape: Shape,
    ) -> Result<(&BufferView, usize), ConversionError> {
        let past = || malformed(format!("accessor {accessor} of the file reaches past its buffer view"));
        let view = self.document.buffer_views.get(view).ok_or_else(past)?;
        let size = shape.size() as u64;
        let stride = view.byte_stride.unwrap_or(size);
        // The specification allows 252 at most.
        if stride < size || stride > 1 << 16 {
            return Err(malformed(format!("accessor {accessor} of the file has a stride of {stride} bytes")));
        }
        let end = count.saturating_sub(1).saturating_mul(stride).saturating_add(size).saturating_add(offset);
        if count > 0 && end > view.byte_length {
            return Err(past());
        }
        Ok((view, stride as usize))
    }

    fn run(
        &self,
        accessor: usize,
        view: usize,
        offset: u64,
        count: u64,
        shape: Shape,
    ) -> Result<Option<Run>, ConversionError> {
        let (view, stride) = self.place(accessor, view, offset, count, shape)?;
        let Some(Some(buffer)) = self.buffers.get(view.buffer) else { return Ok(None) };
        if view.extensions.meshopt.is_some() {
            return Ok(None);
        }
        let start = view.byte_offset.saturating_add(offset);
        let reader = buffer.open(start, view.byte_length.saturating_sub(offset));
        let reader = reader.map_err(|error| reading(&error))?;
        Ok(Some(Run {
            reader,
            shape,
            stride,
            block: Vec::new(),
            used: 0,
            left: count,
            cancel: self.cancel.clone(),
        }))
    }
}

fn shape(index: usize, accessor: &Accessor) -> Result<Shape, ConversionError> {
    Shape::of(accessor.component_type, accessor.normalized, &accessor.kind)
        .ok_or_else(|| malformed(format!("accessor {index} of the file is of an unknown type")))
}

fn index_shape(index: usize, part: &SparsePart) -> Result<Shape, ConversionError> {
    part.component_type
        .and_then(|component_type| Shape::of(component_type, false, "SCALAR"))
        .ok_or_else(|| malformed(format!("accessor {index} of the file is of an unknown type")))
}
