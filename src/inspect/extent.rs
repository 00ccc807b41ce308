//! The bounding box of points.

use crate::domain::report::Bounds;

/// A bounding box that grows with every point.
#[derive(Debug, Default)]
pub struct Extent(pub Option<Bounds>);

impl Extent {
    /// Adds a point; ignores points that are not finite.
    pub fn add(&mut self, point: [f64; 3]) {
        if !point.iter().all(|value| value.is_finite()) {
            return;
        }
        // Turns -0 into 0.
        let point = point.map(|value| value + 0.0);
        let Bounds { min, max } = self.0.get_or_insert(Bounds { min: point, max: point });
        for (axis, value) in point.into_iter().enumerate() {
            min[axis] = min[axis].min(value);
            max[axis] = max[axis].max(value);
        }
    }

    /// Adds a point of a z-up format.
    pub fn add_z_up(&mut self, [x, y, z]: [f64; 3]) {
        self.add([x, z, -y]);
    }
}
