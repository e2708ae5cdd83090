//! The machine's fused multiply-add peak, from loops that touch registers only.

use std::hint::black_box;
use std::time::Instant;

/// Independent accumulators: more than latency × units (4 × 2) on every current x86 core.
const CHAINS: usize = 16;
const STEPS: u64 = 100_000;

/// Single-thread peaks in GFLOP/s; `None` where the processor lacks the instructions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    /// 256-bit f32 FMA.
    pub avx2_f32: Option<f64>,
    /// 512-bit f32 FMA.
    pub avx512_f32: Option<f64>,
    /// Two threads of the widest loop at once, aggregate.
    pub two_threads_f32: Option<f64>,
}

impl Peak {
    /// The widest single-thread f32 peak; f64 is half of it.
    pub fn best(&self) -> Option<f64> {
        self.avx512_f32.or(self.avx2_f32)
    }
}

/// Runs each loop `repeats` times and keeps the fastest.
#[cfg(target_arch = "x86_64")]
pub fn measure(repeats: usize) -> Peak {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f");
    // SAFETY: each loop runs only where the processor reports its instructions.
    let run256 = || unsafe { loop256() };
    // SAFETY: as above.
    let run512 = || unsafe { loop512() };
    let flops256 = (STEPS as usize * CHAINS * 8 * 2) as f64;
    let flops512 = (STEPS as usize * CHAINS * 16 * 2) as f64;
    let two = if avx512 {
        Some(fastest(repeats, 2.0 * flops512, || {
            rayon::join(run512, run512);
        }))
    } else if avx2 {
        Some(fastest(repeats, 2.0 * flops256, || {
            rayon::join(run256, run256);
        }))
    } else {
        None
    };
    Peak {
        avx2_f32: avx2.then(|| fastest(repeats, flops256, run256)),
        avx512_f32: avx512.then(|| fastest(repeats, flops512, run512)),
        two_threads_f32: two,
    }
}

/// Other architectures: no peak is claimed.
#[cfg(not(target_arch = "x86_64"))]
pub fn measure(_repeats: usize) -> Peak {
    Peak::default()
}

fn fastest(repeats: usize, flops: f64, mut run: impl FnMut()) -> f64 {
    let mut seconds = f64::INFINITY;
    for _ in 0..repeats {
        let start = Instant::now();
        run();
        seconds = seconds.min(start.elapsed().as_secs_f64());
    }
    flops / seconds / 1e9
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn loop256() {
    use std::arch::x86_64::*;
    let (a, b) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.0)));
    // Twelve chains and two operands fit the 16 registers; more rounds make the work the same.
    let mut x = [_mm256_setzero_ps(); CHAINS - 4];
    for _ in 0..STEPS * CHAINS as u64 / (CHAINS as u64 - 4) {
        for v in x.iter_mut() {
            *v = _mm256_fmadd_ps(*v, a, b);
        }
    }
    black_box(x);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn loop512() {
    use std::arch::x86_64::*;
    let (a, b) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.0)));
    let mut x = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..STEPS {
        for v in x.iter_mut() {
            *v = _mm512_fmadd_ps(*v, a, b);
        }
    }
    black_box(x);
}
