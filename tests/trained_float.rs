//! Trained CIFAR-10 networks on real images: float logits and top-1 as measured with PyTorch, before and after folding.

use std::path::{Path, PathBuf};

use kenar_convert::exec::{self, Executor};
use kenar_convert::import::checkpoint;
use kenar_convert::{arch, fold};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice};

/// Mean and standard deviation per channel, in units of pixel / 255.
type Normalisation = ([f32; 3], [f32; 3]);

const IMAGENET: Normalisation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const CIFAR: Normalisation = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]);

/// File, normalisation, images of the 632 that PyTorch classifies rightly.
const NETWORKS: [(&str, Normalisation, usize); 6] = [
    ("resnet20-12fca82f.th", IMAGENET, 581),
    ("resnet32-d509ac18.th", IMAGENET, 592),
    ("resnet56-4bfd9763.th", IMAGENET, 593),
    ("wrn-16-1-seed-2-dict.pth", CIFAR, 594),
    ("wrn-16-2-seed-2-dict.pth", CIFAR, 595),
    ("wrn-40-1-seed-1-dict.pth", CIFAR, 604),
];

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

/// Labels and images of a CIFAR-10 binary file.
fn images(path: &Path, (mean, std): Normalisation) -> (Vec<u8>, ArrayD<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let records = bytes.chunks_exact(3073);
    let labels = records.clone().map(|r| r[0]).collect();
    let pixels = records.flat_map(|r| r[1..].iter().enumerate());
    let values = pixels.map(|(i, &p)| (f32::from(p) / 255.0 - mean[i / 1024]) / std[i / 1024]);
    let shape = [bytes.len() / 3073, 3, 32, 32];
    (labels, ArrayD::from_shape_vec(IxDyn(&shape), values.collect()).unwrap())
}

fn largest_error(got: &ArrayD<f32>, want: &ArrayD<f32>) -> f32 {
    assert_eq!(got.shape(), want.shape());
    got.iter().zip(want).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

fn top1(logits: &ArrayD<f32>, labels: &[u8]) -> usize {
    let right = |(row, label): &(ArrayViewD<'_, f32>, &u8)| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.is_some_and(|(class, _)| class == usize::from(**label))
    };
    logits.outer_iter().zip(labels).filter(right).count()
}

#[test]
fn logits_and_accuracy_of_pytorch() {
    let Some(data) = data() else { return };
    let text = std::fs::read_to_string(data.join("cifar10/reference_logits.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_str(&text).unwrap();
    println!("{:26} {:>9} {:>9} {:>9} {:>7}", "network", "loaded", "folded", "between", "top-1");
    for (name, normalisation, right) in NETWORKS {
        let checkpoint = checkpoint::read(&data.join("checkpoints").join(name)).unwrap();
        let network = arch::recognise(&checkpoint).unwrap();
        let graph = arch::build(&checkpoint, &network, Some([3, 32, 32])).unwrap();
        let (folded, _) = fold::run(&graph).unwrap();

        let (labels, x) = images(&data.join("cifar10/test_lossless.bin"), normalisation);
        let first = x.slice_axis(Axis(0), Slice::from(..8)).to_owned();
        let rows = reference["logits"][name].as_array().unwrap();
        let values = rows.iter().flat_map(|r| r.as_array().unwrap());
        let values: Vec<f32> = values.map(|v| v.as_f64().unwrap() as f32).collect();
        let want = ArrayD::from_shape_vec(IxDyn(&[8, 10]), values).unwrap();
        let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));

        let before = exec::run(&graph, &first).unwrap().remove(0);
        let logits = Executor::new(&folded).unwrap().run(&x).unwrap().remove(0);
        let after = logits.slice_axis(Axis(0), Slice::from(..8)).to_owned();
        let errors = [(&before, &want), (&after, &want), (&after, &before)];
        let [loaded, merged, between] = errors.map(|(a, b)| largest_error(a, b) / largest);
        let found = top1(&logits, &labels);
        println!(
            "{name:26} {loaded:9.1e} {merged:9.1e} {between:9.1e} {found:4} of {}",
            labels.len()
        );
        assert!(
            loaded.max(merged) <= 1e-4 && between <= 1e-5,
            "{name}: {loaded} {merged} {between}"
        );
        assert_eq!(found, right, "{name}");
    }
}
