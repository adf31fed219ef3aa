//! Instructions of some kernels and two whole networks, counted by callgrind: the same on every machine with one
//! compiler. `.ci/instructions.sh` runs this and compares with `benches/instructions.txt`. Valgrind knows no AVX-512, so
//! the sets are `avx2` and `scalar`.

#![allow(missing_docs)]

use gungraun::Callgrind;
use gungraun::prelude::*;
use kenar_benches::counts::{Ready, ready};
use std::hint::black_box;

fn on_avx2(name: &str) -> Ready {
    ready("avx2", name)
}

fn on_scalar(name: &str) -> Ready {
    ready("scalar", name)
}

#[library_benchmark(setup = on_avx2)]
#[bench::pointwise("pointwise")]
#[bench::pointwise_add("pointwise_add")]
#[bench::dense("dense")]
#[bench::dense_second("dense_second")]
#[bench::first("first")]
#[bench::grouped("grouped")]
#[bench::grouped_stride("grouped_stride")]
#[bench::depthwise("depthwise")]
#[bench::linear("linear")]
#[bench::table("table")]
#[bench::max_pool("max_pool")]
#[bench::average("average")]
#[bench::gate("gate")]
#[bench::classifier("classifier")]
#[bench::detector("detector")]
fn avx2(ready: Ready) -> Ready {
    black_box(ready.run())
}

#[library_benchmark(setup = on_scalar)]
#[bench::dense("dense")]
#[bench::grouped("grouped")]
#[bench::max_pool("max_pool")]
#[bench::classifier("classifier")]
fn scalar(ready: Ready) -> Ready {
    black_box(ready.run())
}

library_benchmark_group!(name = counts, benchmarks = [avx2, scalar]);
main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = counts
);
