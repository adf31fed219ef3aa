//! The zoo of reference networks, where there is one: recognition, parameters, shapes, numbers.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use kenar_convert::arch::{self, ArchFile};
use kenar_convert::checkpoint::{Checkpoint, NamedTensor, SourceDtype};
use kenar_convert::exec;
use ndarray::{ArrayD, IxDyn};

fn zoo() -> Option<PathBuf> {
    let dir = std::env::var_os("KENAR_ZOO")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/zoo"), PathBuf::from);
    if !dir.join("zoo.json").is_file() {
        println!("skipped: no zoo at {}", dir.display());
        return None;
    }
    Some(dir)
}

fn read(path: &Path) -> Checkpoint {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = IndexMap::new();
    for (name, view) in file.tensors() {
        let integer = view.dtype() != safetensors::Dtype::F32;
        let data: Vec<f32> = if integer {
            vec![0.0; view.shape().iter().product()]
        } else {
            view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let dtype = if integer { SourceDtype::Integer } else { SourceDtype::F32 };
        let array = ArrayD::from_shape_vec(IxDyn(view.shape()), data).unwrap();
        tensors.insert(name, NamedTensor { dtype, array });
    }
    Checkpoint { tensors, wrapper: String::new() }
}

fn size(v: &serde_json::Value) -> Vec<usize> {
    v.as_array().unwrap().iter().map(|n| usize::try_from(n.as_u64().unwrap()).unwrap()).collect()
}

/// Recognises and builds one model and compares everything the zoo says about it.
fn check(dir: &Path, row: &serde_json::Value) -> Result<(), String> {
    let name = row["name"].as_str().unwrap();
    let ckpt = read(&dir.join(format!("{name}.safetensors")));
    let input = size(&row["input"]);
    let arch = arch::recognise(&ckpt).map_err(|e| e.to_string())?;
    let again = ArchFile::from_toml(&arch.to_toml()).map_err(|e| e.to_string())?;
    let graph = arch::build(&ckpt, &again, Some([input[1], input[2], input[3]]))
        .map_err(|e| e.to_string())?;
    if Some(graph.parameters as u64) != row["parameters"].as_u64() {
        return Err(format!("{} parameters", graph.parameters));
    }
    let expected = row["outputs"].as_object().unwrap();
    if expected.len() != graph.outputs.len() {
        return Err(format!("outputs {:?}", graph.outputs));
    }
    let io = read(&dir.join(format!("{name}.io.safetensors")));
    let results = exec::run(&graph, io.get("input").unwrap()).map_err(|e| e.to_string())?;
    for (output, found) in graph.outputs.iter().zip(&results) {
        let wanted =
            io.get(&output.name).ok_or_else(|| format!("no output {} in the zoo", output.name))?;
        if found.shape() != wanted.shape() {
            return Err(format!(
                "{} has shape {:?}, expected {:?}",
                output.name,
                found.shape(),
                wanted.shape()
            ));
        }
        let peak = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
        let error = found.iter().zip(wanted).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / peak;
        println!("{name:28} {:7} {error:.1e}", output.name);
        if error.is_nan() || error > 1e-4 {
            return Err(format!("{}: relative error {error}", output.name));
        }
    }
    Ok(())
}

#[test]
fn every_model_gives_its_parameters_shapes_and_reference_outputs() {
    let Some(dir) = zoo() else { return };
    let text = std::fs::read(dir.join("zoo.json")).unwrap();
    let rows: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let rows = rows.as_array().unwrap();
    let bad: Vec<String> = rows
        .iter()
        .filter_map(|row| check(&dir, row).err().map(|e| format!("{}: {e}", row["name"])))
        .collect();
    assert!(rows.len() >= 25 && bad.is_empty(), "{bad:#?}");
}
