//! The root of a function of one variable.

/// The root of `f` between `low` and `high`, where `f` has opposite signs (or is 0), by Brent's method: inverse quadratic steps
/// where they help, bisection where they do not. Within about four ulp of the larger end, or 1e-300.
///
/// Reference: Brent, Algorithms for Minimization without Derivatives (1973), chapter 4.
pub(super) fn brent(mut f: impl FnMut(f64) -> f64, low: f64, high: f64) -> f64 {
    // `best` has the smaller value; `other` lies on the far side of the root; `previous` is the iterate before.
    let (mut previous, mut best) = (low, high);
    let (mut f_previous, mut f_best) = (f(previous), f(best));
    let (mut other, mut f_other) = (previous, f_previous);
    let mut step = best - previous;
    let mut before = step;
    for _ in 0..200 {
        if (f_best > 0.0) == (f_other > 0.0) {
            (other, f_other) = (previous, f_previous);
            step = best - previous;
            before = step;
        }
        if f_other.abs() < f_best.abs() {
            (previous, best, other) = (best, other, best);
            (f_previous, f_best, f_other) = (f_best, f_other, f_best);
        }
        let tolerance = 2.0 * f64::EPSILON * best.abs() + 1e-300;
        let half = 0.5 * (other - best);
        if half.abs() <= tolerance || f_best == 0.0 {
            return best;
        }
        if before.abs() < tolerance || f_previous.abs() <= f_best.abs() {
            (step, before) = (half, half);
        } else {
            let s = f_best / f_previous;
            let (mut p, mut q) = if previous == other {
                (2.0 * half * s, 1.0 - s)
            } else {
                let (q, r) = (f_previous / f_other, f_best / f_other);
                let p = s * (2.0 * half * q * (q - r) - (best - previous) * (r - 1.0));
                (p, (q - 1.0) * (r - 1.0) * (s - 1.0))
            };
            if p > 0.0 {
                q = -q;
            }
            p = p.abs();
            if 2.0 * p < (3.0 * half * q - (tolerance * q).abs()).min((before * q).abs()) {
                before = step;
                step = p / q;
            } else {
                (step, before) = (half, half);
            }
        }
        (previous, f_previous) = (best, f_best);
        best += if step.abs() > tolerance { step } else { tolerance.copysign(half) };
        f_best = f(best);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::brent;

    #[test]
    fn roots_of_flat_and_steep_functions_are_found() {
        assert!((brent(|x| x * x - 2.0, 0.0, 2.0) - 2f64.sqrt()).abs() < 1e-15);
        assert!((brent(|x| x.cos() - x, 0.0, 1.0) - 0.739_085_133_215_160_6).abs() < 1e-15);
        assert!((brent(|x| (x - 0.3).powi(9), 0.0, 1.0) - 0.3).abs() < 0.02);
        // A small root keeps its relative precision.
        let tiny = brent(|x| x * x - 1e-40, 0.0, 1.0);
        assert!((tiny / 1e-20 - 1.0).abs() < 1e-9, "{tiny}");
        assert_eq!(brent(|x| x, 0.0, 1.0), 0.0);
    }
}
