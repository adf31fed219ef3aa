//! Whole networks of every family: converted from a checkpoint, run on every instruction set and thread count, equal
//! to the last byte.
//!
//! The model files and their hashes are left in `target/networks`, where `.ci/arm-networks.sh` finds them for the same
//! comparison on emulated ARM cores.

mod arch_nets;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use arch_nets as nets;
use kenar::detect::{self, Detection};
use kenar::isa::Platform;
use kenar::{Model, Options, Session};
use kenar_convert::arch;
use kenar_convert::arch::testing::Spec;
use kenar_convert::data::{Dataset, Preprocess, Preset};
use kenar_convert::lower::{LowerOptions, Stream, lower};
use kenar_convert::pipeline::{self, ConvertOptions, SourceOptions};
use kenar_convert::quantize::{self, calibrate};
use kenar_convert::{fold, graph::Graph};
use kenar_tests::detectors::{CODES, random_detector};
use kenar_tests::random::{Random, RandomArray};
use ndarray::{ArrayD, IxDyn};

/// Images of smooth patches, so that neighbouring pixels agree as in photographs.
fn images(shape: &[usize], count: usize) -> Vec<ArrayD<f32>> {
    let mut random = Random::new(7);
    let cell = 4;
    let mut image = || {
        let coarse = random.array(&[shape[1], shape[2] / cell + 1, shape[3] / cell + 1]);
        ArrayD::from_shape_fn(IxDyn(shape), |i| 2.0 * coarse[[i[1], i[2] / cell, i[3] / cell]])
    };
    (0..count).map(|_| image()).collect()
}

fn graph(spec: &Spec, input: [usize; 3]) -> Graph {
    let checkpoint = spec.checkpoint();
    let arch = arch::recognise(&checkpoint).unwrap();
    let graph = arch::build(&checkpoint, &arch, Some(input)).unwrap();
    fold::run(&graph).unwrap().0
}

fn lifted(channels: usize, block: impl FnOnce(&mut Spec)) -> Spec {
    let mut s = Spec::default();
    nets::lift(&mut s, channels);
    s.prefix("block.");
    block(&mut s);
    s
}

fn networks() -> Vec<(&'static str, Spec, [usize; 3])> {
    let bottleneck_stage = |groups: usize| {
        move |s: &mut Spec, path: &str, i: usize, c: usize, out: usize| {
            let width = (groups * 4).max(16) << i;
            nets::bottleneck(s, path, c, (width, out), groups, ("downsample.0", "downsample.1"));
        }
    };
    vec![
        ("wide_resnet", nets::wide(&nets::WIDE, 1, 2), [3, 32, 32]),
        ("option_a", nets::option_a(2), [3, 32, 32]),
        ("basic", lifted(24, |s| nets::basic(s, "", 24, 40)), [3, 29, 31]),
        ("pre_basic", lifted(16, |s| nets::pre_basic(s, "", 16, 32, "bn", "proj")), [3, 32, 32]),
        ("pre_bottleneck", lifted(64, |s| nets::pre_bottleneck(s, "", 64, 64, 256)), [3, 20, 20]),
        ("se", lifted(32, |s| nets::se_basic(s, "", 32, 64)), [3, 32, 32]),
        ("grouped", lifted(64, |s| nets::grouped(s, "", 64, 128, 4)), [3, 28, 28]),
        ("resnet_basic", nets::imagenet([1, 1, 1, 1], None, 1), [3, 64, 64]),
        (
            "resnext_8",
            nets::four_stage([1, 2, 1, 1], [64, 128, 256, 512], false, bottleneck_stage(8)),
            // Maps of 28, 14 and 7 columns, as at 224x224.
            [3, 112, 112],
        ),
        (
            "four_stage_pre",
            nets::four_stage([1, 1, 1, 1], [24, 40, 64, 96], true, |s, path, _, c, out| {
                nets::pre_basic(s, path, c, out, "bn", "proj");
            }),
            [3, 64, 96],
        ),
        ("mini_fasnet", nets::mini_fasnet(), [3, 80, 80]),
    ]
}

/// The trained detectors, where they are installed, calibrated on synthetic images.
fn trained_detectors() -> Vec<(String, Vec<u8>)> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let folder = std::env::var_os("KENAR_SHARED").map_or_else(|| default.into(), PathBuf::from);
    let names = ["wide-dfl", "bottleneck-anchor", "resnext-yolox"];
    let convert = |name: &str| {
        let path = folder.join("zoo/detectors").join(name).join("model.pt");
        if !path.is_file() {
            println!("skipped: no trained detector at {}", path.display());
            return None;
        }
        let loaded = pipeline::load(&path, &SourceOptions::default()).unwrap();
        let options = ConvertOptions {
            preprocess: Preprocess::preset(Preset::Unit, [320, 320]),
            method: quantize::Method::MinMax,
            stream: Stream::default(),
            labels: None,
        };
        let data = Dataset::noise([320, 320], 0, 2);
        let converted = pipeline::convert(&loaded, &data, &options, &mut |_| ()).unwrap();
        Some((name.to_owned(), converted.file))
    };
    names.into_iter().filter_map(convert).collect()
}

/// The hash that the runtime's example `hash` prints, after comparing it between instruction sets and thread counts.
fn hash_everywhere(name: &str, file: &[u8]) -> u64 {
    let model = Model::parse(file).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let mut run = |platform: Platform, threads: usize| {
        let options = Options { platform, threads };
        let mut session = Session::with_options(&model, &mut arena, options).unwrap();
        session.input().set_pattern(1);
        session.run().unwrap();
        let hash = session.output_hash().unwrap();
        if model.head().is_none() {
            return hash;
        }
        let mut buffer = [Detection::default(); 300];
        let options =
            detect::Options { confidence: 0.01, iou: 0.6, best_class: false, ..Default::default() };
        let found = session.detect(&options, &mut buffer).unwrap();
        assert!(!found.is_empty(), "{name}");
        hash.rotate_left(1) ^ detect::hash(found)
    };
    let expected = run(Platform::scalar(), 1);
    for platform in Platform::available() {
        for threads in [1, 2, 4] {
            let got = run(platform, threads);
            assert_eq!(got, expected, "{name}: {}, {threads} threads", platform.name());
        }
    }
    expected
}

#[test]
fn every_family_gives_the_same_bytes_everywhere() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/networks");
    fs::create_dir_all(&folder).unwrap();
    let mut hashes = String::new();
    for (name, spec, input) in networks() {
        let graph = graph(&spec, input);
        let images = images(graph.shape(graph.input), 6);
        let options = quantize::Options::default();
        let calibration =
            calibrate(&graph, images.iter().cloned().map(Ok), &options, |_| {}).unwrap();
        let (file, _) = lower(&graph, &calibration, None, &LowerOptions::default())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let hash = hash_everywhere(name, &file);
        writeln!(hashes, "{hash:016x} {name}.kenar").unwrap();
        fs::write(folder.join(format!("{name}.kenar")), &file).unwrap();
    }
    let random = CODES.map(|code| {
        let name = format!("detector_{}", code.name());
        (name, random_detector(3, code, [80, 112], 32))
    });
    for (name, file) in random.into_iter().chain(trained_detectors()) {
        let hash = hash_everywhere(&name, &file);
        writeln!(hashes, "{hash:016x} {name}.kenar").unwrap();
        fs::write(folder.join(format!("{name}.kenar")), &file).unwrap();
    }
    fs::write(folder.join("hashes.txt"), hashes).unwrap();
}
