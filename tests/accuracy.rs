//! Trained CIFAR-10 networks: int8 with default settings beside float, on real images.
//!
//! 1,000 images by default; `KENAR_FULL=1` takes all 8,700 and holds int8 to at most 0.3 points less than float on every
//! file, and to the agreement with float that the best other runtime reaches.

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
/// Top-1 that int8 may lose on a file.
const LOSS: f64 = 0.003;
/// What both figures may miss over few images, where they vary by chance.
const CHANCE: f64 = 0.01;

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
    let slack = if full { 0.0 } else { CHANCE };
    println!(
        "{:26} {:18} {:>6} {:>8} {:>8} {:>10}",
        "network", "file", "images", "float", "int8", "agreement"
    );
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
        let (mut n, mut same) = (0.0, 0.0);
        for (file, count) in SHORT {
            let images = Dataset::open(&data.join("cifar10").join(file), None).unwrap();
            let images = if full { images } else { images.take(count) };
            let e = evaluate::evaluate(pair, &images, &mut |_| {}).unwrap();
            let [float, int8, agreement] =
                [e.float_top1, e.int8_top1, e.agreement].map(Option::unwrap);
            println!(
                "{name:26} {file:18} {:6} {:8.2} {:8.2} {:10.2}",
                e.n,
                100.0 * float,
                100.0 * int8,
                100.0 * agreement
            );
            if float - int8 > LOSS + slack {
                failed.push(format!("{name} on {file} loses {:.2} points", 100.0 * (float - int8)));
            }
            n += e.n as f64;
            same += agreement * e.n as f64;
        }
        if same / n < required - slack {
            failed.push(format!("{name} agrees on {:.2} % of the images", 100.0 * same / n));
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
