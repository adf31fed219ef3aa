//! Recognises the block under a module path from the roles and shapes of its modules.

use std::collections::BTreeMap;

use super::BlockKind;
use crate::arch::file::{Act, Projection, Se};
use crate::arch::modules::{Module, Modules};
use crate::arch::names;

/// Where batch norm and activation stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::arch) enum Style {
    /// Behind the convolution.
    Post,
    /// In front of it.
    Pre,
    /// Shapes and names fit both.
    Either,
}

/// What a block's modules say.
#[derive(Clone, Debug)]
pub(in crate::arch) struct Facts {
    /// Relative path of each role.
    pub names: BTreeMap<String, String>,
    /// Number of convolutions of the branch.
    pub convs: usize,
    /// Whether the second convolution is depthwise between two linear ones.
    pub inverted: bool,
    pub style: Style,
    /// Whether the file lists the first batch norm before the first convolution, where its order means something.
    pub norm_first: Option<bool>,
    /// Incoming channels, as far as the block alone tells.
    pub c_in: Option<usize>,
    /// Outgoing channels; `None` for a squeeze-excitation unit.
    pub c_out: Option<usize>,
    /// Channels behind the first convolution, where there is another.
    pub mid: Option<usize>,
    /// Channels in front of the last convolution, where there is another before it.
    pub inner: Option<usize>,
    /// Input channels per group of the convolution that may be grouped.
    pub per_group: Option<usize>,
    /// Where the projection reads from, by the convention of its name.
    pub projection: Option<Projection>,
    pub se: Option<Se>,
}

impl Facts {
    /// The kind of block, once it is known whether it is pre-activated.
    pub fn kind(&self, pre: bool) -> BlockKind {
        match (self.convs, pre) {
            (0, _) => BlockKind::Se,
            (1, _) => BlockKind::Grouped,
            (2, false) => BlockKind::Basic,
            (2, true) => BlockKind::PreBasic,
            _ if self.inverted => BlockKind::InvertedResidual,
            (_, false) => BlockKind::Bottleneck,
            (_, true) => BlockKind::PreBottleneck,
        }
    }

    /// Groups, given the channels that come in.
    pub fn groups(&self, c_in: usize) -> Option<usize> {
        let incoming = if self.convs < 3 { c_in } else { self.mid? };
        let per_group = self.per_group?;
        if incoming.is_multiple_of(per_group) { incoming.checked_div(per_group) } else { None }
    }
}

/// Reads the block under `path`.
///
/// # Errors
/// What keeps it from being a residual block that is known here.
pub(in crate::arch) fn survey(m: &Modules<'_>, path: &str) -> Result<Facts, String> {
    let mut names = BTreeMap::new();
    for (relative, module) in m.under(path) {
        if module == Module::StatelessNorm {
            return Err(format!(
                "'{path}.{relative}' has no running statistics: layer and group norm depend on the input and \
                 cannot be folded into int8 weights; train with batch norm"
            ));
        }
        let role = names::role_of(relative)
            .ok_or_else(|| format!("'{path}.{relative}' is no known part of a residual block"))?;
        if let Some(other) = names.insert(role.clone(), relative.to_owned()) {
            return Err(format!("'{path}' has two modules for '{role}': {other} and {relative}"));
        }
    }
    let full = |role: &str| Some(join(path, names.get(role)?));
    let conv = |role: &str| m.conv(&full(role)?);
    let norm = |role: &str| m.norm(&full(role)?);
    let convs = (1..=3).take_while(|n| conv(&format!("conv{n}")).is_some()).count();
    let se = full("se1").and_then(|p| m.get(&p)).map(|se1| squeeze(&names["se1"], se1));
    if convs == 0 && se.is_none() {
        return Err(format!(
            "'{path}' has no convolution conv1 (or conv1.conv, conv1.0, conv, ...)"
        ));
    }
    if se.is_some() != names.contains_key("se2") {
        return Err(format!("'{path}' has one half of a squeeze-excitation unit"));
    }
    let shape = |n: usize| conv(&format!("conv{n}")).unwrap_or_default();
    let inverted = convs == 3 && names["conv2"].contains("dw")
        || names.get("conv2").is_some_and(|n| n.contains("depthwise"));
    let projection =
        full("proj").and_then(|p| m.get(&p)).map(|proj| match names.contains_key("proj_bn") {
            true => Projection::Raw,
            false => source_of(&names["proj"], proj),
        });
    let c_out = (convs > 0).then(|| shape(convs)[0]);
    let style = style(m, path, &names, convs);
    let c_in = match (convs, style) {
        (0, _) => conv("se1").map(|s| s[1]),
        (1, _) => conv("proj").map(|s| s[1]).or(c_out),
        (_, Style::Pre) => norm("bn1"),
        _ => Some(shape(1)[1]),
    };
    let per_group = match convs {
        0 => None,
        3 => Some(shape(2)[1]),
        _ => Some(shape(1)[1]),
    };
    let mid = (convs > 1).then(|| shape(1)[0]);
    let inner = (convs > 1).then(|| shape(convs - 1)[0]);
    let place = |role: &str| m.position(&full(role)?);
    let norm_first = place("bn1").zip(place("conv1")).map(|(norm, conv)| norm < conv);
    Ok(Facts {
        names,
        convs,
        inverted,
        style,
        norm_first,
        c_in,
        c_out,
        mid,
        inner,
        per_group,
        projection,
        se,
    })
}

fn join(path: &str, relative: &str) -> String {
    if path.is_empty() { relative.to_owned() } else { format!("{path}.{relative}") }
}

/// Pre- or post-activation, by the first of: widths of batch norms beside those of their convolutions, batch
/// norms nested with their convolution, batch norm on the projection.
fn style(m: &Modules<'_>, path: &str, names: &BTreeMap<String, String>, convs: usize) -> Style {
    if convs < 2 {
        return Style::Post;
    }
    let full = |role: &str| Some(join(path, names.get(role)?));
    let mut incoming = None;
    for n in 1..=convs {
        let (conv, norm) = (full(&format!("conv{n}")), full(&format!("bn{n}")));
        let Some([out, per_group, ..]) = conv.and_then(|p| m.conv(&p)) else { return Style::Post };
        let Some(c) = norm.and_then(|p| m.norm(&p)) else { return Style::Post };
        let c_in: usize = incoming.unwrap_or(per_group);
        if c_in != out {
            return if c == out { Style::Post } else { Style::Pre };
        }
        incoming = Some(out);
    }
    let nested = |r: &str| r.contains('.');
    if names.iter().any(|(role, r)| role.starts_with("bn") && nested(r))
        || names.contains_key("proj_bn")
    {
        return Style::Post;
    }
    if names.contains_key("proj") {
        return Style::Pre;
    }
    Style::Either
}

/// What a bare projection reads, by name: `proj` and `downsample` read the raw input; `conv_inp`, `convShortcut` and bias-free `shortcut` come from wide ResNet repositories that project
/// the activated tensor.
fn source_of(name: &str, proj: Module) -> Projection {
    let bias = matches!(proj, Module::Conv { bias: true, .. });
    match name {
        "conv_inp" | "convShortcut" | "conv_shortcut" => Projection::Activated,
        "shortcut" | "shortcut.0" if !bias => Projection::Activated,
        _ => Projection::Raw,
    }
}

/// Activations of a squeeze-excitation unit: 1x1 convolutions with bias in a `Sequential` come with SiLU,
/// everything else with ReLU as in the paper.
fn squeeze(name: &str, se1: Module) -> Se {
    let silu = matches!(se1, Module::Conv { bias: true, .. }) && matches!(name, "se.fc.0" | "fc.0");
    Se { activation: if silu { Act::Silu } else { Act::Relu }, gate: Act::Sigmoid }
}
