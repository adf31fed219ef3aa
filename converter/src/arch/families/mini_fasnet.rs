//! MiniFASNet, a MobileFaceNet on 80x80 crops: inverted residuals with PReLU, squeeze-excitation with batch
//! norms in the last block of each stage, a depthwise convolution over the whole last map, two linear layers.

use super::skeleton::unit;
use super::survey::{Run, Survey};
use crate::arch::file::{Act, ArchFile, Classifier, ConvUnit, Head, LinearUnit};
use crate::arch::modules::{Module, Modules};

/// Module and whether its blocks add their input; those that do not halve the map.
const STAGES: &[(&str, bool)] = &[
    ("conv_23", false),
    ("conv_3", true),
    ("conv_34", false),
    ("conv_4", true),
    ("conv_45", false),
    ("conv_5", true),
];

/// Recognised by its stage names.
pub(super) fn recognise(m: &Modules<'_>) -> Option<Result<ArchFile, String>> {
    if !STAGES.iter().all(|(name, _)| m.has(name)) || !m.has("conv2_dw") {
        return None;
    }
    Some(read(m))
}

fn read(m: &Modules<'_>) -> Result<ArchFile, String> {
    let runs = STAGES.iter().map(|(name, _)| Run::at(m, name, name)).collect();
    let survey = Survey::new(m, runs, |_| false)?;
    let mut arch = ArchFile::new("mini-fasnet", m.conv("conv1.conv").unwrap_or_default()[1]);
    arch.input.size = [80, 80];
    arch.input.preset = Some("raw".into());
    arch.input.bgr = true;
    arch.stem = vec![ConvUnit { stride: 2, ..prelu_unit(m, "conv1") }, prelu_unit(m, "conv2_dw")];
    let lifted = m.conv("conv2_dw.conv").unwrap_or_default()[0];
    arch.stages = survey.describe(lifted, |i, _, _| if STAGES[i].1 { 1 } else { 2 });
    for (stage, (_, residual)) in arch.stages.iter_mut().zip(STAGES) {
        stage.residual = *residual;
        stage.activation = Act::None;
        stage.projection = None;
    }
    arch.names.clone_from(&survey.names);
    arch.tail = vec![
        prelu_unit(m, "conv_6_sep"),
        ConvUnit { padding: Some(0), ..prelu_unit(m, "conv_6_dw") },
    ];
    let linear = |name: &str, bn: Option<&str>| LinearUnit {
        linear: name.into(),
        bn: bn.filter(|b| m.norm(b).is_some()).map(str::to_owned),
        activation: Act::None,
    };
    let layers = vec![linear("linear", Some("bn")), linear("prob", None)];
    arch.head = Some(Head::Classifier(Classifier { pool: false, softmax: false, layers }));
    Ok(arch)
}

/// `{name}.conv`, `.bn`, and `.prelu` if it is there.
fn prelu_unit(m: &Modules<'_>, name: &str) -> ConvUnit {
    let prelu = format!("{name}.prelu");
    let prelu = matches!(m.get(&prelu), Some(Module::Prelu(_))).then_some(prelu);
    ConvUnit {
        activation: Act::None,
        prelu,
        ..unit(m, &format!("{name}.conv"), Some(format!("{name}.bn")))
    }
}
