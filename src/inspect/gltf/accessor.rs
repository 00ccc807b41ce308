//! The elements of an accessor, one after the other, through small buffers.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use super::document::{Accessor, BufferView, Document, SparsePart};
use crate::domain::{Cancel, ConversionError};
use crate::formats::gltf::accessor::{Element, Layout};
use crate::formats::gltf::byte_range::ByteRange;
use crate::inspect::{malformed, reading};

/// Approximate number of bytes that are read at a time.
const BLOCK: usize = 1 << 16;

/// The bytes of one run of elements, read in blocks.
struct Run {
    reader: Box<dyn Read>,
    layout: Layout,
    stride: usize,
    /// The bytes that were read last, and how many of them have been passed on.
    block: Vec<u8>,
    used: usize,
    /// Number of elements that have not been read.
    left: u64,
    /// Checked before each block.
    cancel: Cancel,
}

impl Run {
    /// Returns the next element, `None` at the end.
    fn next(&mut self) -> Result<Option<Element>, ConversionError> {
        if self.used >= self.block.len() && !self.fill()? {
            return Ok(None);
        }
        let element = self.layout.element(self.block.get(self.used..).unwrap_or_default());
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
        let last = if self.left == 0 { self.layout.size() } else { self.stride };
        self.block.resize(strides * self.stride + last, 0);
        self.reader.read_exact(&mut self.block).map_err(reading)?;
        Ok(true)
    }

    /// Passes on all remaining elements, which must be three floats each.
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
    /// `None` where all elements are 0 except the sparse ones.
    run: Option<Run>,
    left: u64,
    sparse: Option<(Run, Run)>,
    /// The index and the value of the next element that is replaced.
    replacement: Option<(u64, Element)>,
    index: u64,
}

impl Elements {
    /// Returns the next element, `None` at the end.
    ///
    /// # Errors
    /// `import_failed` when the file ends early.
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

    /// Passes on the first three numbers of each remaining element.
    ///
    /// # Errors
    /// As [`Elements::next`].
    pub fn each_point(&mut self, mut each: impl FnMut([f64; 3])) -> Result<(), ConversionError> {
        // Nearly all positions are plain floats, for which there is a fast path.
        if let (Some(run), None, 0) = (&mut self.run, &self.sparse, self.index)
            && run.layout.is_point()
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

    /// Whether every element has bytes of its own, so that the size of the file bounds the work of reading them.
    pub fn has_bytes(&self) -> bool {
        self.run.is_some()
    }

    /// Skips elements without bytes: they are all 0, and one of them is enough to measure.
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
    /// The bytes of each buffer; `None` for a buffer without bytes.
    pub buffers: Vec<Option<ByteRange>>,
    /// Checked between steps.
    pub cancel: Cancel,
}

/// Most elements that are read of a file, instances included, besides one for every 4 bytes of its buffers. Beyond it,
/// the bounds of whole meshes are used: a small file with many instances of one mesh, or with many accessors over the
/// same bytes, would take hours.
const BUDGET: u64 = 1_000_000;

/// Cost of opening the file of an accessor, in elements.
const OPENING: u64 = 64;

/// Number of bytes that cost as much as one element: bytes between elements are read as well.
const READ_PER_ELEMENT: u64 = 128;

impl Data<'_> {
    /// Number of elements that may be read for one purpose. Buffers that share a file count once.
    pub fn budget(&self) -> u64 {
        let mut lengths: HashMap<(&Path, u64), u64> = HashMap::new();
        for buffer in self.buffers.iter().flatten() {
            let length = lengths.entry(buffer.position()).or_default();
            *length = buffer.length().max(*length);
        }
        BUDGET.saturating_add(lengths.values().sum::<u64>() / 4)
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

    /// Cost of reading the accessor `index`, in elements; 0 where there is none.
    pub fn cost(&self, index: usize) -> u64 {
        let Some(accessor) = self.document.accessors.get(index) else { return 0 };
        let cost = |view: Option<usize>, count: u64| {
            let Some(view) = view.and_then(|view| self.document.buffer_views.get(view)) else { return 0 };
            count.saturating_mul(1 + view.byte_stride.unwrap_or_default() / READ_PER_ELEMENT)
        };
        let sparse = accessor.sparse.as_ref().map_or(0, |sparse| {
            [sparse.indices.buffer_view, sparse.values.buffer_view]
                .map(|view| cost(Some(view), sparse.count))
                .into_iter()
                .fold(0, u64::saturating_add)
        });
        cost(accessor.buffer_view, accessor.count).saturating_add(sparse).saturating_add(OPENING)
    }

    /// Checks that every accessor lies within its buffer view and every view within its buffer.
    ///
    /// # Errors
    /// `import_failed` with the first one that does not.
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
            let layout = layout(index, accessor)?;
            if let Some(view) = accessor.buffer_view {
                self.locate(index, view, accessor.byte_offset, accessor.count, layout)?;
            }
            if let Some(sparse) = &accessor.sparse {
                let indices = index_layout(index, &sparse.indices)?;
                for (part, layout) in [(&sparse.indices, indices), (&sparse.values, layout)] {
                    self.locate(index, part.buffer_view, part.byte_offset, sparse.count, layout)?;
                }
            }
        }
        Ok(())
    }

    /// Opens the elements of the accessor `index`; `None` where they are compressed.
    ///
    /// # Errors
    /// `import_failed` when they lie outside their buffer view.
    pub fn elements(&self, index: usize) -> Result<Option<Elements>, ConversionError> {
        let accessor = self.accessor(index)?;
        let layout = layout(index, accessor)?;
        let mut run = None;
        if let Some(view) = accessor.buffer_view {
            run = self.run(index, view, accessor.byte_offset, accessor.count, layout)?;
            if run.is_none() {
                return Ok(None);
            }
        }
        let mut elements = Elements { run, left: accessor.count, sparse: None, replacement: None, index: 0 };
        if let Some(sparse) = &accessor.sparse {
            let indices = index_layout(index, &sparse.indices)?;
            let run = |part: &SparsePart, layout| {
                self.run(index, part.buffer_view, part.byte_offset, sparse.count, layout)
            };
            let Some(parts) = run(&sparse.indices, indices)?.zip(run(&sparse.values, layout)?) else {
                return Ok(None);
            };
            elements.sparse = Some(parts);
            elements.next_replacement()?;
        }
        Ok(Some(elements))
    }

    /// Checks that `count` elements lie in their view; returns the view and the distance from one to the next.
    fn locate(
        &self,
        accessor: usize,
        view: usize,
        offset: u64,
        count: u64,
        layout: Layout,
    ) -> Result<(&BufferView, usize), ConversionError> {
        let past = || malformed(format!("accessor {accessor} of the file reaches past its buffer view"));
        let view = self.document.buffer_views.get(view).ok_or_else(past)?;
        let size = layout.size() as u64;
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
        layout: Layout,
    ) -> Result<Option<Run>, ConversionError> {
        let (view, stride) = self.locate(accessor, view, offset, count, layout)?;
        let Some(Some(buffer)) = self.buffers.get(view.buffer) else { return Ok(None) };
        if view.extensions.meshopt.is_some() {
            return Ok(None);
        }
        let start = view.byte_offset.saturating_add(offset);
        let reader = buffer.open(start, view.byte_length.saturating_sub(offset));
        let reader = reader.map_err(reading)?;
        Ok(Some(Run {
            reader,
            layout,
            stride,
            block: Vec::new(),
            used: 0,
            left: count,
            cancel: self.cancel.clone(),
        }))
    }
}

/// The layout of the accessor `index`.
pub fn layout(index: usize, accessor: &Accessor) -> Result<Layout, ConversionError> {
    Layout::new(accessor.component_type, accessor.normalized, &accessor.element_type)
        .ok_or_else(|| unknown_type(index))
}

fn index_layout(index: usize, part: &SparsePart) -> Result<Layout, ConversionError> {
    part.component_type
        .and_then(|component_type| Layout::new(component_type, false, "SCALAR"))
        .ok_or_else(|| unknown_type(index))
}

fn unknown_type(index: usize) -> ConversionError {
    malformed(format!("accessor {index} of the file has an unknown type"))
}
