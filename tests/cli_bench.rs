//! `kenar bench`, from arguments to exit code, streams and files; called in-process.

use std::path::Path;

use kenar_tests::command::{kenar, ok};
use serde_json::{Value, json};
use tempfile::TempDir;

fn document(args: &[&str]) -> Value {
    let out = ok(args);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
}

/// A command that has to fail with that exit code, saying all of `words`.
fn refused(code: i32, args: &[&str], words: &[&str]) {
    let (actual, out, err) = kenar(args);
    assert_eq!((actual, out.as_str()), (code, ""), "{args:?}: {err}");
    for word in words {
        assert!(err.contains(word), "{args:?}: '{word}' is missing in: {err}");
    }
}

/// A folder with a model file of the demo network.
struct Files {
    dir: TempDir,
    model: String,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo/model.safetensors");
        let model = dir.path().join("demo.kenar").to_str().unwrap().to_owned();
        let calib = ["--calib", "noise", "--calib-count", "2", "--preset", "cifar10"];
        ok(&[&["convert", source.to_str().unwrap(), "-o", &model], &calib[..]].concat());
        Self { dir, model }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, contents: &Value) -> String {
        std::fs::write(self.path(name), contents.to_string()).unwrap();
        self.path(name)
    }
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("{v} is no number"))
}

#[test]
fn every_layer_has_its_rate_its_bytes_and_its_bound() {
    let files = Files::new();
    let d = document(&["bench", &files.model, "--runs", "3", "--per-layer", "--json"]);
    assert_eq!((&d["model"], &d["size"]), (&json!("demo.kenar"), &json!([32, 32])));
    let levels = d["levels"].as_array().unwrap();
    let names: Vec<&str> = levels.iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["L1", "L2", "L3", "memory"]);
    assert!(levels.iter().all(|l| number(&l["gbytes_per_s"]) > 0.0));
    let peak = number(&d["peak_gmacs_per_s"]);

    let layers = d["layers"].as_array().unwrap();
    let sum = |key: &str| layers.iter().map(|l| number(&l[key])).sum::<f64>();
    assert_eq!(sum("macs"), number(&d["macs"]));
    assert!((sum("floor_us") / 1e3 - number(&d["floor_ms"])).abs() < 1e-9);
    // Every weight is read once.
    assert!(sum("bytes_of_constants") > 170_000.0);
    for l in layers {
        let parts =
            ["bytes_read", "bytes_of_constants", "bytes_written"].map(|key| number(&l[key]));
        assert_eq!(parts.iter().sum::<f64>(), number(&l["bytes"]), "{l}");
        let from = l["bytes_from"].as_object().unwrap();
        assert_eq!(from.values().map(number).sum::<f64>(), number(&l["bytes"]), "{l}");
        let (us, macs) = (number(&l["median_us"]), number(&l["macs"]));
        let rate = macs / us.max(1e-3) / 1e3;
        assert!((number(&l["gmacs_per_s"]) - rate).abs() <= 1e-6 * rate, "{l}");
        assert!((number(&l["peak_fraction"]) - rate / peak).abs() < 1e-9, "{l}");
        let floor = number(&l["floor_us"]);
        let effort = number(&l["effort"]);
        assert_eq!(effort == 1.0, l["kernel"] != "winograd", "{l}");
        let compute = effort * macs / peak / 1e3;
        assert!(floor >= 0.999 * compute, "{l}");
        let bound = l["bound"].as_str().unwrap();
        assert!(names.contains(&bound) || bound == "compute", "{l}");
        assert_eq!(bound == "compute", macs > 0.0 && floor <= 1.001 * compute, "{l}");
        assert!(kenar::kernels::KERNELS.contains(&l["kernel"].as_str().unwrap()), "{l}");
    }
    // The first layer reads 32x32 pixels of 3 or 4 bytes and writes 16 channels of each.
    let first = &layers[0];
    assert!([3072.0, 4096.0].contains(&number(&first["bytes_read"])), "{first}");
    assert!(number(&first["bytes_written"]) >= 16.0 * 1024.0, "{first}");

    let scalar = ["bench", &files.model, "--runs", "1", "--per-layer", "--isa", "scalar", "--json"];
    let scalar = document(&scalar);
    assert!(scalar["layers"].as_array().unwrap().iter().all(|l| l["kernel"] == "scalar"));
    assert_eq!((&scalar["isa"], &scalar["output_hash"]), (&json!("scalar"), &d["output_hash"]));
}

#[test]
fn loading_the_first_run_and_memory_are_told() {
    let files = Files::new();
    let run = ["bench", &files.model, "--runs", "3", "--threads", "1,2", "--per-layer", "--json"];
    let d = document(&run);
    for r in d["results"].as_array().unwrap() {
        assert!(number(&r["load_ms"]) > 0.0 && number(&r["first_ms"]) > 0.0, "{r}");
        if cfg!(target_os = "linux") {
            // At least the program itself; without the buffers that measure the machine's memory.
            let peak = number(&r["peak_rss_bytes"]);
            assert!((1e6..1e9).contains(&peak), "{r}");
        }
    }
    assert_eq!(d["load_ms"], d["results"][0]["load_ms"]);
}

#[test]
fn tables_name_bounds_and_limits() {
    let files = Files::new();
    let text = ok(&["bench", &files.model, "--seconds", "0.05", "--threads", "1,2", "--per-layer"]);
    for words in [
        "1 thread, median of each layer",
        "2 threads, median of each layer",
        "of peak",
        "MAC/B",
        "bound alone, µs",
        "Measured limits: ",
        "memory ",
        "The bounds alone need ",
    ] {
        assert!(text.contains(words), "'{words}' is missing in: {text}");
    }
    for words in ["load", "first", "memory"] {
        assert!(text.contains(words), "'{words}' is missing in: {text}");
    }
    let plain = ok(&["bench", &files.model, "--runs", "2"]);
    assert!(plain.contains("median") && !plain.contains("bound"), "{plain}");
    assert!(document(&["bench", &files.model, "--runs", "2", "--json"])["levels"].is_null());
}

#[test]
fn the_roofline_is_drawn_beside_the_report() {
    let files = Files::new();
    let svg = files.path("roof.svg");
    let d = document(&["bench", &files.model, "--runs", "2", "--roofline", &svg, "--json"]);
    let drawn = std::fs::read_to_string(&svg).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"));
    let layers = d["layers"].as_array().unwrap();
    let kernels: std::collections::BTreeSet<&str> = layers
        .iter()
        .filter(|l| number(&l["macs"]) > 0.0)
        .map(|l| l["kernel"].as_str().unwrap())
        .collect();
    let multiply = layers.iter().filter(|l| number(&l["macs"]) > 0.0).count();
    // Each layer and each legend entry: filled and outlined.
    assert_eq!(drawn.matches("<circle").count(), 2 * (multiply + kernels.len()));
    let peak = format!("peak {:.0} GMAC/s", number(&d["peak_gmacs_per_s"]));
    for text in ["demo.kenar", peak.as_str(), "multiply-accumulates per byte moved"] {
        assert!(drawn.contains(text), "{text}");
    }
    assert!(kernels.iter().all(|kernel| drawn.contains(kernel)));
    let nowhere = files.path("no/such/folder.svg");
    refused(1, &["bench", &files.model, "--runs", "1", "--roofline", &nowhere], &["folder.svg"]);
}

#[test]
fn tuning_tries_other_blockings_and_prints_rows_or_that_there_are_none() {
    let files = Files::new();
    let tune = ["bench", &files.model, "--tune", "--runs", "10"];
    let text = ok(&tune);
    let nothing = text == "Nothing is faster than what is used now.\n";
    assert!(nothing || text.contains("runtime/src/kernels/tuned.rs"), "{text}");
    let d = document(&[&tune[..], &["--json"]].concat());
    for found in d["found"].as_array().unwrap() {
        assert!(number(&found["best_us"]) < number(&found["now_us"]), "{found}");
        assert!(found["row"].as_str().unwrap().starts_with("(\""), "{found}");
    }
    // The definitions have no blocking.
    assert!(ok(&[&tune[..], &["--isa", "scalar"]].concat()).starts_with("Nothing is faster"));
    refused(2, &["bench", &files.model, "--tune", "--per-layer"], &["--tune"]);
}

/// A document with two layers, as `--per-layer --json` prints it.
fn measured(threads: u64, median: f64, layers: [f64; 2]) -> Value {
    json!({
        "model": "net.kenar", "isa": "avx2", "threads": threads, "median_ms": median, "p90_ms": median + 1.0,
        "min_ms": median, "macs": 1000, "peak_gmacs_per_s": 100.0, "peak_fraction": 1.0 / median,
        "output_hash": "00", "layers": [
            { "name": "a", "op": "conv", "kernel": "pointwise", "median_us": layers[0] },
            { "name": "b", "op": "add", "kernel": "add", "median_us": layers[1] },
        ],
    })
}

#[test]
fn two_runs_are_compared_in_total_and_per_layer() {
    let files = Files::new();
    let mut old = measured(1, 4.0, [3000.0, 1000.0]);
    old["results"] = json!([old, measured(2, 2.5, [1500.0, 1000.0])]);
    let old = files.write("old.json", &old);
    let new = files.write("new.json", &measured(1, 2.0, [1500.0, 500.0]));
    let d = document(&["bench", "--compare", &old, &new, "--json"]);
    let results = d["results"].as_array().unwrap();
    assert_eq!(results.len(), 1, "only one thread count is in both");
    let r = &results[0];
    assert_eq!((&r["threads"], &r["notes"]), (&json!(1), &json!([])));
    assert_eq!(r["median_ms"], json!({ "old": 4.0, "new": 2.0, "speedup": 2.0 }));
    assert_eq!(r["layers_us"], json!({ "old": 4000.0, "new": 2000.0, "speedup": 2.0 }));
    let names: Vec<&Value> = r["layers"].as_array().unwrap().iter().map(|l| &l["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(number(&r["layers"][0]["median_us"]["speedup"]), 2.0);

    let text = ok(&["bench", "--compare", &old, &new]);
    for words in
        ["net.kenar, avx2, 1 thread", "4.000 ms", "2.000x", "all of them", "machine's peak"]
    {
        assert!(text.contains(words), "'{words}' is missing in: {text}");
    }

    // What the command itself prints, against itself, and a run without layers.
    let run = ["bench", &files.model, "--runs", "2", "--per-layer", "--json"];
    let own = files.write("own.json", &document(&run));
    let d = document(&["bench", "--compare", &own, &own, "--json"]);
    assert_eq!(number(&d["results"][0]["median_ms"]["speedup"]), 1.0);
    assert!(d["results"][0]["layers"].as_array().unwrap().len() > 10);
    let short =
        files.write("short.json", &document(&["bench", &files.model, "--runs", "2", "--json"]));
    let text = ok(&["bench", "--compare", &own, &short]);
    assert!(text.contains("note: only one of the runs has layers"), "{text}");
    let text = ok(&["bench", "--compare", &own, &new]);
    assert!(text.contains("note: the networks differ"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let files = Files::new();
    let one = files.write("one.json", &measured(1, 4.0, [1.0, 1.0]));
    let two = files.write("two.json", &measured(2, 4.0, [1.0, 1.0]));
    let other = files.write("other.json", &json!({ "map": 0.5 }));
    refused(1, &["bench", "--compare", &one, &two], &["one.json", "two.json", "thread count"]);
    refused(
        1,
        &["bench", "--compare", &one, &other],
        &["other.json", "median_ms", "kenar bench --json"],
    );
    refused(1, &["bench", "--compare", &files.model, &one], &["demo.kenar"]);
    refused(1, &["bench", "--compare", &one, &files.path("none.json")], &["none.json"]);
    refused(2, &["bench", "--compare", &one], &["--compare"]);
    refused(2, &["bench", &files.model, "--compare", &one, &two], &["--compare"]);
    refused(2, &["bench", "--compare", &one, &two, "--per-layer"], &["--per-layer"]);
    refused(2, &["bench"], &["MODEL"]);
    refused(2, &["bench", &files.model, "--seconds", "0"], &["--seconds"]);
    refused(2, &["bench", &files.model, "--runs", "1", "--seconds", "1"], &["--runs"]);
    refused(1, &["bench", &files.model, "--size", "64x64"], &["64x64", "32x32"]);
}
