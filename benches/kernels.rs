//! Every kernel over the layers of nine networks, one thread, on every instruction set of the machine; outputs are
//! compared with the scalar definition before anything is timed. Throughput is in multiply-accumulates, or in elements
//! for operators that have none. With `--test` maps are cropped and nothing is timed.
//!
//! `cargo bench -p kenar-benches --bench kernels -- avx512vnni/resnext50`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kenar::isa::Platform;
use kenar_benches::{Case, NETWORKS};
use std::collections::BTreeSet;
use std::time::Duration;

fn kernels(criterion: &mut Criterion) {
    let testing = std::env::args().any(|arg| arg == "--test");
    let platforms: Vec<Platform> =
        Platform::available().filter(|p| *p != Platform::scalar()).collect();
    let mut seen = BTreeSet::new();
    for (network, layers) in NETWORKS {
        for layer in layers.iter() {
            let layer = if testing { layer.cropped(12) } else { *layer };
            // A layer that several networks have is timed once.
            if !seen.insert(layer.name()) {
                continue;
            }
            let mut case = None;
            for &platform in &platforms {
                let mut group = criterion.benchmark_group(platform.name());
                group.sample_size(10).warm_up_time(Duration::from_millis(50));
                group.measurement_time(Duration::from_millis(200));
                let work = if layer.macs() > 0 { layer.macs() } else { layer.elements() };
                group.throughput(Throughput::Elements(work));
                let case = case.get_or_insert_with(|| Case::new(&layer));
                case.with(platform, |run| {
                    let id = BenchmarkId::new(*network, layer.name());
                    group.bench_function(id, |b| b.iter(&mut *run));
                });
                group.finish();
            }
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
