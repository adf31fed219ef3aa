//! Everything that is checked about a model, once, before anything of it is used.
//!
//! Order matters: records first, then operators, which rely on sane tensors, then the memory plan, which relies on both.

mod head;
mod input;
mod memory;
mod operands;
mod operator;
mod sizes;
mod tensor;
mod values;

use crate::{Error, Model};

/// Checks all but the container: every input size as if it were the only one.
pub(crate) fn verify(model: &Model<'_>) -> Result<(), Error> {
    verify_size(model)?;
    sizes::verify(model)
}

/// Checks a model at one input size.
fn verify_size(model: &Model<'_>) -> Result<(), Error> {
    if model.op_count() == 0 {
        return Err(Error::NoOperators);
    }
    if model.plan_bytes() > i32::MAX as usize {
        return Err(Error::TooLarge);
    }
    tensor::verify_records(model)?;
    input::verify(model)?;
    input::verify_texts(model)?;
    for op in 0..model.op_count() {
        operands::verify(model, op as u32)?;
        operator::verify(model, op as u32)?;
    }
    input::verify_outputs(model)?;
    head::verify(model)?;
    tensor::verify_lifetimes(model)?;
    memory::verify(model)
}
