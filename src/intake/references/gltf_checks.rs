//! What a glTF claims of its sizes, checked before anything is allocated for it.

use serde::Deserialize;

use crate::domain::{ConversionError, ErrorCode};
use crate::intake::bounded_json::{Bounded, Count};

/// Most elements of an accessor that has no bytes of its own (it is all zeros, or Draco-compressed).
const MAX_UNBACKED: u64 = 100_000_000;

/// What is read of a glTF's JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Doc {
    pub buffers: Bounded<Buffer>,
    pub buffer_views: Bounded<View>,
    pub accessors: Bounded<Accessor>,
    pub images: Bounded<Image>,
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
    pub kind: String,
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
    pub name: Option<String>,
}

impl Doc {
    /// Checks that views lie in their buffers and accessors hold what they claim.
    ///
    /// # Errors
    /// `import_failed` naming the first that does not.
    pub fn check(&self) -> Result<(), ConversionError> {
        for (index, view) in self.buffer_views.0.iter().enumerate() {
            let Some(buffer) = self.buffer(view) else {
                return Err(failed(format!("buffer view {index} names a buffer that does not exist")));
            };
            if view.byte_offset.0.saturating_add(view.byte_length.0) > buffer.byte_length.0 {
                return Err(failed(format!("buffer view {index} reaches beyond its buffer")));
            }
        }
        self.accessors
            .0
            .iter()
            .enumerate()
            .try_for_each(|(index, accessor)| self.check_accessor(index, accessor))
    }

    fn check_accessor(&self, index: usize, accessor: &Accessor) -> Result<(), ConversionError> {
        let count = accessor.count.0;
        let Some(size) =
            component_size(accessor.component_type).zip(components(&accessor.kind)).map(|(a, b)| a * b)
        else {
            return Err(failed(format!("accessor {index} holds elements of an unknown type")));
        };
        let claim = || format!("accessor {index} claims {count} elements");
        match accessor.buffer_view {
            Some(view) if !self.holds(view, accessor.byte_offset, size, count) => {
                return Err(failed(format!("{}, more than its buffer holds", claim())));
            }
            None if count > MAX_UNBACKED => {
                return Err(failed(format!("{}, more than any model has", claim())));
            }
            _ => {}
        }
        let Some(sparse) = &accessor.sparse else { return Ok(()) };
        let replaced = sparse.count.0;
        let Some(index_size) = sparse.indices.component_type.and_then(component_size) else {
            return Err(failed(format!("accessor {index} holds sparse indices of an unknown type")));
        };
        let indices = &sparse.indices;
        let values = &sparse.values;
        let held = replaced <= count
            && self.holds(indices.buffer_view, indices.byte_offset, index_size, replaced)
            && self.holds(values.buffer_view, values.byte_offset, size, replaced);
        if held {
            return Ok(());
        }
        Err(failed(format!("accessor {index} claims {replaced} sparse elements, more than its buffer holds")))
    }

    fn buffer(&self, view: &View) -> Option<&Buffer> {
        self.buffers.0.get(usize::try_from(view.buffer.0).ok()?)
    }

    /// Whether `count` elements of `size` bytes fit between an offset in the view and the end of its buffer.
    /// Not of the view: sloppy writers overrun it by a few bytes, and readers do not mind.
    fn holds(&self, view: Count, offset: Count, size: u64, count: u64) -> bool {
        let Some(view) = usize::try_from(view.0).ok().and_then(|index| self.buffer_views.0.get(index)) else {
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

fn component_size(kind: Count) -> Option<u64> {
    match kind.0 {
        5120 | 5121 => Some(1),
        5122 | 5123 => Some(2),
        5124..=5126 => Some(4),
        _ => None,
    }
}

fn components(kind: &str) -> Option<u64> {
    match kind {
        "SCALAR" => Some(1),
        "VEC2" => Some(2),
        "VEC3" => Some(3),
        "VEC4" | "MAT2" => Some(4),
        "MAT3" => Some(9),
        "MAT4" => Some(16),
        _ => None,
    }
}

fn failed(detail: String) -> ConversionError {
    ConversionError::new(ErrorCode::ImportFailed, detail)
}
