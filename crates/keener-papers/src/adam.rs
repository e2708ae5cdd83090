//! Adam over a slice, for reproductions that train free parameters.

/// Adam with bias correction: `x ← x − rate · m̂ / (√v̂ + 1e-8)`, decays 0.9 and 0.999.
///
/// Reference: Adam: A Method for Stochastic Optimization (arXiv 1412.6980), with its defaults.
pub(crate) struct Adam {
    rate: f64,
    step: i32,
    mean: Vec<f64>,
    square: Vec<f64>,
}

impl Adam {
    /// For `count` parameters.
    pub(crate) fn new(count: usize, rate: f64) -> Self {
        Self { rate, step: 0, mean: vec![0.0; count], square: vec![0.0; count] }
    }

    /// One step along `gradient`.
    pub(crate) fn step(&mut self, parameters: &mut [f64], gradient: impl Iterator<Item = f64>) {
        const DECAY: (f64, f64) = (0.9, 0.999);
        self.step += 1;
        let correct = (1.0 - DECAY.0.powi(self.step), 1.0 - DECAY.1.powi(self.step));
        for (((x, g), m), v) in parameters.iter_mut().zip(gradient).zip(&mut self.mean).zip(&mut self.square) {
            *m += (1.0 - DECAY.0) * (g - *m);
            *v += (1.0 - DECAY.1) * (g * g - *v);
            *x -= self.rate * (*m / correct.0) / ((*v / correct.1).sqrt() + 1e-8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_has_the_length_of_the_rate_and_a_bowl_is_descended() {
        let mut x = [3.0, -2.0];
        let mut adam = Adam::new(2, 0.05);
        adam.step(&mut x, [600.0, -0.4].into_iter());
        assert!((x[0] - 2.95).abs() < 1e-8 && (x[1] + 1.95).abs() < 1e-8);
        let mut adam = Adam::new(2, 0.05);
        for _ in 0..400 {
            let gradient = [2.0 * (x[0] - 1.0), 2.0 * (x[1] - 0.5)];
            adam.step(&mut x, gradient.into_iter());
        }
        assert!((x[0] - 1.0).abs() < 1e-2 && (x[1] - 0.5).abs() < 1e-2, "{x:?}");
    }
}
