//! Writes the `state_dict`s of every network class, under any of the names they come with.
#![allow(dead_code)] // every test file uses its part

use kenar_convert::arch::testing::Spec;

/// How a convolution and its batch norm are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// `conv1`, `bn1`.
    Flat,
    /// `conv1.conv`, `conv1.bn`.
    Unit,
    /// `conv1.0`, `conv1.1`.
    Sequential,
}

pub const FORMS: [Form; 3] = [Form::Flat, Form::Unit, Form::Sequential];

/// Names of a projection with batch norm.
pub const PROJECTIONS: [(&str, &str); 5] = [
    ("proj.0", "proj.1"),
    ("downsample.0", "downsample.1"),
    ("shortcut.0", "shortcut.1"),
    ("proj.conv", "proj.bn"),
    ("skip.0", "skip.1"),
];

/// Names of a bare projection.
pub const BARE_PROJECTIONS: [&str; 6] =
    ["proj", "proj.0", "downsample", "shortcut.0", "conv_inp", "convShortcut"];

pub fn join(path: &str, relative: &str) -> String {
    if path.is_empty() { relative.into() } else { format!("{path}.{relative}") }
}

/// Convolution `n` of a post-activation block: width, input channels per group, window.
pub fn conv_bn(
    s: &mut Spec,
    path: &str,
    n: usize,
    form: Form,
    (out, per_group, k): (usize, usize, usize),
) {
    let (conv, bn) = match form {
        Form::Flat => (format!("conv{n}"), format!("bn{n}")),
        Form::Unit => (format!("conv{n}.conv"), format!("conv{n}.bn")),
        Form::Sequential => (format!("conv{n}.0"), format!("conv{n}.1")),
    };
    s.conv(&join(path, &conv), out, per_group, k).bn(&join(path, &bn), out);
}

/// A post-activation block of two or three convolutions.
pub struct Post<'a> {
    pub convs: &'a [(usize, usize, usize)],
    pub forms: [Form; 3],
    pub proj: (&'a str, &'a str),
}

impl Post<'_> {
    pub fn write(&self, s: &mut Spec, path: &str, c_in: usize) {
        for (i, conv) in self.convs.iter().enumerate() {
            conv_bn(s, path, i + 1, self.forms[i], *conv);
        }
        let out = self.convs[self.convs.len() - 1].0;
        if out != c_in {
            s.conv(&join(path, self.proj.0), out, c_in, 1).bn(&join(path, self.proj.1), out);
        }
    }
}

/// Post-activation basic block with the plain names.
pub fn basic(s: &mut Spec, path: &str, c_in: usize, out: usize) {
    Post {
        convs: &[(out, c_in, 3), (out, out, 3)],
        forms: [Form::Flat; 3],
        proj: ("proj.0", "proj.1"),
    }
    .write(s, path, c_in);
}

/// Post-activation bottleneck; `groups` of the 3x3.
pub fn bottleneck(
    s: &mut Spec,
    path: &str,
    c_in: usize,
    (mid, out): (usize, usize),
    groups: usize,
    proj: (&str, &str),
) {
    Post {
        convs: &[(mid, c_in, 1), (mid, mid / groups, 3), (out, mid, 1)],
        forms: [Form::Flat; 3],
        proj,
    }
    .write(s, path, c_in);
}

/// Pre-activation basic block, batch norms named by `bn` (`bn`, `norm`, `batch_norm`).
pub fn pre_basic(s: &mut Spec, path: &str, c_in: usize, out: usize, bn: &str, proj: &str) {
    s.bn(&join(path, &format!("{bn}1")), c_in).conv(&join(path, "conv1"), out, c_in, 3);
    s.bn(&join(path, &format!("{bn}2")), out).conv(&join(path, "conv2"), out, out, 3);
    if c_in != out {
        s.conv(&join(path, proj), out, c_in, 1);
    }
}

/// Pre-activation bottleneck.
pub fn pre_bottleneck(s: &mut Spec, path: &str, c_in: usize, mid: usize, out: usize) {
    s.bn(&join(path, "bn1"), c_in).conv(&join(path, "conv1"), mid, c_in, 1);
    s.bn(&join(path, "bn2"), mid).conv(&join(path, "conv2"), mid, mid, 3);
    s.bn(&join(path, "bn3"), mid).conv(&join(path, "conv3"), out, mid, 1);
    if c_in != out {
        s.conv(&join(path, "proj"), out, c_in, 1);
    }
}

/// Squeeze-excitation with biases, hidden width `max(4, c / 16)`.
pub fn se(s: &mut Spec, path: &str, c: usize) {
    let hidden = (c / 16).max(4);
    s.conv_bias(&join(path, "fc.0"), hidden, c, 1).conv_bias(&join(path, "fc.2"), c, hidden, 1);
}

/// Squeeze-excitation residual block.
pub fn se_basic(s: &mut Spec, path: &str, c_in: usize, out: usize) {
    let forms = [Form::Unit, Form::Sequential, Form::Flat];
    Post { convs: &[(out, c_in, 3), (out, out, 3)], forms, proj: ("proj.0", "proj.1") }
        .write(s, path, c_in);
    se(s, &join(path, "se"), out);
}

/// Grouped residual block; a projection where the width changes.
pub fn grouped(s: &mut Spec, path: &str, c_in: usize, out: usize, groups: usize) {
    s.conv(&join(path, "conv"), out, c_in / groups, 3).bn(&join(path, "bn"), out);
    if c_in != out {
        s.conv(&join(path, "proj.0"), out, c_in, 1).bn(&join(path, "proj.1"), out);
    }
}

/// Image to `c` channels: 3x3, batch norm, ReLU.
pub fn lift(s: &mut Spec, c: usize) {
    s.conv("lift.conv", c, 3, 3).bn("lift.bn", c);
}

/// Where the parts of a wide residual network are kept.
pub struct WideNames<'a> {
    pub stem: (&'a str, Option<&'a str>),
    /// `{}` stands for the stage, `[]` for the block.
    pub block: &'a str,
    pub bn: &'a str,
    pub proj: &'a str,
    pub final_norm: &'a str,
    pub linear: Option<&'a str>,
}

/// A wide residual network of `n` blocks a stage and width `k`.
pub fn wide(names: &WideNames<'_>, n: usize, k: usize) -> Spec {
    let mut s = Spec::default();
    s.conv(names.stem.0, 16, 3, 3);
    if let Some(bn) = names.stem.1 {
        s.bn(bn, 16);
    }
    let mut c = 16;
    for stage in 1..=3 {
        let out = (8 << stage) * k;
        for i in 0..n {
            let path = names.block.replace("{}", &stage.to_string()).replace("[]", &i.to_string());
            pre_basic(&mut s, &path, c, out, names.bn, names.proj);
            c = out;
        }
    }
    s.bn(names.final_norm, c);
    if let Some(linear) = names.linear {
        s.linear(linear, 10, c);
    }
    s
}

/// The plain names of the wide residual classifier.
pub const WIDE: WideNames<'static> = WideNames {
    stem: ("stem.0", Some("stem.1")),
    block: "stage{}.[]",
    bn: "bn",
    proj: "proj",
    final_norm: "bn",
    linear: Some("fc"),
};

/// A network of 7x7 stem, `layer1` to `layer4` and `fc`.
pub fn imagenet(blocks: [usize; 4], width: Option<usize>, groups: usize) -> Spec {
    let mut s = Spec::default();
    s.conv("conv1", 64, 3, 7).bn("bn1", 64);
    let mut c = 64;
    for (i, n) in blocks.into_iter().enumerate() {
        let planes = 64 << i;
        for j in 0..n {
            let path = format!("layer{}.{j}", i + 1);
            let proj = ("downsample.0", "downsample.1");
            match width {
                Some(width) => {
                    bottleneck(&mut s, &path, c, (width << i, planes * 4), groups, proj);
                    c = planes * 4;
                }
                None => {
                    Post {
                        convs: &[(planes, c, 3), (planes, planes, 3)],
                        forms: [Form::Flat; 3],
                        proj,
                    }
                    .write(&mut s, &path, c);
                    c = planes;
                }
            }
        }
    }
    s.linear("fc", 1000, c);
    s
}

/// CIFAR ResNet with parameter-free shortcuts.
pub fn option_a(n: usize) -> Spec {
    let mut s = Spec::default();
    s.conv("conv1", 16, 3, 3).bn("bn1", 16);
    let mut c = 16;
    for i in 0..3 {
        for j in 0..n {
            let (path, out) = (format!("layer{}.{j}", i + 1), 16 << i);
            conv_bn(&mut s, &path, 1, Form::Flat, (out, c, 3));
            conv_bn(&mut s, &path, 2, Form::Flat, (out, out, 3));
            c = out;
        }
    }
    s.linear("linear", 10, c);
    s
}

/// Stem and four stages of a block; `pre` adds the tap norms.
pub fn four_stage(
    blocks: [usize; 4],
    outs: [usize; 4],
    pre: bool,
    block: impl Fn(&mut Spec, &str, usize, usize, usize),
) -> Spec {
    let mut s = Spec::default();
    s.conv("stem.0", 32, 3, 3).bn("stem.1", 32);
    let mut c = 32;
    for (i, (n, out)) in blocks.into_iter().zip(outs).enumerate() {
        for j in 0..n {
            block(&mut s, &format!("stage{}.{j}", i + 1), i, c, out);
            c = out;
        }
        if pre {
            s.bn(&format!("bn{}", i + 1), c);
        }
    }
    s
}

/// `conv.conv`, `conv_dw`, `project` with PReLU; squeeze-excitation with batch norms on request.
fn inverted(s: &mut Spec, path: &str, (c_in, mid, out): (usize, usize, usize), se: bool) {
    for (name, o, i, k) in [("conv", mid, c_in, 1), ("conv_dw", mid, 1, 3)] {
        let part = join(path, name);
        s.conv(&join(&part, "conv"), o, i, k)
            .bn(&join(&part, "bn"), o)
            .prelu(&join(&part, "prelu"), o);
    }
    let part = join(path, "project");
    s.conv(&join(&part, "conv"), out, mid, 1).bn(&join(&part, "bn"), out);
    if se {
        let part = join(path, "se_module");
        s.conv(&join(&part, "fc1"), out / 4, out, 1).bn(&join(&part, "bn1"), out / 4);
        s.conv(&join(&part, "fc2"), out, out / 4, 1).bn(&join(&part, "bn2"), out);
    }
}

/// A small MiniFASNet.
pub fn mini_fasnet() -> Spec {
    let mut s = Spec::default();
    s.conv("conv1.conv", 32, 3, 3).bn("conv1.bn", 32).prelu("conv1.prelu", 32);
    s.conv("conv2_dw.conv", 32, 1, 3).bn("conv2_dw.bn", 32).prelu("conv2_dw.prelu", 32);
    let mut c = 32;
    for (down, stage, n, out) in
        [("conv_23", "conv_3", 2, 64), ("conv_34", "conv_4", 3, 128), ("conv_45", "conv_5", 2, 128)]
    {
        inverted(&mut s, down, (c, 103, out), false);
        for i in 0..n {
            inverted(&mut s, &format!("{stage}.model.{i}"), (out, 13 + i, out), i + 1 == n);
        }
        c = out;
    }
    s.conv("conv_6_sep.conv", 512, c, 1).bn("conv_6_sep.bn", 512).prelu("conv_6_sep.prelu", 512);
    s.conv("conv_6_dw.conv", 512, 1, 5).bn("conv_6_dw.bn", 512);
    s.tensor("linear.weight", &[128, 512]).bn("bn", 128).tensor("prob.weight", &[3, 128]);
    s
}
