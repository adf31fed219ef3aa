//! The choice of an instruction set, made once and carried as a value.

#[cfg(target_arch = "aarch64")]
use super::Neon;
#[cfg(target_arch = "x86_64")]
use super::{Avx2, Avx512Vnni, AvxVnni};
use super::{Isa, Kernel, Scalar};

/// An instruction set that this machine has.
///
/// ```
/// use kenar::isa::Platform;
/// let best = Platform::detect();
/// assert_eq!(Platform::by_name(best.name()), Some(best));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl Platform {
    /// The portable implementation, present everywhere.
    #[must_use]
    pub const fn scalar() -> Self {
        Self(Set::Scalar(Scalar))
    }

    /// The fastest set that this machine has. Without the feature `std`, what the target is compiled for.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::scalar())
    }

    /// Every set that this machine has, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let scalar = core::iter::once(Set::Scalar(Scalar));
        #[cfg(target_arch = "x86_64")]
        let vector = [
            Avx2::new().map(Set::Avx2),
            AvxVnni::new().map(Set::AvxVnni),
            Avx512Vnni::new().map(Set::Avx512Vnni),
        ];
        #[cfg(target_arch = "aarch64")]
        let vector = [Neon::new().map(Set::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vector: [Option<Set>; 0] = [];
        let sets = scalar.chain(vector.into_iter().flatten()).map(Self);
        #[cfg(all(test, feature = "std"))]
        let sets = sets.filter(|set| tests::wanted(set.name()));
        sets
    }

    /// The set of that name, if this machine has it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::available().find(|p| p.name() == name)
    }

    /// `scalar`, `avx2`, `avxvnni`, `avx512vnni` or `neon`.
    #[must_use]
    pub fn name(self) -> &'static str {
        struct Name;
        impl Kernel for Name {
            type Output = &'static str;
            #[inline(always)]
            fn eval<I: Isa>(self, _: I) -> &'static str {
                I::NAME
            }
        }
        self.run(Name)
    }

    /// What an i8 value is xored with in the arena: `0x80` where the dot product wants unsigned bytes, otherwise 0.
    #[must_use]
    pub fn act_xor(self) -> u8 {
        struct Xor;
        impl Kernel for Xor {
            type Output = u8;
            #[inline(always)]
            fn eval<I: Isa>(self, _: I) -> u8 {
                I::BIAS as u8
            }
        }
        self.run(Xor)
    }

    /// Runs a kernel compiled for this set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Set::Scalar(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni(isa) => isa.enter(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni(isa) => isa.enter(kernel),
            #[cfg(target_arch = "aarch64")]
            Set::Neon(isa) => isa.enter(kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether tests run on a set: `KENAR_TEST_SETS`, where it is given, names those they run on. Emulators are slow,
    /// and need not repeat what the processor itself has run.
    #[cfg(feature = "std")]
    pub(super) fn wanted(name: &str) -> bool {
        std::env::var("KENAR_TEST_SETS").map_or(true, |sets| sets.split(',').any(|set| set == name))
    }

    #[cfg(feature = "std")]
    #[test]
    fn sets_asked_for_are_there() {
        let sets = std::env::var("KENAR_TEST_SETS").unwrap_or("scalar".into());
        for set in sets.split(',') {
            assert!(Platform::by_name(set).is_some(), "this machine has no {set}");
        }
    }

    #[test]
    fn names_find_their_platform() {
        for platform in Platform::available() {
            assert_eq!(Platform::by_name(platform.name()), Some(platform));
        }
        assert_eq!(Platform::by_name("scalar"), Some(Platform::scalar()));
        assert_eq!(Platform::by_name("avx1024"), None);
    }
}
