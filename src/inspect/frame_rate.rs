//! Frame rates, which files hold as the time between keys.

/// Rounds frames per second, as writers round times: 23.9998 becomes 24, 23.976 stays.
pub fn tidy_fps(fps: f64) -> f64 {
    const NOISE: f64 = 2e-4;
    if !fps.is_finite() {
        return 0.0;
    }
    let whole = fps.round();
    if whole > 0.0 && ((fps - whole) / whole).abs() < NOISE { whole } else { (fps * 1000.0).round() / 1000.0 }
}
