//! Well-known networks by name: tables of block, depth, widths and groups.

use super::blocks::{BlockKind, resnext};
use super::depth;
use super::file::{
    Act, ArchFile, Classifier, ConvUnit, FinalNorm, Head, LinearUnit, MaxPool, Projection, Stage,
};
use crate::error::{Error, Result};

/// An ImageNet ResNet: name, block, blocks per stage, groups, base width.
type Row = (&'static str, BlockKind, [usize; 4], usize, usize);

const RESNETS: &[Row] = &[
    ("resnet18", BlockKind::Basic, [2, 2, 2, 2], 1, 64),
    ("resnet34", BlockKind::Basic, [3, 4, 6, 3], 1, 64),
    ("resnet50", BlockKind::Bottleneck, [3, 4, 6, 3], 1, 64),
    ("resnet101", BlockKind::Bottleneck, [3, 4, 23, 3], 1, 64),
    ("resnet152", BlockKind::Bottleneck, [3, 8, 36, 3], 1, 64),
    ("resnext50_32x4d", BlockKind::Bottleneck, [3, 4, 6, 3], 32, 4),
    ("resnext101_32x8d", BlockKind::Bottleneck, [3, 4, 23, 3], 32, 8),
    ("resnext101_64x4d", BlockKind::Bottleneck, [3, 4, 23, 3], 64, 4),
    ("wide_resnet50_2", BlockKind::Bottleneck, [3, 4, 6, 3], 1, 128),
    ("wide_resnet101_2", BlockKind::Bottleneck, [3, 4, 23, 3], 1, 128),
];

/// Post-activation networks for 32x32 images: name, blocks in each of three stages.
const CIFAR_RESNETS: &[(&str, usize)] =
    &[("resnet20", 3), ("resnet32", 5), ("resnet44", 7), ("resnet56", 9), ("resnet110", 18)];

/// Names of the tables; `wrn-DEPTH-WIDTH` stands for all wide residual networks.
pub fn known_names() -> Vec<&'static str> {
    let wide = ["wrn-16-1", "wrn-16-2", "wrn-28-2", "wrn-28-10", "wrn-40-1", "wrn-40-2"];
    RESNETS.iter().map(|r| r.0).chain(CIFAR_RESNETS.iter().map(|r| r.0)).chain(wide).collect()
}

/// The architecture of a well-known network under its usual module names.
///
/// # Errors
/// The name is unknown, or names a depth that does not exist.
pub fn by_name(name: &str) -> Result<ArchFile> {
    let plain = name.to_ascii_lowercase();
    if let Some(row) = RESNETS.iter().find(|r| r.0 == plain) {
        return imagenet(row);
    }
    if let Some(&(model, n)) = CIFAR_RESNETS.iter().find(|r| r.0 == plain) {
        return Ok(cifar(model, n));
    }
    if let Some((depth, k)) = wide_name(&plain) {
        let n = depth::blocks(depth).map_err(|e| Error::Input(format!("'{name}': {e}")))?;
        return Ok(wide(depth, k, n));
    }
    Err(Error::Input(format!(
        "no architecture is called '{name}'; there are {}, wrn-DEPTH-WIDTH, or an arch file ending in .toml",
        RESNETS
            .iter()
            .map(|r| r.0)
            .chain(CIFAR_RESNETS.iter().map(|r| r.0))
            .collect::<Vec<_>>()
            .join(", ")
    )))
}

/// `wrn-28-2`, `wrn_28_2`, `wrn28-2`.
fn wide_name(name: &str) -> Option<(usize, usize)> {
    let rest = name.strip_prefix("wrn")?.trim_start_matches(['-', '_']);
    let (depth, k) = rest.split_once(['-', '_', 'x'])?;
    let (depth, k) = (depth.parse().ok()?, k.parse().ok()?);
    ((1..=10_000).contains(&depth) && (1..=1000).contains(&k)).then_some((depth, k))
}

fn pairs(names: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    names.iter().map(|(role, path)| ((*role).to_owned(), (*path).to_owned())).collect()
}

fn conv_bn(
    conv: &str,
    bn: &str,
    window: usize,
    stride: usize,
    max_pool: Option<MaxPool>,
) -> ConvUnit {
    ConvUnit {
        conv: conv.into(),
        bn: Some(bn.into()),
        stride,
        padding: Some(window / 2),
        max_pool,
        ..ConvUnit::default()
    }
}

fn classifier(linear: &str) -> Option<Head> {
    let layers = vec![LinearUnit { linear: linear.into(), bn: None, activation: Act::None }];
    Some(Head::Classifier(Classifier { pool: true, softmax: false, layers }))
}

fn imagenet(&(model, block, counts, groups, base_width): &Row) -> Result<ArchFile> {
    let mut arch = ArchFile::new(if groups > 1 { "resnext" } else { "resnet" }, 3);
    arch.model = Some(model.into());
    arch.input.size = [224, 224];
    arch.input.preset = Some("imagenet".into());
    arch.names = pairs(&[
        ("conv1", "conv1"),
        ("bn1", "bn1"),
        ("conv2", "conv2"),
        ("bn2", "bn2"),
        ("proj", "downsample.0"),
        ("proj_bn", "downsample.1"),
    ]);
    let bottleneck = block == BlockKind::Bottleneck;
    if bottleneck {
        arch.names.extend(pairs(&[("conv3", "conv3"), ("bn3", "bn3")]));
    }
    arch.stem =
        vec![conv_bn("conv1", "bn1", 7, 2, Some(MaxPool { window: 3, stride: 2, padding: 1 }))];
    for (i, &count) in counts.iter().enumerate() {
        let planes = 64 << i;
        arch.stages.push(Stage {
            block,
            projection: (bottleneck || i > 0).then_some(Projection::Raw),
            groups: (groups > 1).then_some(groups),
            inner: if bottleneck {
                Some(resnext::width(planes, base_width, groups)?)
            } else {
                None
            },
            channels: Some(if bottleneck { planes * 4 } else { planes }),
            ..stage("layer", i, count)
        });
    }
    arch.head = classifier("fc");
    Ok(arch)
}

fn stage(word: &str, i: usize, count: usize) -> Stage {
    Stage {
        name: format!("{word}{}", i + 1),
        path: format!("{word}{}.{{}}", i + 1),
        count,
        stride: if i == 0 { 1 } else { 2 },
        residual: true,
        ..Stage::default()
    }
}

fn cifar(model: &str, n: usize) -> ArchFile {
    let mut arch = ArchFile::new("cifar-resnet", 3);
    arch.model = Some(model.into());
    arch.input.preset = Some("imagenet".into());
    arch.names = pairs(&[("conv1", "conv1"), ("bn1", "bn1"), ("conv2", "conv2"), ("bn2", "bn2")]);
    arch.stem = vec![conv_bn("conv1", "bn1", 3, 1, None)];
    arch.stages = (0..3)
        .map(|i| Stage {
            projection: (i > 0).then_some(Projection::Pad),
            channels: Some(16 << i),
            ..stage("layer", i, n)
        })
        .collect();
    arch.head = classifier("linear");
    arch
}

fn wide(depth: usize, k: usize, n: usize) -> ArchFile {
    let mut arch = ArchFile::new("wide-resnet", 3);
    arch.model = Some(format!("wrn-{depth}-{k}"));
    arch.depth = Some(depth);
    arch.input.preset = Some("cifar10".into());
    arch.names = pairs(&[
        ("conv1", "conv1"),
        ("bn1", "bn1"),
        ("conv2", "conv2"),
        ("bn2", "bn2"),
        ("proj", "proj"),
    ]);
    arch.stem = vec![conv_bn("stem.0", "stem.1", 3, 1, None)];
    arch.stages = (0..3)
        .map(|i| Stage {
            block: BlockKind::PreBasic,
            projection: (i > 0 || k > 1).then_some(Projection::Raw),
            channels: Some((16 << i) * k),
            ..stage("stage", i, n)
        })
        .collect();
    arch.final_norm = Some(FinalNorm { bn: "bn".into(), activation: Act::Relu });
    arch.head = classifier("fc");
    arch
}

/// What tells a stage of one network from that of another: block, count, groups, inner channels, channels.
type StageSignature = (BlockKind, usize, Option<usize>, Option<usize>, Option<usize>);

fn signature(arch: &ArchFile) -> Vec<StageSignature> {
    arch.stages.iter().map(|s| (s.block, s.count, s.groups, s.inner, s.channels)).collect()
}

/// The name of a recognised network, if a table has it.
pub(super) fn identify(arch: &ArchFile) -> Option<String> {
    if let ("wide-resnet", Some(depth)) = (arch.family.as_str(), arch.depth) {
        let k = arch.stages.first()?.channels? / 16;
        let candidate = by_name(&format!("wrn-{depth}-{k}")).ok()?;
        return candidate.model.clone().filter(|_| signature(&candidate) == signature(arch));
    }
    let same = |name: &&str| {
        by_name(name).is_ok_and(|c| c.family == arch.family && signature(&c) == signature(arch))
    };
    RESNETS
        .iter()
        .map(|r| r.0)
        .chain(CIFAR_RESNETS.iter().map(|r| r.0))
        .find(same)
        .map(str::to_owned)
}

/// A named architecture with the module paths of the recognised one.
///
/// # Errors
/// The two are different networks.
pub(super) fn fit(name: &str, named: ArchFile, found: ArchFile) -> Result<ArchFile> {
    if signature(&named) != signature(&found) {
        let describe = |a: &ArchFile| {
            let stage = |s: &Stage| {
                let inner = s.inner.map_or(String::new(), |i| format!(" inner {i}"));
                let groups = s.groups.map_or(String::new(), |g| format!(" groups {g}"));
                format!("{}x {:?} {}{inner}{groups}", s.count, s.block, s.channels.unwrap_or(0))
            };
            a.stages.iter().map(stage).collect::<Vec<_>>().join(", ")
        };
        return Err(Error::Input(format!(
            "the checkpoint is no {name}: that is [{}], the checkpoint is {} with [{}]",
            describe(&named),
            found.model.as_deref().unwrap_or(&found.family),
            describe(&found)
        )));
    }
    let mut arch = found;
    for (to, from) in arch.stages.iter_mut().zip(&named.stages) {
        to.stride = from.stride;
        to.activation = from.activation;
    }
    if arch.stem.len() == named.stem.len() {
        for (to, from) in arch.stem.iter_mut().zip(&named.stem) {
            (to.stride, to.padding, to.max_pool) = (from.stride, from.padding, from.max_pool);
        }
    }
    arch.input.size = named.input.size;
    arch.input.preset = named.input.preset;
    arch.family = named.family;
    arch.model = named.model;
    arch.notes.clear();
    Ok(arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_describes_itself() {
        for name in known_names() {
            let arch = by_name(name).unwrap();
            arch.validate().unwrap();
            assert_eq!(identify(&arch).as_deref(), Some(name));
        }
        assert_eq!(by_name("WRN_28_10").unwrap().stages[2].channels, Some(640));
        assert!(by_name("resnet51").unwrap_err().to_string().contains("resnet50"));
        assert!(by_name("wrn-128-1").unwrap_err().to_string().contains("124 and 130"));
        assert!(by_name("wrn--").is_err());
    }
}
