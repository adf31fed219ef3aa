//! Streaming calibration: images in, statistics of every value out.

use std::collections::HashMap;

use ndarray::{Array2, ArrayD};
use rayon::prelude::*;

use super::channels::Channels;
use super::histogram::Histogram;
use super::patches::{Geometry, Patches, row_major};
use super::range::{Method, Range, choose};
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::graph::{Graph, ValueId};

/// How ranges are found.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How the i8 range of a tensor is chosen.
    pub method: Method,
}

/// What is known of every value and every layer of one graph.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// How ranges are chosen.
    pub method: Method,
    /// Images seen.
    pub images: usize,
    histograms: Vec<Histogram>,
    /// By the value that the convolution or linear layer makes.
    patches: HashMap<ValueId, Patches>,
    /// Of what convolutions read.
    channels: HashMap<ValueId, Channels>,
}

/// A layer with weights.
struct Layer {
    input: ValueId,
    output: ValueId,
    geometry: Geometry,
}

/// What one image shows.
struct Observed {
    histograms: Vec<Histogram>,
    patches: Vec<Array2<f32>>,
}

/// Runs every image through the float network and collects statistics of every value.
///
/// Memory is that of a few images, one histogram per value and the covariance of each layer's input, whatever their
/// number. The result depends on the images and their order alone, not on the number of threads. `progress` hears the
/// number of images done.
///
/// # Errors
/// What the iterator yields; [`Error::Input`] when there is no image or one has the wrong shape; [`Error::Graph`] with
/// the node's name when a value is not finite.
pub fn calibrate(
    graph: &Graph,
    images: impl Iterator<Item = Result<ArrayD<f32>>>,
    options: &Options,
    progress: impl FnMut(usize),
) -> Result<Calibration> {
    calibrate_sizes([(graph, images)], options, progress)
}

/// The same over one network at several input sizes: each graph has its own images, and all statistics are summed.
///
/// # Errors
/// As [`calibrate`]; [`Error::Input`] when the graphs are not one network or there is none.
pub fn calibrate_sizes<'g, I: Iterator<Item = Result<ArrayD<f32>>>>(
    sizes: impl IntoIterator<Item = (&'g Graph, I)>,
    options: &Options,
    mut progress: impl FnMut(usize),
) -> Result<Calibration> {
    let mut sums: Option<(Calibration, &Graph)> = None;
    for (graph, images) in sizes {
        let (sums, first) =
            sums.get_or_insert_with(|| (Calibration::empty(graph, options.method), graph));
        if !sums.fits(graph) {
            return Err(Error::Input("the sizes are not those of one network".into()));
        }
        sums.add(graph, images, &mut progress)?;
        sums.check(first)?;
    }
    let images = |sums: &Calibration| sums.images > 0;
    let sums = sums.map(|(sums, _)| sums).filter(images);
    sums.ok_or_else(|| Error::Input("calibration needs at least one image, got none".into()))
}

fn layers(graph: &Graph) -> Vec<Layer> {
    let layer = |node: &crate::graph::Node| {
        let input = *node.inputs.first()?;
        let geometry = Geometry::of(node, graph.shape(input))?;
        Some(Layer { input, output: node.output, geometry })
    };
    graph.nodes().iter().filter_map(layer).collect()
}

fn observe(
    executor: &Executor,
    layers: &[Layer],
    channels: &HashMap<ValueId, Channels>,
    index: usize,
    image: &ArrayD<f32>,
) -> Result<Observed> {
    let mut histograms = vec![Histogram::default(); executor.graph().values().len()];
    let mut patches = vec![Array2::default((0, 0)); layers.len()];
    executor.run_one(image.view(), &mut |value, array| {
        let values = row_major(array);
        histograms[value.0].add(&values);
        if let Some(channels) = channels.get(&value) {
            channels.add(&values);
        }
        for (layer, patches) in layers.iter().zip(&mut patches).filter(|(l, _)| l.input == value) {
            *patches = layer.geometry.sample(index, &values);
        }
    })?;
    Ok(Observed { histograms, patches })
}

impl Calibration {
    /// Nothing seen yet.
    fn empty(graph: &Graph, method: Method) -> Self {
        let layers = layers(graph);
        let channels =
            |l: &Layer| (l.input, Channels::new(graph.shape(l.input).get(1).copied().unwrap_or(1)));
        Self {
            method,
            images: 0,
            histograms: vec![Histogram::default(); graph.values().len()],
            patches: layers.iter().map(|l| (l.output, Patches::new(&l.geometry))).collect(),
            channels: layers.iter().map(channels).collect(),
        }
    }

    /// Adds what images show.
    fn add(
        &mut self,
        graph: &Graph,
        images: impl Iterator<Item = Result<ArrayD<f32>>>,
        progress: &mut impl FnMut(usize),
    ) -> Result<()> {
        let executor = Executor::new(graph)?;
        let layers = layers(graph);
        let mut patches: Vec<(usize, &mut Patches)> = {
            let at: HashMap<ValueId, usize> =
                layers.iter().enumerate().map(|(i, l)| (l.output, i)).collect();
            self.patches.iter_mut().filter_map(|(v, p)| Some((*at.get(v)?, p))).collect()
        };
        let mut images = images.peekable();
        while images.peek().is_some() {
            let batch =
                images.by_ref().take(rayon::current_num_threads()).collect::<Result<Vec<_>>>()?;
            let (count, channels) = (self.images, &self.channels);
            let observed = batch
                .par_iter()
                .enumerate()
                .map(|(i, image)| observe(&executor, &layers, channels, count + i, image))
                .collect::<Result<Vec<_>>>()?;
            self.histograms.par_iter_mut().enumerate().for_each(|(i, sum)| {
                observed.iter().for_each(|one| sum.merge(&one.histograms[i]));
            });
            // Sums of floats depend on their order: image by image.
            patches.par_iter_mut().for_each(|(i, sum)| {
                observed.iter().for_each(|one| sum.add(&one.patches[*i].view()));
            });
            self.images += batch.len();
            progress(self.images);
        }
        Ok(())
    }

    /// The distribution of a value's elements.
    #[must_use]
    pub fn histogram(&self, value: ValueId) -> &Histogram {
        &self.histograms[value.0]
    }

    /// What the windows of a convolution or linear layer saw, by the value it makes.
    #[must_use]
    pub fn patches(&self, output: ValueId) -> Option<&Patches> {
        self.patches.get(&output)
    }

    /// The distribution of each channel of a value that a convolution or linear layer reads.
    #[must_use]
    pub fn channels(&self, value: ValueId) -> Option<&Channels> {
        self.channels.get(&value)
    }

    /// Whether the statistics are those of this graph's values.
    pub(crate) fn fits(&self, graph: &Graph) -> bool {
        self.histograms.len() == graph.values().len()
    }

    /// The i8 range of a value by the chosen method.
    #[must_use]
    pub fn range(&self, value: ValueId) -> Range {
        choose(&self.histograms[value.0], self.method)
    }

    fn check(&self, graph: &Graph) -> Result<()> {
        for (value, s) in graph.values().iter().zip(&self.histograms) {
            let bad = s.non_finite();
            if bad > 0 {
                return Err(Error::graph(
                    &value.name,
                    format!(
                        "computes {bad} values that are not finite numbers on the calibration images"
                    ),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Activation, Op, weights};
    use ndarray::{Array, ArrayD, IxDyn};

    fn graph(scale: f32) -> Graph {
        let mut g = Graph::new("test", "image", vec![1, 2, 3, 3]);
        let factor = weights(ArrayD::from_elem(IxDyn(&[2]), scale));
        let shift = weights(ArrayD::from_elem(IxDyn(&[2]), 0.5));
        let a = g.push("scaled", Op::Affine { scale: factor, shift }, &[g.input]).unwrap();
        let r = g.push("relu", Op::Activation(Activation::Relu), &[a]).unwrap();
        g.mark_output("output", r);
        g
    }

    fn image(seed: usize) -> ArrayD<f32> {
        Array::from_shape_fn(IxDyn(&[1, 2, 3, 3]), |i| {
            ((i[1] * 31 + i[2] * 7 + i[3] + seed * 13) % 17) as f32 - 8.0
        })
    }

    #[test]
    fn does_not_depend_on_the_number_of_threads() {
        let g = graph(-0.3);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let images = (0..23).map(|s| Ok(image(s)));
            pool.install(|| calibrate(&g, images, &Options::default(), |_| {})).unwrap()
        };
        let (one, five) = (run(1), run(5));
        assert_eq!(one.images, 23);
        for v in 0..g.values().len() {
            let (a, b) = (one.histogram(ValueId(v)), five.histogram(ValueId(v)));
            assert_eq!(a.points(), b.points());
            assert_eq!(one.range(ValueId(v)), five.range(ValueId(v)));
        }
        assert_eq!(one.range(g.outputs[0].value).lo, 0.0);
    }

    #[test]
    fn sizes_are_summed() {
        let mut large = Graph::new("test", "image", vec![1, 2, 4, 6]);
        let small = graph(-0.3);
        for node in small.nodes() {
            large.push(node.name.clone(), node.op.clone(), &node.inputs).unwrap();
        }
        large.mark_output("output", small.outputs[0].value);
        let images = |g: &Graph, count: usize| -> Vec<Result<ArrayD<f32>>> {
            let shape = IxDyn(g.shape(g.input));
            (0..count).map(|s| Ok(ArrayD::from_elem(shape.clone(), s as f32 - 2.5))).collect()
        };
        let run = |sizes: &[(&Graph, usize)]| {
            let sizes = sizes.iter().map(|&(g, count)| (g, images(g, count).into_iter()));
            calibrate_sizes(sizes.collect::<Vec<_>>(), &Options::default(), |_| {})
        };
        let both = run(&[(&small, 3), (&large, 6)]).unwrap();
        assert_eq!(both.images, 9);
        // The larger size saw the larger values.
        assert_eq!(both.histogram(small.input).max(), 2.5);
        assert_eq!(run(&[(&small, 3)]).unwrap().histogram(small.input).max(), 0.0);
        let other = Graph::new("test", "image", vec![1, 2, 3, 3]);
        assert!(run(&[(&small, 1), (&other, 1)]).is_err());
        assert!(run(&[]).is_err());
    }

    #[test]
    fn refuses_values_that_are_not_numbers_by_name() {
        let error =
            calibrate(&graph(f32::NAN), [Ok(image(0))].into_iter(), &Options::default(), |_| {});
        let message = error.unwrap_err().to_string();
        assert!(message.contains("'scaled'"), "{message}");
    }

    #[test]
    fn refuses_no_images_and_wrong_shapes() {
        let g = graph(1.0);
        assert!(calibrate(&g, std::iter::empty(), &Options::default(), |_| {}).is_err());
        let wrong = ArrayD::zeros(IxDyn(&[1, 3, 3, 3]));
        assert!(calibrate(&g, [Ok(wrong)].into_iter(), &Options::default(), |_| {}).is_err());
    }
}
