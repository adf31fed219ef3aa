//! Reads a tensor out of its storage: sizes, strides and offset are checked, then elements gathered.

use ndarray::{ArrayD, IxDyn};

use super::pickle::{TensorRef, Value, Values};
use super::storage::{Container, StorageType, Storages};
use crate::checkpoint::NamedTensor;
use crate::error::{Error, Result};

/// A checked view: every element lies inside the storage and no two coincide.
#[derive(Debug, PartialEq, Eq)]
struct View {
    offset: usize,
    sizes: Vec<usize>,
    strides: Vec<usize>,
    elements: usize,
}

/// Reads the tensor named `name`.
///
/// # Errors
/// [`Error::Source`] at `name` for a view that is negative, overflows, overlaps itself or leaves the storage.
pub(super) fn read<C: Container>(
    name: &str,
    tensor: &TensorRef,
    values: &Values,
    storages: &mut Storages<C>,
) -> Result<NamedTensor> {
    let Value::Storage(storage) = values.get(tensor.storage) else {
        return Err(Error::source(name, "a tensor without storage"));
    };
    let (bytes, range) = storages.get(storage)?;
    let bytes = &bytes[range];
    let element = match tensor.element {
        Some(element) if storage.element == StorageType::Untyped || storage.element == element => {
            element
        }
        None if storage.element != StorageType::Untyped => storage.element,
        _ => {
            return Err(Error::source(name, "element types of tensor and storage contradict"));
        }
    };
    let view = View::new(tensor, bytes.len() / element.size())
        .map_err(|detail| Error::source(name, detail))?;
    storages.spend(view.elements).map_err(|_| {
        Error::source(name, "tensors that share storages expand to many times the size of the file")
    })?;
    let data = view.gather(bytes, element);
    let array = ArrayD::from_shape_vec(IxDyn(&view.sizes), data)
        .map_err(|e| Error::source(name, format!("shape {:?}: {e}", view.sizes)))?;
    Ok(NamedTensor { dtype: element.dtype(), array })
}

impl View {
    /// Checks a view into a storage of `count` elements.
    fn new(tensor: &TensorRef, count: usize) -> Result<Self, String> {
        let TensorRef { sizes, strides, offset, .. } = tensor;
        if sizes.len() != strides.len() {
            return Err(format!("sizes {sizes:?} with strides {strides:?}"));
        }
        let unsigned = |what: &str, list: &[i64]| {
            list.iter()
                .map(|&n| usize::try_from(n).map_err(|_| format!("a negative {what} in {list:?}")))
                .collect::<Result<Vec<usize>, String>>()
        };
        let offset = unsigned("offset", &[*offset])?[0];
        let (sizes, strides) = (unsigned("size", sizes)?, unsigned("stride", strides)?);
        let too_large = || format!("the size of {sizes:?} overflows");
        // Empty dimensions must not hide an overflow from the array that is made of them.
        sizes
            .iter()
            .filter(|&&n| n != 0)
            .try_fold(1usize, |all, &n| all.checked_mul(n))
            .filter(|&all| isize::try_from(all).is_ok())
            .ok_or_else(too_large)?;
        let elements: usize = sizes.iter().product();
        if elements == 0 {
            return Ok(Self { offset: 0, sizes, strides, elements });
        }
        let last = sizes.iter().zip(&strides).try_fold(offset, |at, (&size, &stride)| {
            (size - 1).checked_mul(stride).and_then(|step| at.checked_add(step))
        });
        let last = last.ok_or_else(|| format!("strides {strides:?} overflow"))?;
        if last >= count {
            return Err(format!(
                "shape {sizes:?} with strides {strides:?} at {offset} needs {} elements, its storage has {count}",
                last.saturating_add(1)
            ));
        }
        let mut dims: Vec<_> = sizes.iter().zip(&strides).filter(|&(&size, _)| size > 1).collect();
        dims.sort_by_key(|&(_, &stride)| stride);
        let mut reach = 0;
        for (&size, &stride) in dims {
            if stride <= reach {
                return Err(format!(
                    "shape {sizes:?} with strides {strides:?} overlaps itself (an expanded tensor?); \
                     save it after .contiguous()"
                ));
            }
            reach += (size - 1) * stride;
        }
        Ok(Self { offset, sizes, strides, elements })
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.sizes.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }

    /// Elements in row-major order.
    fn gather(&self, bytes: &[u8], element: StorageType) -> Vec<f32> {
        if self.elements == 0 {
            return Vec::new();
        }
        let size = element.size();
        if self.is_contiguous() {
            return element
                .decode(&bytes[self.offset * size..(self.offset + self.elements) * size]);
        }
        let mut index = vec![0; self.sizes.len()];
        let mut at = self.offset;
        let mut gathered = Vec::with_capacity(self.elements * size);
        loop {
            gathered.extend_from_slice(&bytes[at * size..(at + 1) * size]);
            let mut d = self.sizes.len();
            loop {
                if d == 0 {
                    return element.decode(&gathered);
                }
                d -= 1;
                index[d] += 1;
                at += self.strides[d];
                if index[d] < self.sizes[d] {
                    break;
                }
                at -= self.strides[d] * self.sizes[d];
                index[d] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::pickle;

    fn view(sizes: &[i64], strides: &[i64], offset: i64, count: usize) -> Result<View, String> {
        // Any id will do: the storage is not looked at here.
        let storage = pickle::read(b"N.", pickle::Globals::Refuse).unwrap().root;
        let (sizes, strides) = (sizes.to_vec(), strides.to_vec());
        View::new(&TensorRef { storage, offset, sizes, strides, element: None }, count)
    }

    fn gather(sizes: &[i64], strides: &[i64], offset: i64) -> Vec<f32> {
        let bytes: Vec<u8> = (0..24).collect();
        view(sizes, strides, offset, 24).unwrap().gather(&bytes, StorageType::Byte)
    }

    #[test]
    fn contiguous_transposed_and_offset_views_are_gathered() {
        assert_eq!(gather(&[2, 3], &[3, 1], 0), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(gather(&[3, 2], &[1, 3], 0), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(gather(&[2, 2], &[3, 1], 4), [4., 5., 7., 8.]);
        assert_eq!(gather(&[2, 2, 2], &[1, 4, 12], 1), [1., 13., 5., 17., 2., 14., 6., 18.]);
        assert_eq!(gather(&[], &[], 5), [5.]);
        assert_eq!(gather(&[1, 2], &[99, 1], 3), [3., 4.]);
        assert!(gather(&[0, 3], &[3, 1], 0).is_empty());
    }

    #[test]
    fn the_last_element_is_allowed_and_one_more_is_not() {
        assert!(view(&[2, 12], &[12, 1], 0, 24).is_ok());
        assert!(view(&[23], &[1], 1, 24).is_ok());
        let message = view(&[24], &[1], 1, 24).unwrap_err();
        assert!(message.contains("needs 25 elements") && message.contains("has 24"), "{message}");
    }

    #[test]
    fn overlapping_strides_are_refused() {
        for (sizes, strides) in
            [(&[4, 4], &[0, 1]), (&[3, 3], &[1, 1]), (&[2, 3], &[2, 1]), (&[2, 2], &[3, 3])]
        {
            let message = view(sizes, strides, 0, 24).unwrap_err();
            assert!(message.contains("overlaps"), "{message}");
        }
    }

    #[test]
    fn negative_numbers_are_refused() {
        assert!(view(&[-1], &[1], 0, 24).unwrap_err().contains("negative size"));
        assert!(view(&[2], &[-1], 1, 24).unwrap_err().contains("negative stride"));
        assert!(view(&[2], &[1], -1, 24).unwrap_err().contains("negative offset"));
    }

    #[test]
    fn products_that_overflow_are_refused() {
        let big = 1 << 40;
        assert!(view(&[big, big], &[1, 1], 0, 24).unwrap_err().contains("overflow"));
        assert!(view(&[big, big, 0], &[1, 1, 1], 0, 24).unwrap_err().contains("overflow"));
        assert!(view(&[4], &[i64::MAX], 0, 24).unwrap_err().contains("overflow"));
        assert!(view(&[2, 2], &[i64::MAX, i64::MAX], i64::MAX, 24).is_err());
    }

    #[test]
    fn sizes_and_strides_must_pair() {
        assert!(view(&[2, 2], &[1], 0, 24).unwrap_err().contains("strides"));
    }
}
