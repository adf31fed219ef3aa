//! A plain CNN: a `Sequential` of convolution units and poolings, then a linear layer.
//!
//! Poolings have no parameters, so they show only as gaps in the numbering: every gap is a 2x2 max-pool.

use super::skeleton::unit;
use crate::arch::file::{Act, ArchFile, Classifier, Head, LinearUnit, MaxPool};
use crate::arch::modules::{Module, Modules};

/// `{list}N.conv`, `{list}N.bn` and at most one linear layer; or one such unit alone.
pub(super) fn recognise(m: &Modules<'_>) -> Option<ArchFile> {
    let linears: Vec<&str> = m
        .iter()
        .filter(|(_, module)| matches!(module, Module::Linear { .. }))
        .map(|(p, _)| p)
        .collect();
    let list = ["features", "layers", "net", ""].into_iter().find(|list| {
        m.under(list)
            .next()
            .is_some_and(|(relative, _)| relative.starts_with(|c: char| c.is_ascii_digit()))
    });
    let lead = |i: usize| match list {
        Some("") => format!("{i}."),
        Some(list) => format!("{list}.{i}."),
        None => String::new(),
    };
    let indices = if list.is_some() { 0..1000 } else { 0..1 };
    let mut arch = ArchFile::new("plain-cnn", 0);
    let (mut known, mut previous) = (linears.len(), 0);
    for i in indices {
        let (conv, bn) = (format!("{}conv", lead(i)), format!("{}bn", lead(i)));
        let Some(shape) = m.conv(&conv).filter(|s| m.norm(&bn) == Some(s[0])) else { continue };
        if arch.stem.is_empty() {
            arch.input.channels = shape[1];
        }
        if let Some(last) = arch.stem.last_mut()
            && i > previous + 1
        {
            last.max_pool = Some(MaxPool { window: 2, stride: 2, padding: 0 });
        }
        arch.stem.push(unit(m, &conv, Some(bn)));
        previous = i;
        known += 2;
    }
    // A lone unit that does not read an image may be the grouped residual: left to that family.
    let lone = arch.stem.len() == 1 && list.is_none() && arch.input.channels > 4;
    if arch.stem.is_empty() || lone || linears.len() > 1 || known != m.iter().count() {
        return None;
    }
    arch.input.preset = Some("cifar10".into());
    arch.head = linears.first().map(|linear| {
        let linear = (*linear).into();
        let layers = vec![LinearUnit { linear, bn: None, activation: Act::None }];
        Head::Classifier(Classifier { pool: true, softmax: false, layers })
    });
    Some(arch)
}
