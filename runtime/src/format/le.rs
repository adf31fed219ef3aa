//! Little-endian words in byte slices: the file may begin at any address, so nothing is read through a cast.

/// Reads word `index`; the caller has checked the length.
pub(crate) fn word(bytes: &[u8], index: usize) -> u32 {
    let at = 4 * index;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// An array of i32 in the data section.
#[derive(Clone, Copy, Debug)]
pub struct I32s<'m>(pub(crate) &'m [u8]);

impl<'m> I32s<'m> {
    /// Number of values.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `index`.
    ///
    /// # Panics
    ///
    /// If `index >= len()`.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> i32 {
        word(self.0, index) as i32
    }

    /// All values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i32> + use<'m> {
        self.0.as_chunks::<4>().0.iter().map(|&bytes| i32::from_le_bytes(bytes))
    }
}

/// An array of f32 in the data section.
#[derive(Clone, Copy, Debug)]
pub struct F32s<'m>(pub(crate) &'m [u8]);

impl<'m> F32s<'m> {
    /// Number of values.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `index`.
    ///
    /// # Panics
    ///
    /// If `index >= len()`.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> f32 {
        f32::from_bits(word(self.0, index))
    }

    /// All values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = f32> + use<'m> {
        self.0.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes))
    }
}
