//! Input contract, outputs and texts.

use super::super::layout::ALIGNMENT;
use super::super::{Placement, Section, decode_output, decode_provenance, decode_span};
use crate::desc::DType;
use crate::{Error, Model};

/// Checks the input contract.
pub(super) fn verify(model: &Model<'_>) -> Result<(), Error> {
    let input = model.input();
    model.try_text(input.name).ok_or(Error::StringOutOfBounds)?;
    let tensor = model.try_tensor(input.tensor).ok_or(Error::InputTensor)?;
    let numbers = input.mean.iter().all(|mean| mean.is_finite())
        && input.std.iter().all(|&std| std.is_finite() && std > 0.0);
    let table = model.try_data(input.table).ok_or(Error::InputContract)?;
    let fits = match input.order.channels() {
        Some(channels) => {
            // One more than the order has is the mask.
            (channels..=channels + 1).contains(&tensor.channels)
                && tensor.dtype == DType::I8
                && table.len() == 256 * channels as usize
                && (input.table.offset as usize).is_multiple_of(ALIGNMENT)
        }
        None => table.is_empty(),
    };
    let known = input.placement == Placement::TopLeft || model.layout().version >= (1, 1);
    if numbers && fits && known && tensor.pixel_stride == tensor.channels {
        Ok(())
    } else {
        Err(Error::InputContract)
    }
}

/// Checks the outputs; the operators were checked before.
pub(super) fn verify_outputs(model: &Model<'_>) -> Result<(), Error> {
    if model.output_count() == 0 {
        return Err(Error::OutputCount);
    }
    let end = model.op_count() as u32;
    for index in 0..model.output_count() {
        let wrong = Error::OutputTensor { output: index as u32 };
        let record = model.layout().record(Section::Outputs, index).ok_or(wrong)?;
        let (name, id) = decode_output(record).ok_or(wrong)?;
        model.try_text(name).ok_or(Error::StringOutOfBounds)?;
        let tensor = model.try_tensor(id).ok_or(wrong)?;
        if id == model.input().tensor || tensor.last_op != end {
            return Err(wrong);
        }
    }
    Ok(())
}

/// Checks labels and provenance.
pub(super) fn verify_texts(model: &Model<'_>) -> Result<(), Error> {
    let layout = model.layout();
    for index in 0..layout.count(Section::Labels) {
        let label = layout.record(Section::Labels, index).map(|record| decode_span(record, 0));
        label.and_then(|span| model.try_text(span)).ok_or(Error::StringOutOfBounds)?;
    }
    let provenance = layout.record(Section::Provenance, 0).map(decode_provenance);
    if let Some(p) = provenance {
        for span in [p.source, p.source_hash, p.converter, p.calibration] {
            model.try_text(span).ok_or(Error::StringOutOfBounds)?;
        }
    }
    Ok(())
}
