//! The machine's limits, measured: multiply-accumulates on registers, and bytes from every level of memory.

use std::sync::Barrier;
use std::time::Duration;

use kenar::isa::Platform;
use serde_json::{Value, json};

use crate::integer::Engine;

/// Bytes of L1 (data), L2 and L3 where the system does not tell.
const USUAL: [u64; 3] = [32 << 10, 1 << 20, 16 << 20];
/// Largest buffer that stands for memory.
const MOST: u64 = 1 << 30;

/// A level of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// `L1`, `L2`, `L3` or `memory`.
    pub name: &'static str,
    /// What it holds, for all threads together.
    pub bytes: u64,
    /// Bytes per second, in 10^9, that the threads read from it together.
    pub gbytes_per_s: f64,
}

/// What a number of threads can do at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// 10^9 multiply-accumulates per second on registers.
    pub peak_gmacs: f64,
    /// Nearest first; the last one is memory and holds everything.
    pub levels: Vec<Level>,
}

impl Machine {
    /// Measures them; takes about half a second.
    pub fn measure(engine: &Engine) -> Self {
        let threads = engine.threads as u64;
        let [l1, l2, l3] = caches();
        // Half of a private cache; of the shared one, what is surely not in the private ones.
        let l3_buffer = (l3 / 4).max(4 * l2 * threads).min(l3 / 2);
        let levels = [
            ("L1", l1 * threads, l1 / 2 * threads),
            ("L2", l2 * threads, l2 / 2 * threads),
            ("L3", l3.max(l2 * threads), l3_buffer.max(l2 * threads)),
            ("memory", u64::MAX, (4 * l3).min(MOST)),
        ];
        let levels = levels.into_iter().map(|(name, bytes, buffer)| {
            let gbytes_per_s = read(engine.platform, engine.threads, buffer / threads);
            Level { name, bytes, gbytes_per_s }
        });
        Self { levels: levels.collect(), peak_gmacs: engine.peak_gmacs() }
    }

    /// The level that data comes from when so many bytes were touched since.
    pub fn level(&self, distance: u64) -> usize {
        let nearest = self.levels.iter().position(|level| distance <= level.bytes);
        nearest.unwrap_or(self.levels.len() - 1)
    }

    /// Microseconds that so many bytes of each level need.
    pub fn reading_us(&self, bytes: &[u64]) -> Vec<f64> {
        let levels = self.levels.iter().zip(bytes);
        levels.map(|(level, &bytes)| bytes as f64 / level.gbytes_per_s / 1e3).collect()
    }

    /// The levels for a JSON document.
    pub fn json(&self) -> Value {
        let level = |l: &Level| {
            let bytes = (l.bytes < u64::MAX).then_some(l.bytes);
            json!({ "name": l.name, "bytes": bytes, "gbytes_per_s": l.gbytes_per_s })
        };
        self.levels.iter().map(level).collect()
    }
}

/// Bytes of L1 (data), L2 and L3 as seen by one core.
fn caches() -> [u64; 3] {
    let mut sizes = USUAL;
    for index in 0..8 {
        let folder = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
        let text = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).ok();
        let (Some(level), Some(kind), Some(size)) = (text("level"), text("type"), text("size"))
        else {
            continue;
        };
        let place = level.trim().parse::<usize>().ok().and_then(|level| level.checked_sub(1));
        if let (Some(place), Some(size)) = (place.filter(|&p| p < 3), parse_size(size.trim()))
            && kind.trim() != "Instruction"
        {
            sizes[place] = size;
        }
    }
    sizes
}

/// `48K`, `32M` as the kernel writes them.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok().filter(|&n| (1..1 << 30).contains(&n)).map(|n| n << shift)
}

/// Bytes per nanosecond that the threads read together, each from a buffer of its own.
fn read(platform: Platform, threads: usize, bytes: u64) -> f64 {
    let barrier = Barrier::new(threads);
    let reader = || {
        let buffer = vec![1i32; (bytes / 4).max(512) as usize];
        barrier.wait();
        platform.read_gbytes(&buffer, Duration::from_millis(20))
    };
    let rates: f64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(reader)).collect();
        readers.into_iter().map(|r| r.join().unwrap_or(0.0)).sum()
    });
    rates.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_caches() {
        assert_eq!(parse_size("48K"), Some(48 << 10));
        assert_eq!(parse_size("32M"), Some(32 << 20));
        assert_eq!(parse_size("512"), Some(512));
        for bad in ["", "K", "0K", "-1K", "4 K", "99999999999999999999K"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        assert!(caches().windows(2).all(|pair| pair[0] < pair[1]), "{:?}", caches());
    }

    #[test]
    fn levels_hold_what_was_touched_lately() {
        let level = |name, bytes, gbytes_per_s| Level { name, bytes, gbytes_per_s };
        let levels =
            vec![level("L1", 100, 400.0), level("L2", 1000, 200.0), level("memory", u64::MAX, 2.0)];
        let machine = Machine { peak_gmacs: 1.0, levels };
        assert_eq!(
            [0, 100, 101, 1000, 1001, u64::MAX].map(|d| machine.level(d)),
            [0, 0, 1, 1, 2, 2]
        );
        assert_eq!(machine.reading_us(&[400_000, 0, 2000]), [1.0, 0.0, 1.0]);
        assert_eq!(
            machine.json()[2],
            json!({ "name": "memory", "bytes": null, "gbytes_per_s": 2.0 })
        );
    }

    #[test]
    fn every_level_is_measured() {
        let engine = Engine::new(None, 2).unwrap();
        let machine = Machine::measure(&engine);
        assert_eq!(
            machine.levels.iter().map(|l| l.name).collect::<Vec<_>>(),
            ["L1", "L2", "L3", "memory"]
        );
        assert!(machine.levels.iter().all(|l| l.gbytes_per_s > 0.01), "{machine:?}");
        assert!(machine.peak_gmacs > 0.0);
    }
}
