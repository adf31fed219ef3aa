//! The zoo of reference networks, where there is one: recognition, parameters, shapes, numbers.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use kenar_convert::arch;
use kenar_convert::checkpoint::{Checkpoint, NamedTensor, SourceDtype};
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

#[test]
fn every_model_is_recognised_with_its_parameters_and_output_shapes() {
    let Some(dir) = zoo() else { return };
    let rows: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("zoo.json")).unwrap()).unwrap();
    let size = |v: &serde_json::Value| -> Vec<usize> {
        v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
    };
    let mut bad = Vec::new();
    for row in rows.as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let ckpt = read(&dir.join(format!("{name}.safetensors")));
        let input = size(&row["input"]);
        let built = arch::recognise(&ckpt).and_then(|a| {
            if std::env::var_os("SHOW").is_some() {
                println!("==== {name}\n{}", a.to_toml());
            }
            arch::build(&ckpt, &a, Some([input[1], input[2], input[3]]))
        });
        let graph = match built {
            Ok(graph) => graph,
            Err(e) => {
                bad.push(format!("{name}: {e}"));
                continue;
            }
        };
        if graph.parameters as u64 != row["parameters"].as_u64().unwrap() {
            bad.push(format!("{name}: {} parameters", graph.parameters));
        }
        let outputs = row["outputs"].as_object().unwrap();
        if outputs.len() != graph.outputs.len() {
            bad.push(format!("{name}: outputs {:?}", graph.outputs));
        }
        for output in &graph.outputs {
            let shape = graph.shape(output.value);
            if outputs.get(&output.name).map(&size).is_none_or(|s| s[1..] != shape[1..]) {
                bad.push(format!("{name}: {} has {shape:?}", output.name));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}
