//! Operator importers: each turns one node of the file into operators of the graph.

mod activation;
mod conv;
mod elementwise;
mod join;
mod linear;
mod norm;
mod pool;
mod quantized;
mod reduce;
mod resize;
mod shape;
mod slice;
mod window;

use super::context::Context;
use super::node::Node;
use crate::error::Result;

/// Refuses what no importer could make sense of, before its operands are looked at.
///
/// # Errors
/// Another operator domain, sub-graphs, sequences, integer operators: named with what was expected.
pub(super) fn admit(node: &Node) -> Result<()> {
    if !node.domain().is_empty() {
        return Err(node.error(format!(
            "belongs to the domain '{}'; expected operators of ONNX itself: export without runtime-specific fusing",
            node.domain()
        )));
    }
    let expected = match node.op_type() {
        "If" | "Loop" | "Scan" => {
            "a network without control flow; export it for a fixed shape and evaluation mode"
        }
        op if op.starts_with("Sequence")
            || op.starts_with("Optional")
            || op == "ConcatFromSequence" =>
        {
            "tensors only, no sequences or optional values"
        }
        "SplitToSequence" => "tensors only, no sequences or optional values",
        "QLinearConv"
        | "QLinearMatMul"
        | "ConvInteger"
        | "MatMulInteger"
        | "DynamicQuantizeLinear" => {
            "a float network, or one in QuantizeLinear/DequantizeLinear (QDQ) form"
        }
        "NonMaxSuppression" | "TopK" | "NonZero" | "RoiAlign" => {
            "a network without post-processing; export the raw heads"
        }
        "InstanceNormalization"
        | "GroupNormalization"
        | "LayerNormalization"
        | "LRN"
        | "LpNormalization" => {
            "batch normalization; norms measured on the running image have no integer form"
        }
        _ if node.has_subgraph() => "a network without sub-graphs",
        _ => return Ok(()),
    };
    Err(node.error(format!("is not supported; expected {expected}")))
}

/// Adds a node to the graph.
///
/// # Errors
/// The node's name with what is not supported and what was expected.
pub(super) fn import(context: &mut Context, node: &Node) -> Result<()> {
    match node.op_type() {
        "Conv" => conv::conv(context, node),
        "Gemm" => linear::gemm(context, node),
        "MatMul" => linear::mat_mul(context, node),
        "BatchNormalization" => norm::batch_norm(context, node),
        "Dropout" => norm::dropout(context, node),
        "MaxPool" | "AveragePool" => pool::pool(context, node),
        "GlobalAveragePool" | "GlobalMaxPool" => pool::global(context, node),
        "ReduceMean" | "ReduceMax" | "ReduceSum" => reduce::reduce(context, node),
        "Relu" | "Clip" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "LeakyRelu" | "Tanh" | "Exp" | "PRelu"
        | "Softmax" => activation::activation(context, node),
        "Min" | "Max" => activation::limit(context, node),
        "Add" | "Sub" | "Mul" | "Div" => elementwise::binary(context, node),
        "Sum" => elementwise::sum(context, node),
        "Neg" => elementwise::negate(context, node),
        "Pow" => elementwise::power(context, node),
        "Concat" => join::concat(context, node),
        "Pad" => join::pad(context, node),
        "Slice" => slice::slice(context, node),
        "Split" => slice::split(context, node),
        "Gather" => slice::gather(context, node),
        "Resize" => resize::resize(context, node),
        "Identity" | "Cast" | "Shape" | "Size" | "Expand" => shape::transparent(context, node),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => shape::reshape(context, node),
        "Transpose" => shape::transpose(context, node),
        "DepthToSpace" | "SpaceToDepth" => shape::depth_space(context, node),
        "QuantizeLinear" => quantized::quantize(context, node),
        "DequantizeLinear" => quantized::dequantize(context, node),
        "Upsample" => Err(node.error("is not supported; expected Resize, which replaced it in operator set 10")),
        _ => Err(node.error(
            "is not supported; expected an operator of a convolutional network (convolution, pooling, batch norm, \
             elementwise, reshaping)",
        )),
    }
}
