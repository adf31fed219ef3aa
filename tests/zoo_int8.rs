//! The zoo in int8: signal to quantisation noise of every layer and output.
//!
//! Weights are random, so a network may itself blow up small errors from layer to layer. How much is measured beside it:
//! the float network with nothing but its input rounded to i8. What is below the bounds is listed with that figure.

use kenar::Model;
use kenar_convert::data::{ChannelOrder, Dataset, Fit, Preprocess};
use kenar_convert::evaluate::{self, Evaluation, Pair};
use kenar_convert::exec::Executor;
use kenar_convert::integer::Engine;
use kenar_convert::lower::Stream;
use kenar_convert::pipeline::{self, ConvertOptions, SourceOptions};
use kenar_convert::quantize::Method;
use kenar_tests::pink;
use kenar_tests::random::Random;
use kenar_tests::zoo::{self, ZooModel};
use ndarray::{ArrayD, Axis};

/// What every layer and every output should reach, in dB.
const LAYER: f64 = 20.0;
const OUTPUT: f64 = 30.0;
/// How far below the float network with a rounded input an integer network may be.
const BELOW_INPUT_ALONE: f64 = 12.0;

/// Signal to noise of the float network's outputs when only its input is rounded.
fn input_alone(graph: &kenar_convert::graph::Graph, model: &Model<'_>, input: &ArrayD<f32>) -> f64 {
    let tensor = model.tensor(model.input().tensor);
    let zero = tensor.zero_point as f32;
    let rounded = input.mapv(|x| {
        let q = ((x / tensor.scale).round_ties_even() + zero).clamp(-128.0, 127.0);
        (q - zero) * tensor.scale
    });
    let executor = Executor::new(graph).unwrap();
    let (exact, rounded) = (executor.run(input).unwrap(), executor.run(&rounded).unwrap());
    let of_output = |(a, b): (&ArrayD<f32>, &ArrayD<f32>)| {
        let power = |x: f32| f64::from(x).powi(2);
        let noise = a.iter().zip(b).map(|(x, y)| power(x - y)).sum();
        evaluate::sqnr_db(a.iter().map(|&x| power(x)).sum(), noise)
    };
    exact.iter().zip(&rounded).map(of_output).fold(f64::INFINITY, f64::min)
}

/// Converts and evaluates one model; also what the rounded input alone costs.
fn measure(zoo: &ZooModel, folder: &std::path::Path) -> (Evaluation, f64) {
    let [channels, height, width] = zoo.input;
    let source =
        SourceOptions { input: Some([channels, height, width]), ..SourceOptions::default() };
    let loaded = pipeline::load(&zoo.path("safetensors"), &source).unwrap();
    let calibration = folder.join(format!("{height}.safetensors"));
    if !calibration.exists() {
        // Reference inputs are white noise, whose averages over a map are far smaller than those of photographs: what
        // follows a pooled value needs to have seen both.
        let pink = pink::images(24, height, 11);
        let mut random = Random::new(12);
        let white = pink.mapv(|_| (0..3).map(|_| random.unit()).sum::<f32>());
        let images = ndarray::concatenate(Axis(0), &[pink.view(), white.view()]).unwrap();
        let bytes: Vec<u8> = images.iter().flat_map(|x| x.to_le_bytes()).collect();
        let shape = images.shape().to_vec();
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &bytes);
        let tensors = [("input", view.unwrap())];
        safetensors::serialize_to_file(tensors, None, &calibration).unwrap();
    }
    let preprocess = Preprocess {
        size: [height, width],
        mean: [0.0; 3],
        std: [1.0; 3],
        order: ChannelOrder::Rgb,
        fit: Fit::Stretch,
    };
    let options = ConvertOptions {
        preprocess: preprocess.clone(),
        method: Method::default(),
        stream: Stream::default(),
        labels: None,
    };
    let calibration = Dataset::open(&calibration, None).unwrap();
    let converted = pipeline::convert(&loaded, &calibration, &options, &mut |_| {}).unwrap();
    let model = Model::parse(&converted.file).unwrap();
    let images = Dataset::open(&zoo.path("io.safetensors"), None).unwrap();
    let pair = Pair {
        graph: &loaded.folded,
        model: &model,
        preprocess: &preprocess,
        engine: Engine::new(None, 1).unwrap(),
        layer_images: images.len(),
    };
    let evaluation = evaluate::evaluate(pair, &images, &mut |_| {}).unwrap();
    let input = zoo.reference().remove("input").unwrap();
    assert_eq!(input.len_of(Axis(0)), evaluation.n);
    (evaluation, input_alone(&loaded.folded, &model, &input))
}

#[test]
fn noise_of_every_network() {
    let Some(models) = zoo::models() else { return };
    let folder = tempfile::tempdir().unwrap();
    println!("{:30} {:>8} {:>8} {:>12}  lowest layer", "model", "outputs", "layers", "input alone");
    let mut failed = Vec::new();
    for zoo in &models {
        let (e, input_alone) = measure(zoo, folder.path());
        let output = e.outputs.iter().map(|o| o.sqnr_db).fold(f64::INFINITY, f64::min);
        let lowest = e.layers.iter().min_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db)).unwrap();
        let below =
            if output < OUTPUT || lowest.sqnr_db < LAYER { "  (below the bounds)" } else { "" };
        println!(
            "{:30} {output:8.1} {:8.1} {input_alone:12.1}  {}{below}",
            zoo.name, lowest.sqnr_db, lowest.name
        );
        let bound = OUTPUT.min(input_alone - BELOW_INPUT_ALONE);
        if output < bound || lowest.sqnr_db < LAYER.min(bound - 3.0) {
            failed.push(zoo.name.clone());
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
