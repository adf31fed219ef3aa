//! A table: the rate of a network's layers as a share of what the core reaches on registers, measured in turns.
//!
//! `cargo bench -p kenar-benches --bench rates -- avx512vnni [NETWORK [part of a layer's name [runs]]]`

use kenar::isa::Platform;
use kenar_benches::{Case, Layer, NETWORKS};
use std::time::Instant;

fn main() {
    let testing = std::env::args().any(|a| a == "--test");
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let platform =
        args.first().and_then(|name| Platform::by_name(name)).unwrap_or(Platform::detect());
    let wanted = args.get(1).map_or("resnet50", String::as_str);
    let Some((name, layers)) = NETWORKS.iter().find(|(name, _)| *name == wanted) else {
        let names: Vec<&str> = NETWORKS.iter().map(|(name, _)| *name).collect();
        eprintln!("no network '{wanted}'; there are {}", names.join(", "));
        std::process::exit(2);
    };
    let filter = args.get(2).map_or("", String::as_str);
    // One layer shows that this works.
    let layers: &[Layer] = if testing { &layers[2..3] } else { layers };
    let runs: u32 = args.get(3).and_then(|n| n.parse().ok()).unwrap_or(10);
    let (mut macs, mut ideal, mut time) = (0.0, 0.0, 0.0);
    println!(
        "{:<36}{:>10}{:>10}{:>8}",
        format!("{name}, {}", platform.name()),
        "us",
        "GMAC/s",
        "peak"
    );
    for layer in layers.iter().filter(|l| l.macs() > 0 && l.name().contains(filter)) {
        let case = Case::new(layer);
        let (seconds, peak) = case.with(platform, |run| {
            let (mut best, mut peak) = (f64::MAX, 0.0);
            for _ in 0..5 {
                peak = platform.peak_gmacs().max(peak);
                for _ in 0..runs {
                    let start = Instant::now();
                    run();
                    best = start.elapsed().as_secs_f64().min(best);
                }
            }
            (best, peak)
        });
        let rate = layer.macs() as f64 / seconds / 1e9;
        println!(
            "{:<36}{:>10.1}{:>10.1}{:>7.0}%",
            layer.name(),
            seconds * 1e6,
            rate,
            100.0 * rate / peak
        );
        macs += f64::from(layer.count) * layer.macs() as f64;
        ideal += f64::from(layer.count) * layer.macs() as f64 / peak / 1e9;
        time += f64::from(layer.count) * seconds;
    }
    println!(
        "all, as often as the network has them: {:.2} ms, {:.0} GMAC/s, {:.0} % of the peak",
        time * 1e3,
        macs / time / 1e9,
        100.0 * ideal / time
    );
}
