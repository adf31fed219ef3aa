//! Whole networks, with one thread and two, on every instruction set of the machine: small ones that are made here, and
//! the model files of the folder that the variable `KENAR_MODELS` names. Output hashes are compared with the scalar
//! definition's before anything is timed.
//!
//! `KENAR_MODELS=models/ cargo bench -p kenar-benches --bench networks -- avx512vnni`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kenar::isa::Platform;
use kenar::{Model, Options, Session};
use kenar_benches::small;
use std::path::Path;
use std::time::Duration;

/// What criterion is told to look for; a network that does not fit is not even run.
fn filter() -> Option<String> {
    std::env::args().skip(1).find(|arg| !arg.starts_with('-'))
}

fn session<'m, 'a>(
    model: &Model<'m>,
    arena: &'a mut [u8],
    platform: Platform,
    threads: usize,
) -> Session<'m, 'a> {
    let options = Options { platform, threads };
    let mut session = Session::with_options(model, arena, options).expect("a session");
    session.input().set_pattern(1);
    session.run().expect("a run");
    session
}

fn network(criterion: &mut Criterion, name: &str, file: &[u8]) {
    let model = Model::parse(file).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut arena = vec![0; model.arena_bytes()];
    let hash = |session: Session| session.output_hash().expect("outputs");
    let expected = hash(session(&model, &mut arena, Platform::scalar(), 1));
    for platform in Platform::available().filter(|p| *p != Platform::scalar()) {
        let mut group = criterion.benchmark_group(platform.name());
        group.sample_size(10).measurement_time(Duration::from_secs(1));
        group.throughput(Throughput::Elements(model.macs()));
        for threads in [1, 2] {
            let mut session = session(&model, &mut arena, platform, threads);
            let actual = session.output_hash().expect("outputs");
            assert_eq!(actual, expected, "{name}: {} differs from scalar", platform.name());
            group.bench_function(BenchmarkId::new(name, threads), |b| {
                b.iter(|| {
                    session.input().set_pattern(1);
                    session.run()
                });
            });
        }
        group.finish();
    }
}

fn networks(criterion: &mut Criterion) {
    for made in small::networks() {
        network(criterion, made.name, &made.file);
    }
    let Some(folder) = std::env::var_os("KENAR_MODELS") else { return };
    let entries = std::fs::read_dir(&folder);
    let entries =
        entries.unwrap_or_else(|e| panic!("KENAR_MODELS={}: {e}", Path::new(&folder).display()));
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "kenar"));
    paths.sort();
    let platforms: Vec<&str> = Platform::available().map(Platform::name).collect();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let wanted = filter().is_none_or(|f| {
            platforms.contains(&f.as_str()) || f.contains(&*name) || name.contains(&f)
        });
        if wanted {
            let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            network(criterion, &name, &file);
        }
    }
}

criterion_group!(benches, networks);
criterion_main!(benches);
