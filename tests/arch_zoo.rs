//! The zoo of reference networks, where there is one: recognition, parameters, shapes, numbers.

use std::path::{Path, PathBuf};

use kenar_convert::arch::{self, ArchFile};
use kenar_convert::checkpoint::Checkpoint;
use kenar_convert::{exec, import};

fn zoo() -> Option<PathBuf> {
    let dir = std::env::var_os("KENAR_ZOO")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/zoo"), PathBuf::from);
    if !dir.join("zoo.json").is_file() {
        println!("skipped: no zoo at {}", dir.display());
        return None;
    }
    Some(dir)
}

fn size(v: &serde_json::Value) -> Vec<usize> {
    v.as_array().unwrap().iter().map(|n| usize::try_from(n.as_u64().unwrap()).unwrap()).collect()
}

fn read(path: &Path) -> Result<Checkpoint, String> {
    import::checkpoint::read(path).map_err(|e| e.to_string())
}

/// Recognises and builds one model and compares everything the zoo says about it.
fn check(dir: &Path, row: &serde_json::Value, container: &str) -> Result<(), String> {
    let name = row["name"].as_str().unwrap();
    let ckpt = read(&dir.join(format!("{name}.{container}")))?;
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
    let io = read(&dir.join(format!("{name}.io.safetensors")))?;
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
        println!("{name:28} {container:12} {:7} {error:.1e}", output.name);
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
    let mut bad = Vec::new();
    for row in rows {
        for container in ["safetensors", "pt", "legacy.pth"] {
            if let Err(e) = check(&dir, row, container) {
                bad.push(format!("{} ({container}): {e}", row["name"]));
            }
        }
    }
    assert!(rows.len() >= 25 && bad.is_empty(), "{bad:#?}");
}
