//! A timing worker: one model in one process, driven over standard input, so that a script can let several runtimes
//! take turns.
//!
//! `peer_worker MODEL.kenar INPUT.npy THREADS [ISA]` prints one JSON line when it is loaded; then `B SECONDS` answers with a
//! JSON list of milliseconds per inference, `Q` with the peak memory and ends. Input conversion from f32 NCHW and output
//! conversion to f32 are inside the measured time.

use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::time::{Duration, Instant};

use kenar::isa::Platform;
use kenar::pages::Pages;
use kenar::{Model, Options, Session};
use memmap2::UncheckedAdvice;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, path, input, threads, rest @ ..] = args.as_slice() else {
        return Err("usage: peer_worker MODEL.kenar INPUT.npy THREADS [ISA]".into());
    };
    let base = peak_rss_mb();
    let start = Instant::now();
    // SAFETY: the file is a benchmark's own; nobody writes to it while this program runs.
    let file = unsafe { memmap2::MmapOptions::new().populate().map(&File::open(path)?)? };
    let model = Model::parse(&file)?;
    let mut arena = Pages::zeroed(model.arena_bytes());
    let platform = match rest.first() {
        Some(name) => Platform::by_name(name).ok_or("no such instruction set here")?,
        None => Platform::detect(),
    };
    let options = Options { platform, threads: threads.parse()? };
    let released = |bytes: &[u8]| {
        let offset = bytes.as_ptr() as usize - file.as_ptr() as usize;
        // SAFETY: the mapping is of a file and read only, so that its pages come back as they were.
        let _ =
            unsafe { file.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, bytes.len()) };
    };
    let mut session = Session::with_options_releasing(&model, &mut arena, options, &released)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;

    let len = model.input_shape().iter().product::<u32>() as usize;
    let pixels = first_image(File::open(input)?, len)?;
    let mut sizes = Vec::new();
    for output in model.outputs() {
        let t = model.tensor(output.tensor);
        sizes.push((t.pixels() * t.channels) as usize);
    }
    let mut results: Vec<Vec<f32>> = sizes.iter().map(|&n| vec![0.0; n]).collect();
    let mut infer = || -> Result<f64, Failure> {
        let start = Instant::now();
        session.input().set_f32_nchw(&pixels)?;
        session.run()?;
        for (i, result) in results.iter_mut().enumerate() {
            session.output_at(i)?.copy_f32_nchw(result)?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let first_ms = infer()?;
    println!(r#"{{"load_ms": {load_ms:.2}, "first_ms": {first_ms:.3}, "base_rss_mb": {base:.1}}}"#);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if let Some(seconds) = line.strip_prefix('B') {
            let limit = Duration::from_secs_f64(seconds.trim().parse()?);
            let start = Instant::now();
            let mut times = Vec::new();
            while times.len() < 3 || start.elapsed() < limit {
                times.push(format!("{:.4}", infer()?));
            }
            println!("[{}]", times.join(","));
        } else {
            println!(r#"{{"peak_rss_mb": {:.1}}}"#, peak_rss_mb());
            break;
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The first `len` values of a float32 C-order `.npy` file (NumPy's format 1.0).
fn first_image(mut file: File, len: usize) -> Result<Vec<f32>, Failure> {
    let mut start = [0; 10];
    file.read_exact(&mut start)?;
    let mut text = vec![0; usize::from(u16::from_le_bytes([start[8], start[9]]))];
    file.read_exact(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    if !text.contains("'<f4'") || text.contains("'fortran_order': True") {
        return Err(format!("expected float32 in C order, got {text}").into());
    }
    let mut data = vec![0; 4 * len];
    file.read_exact(&mut data)?;
    Ok(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
