//! Loops over contiguous scores, compiled for several instruction sets and chosen at run time.
//!
//! Each kernel is written once, over small arrays that the compiler turns into vector registers; the `kernel!` macro
//! compiles it for AVX-512, for AVX2 + FMA and for the baseline (which on AArch64 is NEON), and picks one by what the
//! processor reports. Sums run in [`LANES`] independent accumulators over at most a tile's width and are widened to
//! `f64` by the caller from tile to tile, so long rows lose no more than a few ulp.

use crate::real::Real;
use std::sync::OnceLock;

/// Number of independent accumulators in a reduction: two AVX-512 registers of `f32`.
pub const LANES: usize = 32;

/// The instruction set in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// AVX-512 (F, BW, DQ, VL) with FMA.
    Avx512,
    /// AVX2 with FMA.
    Avx2,
    /// What the target guarantees: SSE2 on x86-64, NEON on AArch64.
    Baseline,
}

/// The best instruction set that this processor has. `KEENER_SIMD=avx2` or `baseline` lowers it, for tests and for
/// comparing machines.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let found = detect();
        match std::env::var("KEENER_SIMD").as_deref() {
            Ok("baseline") => Level::Baseline,
            Ok("avx2") if found != Level::Baseline => Level::Avx2,
            _ => found,
        }
    })
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("fma")
    {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Baseline
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Baseline
}

/// AArch64 always has a fused multiply-add; the x86-64 baseline does not.
const BASELINE_FMA: bool = cfg!(target_arch = "aarch64");

macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?) => {
        $(#[$doc])*
        pub fn $name<T: Real>($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512<T: Real>($($arg: $ty),*) $(-> $ret)? {
                    body::$name::<T, true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2<T: Real>($($arg: $ty),*) $(-> $ret)? {
                    body::$name::<T, true>($($arg),*)
                }
                match level() {
                    // SAFETY: `level` has checked that the processor has every feature named above.
                    Level::Avx512 => return unsafe { avx512::<T>($($arg),*) },
                    // SAFETY: as above.
                    Level::Avx2 => return unsafe { avx2::<T>($($arg),*) },
                    Level::Baseline => {}
                }
            }
            body::$name::<T, BASELINE_FMA>($($arg),*)
        }
    };
}

kernel! {
    /// `max_j (scale · x_j)`; −∞ for an empty slice.
    max_scaled(x: &[T], scale: T) -> T
}
kernel! {
    /// `Σ_j exp(scale · x_j + shift)`.
    sum_exp(x: &[T], scale: T, shift: T) -> T
}
kernel! {
    /// `(Σ_j e_j, Σ_j e_j · g_j)` with `e_j = exp(scale · x_j + shift)`. Where `e_j` is 0, `g_j` must still be finite.
    sum_exp_weighted(x: &[T], g: &[T], scale: T, shift: T) -> (T, T)
}
kernel! {
    /// `out_j = weight · exp(scale · x_j + shift)`.
    exp_assign(out: &mut [T], x: &[T], scale: T, shift: T, weight: T)
}
kernel! {
    /// `x_j = weight · exp(scale · x_j + shift)`, in place.
    exp_in_place(x: &mut [T], scale: T, shift: T, weight: T)
}
kernel! {
    /// `out_j += weight · exp(scale · x_j + shift)`.
    exp_add(out: &mut [T], x: &[T], scale: T, shift: T, weight: T)
}
kernel! {
    /// `out_j += exp(scale · x_j + shift) · (weight + slope · g_j)`.
    exp_add_weighted(out: &mut [T], x: &[T], g: &[T], scale: T, shift: T, weight: T, slope: T)
}
kernel! {
    /// `peak_j = max(peak_j, scale_j-free: scale · x_j)`: running maxima of columns.
    column_max(peak: &mut [T], x: &[T], scale: T)
}
kernel! {
    /// `sum_j += exp(scale · x_j − peak_j)`: sums of columns relative to their maxima (a maximum of −∞ adds nothing).
    column_sum_exp(sum: &mut [T], x: &[T], peak: &[T], scale: T)
}
kernel! {
    /// `sum_j += e_j`, `weighted_j += e_j · g_j` with `e_j = exp(scale · x_j − peak_j)`.
    column_sum_exp_weighted(sum: &mut [T], weighted: &mut [T], x: &[T], g: &[T], peak: &[T], scale: T)
}
kernel! {
    /// `out_j += weight_j · exp(scale · x_j − lse_j)`.
    column_exp_add(out: &mut [T], x: &[T], lse: &[T], weight: &[T], scale: T)
}
kernel! {
    /// `x_j = row · column_j · x_j` (cosine: inverse norms).
    scale_columns(x: &mut [T], column: &[T], row: T)
}
kernel! {
    /// `x_j = scale · x_j + row + column_j` (bias; negative squared distance).
    shift_columns(x: &mut [T], column: &[T], scale: T, row: T)
}
kernel! {
    /// `Σ_j x_j · y_j`.
    dot(x: &[T], y: &[T]) -> T
}
kernel! {
    /// `Σ_j x_j`.
    sum(x: &[T]) -> T
}
kernel! {
    /// `out_j += scale · x_j`.
    add_scaled(out: &mut [T], x: &[T], scale: T)
}
kernel! {
    /// `x_j = scale · x_j`.
    scale_in_place(x: &mut [T], scale: T)
}
kernel! {
    /// `(Σ_j k_j φ(u_j), Σ_j k_j φ'(u_j), Σ_j k_j φ'(u_j) x_j)` with `φ = softplus`, `u_j = scale · x_j + shift`; `keep` of the
    /// same length, or empty for all ones.
    softplus_sums(x: &[T], keep: &[T], scale: T, shift: T) -> (T, T, T)
}
kernel! {
    /// `out_j += weight · k_j · σ(scale · x_j + shift)`; `keep` as in [`softplus_sums`].
    sigmoid_add(out: &mut [T], x: &[T], keep: &[T], scale: T, shift: T, weight: T)
}
kernel! {
    /// `unit · Σ_j s(scale · x_j + shift)`, `s` of [`crate::real::linear_exp`].
    sum_linear_exp(x: &[T], scale: T, shift: T, unit: T) -> T
}
kernel! {
    /// `out_j += weight · s'(scale · x_j + shift)`, `s` of [`crate::real::linear_exp`].
    linear_exp_slope_add(out: &mut [T], x: &[T], scale: T, shift: T, weight: T)
}
kernel! {
    /// `(Σ_j k_j (x_j − centre), Σ_j k_j (x_j − centre)²)`; `keep` as in [`softplus_sums`].
    centred_sums(x: &[T], keep: &[T], centre: T) -> (T, T)
}
kernel! {
    /// `out_j += k_j (slope · (x_j − centre) + weight)`; `keep` as in [`softplus_sums`].
    centred_add(out: &mut [T], x: &[T], keep: &[T], centre: T, slope: T, weight: T)
}
kernel! {
    /// `x_j = ln(1 + e^{x_j})`, in place.
    softplus_in_place(x: &mut [T])
}
kernel! {
    /// `out_j += h_j · σ(x_j)`.
    add_times_sigmoid(out: &mut [T], h: &[T], x: &[T])
}
kernel! {
    /// `(Σ_j k_j φ(u_j), Σ_j k_j φ'(u_j), Σ_j k_j φ'(u_j) x_j)` with `u_j = scale · x_j + shift` and `φ(u) = u²` where `square`, else
    /// `|u|` (slope 0 at 0); `keep` as in [`softplus_sums`].
    power_sums(x: &[T], keep: &[T], scale: T, shift: T, square: bool) -> (T, T, T)
}
kernel! {
    /// `out_j += weight · k_j · (scale · x_j + shift)`; `keep` as in [`softplus_sums`].
    affine_add(out: &mut [T], x: &[T], keep: &[T], scale: T, shift: T, weight: T)
}
kernel! {
    /// `p_j = σ(z_j)` and `q_j = σ(−z_j)`, both exact to rounding down to the smallest normal number, 0 below.
    sigmoid_pair(p: &mut [T], q: &mut [T], z: &[T])
}
kernel! {
    /// As [`sigmoid_pair`], and `s_j = ln(1 + exp(z_j))`.
    logistic(p: &mut [T], q: &mut [T], s: &mut [T], z: &[T])
}
kernel! {
    /// `a_j = σ(u_j)`, `c_j = σ(−u_j)` and `slope_j = scale · a_j · c_j` with `u_j = scale · (p_j − ½)`.
    amplify(a: &mut [T], c: &mut [T], slope: &mut [T], p: &[T], scale: T)
}
kernel! {
    /// `keep_j = 1` where `(classes_j == class) == same`, else 0.
    keep_class(keep: &mut [T], classes: &[u32], class: u32, same: bool)
}
kernel! {
    /// `keep_j = 0` where `x_j` lies outside `[low, high]`.
    keep_range(keep: &mut [T], x: &[T], low: T, high: T)
}
kernel! {
    /// `out_j = x_j` where `keep_j` is not 0, else `fill`.
    select(out: &mut [T], x: &[T], keep: &[T], fill: T)
}
kernel! {
    /// Whether every number is finite.
    all_finite(x: &[T]) -> bool
}
kernel! {
    /// `out_b = max` of the b-th block of [`LANES`] entries; the last block may be shorter.
    block_max(out: &mut [T], x: &[T])
}

mod body {
    use super::LANES;
    use crate::real::{Real, linear_exp};

    #[inline(always)]
    fn reduce<T: Real>(lanes: [T; LANES]) -> T {
        let mut width = LANES / 2;
        let mut lanes = lanes;
        while width > 0 {
            for k in 0..width {
                lanes[k] += lanes[k + width];
            }
            width /= 2;
        }
        lanes[0]
    }

    #[inline(always)]
    pub(super) fn max_scaled<T: Real, const FMA: bool>(x: &[T], scale: T) -> T {
        let mut lanes = [T::neg_infinity(); LANES];
        let chunks = x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for k in 0..LANES {
                lanes[k] = lanes[k].vmax(scale * chunk[k]);
            }
        }
        for k in 0..rest.len() {
            lanes[k] = lanes[k].vmax(scale * rest[k]);
        }
        let mut peak = lanes[0];
        for lane in &lanes[1..] {
            peak = peak.vmax(*lane);
        }
        peak
    }

    #[inline(always)]
    pub(super) fn sum_exp<T: Real, const FMA: bool>(x: &[T], scale: T, shift: T) -> T {
        let mut lanes = [T::zero(); LANES];
        let chunks = x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for k in 0..LANES {
                lanes[k] += chunk[k].madd::<FMA>(scale, shift).vexp::<FMA>();
            }
        }
        for k in 0..rest.len() {
            lanes[k] += rest[k].madd::<FMA>(scale, shift).vexp::<FMA>();
        }
        reduce(lanes)
    }

    #[inline(always)]
    pub(super) fn sum_exp_weighted<T: Real, const FMA: bool>(x: &[T], g: &[T], scale: T, shift: T) -> (T, T) {
        let mut lanes = [T::zero(); LANES];
        let mut weighted = [T::zero(); LANES];
        let n = x.len().min(g.len());
        let (x, g) = (&x[..n], &g[..n]);
        let chunks = x.chunks_exact(LANES).zip(g.chunks_exact(LANES));
        for (cx, cg) in chunks {
            for k in 0..LANES {
                let e = cx[k].madd::<FMA>(scale, shift).vexp::<FMA>();
                lanes[k] += e;
                weighted[k] = e.madd::<FMA>(cg[k], weighted[k]);
            }
        }
        for k in n - n % LANES..n {
            let e = x[k].madd::<FMA>(scale, shift).vexp::<FMA>();
            lanes[k % LANES] += e;
            weighted[k % LANES] += e * g[k];
        }
        (reduce(lanes), reduce(weighted))
    }

    #[inline(always)]
    pub(super) fn exp_assign<T: Real, const FMA: bool>(out: &mut [T], x: &[T], scale: T, shift: T, weight: T) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = weight * x.madd::<FMA>(scale, shift).vexp::<FMA>();
        }
    }

    #[inline(always)]
    pub(super) fn exp_in_place<T: Real, const FMA: bool>(x: &mut [T], scale: T, shift: T, weight: T) {
        for x in x.iter_mut() {
            *x = weight * x.madd::<FMA>(scale, shift).vexp::<FMA>();
        }
    }

    #[inline(always)]
    pub(super) fn exp_add<T: Real, const FMA: bool>(out: &mut [T], x: &[T], scale: T, shift: T, weight: T) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = weight.madd::<FMA>(x.madd::<FMA>(scale, shift).vexp::<FMA>(), *o);
        }
    }

    #[inline(always)]
    pub(super) fn exp_add_weighted<T: Real, const FMA: bool>(
        out: &mut [T],
        x: &[T],
        g: &[T],
        scale: T,
        shift: T,
        weight: T,
        slope: T,
    ) {
        for ((o, x), g) in out.iter_mut().zip(x).zip(g) {
            let e = x.madd::<FMA>(scale, shift).vexp::<FMA>();
            *o = e.madd::<FMA>(slope.madd::<FMA>(*g, weight), *o);
        }
    }

    #[inline(always)]
    pub(super) fn column_max<T: Real, const FMA: bool>(peak: &mut [T], x: &[T], scale: T) {
        for (p, x) in peak.iter_mut().zip(x) {
            *p = p.vmax(scale * *x);
        }
    }

    #[inline(always)]
    fn relative<T: Real, const FMA: bool>(x: T, scale: T, peak: T) -> T {
        // −∞ − (−∞) would be NaN; a column without any finite score contributes nothing.
        let e = x.madd::<FMA>(scale, -peak).vexp::<FMA>();
        if peak == T::neg_infinity() { T::zero() } else { e }
    }

    #[inline(always)]
    pub(super) fn column_sum_exp<T: Real, const FMA: bool>(sum: &mut [T], x: &[T], peak: &[T], scale: T) {
        for ((s, x), p) in sum.iter_mut().zip(x).zip(peak) {
            *s += relative::<T, FMA>(*x, scale, *p);
        }
    }

    #[inline(always)]
    pub(super) fn column_sum_exp_weighted<T: Real, const FMA: bool>(
        sum: &mut [T],
        weighted: &mut [T],
        x: &[T],
        g: &[T],
        peak: &[T],
        scale: T,
    ) {
        let n = sum.len();
        let (weighted, x, g, peak) = (&mut weighted[..n], &x[..n], &g[..n], &peak[..n]);
        for k in 0..n {
            let e = relative::<T, FMA>(x[k], scale, peak[k]);
            sum[k] += e;
            weighted[k] = e.madd::<FMA>(g[k], weighted[k]);
        }
    }

    #[inline(always)]
    pub(super) fn column_exp_add<T: Real, const FMA: bool>(out: &mut [T], x: &[T], lse: &[T], weight: &[T], scale: T) {
        let n = out.len();
        let (x, lse, weight) = (&x[..n], &lse[..n], &weight[..n]);
        for k in 0..n {
            out[k] = weight[k].madd::<FMA>(relative::<T, FMA>(x[k], scale, lse[k]), out[k]);
        }
    }

    #[inline(always)]
    pub(super) fn scale_columns<T: Real, const FMA: bool>(x: &mut [T], column: &[T], row: T) {
        for (x, c) in x.iter_mut().zip(column) {
            *x *= row * *c;
        }
    }

    #[inline(always)]
    pub(super) fn shift_columns<T: Real, const FMA: bool>(x: &mut [T], column: &[T], scale: T, row: T) {
        for (x, c) in x.iter_mut().zip(column) {
            *x = x.madd::<FMA>(scale, row + *c);
        }
    }

    #[inline(always)]
    pub(super) fn dot<T: Real, const FMA: bool>(x: &[T], y: &[T]) -> T {
        let mut lanes = [T::zero(); LANES];
        let n = x.len().min(y.len());
        let (x, y) = (&x[..n], &y[..n]);
        for (cx, cy) in x.chunks_exact(LANES).zip(y.chunks_exact(LANES)) {
            for k in 0..LANES {
                lanes[k] = cx[k].madd::<FMA>(cy[k], lanes[k]);
            }
        }
        for k in n - n % LANES..n {
            lanes[k % LANES] += x[k] * y[k];
        }
        reduce(lanes)
    }

    #[inline(always)]
    pub(super) fn sum<T: Real, const FMA: bool>(x: &[T]) -> T {
        let mut lanes = [T::zero(); LANES];
        let chunks = x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for k in 0..LANES {
                lanes[k] += chunk[k];
            }
        }
        for k in 0..rest.len() {
            lanes[k] += rest[k];
        }
        reduce(lanes)
    }

    #[inline(always)]
    pub(super) fn add_scaled<T: Real, const FMA: bool>(out: &mut [T], x: &[T], scale: T) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = scale.madd::<FMA>(*x, *o);
        }
    }

    #[inline(always)]
    pub(super) fn scale_in_place<T: Real, const FMA: bool>(x: &mut [T], scale: T) {
        for x in x {
            *x *= scale;
        }
    }

    /// `(softplus(u), σ(u))`.
    #[inline(always)]
    fn softplus_pair<T: Real, const FMA: bool>(u: T) -> (T, T) {
        let magnitude = if u > T::zero() { u } else { -u };
        let e = (-magnitude).vexp::<FMA>();
        let value = u.vmax(T::zero()) + e.vln1p_unit::<FMA>();
        let near = T::one() / (T::one() + e);
        (value, if u > T::zero() { near } else { e * near })
    }

    /// `(σ(u), σ(−u))`.
    #[inline(always)]
    fn sigmoids<T: Real, const FMA: bool>(u: T) -> (T, T) {
        let magnitude = if u > T::zero() { u } else { -u };
        let e = (-magnitude).vexp::<FMA>();
        let near = T::one() / (T::one() + e);
        let far = e * near;
        if u > T::zero() { (near, far) } else { (far, near) }
    }

    #[inline(always)]
    pub(super) fn sigmoid_pair<T: Real, const FMA: bool>(p: &mut [T], q: &mut [T], z: &[T]) {
        for ((p, q), z) in p.iter_mut().zip(q).zip(z) {
            (*p, *q) = sigmoids::<T, FMA>(*z);
        }
    }

    #[inline(always)]
    pub(super) fn logistic<T: Real, const FMA: bool>(p: &mut [T], q: &mut [T], s: &mut [T], z: &[T]) {
        for (((p, q), s), z) in p.iter_mut().zip(q).zip(s).zip(z) {
            let z = *z;
            let magnitude = if z > T::zero() { z } else { -z };
            let e = (-magnitude).vexp::<FMA>();
            let near = T::one() / (T::one() + e);
            let far = e * near;
            (*p, *q) = if z > T::zero() { (near, far) } else { (far, near) };
            *s = z.vmax(T::zero()) + e.vln1p_unit::<FMA>();
        }
    }

    #[inline(always)]
    pub(super) fn amplify<T: Real, const FMA: bool>(a: &mut [T], c: &mut [T], slope: &mut [T], p: &[T], scale: T) {
        let half = T::one() / (T::one() + T::one());
        for (((a, c), slope), p) in a.iter_mut().zip(c).zip(slope).zip(p) {
            let (value, complement) = sigmoids::<T, FMA>(scale * (*p - half));
            (*a, *c, *slope) = (value, complement, scale * value * complement);
        }
    }

    #[inline(always)]
    pub(super) fn softplus_sums<T: Real, const FMA: bool>(x: &[T], keep: &[T], scale: T, shift: T) -> (T, T, T) {
        let (mut value, mut slope, mut moment) = ([T::zero(); LANES], [T::zero(); LANES], [T::zero(); LANES]);
        let n = x.len();
        let full = n - n % LANES;
        for start in (0..full).step_by(LANES) {
            let chunk = &x[start..start + LANES];
            let mut weight = [T::one(); LANES];
            if !keep.is_empty() {
                weight.copy_from_slice(&keep[start..start + LANES]);
            }
            for k in 0..LANES {
                let (v, s) = softplus_pair::<T, FMA>(chunk[k].madd::<FMA>(scale, shift));
                value[k] = weight[k].madd::<FMA>(v, value[k]);
                slope[k] = weight[k].madd::<FMA>(s, slope[k]);
                moment[k] = (weight[k] * s).madd::<FMA>(chunk[k], moment[k]);
            }
        }
        for at in full..n {
            let (v, s) = softplus_pair::<T, FMA>(x[at].madd::<FMA>(scale, shift));
            let weight = if keep.is_empty() { T::one() } else { keep[at] };
            value[at - full] += weight * v;
            slope[at - full] += weight * s;
            moment[at - full] += weight * s * x[at];
        }
        (reduce(value), reduce(slope), reduce(moment))
    }

    #[inline(always)]
    pub(super) fn softplus_in_place<T: Real, const FMA: bool>(x: &mut [T]) {
        for x in x {
            *x = softplus_pair::<T, FMA>(*x).0;
        }
    }

    #[inline(always)]
    pub(super) fn add_times_sigmoid<T: Real, const FMA: bool>(out: &mut [T], h: &[T], x: &[T]) {
        for ((o, h), x) in out.iter_mut().zip(h).zip(x) {
            *o = h.madd::<FMA>(softplus_pair::<T, FMA>(*x).1, *o);
        }
    }

    /// `(φ(u), φ'(u))` of a square or of a magnitude.
    #[inline(always)]
    fn power_pair<T: Real>(u: T, square: bool) -> (T, T) {
        if square {
            return (u * u, u + u);
        }
        let magnitude = if u > T::zero() { u } else { -u };
        let sign = if u > T::zero() { T::one() } else { -T::one() };
        (magnitude, if u == T::zero() { T::zero() } else { sign })
    }

    #[inline(always)]
    pub(super) fn power_sums<T: Real, const FMA: bool>(
        x: &[T],
        keep: &[T],
        scale: T,
        shift: T,
        square: bool,
    ) -> (T, T, T) {
        let (mut value, mut slope, mut moment) = ([T::zero(); LANES], [T::zero(); LANES], [T::zero(); LANES]);
        let n = x.len();
        let full = n - n % LANES;
        for start in (0..full).step_by(LANES) {
            let chunk = &x[start..start + LANES];
            let mut weight = [T::one(); LANES];
            if !keep.is_empty() {
                weight.copy_from_slice(&keep[start..start + LANES]);
            }
            for k in 0..LANES {
                let (v, s) = power_pair(chunk[k].madd::<FMA>(scale, shift), square);
                value[k] = weight[k].madd::<FMA>(v, value[k]);
                slope[k] = weight[k].madd::<FMA>(s, slope[k]);
                moment[k] = (weight[k] * s).madd::<FMA>(chunk[k], moment[k]);
            }
        }
        for at in full..n {
            let (v, s) = power_pair(x[at].madd::<FMA>(scale, shift), square);
            let weight = if keep.is_empty() { T::one() } else { keep[at] };
            value[at - full] += weight * v;
            slope[at - full] += weight * s;
            moment[at - full] += weight * s * x[at];
        }
        (reduce(value), reduce(slope), reduce(moment))
    }

    #[inline(always)]
    pub(super) fn affine_add<T: Real, const FMA: bool>(
        out: &mut [T],
        x: &[T],
        keep: &[T],
        scale: T,
        shift: T,
        weight: T,
    ) {
        if keep.is_empty() {
            for (o, x) in out.iter_mut().zip(x) {
                *o = weight.madd::<FMA>(x.madd::<FMA>(scale, shift), *o);
            }
        } else {
            for ((o, x), k) in out.iter_mut().zip(x).zip(keep) {
                *o = (weight * *k).madd::<FMA>(x.madd::<FMA>(scale, shift), *o);
            }
        }
    }

    #[inline(always)]
    pub(super) fn sigmoid_add<T: Real, const FMA: bool>(
        out: &mut [T],
        x: &[T],
        keep: &[T],
        scale: T,
        shift: T,
        weight: T,
    ) {
        if keep.is_empty() {
            for (o, x) in out.iter_mut().zip(x) {
                *o = weight.madd::<FMA>(softplus_pair::<T, FMA>(x.madd::<FMA>(scale, shift)).1, *o);
            }
        } else {
            for ((o, x), k) in out.iter_mut().zip(x).zip(keep) {
                *o = (weight * *k).madd::<FMA>(softplus_pair::<T, FMA>(x.madd::<FMA>(scale, shift)).1, *o);
            }
        }
    }

    #[inline(always)]
    pub(super) fn sum_linear_exp<T: Real, const FMA: bool>(x: &[T], scale: T, shift: T, unit: T) -> T {
        let mut lanes = [T::zero(); LANES];
        let chunks = x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for k in 0..LANES {
                lanes[k] = linear_exp(chunk[k].madd::<FMA>(scale, shift)).madd::<FMA>(unit, lanes[k]);
            }
        }
        for k in 0..rest.len() {
            lanes[k] = linear_exp(rest[k].madd::<FMA>(scale, shift)).madd::<FMA>(unit, lanes[k]);
        }
        reduce(lanes)
    }

    #[inline(always)]
    pub(super) fn linear_exp_slope_add<T: Real, const FMA: bool>(
        out: &mut [T],
        x: &[T],
        scale: T,
        shift: T,
        weight: T,
    ) {
        for (o, x) in out.iter_mut().zip(x) {
            let u = x.madd::<FMA>(scale, shift);
            let inverse = T::one() / (T::one() + if u > T::zero() { T::zero() } else { -u });
            *o = weight.madd::<FMA>(inverse * inverse, *o);
        }
    }

    #[inline(always)]
    pub(super) fn centred_sums<T: Real, const FMA: bool>(x: &[T], keep: &[T], centre: T) -> (T, T) {
        let (mut first, mut second) = ([T::zero(); LANES], [T::zero(); LANES]);
        let n = x.len();
        for start in (0..n - n % LANES).step_by(LANES) {
            let chunk = &x[start..start + LANES];
            let mut weight = [T::one(); LANES];
            if !keep.is_empty() {
                weight.copy_from_slice(&keep[start..start + LANES]);
            }
            for k in 0..LANES {
                let away = chunk[k] - centre;
                first[k] = weight[k].madd::<FMA>(away, first[k]);
                second[k] = (weight[k] * away).madd::<FMA>(away, second[k]);
            }
        }
        for at in n - n % LANES..n {
            let (away, weight) = (x[at] - centre, if keep.is_empty() { T::one() } else { keep[at] });
            first[at % LANES] += weight * away;
            second[at % LANES] += weight * away * away;
        }
        (reduce(first), reduce(second))
    }

    #[inline(always)]
    pub(super) fn centred_add<T: Real, const FMA: bool>(
        out: &mut [T],
        x: &[T],
        keep: &[T],
        centre: T,
        slope: T,
        weight: T,
    ) {
        if keep.is_empty() {
            for (o, x) in out.iter_mut().zip(x) {
                *o += (*x - centre).madd::<FMA>(slope, weight);
            }
        } else {
            for ((o, x), k) in out.iter_mut().zip(x).zip(keep) {
                *o = (*x - centre).madd::<FMA>(slope, weight).madd::<FMA>(*k, *o);
            }
        }
    }

    #[inline(always)]
    pub(super) fn keep_class<T: Real, const FMA: bool>(keep: &mut [T], classes: &[u32], class: u32, same: bool) {
        let (hit, miss) = if same { (T::one(), T::zero()) } else { (T::zero(), T::one()) };
        for (k, c) in keep.iter_mut().zip(classes) {
            *k = if *c == class { hit } else { miss };
        }
    }

    #[inline(always)]
    pub(super) fn keep_range<T: Real, const FMA: bool>(keep: &mut [T], x: &[T], low: T, high: T) {
        for (k, x) in keep.iter_mut().zip(x) {
            *k = if *x >= low && *x <= high { *k } else { T::zero() };
        }
    }

    #[inline(always)]
    pub(super) fn select<T: Real, const FMA: bool>(out: &mut [T], x: &[T], keep: &[T], fill: T) {
        for ((o, x), k) in out.iter_mut().zip(x).zip(keep) {
            *o = if *k != T::zero() { *x } else { fill };
        }
    }

    #[inline(always)]
    pub(super) fn block_max<T: Real, const FMA: bool>(out: &mut [T], x: &[T]) {
        let blocks = x.chunks_exact(LANES);
        let rest = blocks.remainder();
        let whole = blocks.len();
        for (o, block) in out.iter_mut().zip(blocks) {
            let mut lanes = [T::neg_infinity(); LANES];
            lanes.copy_from_slice(block);
            let mut width = LANES / 2;
            while width > 0 {
                for k in 0..width {
                    lanes[k] = lanes[k].vmax(lanes[k + width]);
                }
                width /= 2;
            }
            *o = lanes[0];
        }
        if let (Some(o), false) = (out.get_mut(whole), rest.is_empty()) {
            *o = rest.iter().fold(T::neg_infinity(), |m, x| m.vmax(*x));
        }
    }

    #[inline(always)]
    pub(super) fn all_finite<T: Real, const FMA: bool>(x: &[T]) -> bool {
        // 0 · x is 0 for finite x and NaN otherwise.
        let mut lanes = [T::zero(); LANES];
        let chunks = x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks {
            for k in 0..LANES {
                lanes[k] += chunk[k] * T::zero();
            }
        }
        for k in 0..rest.len() {
            lanes[k] += rest[k] * T::zero();
        }
        reduce(lanes) == T::zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|k| ((k * 7919 + 13) % 1009) as f32 / 100.0 - 5.0).collect()
    }

    #[test]
    fn reductions_agree_with_f64_at_every_length() {
        for n in [0, 1, 3, 31, 32, 33, 64, 100, 1000] {
            let x = numbers(n);
            let g: Vec<f32> = x.iter().map(|v| v * 0.3 - 1.0).collect();
            let exact: f64 = x.iter().map(|&v| (0.7 * f64::from(v) - 2.0).exp()).sum();
            assert!((f64::from(sum_exp(&x, 0.7, -2.0)) - exact).abs() <= 3e-7 * exact, "n = {n}");
            let (e, w) = sum_exp_weighted(&x, &g, 0.7, -2.0);
            let exact_w: f64 = x.iter().zip(&g).map(|(&v, &g)| (0.7 * f64::from(v) - 2.0).exp() * f64::from(g)).sum();
            assert!((f64::from(e) - exact).abs() <= 3e-7 * exact);
            assert!((f64::from(w) - exact_w).abs() <= 2e-6 * exact.max(1e-9), "{w} {exact_w}");
            let peak = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(-2.0 * b));
            assert_eq!(max_scaled(&x, -2.0), peak);
            let exact_dot: f64 = x.iter().zip(&g).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!((f64::from(dot(&x, &g)) - exact_dot).abs() <= 1e-6 * (1.0 + n as f64 * 10.0));
        }
    }

    #[test]
    fn softplus_and_its_slope() {
        let x: Vec<f64> = (-40..40).map(|k| f64::from(k) * 25.0).collect();
        for &v in &x {
            let (value, slope, moment) = softplus_sums(&[v], &[], 1.0, 0.5);
            let u = v + 0.5;
            let exact = u.max(0.0) + (-u.abs()).exp().ln_1p();
            let sigma = crate::real::sigmoid(u);
            assert!((value - exact).abs() <= 1e-15 * (1.0 + exact), "{v}");
            assert!((slope - sigma).abs() <= 1e-15 && (moment - sigma * v).abs() <= 1e-12);
        }
        let kept = softplus_sums(&x, &vec![0.0; x.len()], 1.0, 0.0);
        assert_eq!(kept, (0.0, 0.0, 0.0));
    }

    #[test]
    fn linear_exponentials_and_centred_sums_at_every_length() {
        for n in [1, 5, 32, 33, 100] {
            let x: Vec<f64> = numbers(n).into_iter().map(f64::from).collect();
            let exact: f64 =
                x.iter().map(|v| -2.0 * v + 0.5).map(|u| if u < 0.0 { 1.0 / (1.0 - u) } else { 1.0 + u }).sum();
            assert!((sum_linear_exp(&x, -2.0, 0.5, 3.0) - 3.0 * exact).abs() <= 1e-13 * exact);
            let mut slope = vec![1.0; n];
            linear_exp_slope_add(&mut slope, &x, -2.0, 0.5, 3.0);
            for (s, v) in slope.iter().zip(&x) {
                let u = -2.0 * v + 0.5;
                let exact = if u < 0.0 { (1.0 - u).powi(-2) } else { 1.0 };
                assert!((s - 1.0 - 3.0 * exact).abs() < 1e-14, "{u}");
            }
            let keep: Vec<f64> = (0..n).map(|k| f64::from(u32::from(k % 3 != 1))).collect();
            let (first, second) = centred_sums(&x, &keep, 0.25);
            let away = || x.iter().zip(&keep).filter(|(_, k)| **k != 0.0).map(|(x, _)| x - 0.25);
            assert!((first - away().sum::<f64>()).abs() < 1e-11);
            assert!((second - away().map(|a| a * a).sum::<f64>()).abs() < 1e-10);
            let mut out = vec![1.0; n];
            centred_add(&mut out, &x, &keep, 0.25, 2.0, -0.5);
            assert!((0..n).all(|j| (out[j] - 1.0 - keep[j] * (2.0 * (x[j] - 0.25) - 0.5)).abs() < 1e-14));
            assert_eq!(centred_sums(&vec![0.1f32; n], &[], 0.1), (0.0, 0.0));
        }
    }

    #[test]
    fn non_finite_numbers_are_seen_anywhere() {
        for n in [1, 32, 50, 300] {
            let mut x = numbers(n);
            assert!(all_finite(&x));
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let at = n * 2 / 3;
                let old = std::mem::replace(&mut x[at], bad);
                assert!(!all_finite(&x), "{bad} at {at} of {n}");
                x[at] = old;
            }
        }
    }

    #[test]
    fn empty_columns_stay_empty() {
        let mut sum = [0.0f32; 2];
        column_sum_exp(&mut sum, &[f32::NEG_INFINITY, 1.0], &[f32::NEG_INFINITY, 1.0], 1.0);
        assert_eq!(sum, [0.0, 1.0]);
    }
}
