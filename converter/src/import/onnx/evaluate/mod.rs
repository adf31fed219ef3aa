//! Evaluates nodes whose operands are all constants: the shape arithmetic that exporters leave in a file.

mod arithmetic;
mod layout;
mod reduce;

pub(super) use self::layout::{broadcast_to, split_sizes};

use super::constant::Constant;
use super::node::Node;
use super::tensor;
use crate::error::Result;

/// How many elements may still be computed while a file is imported, so that a small file cannot ask for
/// unbounded work or memory.
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    /// A budget for a file: 16 million elements and four for every byte.
    pub(super) fn new(file_bytes: usize) -> Self {
        Self { left: (1 << 24) + file_bytes.saturating_mul(4) }
    }

    /// Takes `elements` from the budget.
    pub(super) fn spend(&mut self, elements: usize) -> Result<(), String> {
        self.left = self
            .left
            .checked_sub(elements)
            .ok_or("the constants of this file grow beyond any proportion to its size")?;
        Ok(())
    }
}

/// The operands of a node under evaluation.
struct Operands<'a> {
    values: &'a [Option<Constant>],
}

impl Operands<'_> {
    /// Operand `i`, which must be there.
    fn get(&self, i: usize) -> Result<&Constant, String> {
        self.maybe(i).ok_or_else(|| format!("operand {i} is missing"))
    }

    /// Operand `i`, if given.
    fn maybe(&self, i: usize) -> Option<&Constant> {
        self.values.get(i).and_then(Option::as_ref)
    }

    /// The integers of operand `i`, which must be there.
    fn ints(&self, i: usize) -> Result<Vec<i64>, String> {
        let c = self.get(i)?;
        c.ints().ok_or_else(|| format!("operand {i} is {}, expected integer", c.type_name()))
    }

    /// The integers of operand `i`, if given.
    fn maybe_ints(&self, i: usize) -> Result<Option<Vec<i64>>, String> {
        self.maybe(i).map(|_| self.ints(i)).transpose()
    }
}

/// The results of a node over constants; `None` if the operator has no rule here.
///
/// # Errors
/// Operands that contradict the operator, or a result beyond the budget.
pub(super) fn evaluate(
    node: &Node,
    operands: &[Option<Constant>],
    budget: &mut Budget,
) -> Result<Option<Vec<Constant>>> {
    if node.op_type() == "Constant" {
        return constant(node).map(|c| Some(vec![c]));
    }
    let read: usize = operands.iter().flatten().map(Constant::len).sum();
    let o = Operands { values: operands };
    let mut run = || -> Result<Option<Vec<Constant>>, String> {
        // Only sharing, no work.
        if matches!(node.op_type(), "Identity" | "Shape" | "Size") {
            return layout::evaluate(node, &o, budget);
        }
        budget.spend(read)?;
        if let Some(results) = layout::evaluate(node, &o, budget)? {
            return Ok(Some(results));
        }
        if let Some(result) = reduce::evaluate(node, &o, budget)? {
            return Ok(Some(vec![result]));
        }
        Ok(arithmetic::evaluate(node, &o, budget)?.map(|c| vec![c]))
    };
    run().map_err(|detail| node.error(detail))
}

/// The value of a Constant node, whichever attribute holds it.
fn constant(node: &Node) -> Result<Constant> {
    if let Some(t) = node.tensor("value")? {
        return tensor::constant(t, &node.name);
    }
    if let Some(v) = node.maybe_int("value_int")? {
        return Ok(Constant::from_int(v));
    }
    if let Some(v) = node.maybe_float("value_float")? {
        return Ok(Constant::from(ndarray::arr0(v).into_dyn()));
    }
    if let Some(v) = node.ints("value_ints")? {
        return Ok(Constant::from_ints(v.to_vec()));
    }
    if let Some(v) = node.floats("value_floats")? {
        return Ok(Constant::from_floats(v.to_vec()));
    }
    Err(node
        .error("holds no dense number; expected a tensor, an integer, a float or a list of them"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::proto::{AttributeProto, NodeProto};
    use super::*;

    /// A node with integer attributes, for tests of single operators.
    pub(in crate::import::onnx) fn proto(
        op: &str,
        ints: &[(&str, &[i64])],
        outputs: usize,
    ) -> NodeProto {
        let attribute = |(name, values): &(&str, &[i64])| AttributeProto {
            name: (*name).into(),
            i: values.first().copied(),
            ints: values.to_vec(),
            ..Default::default()
        };
        NodeProto {
            op_type: op.into(),
            output: (0..outputs).map(|i| format!("y{i}")).collect(),
            attribute: ints.iter().map(attribute).collect(),
            ..Default::default()
        }
    }

    /// Evaluates one operator.
    pub(super) fn run(
        op: &str,
        ints: &[(&str, &[i64])],
        operands: &[Constant],
    ) -> Result<Option<Vec<Constant>>> {
        let proto = proto(op, ints, 2);
        let operands: Vec<_> = operands.iter().cloned().map(Some).collect();
        evaluate(&Node::new(&proto, 17), &operands, &mut Budget::new(0))
    }

    /// Evaluates one operator with one integer result.
    pub(super) fn run_ints(op: &str, ints: &[(&str, &[i64])], operands: &[Constant]) -> Vec<i64> {
        run(op, ints, operands).unwrap().unwrap()[0].ints().unwrap()
    }

    #[test]
    fn an_unknown_operator_has_no_rule() {
        assert!(run("Conv", &[], &[Constant::from_int(1)]).unwrap().is_none());
    }

    #[test]
    fn growth_beyond_the_budget_is_refused() {
        let huge = Constant::from_ints(vec![1 << 15, 1 << 15]);
        let message = run("ConstantOfShape", &[], &[huge]).unwrap_err().to_string();
        assert!(message.contains("proportion"), "{message}");
        let limits = [Constant::from_int(0), Constant::from_int(i64::MAX), Constant::from_int(1)];
        assert!(run("Range", &[], &limits).is_err());
    }

    #[test]
    fn constants_come_in_several_attributes() {
        assert_eq!(run_ints("Constant", &[("value_int", &[3])], &[]), [3]);
        assert_eq!(run_ints("Constant", &[("value_ints", &[3, 4])], &[]), [3, 4]);
        let message = run("Constant", &[], &[]).unwrap_err().to_string();
        assert!(message.contains("no dense number"), "{message}");
    }
}
