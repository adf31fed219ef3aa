//! A node as the operator importers see it: its name, operands by position, attributes by name and type.

use super::proto::{AttributeProto, NodeProto, TensorProto};
use crate::error::{Error, Result};

/// One operator call of the file.
pub(super) struct Node<'a> {
    proto: &'a NodeProto,
    /// The node's name; its first output where the file gives none.
    pub name: String,
    /// Version of the operator set.
    pub opset: i64,
}

impl<'a> Node<'a> {
    /// A view of a node.
    pub(super) fn new(proto: &'a NodeProto, opset: i64) -> Self {
        let first = || proto.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default();
        let name = if proto.name.is_empty() { first() } else { proto.name.clone() };
        Self { proto, name, opset }
    }

    /// The operator.
    pub(super) fn op_type(&self) -> &'a str {
        &self.proto.op_type
    }

    /// The operator's domain; empty for ONNX itself.
    pub(super) fn domain(&self) -> &'a str {
        if self.proto.domain == "ai.onnx" { "" } else { &self.proto.domain }
    }

    /// An error about this node.
    pub(super) fn error(&self, detail: impl std::fmt::Display) -> Error {
        Error::graph(&self.name, format!("{}: {detail}", self.op_type()))
    }

    /// Name of operand `i`; `None` where it is left out.
    pub(super) fn input(&self, i: usize) -> Option<&'a str> {
        self.proto.input.get(i).map(String::as_str).filter(|s| !s.is_empty())
    }

    /// Number of operand positions.
    pub(super) fn input_count(&self) -> usize {
        self.proto.input.len()
    }

    /// Name of result `i`; `None` where it is left out.
    pub(super) fn output(&self, i: usize) -> Option<&'a str> {
        self.proto.output.get(i).map(String::as_str).filter(|s| !s.is_empty())
    }

    /// Number of result positions.
    pub(super) fn output_count(&self) -> usize {
        self.proto.output.len()
    }

    /// Whether any attribute is a sub-graph.
    pub(super) fn has_subgraph(&self) -> bool {
        self.proto.attribute.iter().any(|a| a.g.is_some())
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    fn typed<T>(
        &self,
        name: &str,
        kind: &str,
        get: impl Fn(&'a AttributeProto) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        if !attribute.ref_attr_name.is_empty() {
            return Err(self.error(format!("attribute '{name}' refers to a function's argument")));
        }
        get(attribute)
            .map(Some)
            .ok_or_else(|| self.error(format!("attribute '{name}' is not {kind}")))
    }

    /// An integer attribute, if present.
    pub(super) fn maybe_int(&self, name: &str) -> Result<Option<i64>> {
        self.typed(name, "an integer", |a| a.i)
    }

    /// An integer attribute or its default.
    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.maybe_int(name)?.unwrap_or(default))
    }

    /// A float attribute or its default.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.maybe_float(name)?.unwrap_or(default))
    }

    /// A float attribute, if present.
    pub(super) fn maybe_float(&self, name: &str) -> Result<Option<f32>> {
        self.typed(name, "a float", |a| a.f)
    }

    /// A list of integers, if present.
    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        self.typed(name, "a list of integers", |a| Some(a.ints.as_slice()))
    }

    /// A list of floats, if present.
    pub(super) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>> {
        self.typed(name, "a list of floats", |a| Some(a.floats.as_slice()))
    }

    /// A string attribute or its default.
    pub(super) fn string(&self, name: &str, default: &'a str) -> Result<&'a str> {
        let get = |a: &'a AttributeProto| a.s.as_deref().and_then(|s| std::str::from_utf8(s).ok());
        Ok(self.typed(name, "a string", get)?.unwrap_or(default))
    }

    /// A tensor attribute, if present.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>> {
        self.typed(name, "a tensor", |a| a.t.as_deref())
    }

    /// Refuses an attribute that has another value than the one supported.
    pub(super) fn expect_int(&self, name: &str, expected: i64) -> Result<()> {
        match self.int(name, expected)? {
            v if v == expected => Ok(()),
            v => Err(self.error(format!("has {name} = {v}, expected {expected}"))),
        }
    }

    /// Refuses a node that uses a result beyond the first, such as the mask of a dropout.
    pub(super) fn expect_one_output(&self, used: impl Fn(&str) -> bool) -> Result<()> {
        match (1..self.output_count()).filter_map(|i| self.output(i)).find(|o| used(o)) {
            None => Ok(()),
            Some(o) => Err(self
                .error(format!("its further result '{o}' is used; expected the first one only"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_typed_and_defaulted() {
        let axis = AttributeProto { name: "axis".into(), i: Some(2), ..Default::default() };
        let proto = NodeProto {
            op_type: "Softmax".into(),
            output: vec!["y".into()],
            attribute: vec![axis],
            ..Default::default()
        };
        let node = Node::new(&proto, 17);
        assert_eq!(node.name, "y");
        assert_eq!(node.int("axis", -1).unwrap(), 2);
        assert_eq!(node.int("other", -1).unwrap(), -1);
        let message = node.float("axis", 0.0).unwrap_err().to_string();
        assert_eq!(message, "node 'y': Softmax: attribute 'axis' is not a float");
        assert!(
            node.expect_int("axis", 1)
                .unwrap_err()
                .to_string()
                .contains("has axis = 2, expected 1")
        );
    }
}
