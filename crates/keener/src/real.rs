//! The two floating-point types that the core works in, and their elementary functions.

use num_traits::{Float, FromPrimitive, NumAssign};

/// `f32` (the working type) or `f64` (in which conformance is checked).
///
/// The functions marked *vector* contain no branch and no call, so that a loop over them becomes SIMD code under
/// whatever instruction set the surrounding function was compiled for (see [`crate::simd`]).
pub trait Real:
    crate::products::Multiply
    + Float
    + NumAssign
    + FromPrimitive
    + std::iter::Sum
    + std::fmt::Debug
    + std::fmt::Display
    + Default
    + Send
    + Sync
    + 'static
{
    /// Name of the type, for messages.
    const NAME: &'static str;

    /// Rounds to this type.
    fn of(value: f64) -> Self;

    /// Widens to `f64`.
    fn f64(self) -> f64;

    /// Maps to an unsigned key with the same order (−0 and +0 differ by one), for selection by radix.
    fn ordered_key(self) -> u64;

    /// Inverse of [`Real::ordered_key`].
    fn from_ordered_key(key: u64) -> Self;

    /// Bits of the key.
    const KEY_BITS: u32;

    /// *Vector*: `self · a + b`, fused where `FMA` says that the instruction exists.
    fn madd<const FMA: bool>(self, a: Self, b: Self) -> Self;

    /// *Vector*: the exponential, within 2 ulp over the whole range; arguments whose result would be subnormal give 0, −∞ gives
    /// exactly 0, overflow gives ∞, NaN stays NaN.
    fn vexp<const FMA: bool>(self) -> Self;

    /// *Vector*: `ln(1 + x)` for `0 ≤ x ≤ 1`, within 3 ulp.
    fn vln1p_unit<const FMA: bool>(self) -> Self;

    /// *Vector*: the larger of two numbers; the second if the first is NaN.
    fn vmax(self, other: Self) -> Self;
}

impl Real for f32 {
    const NAME: &'static str = "f32";
    const KEY_BITS: u32 = 32;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn ordered_key(self) -> u64 {
        let bits = self.to_bits();
        u64::from(if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits })
    }

    #[inline(always)]
    fn from_ordered_key(key: u64) -> Self {
        let key = key as u32;
        f32::from_bits(if key >> 31 == 1 { key & 0x7fff_ffff } else { !key })
    }

    #[inline(always)]
    fn madd<const FMA: bool>(self, a: Self, b: Self) -> Self {
        if FMA { f32::mul_add(self, a, b) } else { self * a + b }
    }

    #[inline(always)]
    fn vexp<const FMA: bool>(self) -> Self {
        // 2^n · e^r with n = round(x / ln 2), |r| ≤ ln 2 / 2. The polynomial is our own minimax fit in relative error
        // (3e-9) with the constant and linear terms held at 1.
        const MAGIC: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to an integer in the low mantissa bits
        const LN2_HI: f32 = 355.0 / 512.0;
        const LN2_LO: f32 = -2.121_944_4e-4;
        let x = if self > 128.0 { 128.0 } else { self };
        let x = if x < -104.0 { -104.0 } else { x };
        let shifted = x.madd::<FMA>(std::f32::consts::LOG2_E, MAGIC);
        let n = shifted - MAGIC;
        let r = (-n).madd::<FMA>(LN2_HI, x);
        let r = (-n).madd::<FMA>(LN2_LO, r);
        let p = 1.381_459_9e-3_f32;
        let p = p.madd::<FMA>(r, 8.368_717e-3);
        let p = p.madd::<FMA>(r, 4.166_838_6e-2);
        let p = p.madd::<FMA>(r, 1.666_652_1e-1);
        let p = p.madd::<FMA>(r, 4.999_999_3e-1);
        let p = p.madd::<FMA>(r, 1.0);
        let p = p.madd::<FMA>(r, 1.0);
        // Scale in two steps so that n = 128 does not leave the exponent's range.
        let biased = (shifted.to_bits() as i32) - (MAGIC.to_bits() as i32);
        let half = biased >> 1;
        let a = f32::from_bits(((half + 127) as u32) << 23);
        let b = f32::from_bits(((biased - half + 127) as u32) << 23);
        let y = p * a * b;
        let y = if self < -87.336_54 { 0.0 } else { y };
        let y = if self > 88.722_83 { f32::INFINITY } else { y };
        if self.is_nan() { self } else { y }
    }

    #[inline(always)]
    fn vln1p_unit<const FMA: bool>(self) -> Self {
        // ln(1 + x) = 2 artanh(s), s = x / (2 + x) in [0, 1/3]; the series in s² converges by 1/9 a term.
        let s = self / (self + 2.0);
        let q = s * s;
        let p = 1.0 / 15.0_f32;
        let p = p.madd::<FMA>(q, 1.0 / 13.0);
        let p = p.madd::<FMA>(q, 1.0 / 11.0);
        let p = p.madd::<FMA>(q, 1.0 / 9.0);
        let p = p.madd::<FMA>(q, 1.0 / 7.0);
        let p = p.madd::<FMA>(q, 1.0 / 5.0);
        let p = p.madd::<FMA>(q, 1.0 / 3.0);
        let p = p.madd::<FMA>(q, 1.0);
        2.0 * s * p
    }

    #[inline(always)]
    fn vmax(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

impl Real for f64 {
    const NAME: &'static str = "f64";
    const KEY_BITS: u32 = 64;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn ordered_key(self) -> u64 {
        let bits = self.to_bits();
        if bits >> 63 == 0 { bits | (1 << 63) } else { !bits }
    }

    #[inline(always)]
    fn from_ordered_key(key: u64) -> Self {
        f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
    }

    #[inline(always)]
    fn madd<const FMA: bool>(self, a: Self, b: Self) -> Self {
        if FMA { f64::mul_add(self, a, b) } else { self * a + b }
    }

    #[inline(always)]
    fn vexp<const FMA: bool>(self) -> Self {
        // As for f32; Taylor to degree 13 leaves 4e-18 at |r| = ln 2 / 2.
        const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52
        const LN2_HI: f64 = 6.931_471_803_691_238e-1; // 33 leading bits of ln 2, so that n · LN2_HI is exact
        const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
        const C: [f64; 12] = [
            1.0 / 6_227_020_800.0,
            1.0 / 479_001_600.0,
            1.0 / 39_916_800.0,
            1.0 / 3_628_800.0,
            1.0 / 362_880.0,
            1.0 / 40_320.0,
            1.0 / 5_040.0,
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            0.5,
        ];
        let x = if self > 1024.0 { 1024.0 } else { self };
        let x = if x < -1000.0 { -1000.0 } else { x };
        let shifted = x.madd::<FMA>(std::f64::consts::LOG2_E, MAGIC);
        let n = shifted - MAGIC;
        let r = (-n).madd::<FMA>(LN2_HI, x);
        let r = (-n).madd::<FMA>(LN2_LO, r);
        let mut p = C[0];
        for c in &C[1..] {
            p = p.madd::<FMA>(r, *c);
        }
        let p = p.madd::<FMA>(r, 1.0);
        let p = p.madd::<FMA>(r, 1.0);
        let biased = (shifted.to_bits() as i64) - (MAGIC.to_bits() as i64);
        let half = biased >> 1;
        let a = f64::from_bits(((half + 1023) as u64) << 52);
        let b = f64::from_bits(((biased - half + 1023) as u64) << 52);
        let y = p * a * b;
        let y = if self < -708.396_418_532_264_1 { 0.0 } else { y };
        let y = if self > 709.782_712_893_384 { f64::INFINITY } else { y };
        if self.is_nan() { self } else { y }
    }

    #[inline(always)]
    fn vln1p_unit<const FMA: bool>(self) -> Self {
        let s = self / (self + 2.0);
        let q = s * s;
        let mut p = 1.0 / 33.0;
        let mut odd = 31.0;
        while odd >= 1.0 {
            p = p.madd::<FMA>(q, 1.0 / odd);
            odd -= 2.0;
        }
        2.0 * s * p
    }

    #[inline(always)]
    fn vmax(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
}

/// `ln(1 + e^u)` without overflow, and `-0`-free at −∞.
pub fn softplus<T: Real>(u: T) -> T {
    u.max(T::zero()) + (-u.abs()).exp().ln_1p()
}

/// The logistic function `1 / (1 + e^{-u})`, exact to rounding on both sides.
pub fn sigmoid<T: Real>(u: T) -> T {
    let e = (-u.abs()).exp();
    let tail = e / (T::one() + e);
    if u >= T::zero() { T::one() / (T::one() + e) } else { tail }
}

/// The stand-in for `e^u` that grows linearly: `s(u) = 1 + u` for `u ≥ 0`, `1/(1 − u)` below, so that `s(−u) = 1/s(u)`; 0 at −∞.
/// Prieto et al., Grokking at the Edge of Numerical Stability (arXiv 2501.04697).
#[inline(always)]
pub fn linear_exp<T: Real>(u: T) -> T {
    let away = T::one() + u.abs();
    if u >= T::zero() { away } else { T::one() / away }
}

/// `ln s(u) = sign(u) ln(1 + |u|)` of [`linear_exp`], with slope `1/(1 + |u|)` everywhere, also at 0.
pub fn ln_linear_exp<T: Real>(u: T) -> T {
    let far = u.abs().ln_1p();
    if u >= T::zero() { far } else { -far }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ulps32(found: f32, exact: f64) -> f64 {
        let spacing = f64::from(f32::from_bits((exact as f32).abs().to_bits() + 1)) - f64::from((exact as f32).abs());
        (f64::from(found) - exact).abs() / spacing
    }

    #[test]
    fn exponential_is_within_two_ulp() {
        let mut worst = [0.0f64; 2];
        let mut x = -87.3f32;
        while x < 88.7 {
            let exact = f64::from(x).exp();
            worst[0] = worst[0].max(ulps32(x.vexp::<true>(), exact));
            worst[1] = worst[1].max(ulps32(x.vexp::<false>(), exact));
            x += 0.000_731;
        }
        assert!(worst[0] <= 1.5 && worst[1] <= 2.0, "f32 worst error {worst:?} ulp");
        let mut worst64 = 0.0f64;
        let mut x = -708.0f64;
        while x < 709.0 {
            let exact = x.exp(); // itself within 1 ulp
            worst64 = worst64.max((x.vexp::<true>() - exact).abs() / (exact * f64::EPSILON));
            worst64 = worst64.max((x.vexp::<false>() - exact).abs() / (exact * f64::EPSILON));
            x += 0.007_31;
        }
        assert!(worst64 <= 2.5, "f64 worst error {worst64} ulp");
    }

    #[test]
    fn exponential_at_the_ends() {
        fn check<T: Real>() {
            assert_eq!(T::neg_infinity().vexp::<true>(), T::zero());
            assert_eq!(T::infinity().vexp::<true>(), T::infinity());
            assert_eq!(T::of(-1e30).vexp::<true>(), T::zero());
            assert_eq!(T::zero().vexp::<true>(), T::one());
            assert!(T::nan().vexp::<true>().is_nan());
        }
        check::<f32>();
        check::<f64>();
    }

    #[test]
    fn logarithm_is_accurate_down_to_tiny_arguments() {
        for k in 0..20_000 {
            let x = (f64::from(k) / 20_000.0).powi(3).max(1e-30);
            let found = (x as f32).vln1p_unit::<true>();
            assert!(ulps32(found, f64::from(x as f32).ln_1p()) <= 3.0, "{x}: {found}");
            let exact = x.ln_1p();
            assert!((x.vln1p_unit::<true>() - exact).abs() <= 3.0 * f64::EPSILON * exact, "{x}");
        }
    }

    #[test]
    fn keys_keep_the_order() {
        let values = [f32::NEG_INFINITY, -3.5, -1e-20, -0.0, 0.0, 1e-30, 2.0, f32::INFINITY];
        for pair in values.windows(2) {
            assert!(pair[0].ordered_key() < pair[1].ordered_key());
            assert!(f64::from(pair[0]).ordered_key() < f64::from(pair[1]).ordered_key());
        }
        for v in values {
            assert_eq!(f32::from_ordered_key(v.ordered_key()).to_bits(), v.to_bits());
            assert_eq!(f64::from_ordered_key(f64::from(v).ordered_key()), f64::from(v));
        }
    }
}
