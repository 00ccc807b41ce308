//! 4 × 4 matrices in column-major order, as in glTF.

use super::document::Node;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix(pub [f64; 16]);

impl Matrix {
    pub const IDENTITY: Matrix = Matrix([1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1., 0., 0., 0., 0., 1.]);
    pub const ZERO: Matrix = Matrix([0.; 16]);

    /// The transform of `node` relative to its parent.
    pub fn local(node: &Node) -> Matrix {
        if let Some(matrix) = &node.matrix {
            return Matrix(**matrix);
        }
        let translation = node.translation.as_deref().copied().unwrap_or_default();
        let [x, y, z, w] = node.rotation.as_deref().copied().unwrap_or([0., 0., 0., 1.]);
        let scale = node.scale.as_deref().copied().unwrap_or([1.; 3]);
        let rotation = [
            [1. - 2. * (y * y + z * z), 2. * (x * y + z * w), 2. * (x * z - y * w)],
            [2. * (x * y - z * w), 1. - 2. * (x * x + z * z), 2. * (y * z + x * w)],
            [2. * (x * z + y * w), 2. * (y * z - x * w), 1. - 2. * (x * x + y * y)],
        ];
        Matrix(std::array::from_fn(|index| match (index / 4, index % 4) {
            (3, 3) => 1.,
            (_, 3) => 0.,
            (3, row) => translation[row],
            (column, row) => rotation[column][row] * scale[column],
        }))
    }

    /// The product `self · other`, which applies `other` first.
    pub fn times(&self, other: &Matrix) -> Matrix {
        let (Matrix(a), Matrix(b)) = (self, other);
        Matrix(std::array::from_fn(|index| {
            let (column, row) = (index / 4, index % 4);
            (0..4).map(|k| a[k * 4 + row] * b[column * 4 + k]).sum()
        }))
    }

    pub fn apply(&self, [x, y, z]: [f64; 3]) -> [f64; 3] {
        let Matrix(m) = self;
        std::array::from_fn(|row| m[row] * x + m[4 + row] * y + m[8 + row] * z + m[12 + row])
    }

    /// Adds `other` multiplied by `weight`.
    pub fn add(&mut self, other: &Matrix, weight: f64) {
        for (value, other) in self.0.iter_mut().zip(other.0) {
            *value += other * weight;
        }
    }

    /// Whether two matrices are equal except for rounding.
    pub fn is_near(&self, other: &Matrix) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| (a - b).abs() <= 1e-5 * (1. + a.abs().max(b.abs())))
    }
}
