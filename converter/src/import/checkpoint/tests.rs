//! Real files: the committed fixtures, the trained checkpoints and the zoo.

use std::path::{Path, PathBuf};

use super::*;
use crate::checkpoint::SourceDtype;
use crate::import::pickle;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn fixture(name: &str) -> PathBuf {
    repository().join("tests/fixtures/checkpoints").join(name)
}

fn refused(path: &Path) -> String {
    read(path).unwrap_err().to_string()
}

/// Same names and shapes, and the same bits in every value.
fn assert_same(a: &Checkpoint, b: &Checkpoint, what: &str) {
    assert_eq!(a.tensors.len(), b.tensors.len(), "{what}");
    for (name, tensor) in &a.tensors {
        let other = &b.tensors.get(name).unwrap_or_else(|| panic!("{what}: no {name}"));
        assert_eq!(tensor.dtype, other.dtype, "{what}: {name}");
        assert_eq!(tensor.array.shape(), other.array.shape(), "{what}: {name}");
        let same = tensor.array.iter().zip(&other.array).all(|(x, y)| x.to_bits() == y.to_bits());
        assert!(same, "{what}: {name} differs");
    }
}

/// A folder given by an environment variable or a path from the repository, if it is there.
fn folder(variable: &str, default: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(|| repository().join(default), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {variable} is not set and {} is not there", path.display());
    None
}

#[test]
fn every_form_that_pytorch_writes_holds_the_same_tensors() {
    let reference = read(&fixture("reference.safetensors")).unwrap();
    assert_eq!(reference.tensors.len(), 7);
    for (name, wrapper) in [
        ("plain.pt", ""),
        ("plain.legacy.pth", ""),
        ("twenty_one_characters.pt", ""),
        ("protocol3.pt", ""),
        ("protocol4.pt", ""),
        ("protocol5.pt", ""),
        ("protocol4.legacy.pth", ""),
        ("parallel.pt", ""),
        ("compiled.pt", ""),
        ("parameters.pt", ""),
        ("tagged_parameter.pt", ""),
        ("training.pt", "state_dict"),
        ("training.legacy.pth", "state_dict"),
        ("ema.pt", "ema.module"),
    ] {
        let read = read(&fixture(name)).unwrap_or_else(|e| panic!("{e}"));
        assert_same(&reference, &read, name);
        assert_eq!(read.wrapper, wrapper, "{name}");
        let first = read.tensors.keys().next().unwrap();
        assert_eq!(first, "conv.weight", "{name}: the order of the file");
    }
    let averaged = read(&fixture("averaged.pt")).unwrap();
    assert_same(&read(&fixture("averaged.safetensors")).unwrap(), &averaged, "averaged.pt");
}

#[test]
fn every_element_type_is_read() {
    let reference = read(&fixture("dtypes.safetensors")).unwrap();
    assert_same(&reference, &read(&fixture("dtypes.pt")).unwrap(), "dtypes.pt");
    let legacy = read(&fixture("dtypes.legacy.pth")).unwrap();
    for (name, tensor) in &legacy.tensors {
        assert_eq!(tensor.array, reference.tensors[name].array, "{name}");
    }
    for (name, dtype, values) in [
        ("f64", SourceDtype::F64, [0., 1., 5., 100.]),
        ("f16", SourceDtype::F16, [0., 0.099_975_586, 5., 100.]),
        ("bf16", SourceDtype::Bf16, [0., 0.100_097_656, 5., 100.]),
        ("bool", SourceDtype::Integer, [0., 1., 1., 1.]),
        ("i8", SourceDtype::Integer, [0., 1., 5., 100.]),
        ("u64", SourceDtype::Integer, [0., 1., 5., 100.]),
    ] {
        let tensor = &reference.tensors[name];
        assert_eq!(
            (tensor.dtype, tensor.array.as_slice().unwrap()),
            (dtype, &values[..]),
            "{name}"
        );
    }
}

#[test]
fn real_files_that_cannot_be_read_say_why() {
    for (name, expected) in [
        ("module.pt", ["__main__.Net", "torch.save(model.state_dict()"]),
        ("script.pt", ["TorchScript", "torch.save(model.state_dict()"]),
        ("float8.pt", ["torch.float8_e4m3fn", "element type"]),
        ("expanded.pt", ["'w'", ".contiguous()"]),
    ] {
        let message = refused(&fixture(name));
        assert!(message.contains(name), "{message}");
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
    }
    assert!(refused(&fixture("absent.pt")).contains("absent.pt"));
}

#[test]
fn other_files_are_told_apart() {
    for (bytes, expected) in [
        (&b""[..], "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"hello, world", "not a known container"),
        (&[0xff; 300], "expected a torch.save file"),
    ] {
        let message = from_bytes(bytes).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for name in ["plain.pt", "plain.legacy.pth", "protocol4.legacy.pth", "dtypes.safetensors"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                drop(from_bytes(&bytes));
            }
        }
    }
}

#[test]
fn trained_checkpoints_have_their_parameter_counts() {
    let Some(shared) = folder("KENAR_SHARED", "../shared") else { return };
    for (name, parameters) in [
        ("resnet20-12fca82f.th", 269_722),
        ("resnet32-d509ac18.th", 464_154),
        ("resnet56-4bfd9763.th", 853_018),
        ("wrn-16-1-seed-2-dict.pth", 175_066),
        ("wrn-16-2-seed-2-dict.pth", 691_674),
        ("wrn-40-1-seed-1-dict.pth", 563_930),
        ("4_0_0_80x80_MiniFASNetV1SE.pth", 433_586),
    ] {
        let read = read(&shared.join("data/checkpoints").join(name)).unwrap();
        let counted: usize = read
            .tensors
            .iter()
            .filter(|(name, _)| {
                !["running_mean", "running_var", "num_batches_tracked"]
                    .iter()
                    .any(|buffer| name.ends_with(buffer))
            })
            .map(|(_, tensor)| tensor.array.len())
            .sum();
        assert_eq!(counted, parameters, "{name}");
        assert!(read.tensors.keys().all(|name| !name.starts_with("module.")), "{name}");
        assert_eq!(read.wrapper, if name.ends_with(".th") { "state_dict" } else { "" });
    }
}

#[test]
fn a_pickled_detector_is_refused_but_can_be_kept_as_records() {
    let Some(shared) = folder("KENAR_SHARED", "../shared") else { return };
    let path = shared.join("data/detectors/yolov5n.pt");
    let message = refused(&path);
    assert!(message.contains("models.yolo.Model"), "{message}");
    assert!(message.contains("torch.save(model.state_dict()") && message.contains("ONNX"));
    let bytes = std::fs::read(path).unwrap();
    let pickle = TorchZip::open(&bytes).unwrap().pickle(Globals::Inert).unwrap();
    let items = pickle.values.items(pickle.root).unwrap();
    let model = items.iter().find(|(key, _)| pickle.values.str(*key) == Some("model")).unwrap().1;
    let pickle::Value::Object(model) = pickle.values.get(model) else { panic!("an object") };
    assert_eq!(&*model.class, "models.yolo.Model");
    assert!(pickle.values.items(model.state.unwrap()).is_some());
}

#[test]
fn zoo_containers_hold_identical_tensors() {
    let Some(zoo) = folder("KENAR_ZOO", "target/zoo") else { return };
    let list = std::fs::read(zoo.join("zoo.json")).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap();
    assert_eq!(list.len(), 25);
    for model in list {
        let name = model["name"].as_str().unwrap();
        let load = |suffix: &str| read(&zoo.join(format!("{name}.{suffix}"))).unwrap();
        let zip = load("pt");
        assert!(zip.tensors.len() > 1, "{name}");
        assert_same(&zip, &load("legacy.pth"), name);
        assert_same(&zip, &load("safetensors"), name);
    }
}
