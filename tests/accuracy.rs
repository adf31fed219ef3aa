//! Trained CIFAR-10 networks: int8 with default settings beside float, on real images.
//!
//! 1,000 images by default; `KENAR_FULL=1` takes all 8,700 and asks for what the best other runtime reaches.

use std::path::{Path, PathBuf};

use kenar::Model;
use kenar_convert::data::Dataset;
use kenar_convert::evaluate::{self, Pair};
use kenar_convert::integer::Engine;
use kenar_convert::lower::Stream;
use kenar_convert::pipeline::{self, ConvertOptions, PreprocessRequest, SourceOptions};
use kenar_convert::quantize::Method;

/// File, and the share of images that int8 and float must put into the same class, over all files.
const NETWORKS: [(&str, f64); 6] = [
    ("resnet20-12fca82f.th", 0.984),
    ("resnet32-d509ac18.th", 0.986),
    ("resnet56-4bfd9763.th", 0.983),
    ("wrn-16-1-seed-2-dict.pth", 0.972),
    ("wrn-16-2-seed-2-dict.pth", 0.983),
    ("wrn-40-1-seed-1-dict.pth", 0.971),
];
/// Images of each file in the short run.
const SHORT: [(&str, usize); 3] =
    [("test_lossless.bin", 400), ("test_jpeg_a.bin", 300), ("test_jpeg_b.bin", 300)];
const CALIBRATION_IMAGES: usize = 512;
/// Top-1 that int8 may lose.
const LOSS: f64 = 0.003;

fn data() -> Option<PathBuf> {
    let shared = std::env::var_os("KENAR_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let data = shared.join("data");
    if data.join("checkpoints").is_dir() && data.join("cifar10").is_dir() {
        return Some(data);
    }
    eprintln!("skipped: no trained checkpoints at {} (set KENAR_SHARED)", data.display());
    None
}

#[test]
fn int8_follows_float() {
    let Some(data) = data() else { return };
    let full = std::env::var_os("KENAR_FULL").is_some();
    println!("{:26} {:>6} {:>8} {:>8} {:>10}", "network", "images", "float", "int8", "agreement");
    let mut failed = Vec::new();
    for (name, required) in NETWORKS {
        let loaded =
            pipeline::load(&data.join("checkpoints").join(name), &SourceOptions::default())
                .unwrap();
        let (preprocess, _) = loaded.preprocess(&PreprocessRequest::default(), None).unwrap();
        let calibration = Dataset::open(&data.join("cifar10/calib.bin"), None).unwrap();
        let options = ConvertOptions {
            preprocess: preprocess.clone(),
            method: Method::default(),
            stream: Stream::default(),
            labels: None,
        };
        let calibration = calibration.take(CALIBRATION_IMAGES);
        let converted = pipeline::convert(&loaded, &calibration, &options, &mut |_| {}).unwrap();
        let model = Model::parse(&converted.file).unwrap();
        let pair = Pair {
            graph: &loaded.folded,
            model: &model,
            preprocess: &preprocess,
            engine: Engine::new(None, 1).unwrap(),
            layer_images: 0,
        };
        let (mut n, mut float, mut int8, mut same) = (0.0, 0.0, 0.0, 0.0);
        for (file, count) in SHORT {
            let images = Dataset::open(&data.join("cifar10").join(file), None).unwrap();
            let images = if full { images } else { images.take(count) };
            let e = evaluate::evaluate(pair, &images, &mut |_| {}).unwrap();
            let of_file = e.n as f64;
            n += of_file;
            float += e.float_top1.unwrap() * of_file;
            int8 += e.int8_top1.unwrap() * of_file;
            same += e.agreement.unwrap() * of_file;
        }
        let [float, int8, same] = [float / n, int8 / n, same / n];
        println!(
            "{name:26} {n:6} {:8.2} {:8.2} {:10.2}",
            100.0 * float,
            100.0 * int8,
            100.0 * same
        );
        // Over few images both figures vary by chance.
        let slack = if full { 0.0 } else { 0.01 };
        if same < required - slack || float - int8 > LOSS + slack {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
