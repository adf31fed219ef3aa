//! Prepared images, in order, decoded ahead in parallel.

use std::collections::VecDeque;

use ndarray::ArrayD;
use rayon::prelude::*;

use super::{Content, Dataset, Pixels, Preprocess};
use crate::error::{Error, Result};

/// One image, ready for both executors.
#[derive(Clone, Debug)]
pub struct Sample {
    /// File or record, for messages.
    pub name: String,
    /// Class index, where the data set knows it.
    pub label: Option<usize>,
    /// Height and width of the image before it was brought to the network's size.
    pub original: [usize; 2],
    /// RGB bytes at the network's size; `None` when the data set holds normalised tensors.
    pub pixels: Option<Pixels>,
    /// The same pixels, normalised: `[1, 3, H, W]`.
    pub tensor: ArrayD<f32>,
}

/// Iterator over the samples of a [`Dataset`].
pub struct Samples<'a> {
    dataset: &'a Dataset,
    preprocess: &'a Preprocess,
    next: usize,
    ready: VecDeque<Result<Sample>>,
}

impl<'a> Samples<'a> {
    pub(super) fn new(dataset: &'a Dataset, preprocess: &'a Preprocess) -> Self {
        Self { dataset, preprocess, next: 0, ready: VecDeque::new() }
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            let last = (self.next + 2 * rayon::current_num_threads()).min(self.dataset.len());
            let batch: Vec<_> = (self.next..last)
                .into_par_iter()
                .map(|i| prepare(self.dataset, self.preprocess, i))
                .collect();
            self.next = last;
            self.ready.extend(batch);
        }
        self.ready.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.ready.len() + self.dataset.len() - self.next;
        (n, Some(n))
    }
}

impl ExactSizeIterator for Samples<'_> {}

fn prepare(dataset: &Dataset, preprocess: &Preprocess, index: usize) -> Result<Sample> {
    let record = dataset.read(index)?;
    let (original, pixels, tensor) = match record.content {
        Content::Pixels(image) => {
            let pixels = preprocess.fit(&image);
            let tensor = preprocess.normalize(&pixels);
            ([image.height, image.width], Some(pixels), tensor)
        }
        Content::Tensor(tensor) => {
            let [h, w] = preprocess.size;
            if tensor.shape() != [1, 3, h, w] {
                let s = tensor.shape();
                return Err(Error::source(
                    "input",
                    format!("holds {}x{}x{} images, the network takes 3x{h}x{w}", s[1], s[2], s[3]),
                )
                .in_file(dataset.path()));
            }
            ([h, w], None, tensor)
        }
    };
    Ok(Sample { name: record.name, label: record.label, original, pixels, tensor })
}
