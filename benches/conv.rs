//! Convolutions of real backbones, one thread, on every instruction set of the machine; outputs are compared with the
//! scalar definition before anything is timed. Throughput is in multiply-accumulates.
//!
//! `cargo bench -p kenar-benches --bench conv -- avx512vnni`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kenar::isa::Platform;
use kenar_benches::{Case, layers};
use std::time::Duration;

fn conv(criterion: &mut Criterion) {
    for platform in Platform::available().filter(|p| *p != Platform::scalar()) {
        let mut group = criterion.benchmark_group(platform.name());
        group.sample_size(10).warm_up_time(Duration::from_millis(50));
        group.measurement_time(Duration::from_millis(200));
        for layer in layers() {
            let case = Case::new(layer);
            group.throughput(Throughput::Elements(layer.macs()));
            case.with(platform, |run| group.bench_function(layer.name, |b| b.iter(&mut *run)));
        }
    }
}

criterion_group!(benches, conv);
criterion_main!(benches);
