//! Damaged checkpoints and arch files: an error or a network, never a panic.

mod arch_nets;

use arch_nets as nets;
use kenar_convert::arch::testing::Spec;
use kenar_convert::arch::{self, ArchFile};
use kenar_convert::checkpoint::Checkpoint;
use ndarray::{ArrayD, IxDyn};

/// Deterministic numbers below a bound.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn networks() -> Vec<Checkpoint> {
    let lifted = |write: &dyn Fn(&mut Spec)| {
        let mut s = Spec::default();
        nets::lift(&mut s, 16);
        write(&mut s);
        s
    };
    let four = nets::four_stage([1, 1, 1, 1], [32, 64, 64, 64], true, |s, p, _, c, o| {
        nets::pre_basic(s, p, c, o, "bn", "proj");
    });
    [
        lifted(&|s| nets::basic(s, "block", 16, 32)),
        lifted(&|s| nets::pre_bottleneck(s, "block", 16, 16, 64)),
        lifted(&|s| nets::se_basic(s, "block", 16, 32)),
        lifted(&|s| nets::grouped(s, "block", 16, 32, 4)),
        lifted(&|s| {
            nets::bottleneck(s, "block", 16, (16, 64), 4, ("downsample.0", "downsample.1"))
        }),
        nets::wide(&nets::WIDE, 1, 1),
        nets::option_a(1),
        nets::mini_fasnet(),
        four,
    ]
    .iter()
    .map(Spec::checkpoint)
    .collect()
}

/// Removes, renames, reshapes or adds a few tensors.
fn damage(ckpt: &mut Checkpoint, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let i = random.below(ckpt.tensors.len());
        let (key, mut tensor) = ckpt.tensors.shift_remove_index(i).unwrap();
        let shape = tensor.array.shape().to_vec();
        let mut reshape = |shape: Vec<usize>| tensor.array = ArrayD::zeros(IxDyn(&shape));
        match random.below(6) {
            0 => continue,
            1 => reshape(shape.iter().map(|_| random.below(3)).collect()),
            2 => reshape(shape.iter().chain(&[1]).copied().collect()),
            3 => reshape(shape.iter().map(|d| d + random.below(2)).collect()),
            4 => {
                let other = key.replace(['1', '0'], ["2", "", "..", "x"][random.below(4)]);
                ckpt.tensors.insert(other, tensor);
                continue;
            }
            _ => reshape(shape[..random.below(shape.len() + 1)].to_vec()),
        }
        ckpt.tensors.insert(key, tensor);
        if ckpt.tensors.len() < 3 {
            return;
        }
    }
}

#[test]
fn damaged_checkpoints_never_panic() {
    let networks = networks();
    let mut random = Random(7);
    let mut refused = 0;
    for round in 0..900 {
        let mut ckpt = networks[round % networks.len()].clone();
        let whole = arch::recognise(&ckpt).unwrap();
        damage(&mut ckpt, &mut random);
        let input = Some([3, 24, 24]).filter(|_| whole.family != "mini-fasnet");
        let own = arch::recognise(&ckpt).and_then(|a| arch::build(&ckpt, &a, input));
        let given = arch::build(&ckpt, &whole, input);
        for error in [own.err(), given.err()].into_iter().flatten() {
            assert!(!error.to_string().is_empty());
            refused += 1;
        }
    }
    assert!(refused > 900, "{refused}");
}

#[test]
fn damaged_arch_files_never_panic() {
    let mut random = Random(11);
    let mut refused = 0;
    for (n, ckpt) in networks().iter().enumerate() {
        let text = arch::recognise(ckpt).unwrap().to_toml();
        let lines: Vec<&str> = text.lines().collect();
        for _ in 0..150 {
            let i = random.below(lines.len());
            let mut edited: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
            let values = [
                "0",
                "1",
                "3",
                "-1",
                "9223372036854775807",
                "\"\"",
                "\"end\"",
                "[0, 0]",
                "true",
                "1e300",
            ];
            edited[i] = match (random.below(4), lines[i].split_once(" = ")) {
                (0, _) => String::new(),
                (1, _) => lines[random.below(lines.len())].to_owned(),
                (_, Some((key, _))) => format!("{key} = {}", values[random.below(values.len())]),
                _ => lines[i].replace("stage", "tail"),
            };
            let built = ArchFile::from_toml(&edited.join("\n")).and_then(|mut a| {
                a.select_outputs(&["output"])?;
                arch::build(ckpt, &a, Some([3, 16, 16]))
            });
            refused += usize::from(built.is_err());
        }
        assert!(refused > 20 * n, "{refused}");
    }
}
