//! Zeroed memory, in large pages where the system has them.
//!
//! Weights are read once per run, from the first byte to the last: in pages of 4 KiB that is an address translation for
//! every page, and making them ready takes longer than filling them. ResNet-50 on AVX-512 VNNI: 89 ms to load in small
//! pages, 75 ms in large ones; 2 to 3 % of every run.
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// A cache line.
const ALIGN: usize = 64;
/// From here on the system is asked for pages instead of the allocator.
#[cfg(all(feature = "std", unix, not(miri)))]
const MAPPED: usize = 1 << 20;

/// Zeroed bytes, aligned to a cache line: for packed weights, and for arenas.
#[derive(Debug)]
pub struct Pages(Memory);

#[derive(Debug)]
enum Memory {
    #[cfg(all(feature = "std", unix, not(miri)))]
    Mapped(memmap2::MmapMut),
    Heap {
        data: Vec<u8>,
        start: usize,
    },
}

impl Pages {
    /// `len` zeros. What is never written takes no memory where the system maps pages.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        #[cfg(all(feature = "std", unix, not(miri)))]
        if len >= MAPPED
            && let Ok(map) = memmap2::MmapMut::map_anon(len)
        {
            // Without large pages small ones serve.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self(Memory::Mapped(map));
        }
        let data = alloc::vec![0; len + ALIGN];
        let start = data.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self(Memory::Heap { data, start })
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            #[cfg(all(feature = "std", unix, not(miri)))]
            Memory::Mapped(map) => map,
            Memory::Heap { data, start } => &data[*start..][..data.len() - ALIGN],
        }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            #[cfg(all(feature = "std", unix, not(miri)))]
            Memory::Mapped(map) => map,
            Memory::Heap { data, start } => {
                let len = data.len() - ALIGN;
                &mut data[*start..][..len]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zeroed_aligned_and_writable() {
        for len in [0, 1, 100, (3 << 20) + 5] {
            let mut pages = Pages::zeroed(len);
            assert_eq!(pages.len(), len);
            assert_eq!(pages.as_ptr().align_offset(ALIGN), 0);
            assert!(pages.iter().all(|&byte| byte == 0));
            pages.fill(7);
            assert!(pages.iter().all(|&byte| byte == 7));
        }
    }
}
