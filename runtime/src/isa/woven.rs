//! Products of pairs of activations that stay in their half of a vector, for AVX2: written out for the reason that
//! [`super::pairs`] is, and with weights as operands in memory, since the sums take the registers.

use super::{Places, WOVEN};
use core::arch::asm;
use core::arch::x86_64::*;

/// Activations of a pixel by four vectors of weights.
macro_rules! pixel {
    ($at:literal $a:ident $b:ident $c:ident $d:ident) => {
        concat!(
            "vmovdqu {x}, ymmword ptr [",
            $at,
            "]\n",
            "vpshufb {x}, {x}, ymmword ptr [{w}]\n",
            "vpxor {x}, {x}, ymmword ptr [{w} + 32]\n",
            "vpmaddubsw {p}, {x}, ymmword ptr [{w} + 64]\n",
            "vpmaddubsw {q}, {x}, ymmword ptr [{w} + 96]\n",
            "vpmaddwd {p}, {p}, {ones}\n",
            "vpmaddwd {q}, {q}, {ones}\n",
            "vpaddd {",
            stringify!($a),
            "}, {",
            stringify!($a),
            "}, {p}\n",
            "vpaddd {",
            stringify!($b),
            "}, {",
            stringify!($b),
            "}, {q}\n",
            "vpmaddubsw {p}, {x}, ymmword ptr [{w} + 128]\n",
            "vpmaddubsw {q}, {x}, ymmword ptr [{w} + 160]\n",
            "vpmaddwd {p}, {p}, {ones}\n",
            "vpmaddwd {q}, {q}, {ones}\n",
            "vpaddd {",
            stringify!($c),
            "}, {",
            stringify!($c),
            "}, {p}\n",
            "vpaddd {",
            stringify!($d),
            "}, {",
            stringify!($d),
            "}, {q}\n",
        )
    };
}

/// All steps of so many pixels.
macro_rules! pixels {
    ($name:ident, $count:literal: $($pixel:literal $at:literal $from:ident $a:ident $b:ident $c:ident $d:ident)*) => {
        /// # Safety
        ///
        /// There is a step or more, each of [`WOVEN`] bytes, and from every place on, and `next` bytes behind it for every
        /// further pixel, 32 bytes can be read.
        #[target_feature(enable = "avx2")]
        #[inline]
        unsafe fn $name(acc: &mut [[__m256i; 4]; $count], x: *const u8, next: usize, places: &[usize], w: *const i8) {
            // SAFETY: these instructions are of AVX2 and read what the caller vouches for.
            unsafe {
                asm!(
                    "2:",
                    "mov {at}, qword ptr [{places}]",
                    $(pixel!($at $a $b $c $d),)*
                    "add {places}, 8",
                    "add {w}, {step}",
                    "dec {steps}",
                    "jnz 2b",
                    $(
                        $a = inout(ymm_reg) acc[$pixel][0],
                        $b = inout(ymm_reg) acc[$pixel][1],
                        $c = inout(ymm_reg) acc[$pixel][2],
                        $d = inout(ymm_reg) acc[$pixel][3],
                        $from = in(reg) x.wrapping_add($pixel * next),
                    )*
                    x = out(ymm_reg) _,
                    p = out(ymm_reg) _,
                    q = out(ymm_reg) _,
                    ones = in(ymm_reg) _mm256_set1_epi16(1),
                    at = out(reg) _,
                    step = const WOVEN,
                    w = inout(reg) w => _,
                    places = inout(reg) places.as_ptr() => _,
                    steps = inout(reg) places.len() => _,
                    options(readonly, nostack),
                );
            }
        }
    };
}

pixels!(one, 1: 0 "{first} + {at}" first a b c d);
pixels!(two, 2: 0 "{first} + {at}" first a b c d 1 "{second} + {at}" second e f g h);

/// Adds the products of pixels, as [`super::Isa::woven`] says.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn pixels<const P: usize>(
    acc: &mut [[__m256i; 4]; P],
    x: &[u8],
    next: usize,
    places: &Places,
    w: &[i8],
) {
    const { assert!(P == 1 || P == 2) };
    let more = next.checked_mul(P - 1).expect("pixels are in memory");
    let places = places.within(x.len(), more, 32);
    assert!(w.len() / WOVEN >= places.len(), "a step for every place");
    if places.is_empty() {
        return;
    }
    let (x, w, acc) = (x.as_ptr(), w.as_ptr(), acc.as_mut_ptr());
    // SAFETY: what is read is in `x` and in `w`, by the assertions; `acc` has `P` pixels.
    unsafe {
        match P {
            1 => one(&mut *acc.cast(), x, next, places, w),
            _ => two(&mut *acc.cast(), x, next, places, w),
        }
    }
}
