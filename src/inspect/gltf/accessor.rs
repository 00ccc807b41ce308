//! The elements of an accessor, one after the other, through small buffers.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use super::document::{Accessor, BufferView, Document, SparsePart, indexed};
use crate::domain::{Cancel, ConversionError};
use crate::formats::gltf::accessor::{Element, Layout};
use crate::formats::gltf::byte_range::ByteRange;
use crate::formats::gltf::malformed;
use crate::inspect::reader::{reading, three_floats};

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
            self.block.chunks(self.stride).for_each(|bytes| each(three_floats(bytes)));
        }
        Ok(())
    }
}

/// The elements of an accessor.
pub struct Elements {
    /// `None` where all elements are 0 except the sparse ones.
    run: Option<Run>,
    count: u64,
    /// The index of the next element.
    index: u64,
    sparse: Option<(Run, Run)>,
    /// The index and the value of the next element that is replaced.
    replacement: Option<(u64, Element)>,
}

impl Elements {
    /// Returns the next element, `None` at the end.
    ///
    /// # Errors
    /// `import_failed` when the file ends early.
    pub fn next(&mut self) -> Result<Option<Element>, ConversionError> {
        if self.index == self.count {
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
        Ok(Some(element))
    }

    /// Passes on the first three numbers of each remaining element.
    pub fn each_point(&mut self, mut each: impl FnMut([f64; 3])) -> Result<(), ConversionError> {
        // Nearly all positions are plain floats, for which there is a fast path.
        if let (Some(run), None, 0) = (&mut self.run, &self.sparse, self.index)
            && run.layout.is_point()
        {
            self.index = self.count;
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
            let next = self.replacement.map_or(self.count, |(index, _)| index);
            self.index = next.clamp(self.index, self.count);
        }
    }

    fn next_replacement(&mut self) -> Result<(), ConversionError> {
        let Some((indices, values)) = &mut self.sparse else { return Ok(()) };
        let next = indices.next()?.zip(values.next()?).map(|(index, value)| (index[0] as u64, value));
        let ascends = |((last, _), (next, _)): ((u64, Element), (u64, Element))| last < next;
        let in_order = self.replacement.zip(next).is_none_or(ascends);
        self.replacement = next;
        if in_order { Ok(()) } else { Err(malformed("a sparse accessor in the file is not in order")) }
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

    pub fn accessor(&self, index: usize) -> Result<&Accessor, ConversionError> {
        indexed(&self.document.accessors, "accessor", index)
    }

    /// Cost of reading the accessor `index`, in elements; 0 where there is none.
    pub fn cost(&self, index: usize) -> u64 {
        let Some(accessor) = self.document.accessors.get(index) else { return 0 };
        let cost = |view: Option<usize>, count: u64| {
            let Some(view) = view.and_then(|view| self.document.buffer_views.get(view)) else { return 0 };
            count.saturating_mul(1 + view.byte_stride.unwrap_or_default() / READ_PER_ELEMENT)
        };
        let sparse = accessor.sparse.as_ref().map_or(0, |sparse| {
            let part = |part: &SparsePart| cost(Some(part.buffer_view), sparse.count);
            part(&sparse.indices).saturating_add(part(&sparse.values))
        });
        cost(accessor.buffer_view, accessor.count).saturating_add(sparse).saturating_add(OPENING)
    }

    /// Checks that every accessor lies within its buffer view and every view within its buffer.
    ///
    /// # Errors
    /// `import_failed` with the first one that does not.
    pub fn check(&self) -> Result<(), ConversionError> {
        for (index, view) in self.document.buffer_views.iter().enumerate() {
            let buffer = indexed(&self.buffers, "buffer", view.buffer)?;
            let end = view.byte_offset.saturating_add(view.byte_length);
            if buffer.as_ref().is_some_and(|buffer| end > buffer.length()) {
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
        let count = accessor.count;
        let mut elements = Elements { run, count, index: 0, sparse: None, replacement: None };
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
        let buffer = self.buffers.get(view.buffer).and_then(Option::as_ref);
        let Some(buffer) = buffer.filter(|_| view.extensions.meshopt.is_none()) else { return Ok(None) };
        let start = view.byte_offset.saturating_add(offset);
        let reader = buffer.open(start, view.byte_length.saturating_sub(offset)).map_err(reading)?;
        let (block, cancel) = (Vec::new(), self.cancel.clone());
        Ok(Some(Run { reader, layout, stride, block, used: 0, left: count, cancel }))
    }
}

/// The layout of the accessor `index`.
pub fn layout(index: usize, accessor: &Accessor) -> Result<Layout, ConversionError> {
    let layout = Layout::new(accessor.component_type, accessor.normalized, &accessor.element_type);
    known(index, layout)
}

fn index_layout(index: usize, part: &SparsePart) -> Result<Layout, ConversionError> {
    known(index, part.component_type.and_then(|code| Layout::new(code, false, "SCALAR")))
}

fn known(index: usize, layout: Option<Layout>) -> Result<Layout, ConversionError> {
    layout.ok_or_else(|| malformed(format!("accessor {index} of the file has an unknown type")))
}
