//! Naming variants: the many paths under which checkpoints keep the same module of a block.
//!
//! A *role* is what a module does inside its block. Blocks are described by roles alone; this table is the only
//! place that knows spellings. `#` stands for the number of the convolution, 1 to 3.

/// Role and spellings, relative to the block. The first fit wins; each spelling has one role.
const SPELLINGS: &[(&str, &[&str])] = &[
    ("conv#", &["conv#", "conv#.conv", "conv#.0", "convs.#"]),
    ("bn#", &["bn#", "conv#.bn", "conv#.1", "norm#", "batch_norm#", "conv#.norm"]),
    ("act#", &["prelu#", "act#", "relu#", "conv#.prelu", "conv#.act", "conv#.2"]),
    // Blocks of one convolution.
    ("conv1", &["conv", "residual_function.0"]),
    ("bn1", &["bn", "residual_function.1"]),
    // One Sequential for the whole branch.
    ("conv2", &["residual_function.3"]),
    ("bn2", &["residual_function.4"]),
    ("conv3", &["residual_function.6"]),
    ("bn3", &["residual_function.7"]),
    // Inverted residual: expand, depthwise, linear projection.
    ("conv1", &["conv.conv", "expand.conv"]),
    ("bn1", &["conv.bn", "expand.bn"]),
    ("act1", &["conv.prelu", "expand.prelu"]),
    ("conv2", &["conv_dw.conv", "depthwise.conv"]),
    ("bn2", &["conv_dw.bn", "depthwise.bn"]),
    ("act2", &["conv_dw.prelu", "depthwise.prelu"]),
    ("conv3", &["project.conv"]),
    ("bn3", &["project.bn"]),
    // The skip path.
    (
        "proj",
        &[
            "proj",
            "proj.0",
            "proj.conv",
            "downsample.0",
            "downsample.conv",
            "downsample",
            "shortcut.0",
            "shortcut",
            "shortcut.conv",
            "skip.0",
            "skip",
            "conv_inp",
            "convShortcut",
            "conv_shortcut",
        ],
    ),
    (
        "proj_bn",
        &[
            "proj.1",
            "proj.bn",
            "downsample.1",
            "downsample.bn",
            "shortcut.1",
            "shortcut.bn",
            "skip.1",
            "bn_shortcut",
        ],
    ),
    // Squeeze-excitation.
    ("se1", &["se.fc.0", "se.fc1", "se_module.fc1", "se.conv_reduce", "se.reduce", "fc.0"]),
    ("se_bn1", &["se_module.bn1", "se.bn1"]),
    ("se2", &["se.fc.2", "se.fc2", "se_module.fc2", "se.conv_expand", "se.expand", "fc.2"]),
    ("se_bn2", &["se_module.bn2", "se.bn2"]),
];

/// The role of a path inside a block.
pub(super) fn role_of(relative: &str) -> Option<String> {
    for (role, spellings) in SPELLINGS {
        for spelling in *spellings {
            if !spelling.contains('#') {
                if *spelling == relative {
                    return Some((*role).to_owned());
                }
                continue;
            }
            let number =
                (1..=3).map(|n: u8| n.to_string()).find(|n| spelling.replace('#', n) == relative);
            if let Some(n) = number {
                return Some(role.replace('#', &n));
            }
        }
    }
    None
}

/// All roles, for messages and for checking an arch file.
pub(super) fn roles() -> Vec<String> {
    let mut all: Vec<String> = SPELLINGS
        .iter()
        .flat_map(|(role, _)| (1..=3).map(move |n| role.replace('#', &n.to_string())))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// The spellings of a role, for messages about a missing module.
pub(super) fn spellings(role: &str) -> Vec<&'static str> {
    SPELLINGS.iter().filter(|(r, _)| *r == role).flat_map(|(_, s)| s.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_of_one_role() {
        for path in ["conv2", "conv2.conv", "conv2.0", "residual_function.3", "conv_dw.conv"] {
            assert_eq!(role_of(path).as_deref(), Some("conv2"), "{path}");
        }
        for path in ["bn2", "conv2.bn", "conv2.1", "batch_norm2", "norm2"] {
            assert_eq!(role_of(path).as_deref(), Some("bn2"), "{path}");
        }
        for path in ["proj", "proj.0", "downsample.0", "conv_inp", "convShortcut", "shortcut.0"] {
            assert_eq!(role_of(path).as_deref(), Some("proj"), "{path}");
        }
        assert_eq!(role_of("conv4"), None);
        assert_eq!(role_of("attention.q"), None);
    }

    #[test]
    fn no_spelling_has_two_roles() {
        for (role, spellings) in SPELLINGS {
            for spelling in *spellings {
                for n in ["1", "2", "3"] {
                    let found = role_of(&spelling.replace('#', n));
                    assert_eq!(found, Some(role.replace('#', n)), "{spelling}");
                }
            }
        }
    }
}
