//! Checks the sizes that a glTF claims before anything allocates memory for them.
//!
//! This schema is not the one of `inspect`: it is read from a stream whose long strings are shortened, and accepts what
//! Blender accepts, such as counts written as `8.0`.

use serde::Deserialize;

use crate::domain::ConversionError;
use crate::formats::gltf::accessor::Layout;
use crate::formats::gltf::{bounded_list, malformed};
use crate::intake::bounded_json::Count;

/// Most elements of an accessor without bytes of its own (its elements are zeros, or Draco-compressed).
const MAX_WITHOUT_BYTES: u64 = 100_000_000;

/// The members of a glTF that are checked.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Doc {
    #[serde(deserialize_with = "bounded_list")]
    pub buffers: Vec<Buffer>,
    #[serde(deserialize_with = "bounded_list")]
    pub buffer_views: Vec<View>,
    #[serde(deserialize_with = "bounded_list")]
    pub accessors: Vec<Accessor>,
    #[serde(deserialize_with = "bounded_list")]
    pub images: Vec<Image>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Buffer {
    pub uri: Option<String>,
    pub byte_length: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct View {
    pub buffer: Count,
    pub byte_offset: Count,
    pub byte_length: Count,
    pub byte_stride: Option<Count>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Accessor {
    pub buffer_view: Option<Count>,
    pub byte_offset: Count,
    pub component_type: Count,
    pub count: Count,
    #[serde(rename = "type")]
    pub element_type: String,
    pub sparse: Option<Sparse>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Sparse {
    pub count: Count,
    pub indices: SparsePart,
    pub values: SparsePart,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SparsePart {
    pub buffer_view: Count,
    pub byte_offset: Count,
    pub component_type: Option<Count>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Image {
    pub uri: Option<String>,
}

impl Doc {
    /// Checks that buffer views lie in their buffers and accessors hold as many elements as they claim.
    ///
    /// # Errors
    /// `import_failed` with the first one that does not.
    pub fn check(&self) -> Result<(), ConversionError> {
        for (index, view) in self.buffer_views.iter().enumerate() {
            let Some(buffer) = self.buffer(view) else {
                return Err(malformed(format!("buffer view {index} names a buffer that does not exist")));
            };
            if view.byte_offset.0.saturating_add(view.byte_length.0) > buffer.byte_length.0 {
                return Err(malformed(format!("buffer view {index} reaches beyond its buffer")));
            }
        }
        for (index, accessor) in self.accessors.iter().enumerate() {
            self.check_accessor(accessor).map_err(|flaw| malformed(format!("accessor {index} {flaw}")))?;
        }
        Ok(())
    }

    /// Returns the flaw of an accessor in words.
    fn check_accessor(&self, accessor: &Accessor) -> Result<(), String> {
        let count = accessor.count.0;
        let size = element_size(accessor.component_type, &accessor.element_type)
            .ok_or("holds elements of an unknown type")?;
        match accessor.buffer_view {
            Some(view) if !self.holds(view, accessor.byte_offset, size, count) => {
                return Err(format!("claims {count} elements, more than its buffer holds"));
            }
            None if count > MAX_WITHOUT_BYTES => {
                return Err(format!("claims {count} elements, more than any model has"));
            }
            _ => {}
        }
        let Some(Sparse { count: replaced, indices, values }) = &accessor.sparse else { return Ok(()) };
        let index_type = indices.component_type;
        let index_size = index_type
            .and_then(|component_type| element_size(component_type, "SCALAR"))
            .ok_or("holds sparse indices of an unknown type")?;
        let held = replaced.0 <= count
            && self.holds(indices.buffer_view, indices.byte_offset, index_size, replaced.0)
            && self.holds(values.buffer_view, values.byte_offset, size, replaced.0);
        if !held {
            return Err(format!("claims {} sparse elements, more than its buffer holds", replaced.0));
        }
        Ok(())
    }

    fn buffer(&self, view: &View) -> Option<&Buffer> {
        self.buffers.get(usize::try_from(view.buffer.0).ok()?)
    }

    /// Whether `count` elements of `size` bytes fit between an offset in the view and the end of its buffer. The end of
    /// the view does not matter: some writers overrun it by a few bytes, which readers accept.
    fn holds(&self, view: Count, offset: Count, size: u64, count: u64) -> bool {
        let Some(view) = usize::try_from(view.0).ok().and_then(|index| self.buffer_views.get(index)) else {
            return false;
        };
        let Some(buffer) = self.buffer(view) else { return false };
        if count == 0 {
            return true;
        }
        let stride = view.byte_stride.map_or(size, |stride| stride.0).max(1);
        let length = stride.saturating_mul(count - 1).saturating_add(size);
        view.byte_offset.0.saturating_add(offset.0).saturating_add(length) <= buffer.byte_length.0
    }
}

fn element_size(component_type: Count, element_type: &str) -> Option<u64> {
    Layout::new(component_type.0, false, element_type).map(|layout| layout.size() as u64)
}
