//! Windows: the kernel, stride, padding and dilation attributes that convolutions and pools share.

use super::super::node::Node;
use crate::error::Result;

/// No window, stride or padding of a real network is larger.
const MAX: i64 = 1 << 16;

/// The two-dimensional window of a node.
pub(super) struct Window {
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Vertical, horizontal.
    pub dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
}

fn list<const N: usize>(node: &Node, name: &str, default: i64, min: i64) -> Result<[usize; N]> {
    let list = node.ints(name)?.unwrap_or(&[]);
    if list.is_empty() {
        return Ok([default as usize; N]);
    }
    let fixed: Option<[i64; N]> = list.try_into().ok();
    match fixed.filter(|l| l.iter().all(|v| (min..=MAX).contains(v))) {
        Some(list) => Ok(list.map(|v| v as usize)),
        None => {
            Err(node
                .error(format!("has {name} = {list:?}, expected {N} numbers from {min} to {MAX}")))
        }
    }
}

/// The size of the window, which must be given.
pub(super) fn kernel(node: &Node) -> Result<Option<[usize; 2]>> {
    let given = node.ints("kernel_shape")?.is_some_and(|k| !k.is_empty());
    given.then(|| list(node, "kernel_shape", 1, 1)).transpose()
}

/// Reads the attributes; `auto_pad` is resolved for an input of `size` and a window of `kernel`.
pub(super) fn window(node: &Node, size: [usize; 2], kernel: [usize; 2]) -> Result<Window> {
    let stride = list(node, "strides", 1, 1)?;
    let dilation = list(node, "dilations", 1, 1)?;
    let padding = match node.string("auto_pad", "NOTSET")? {
        "NOTSET" | "" => list(node, "pads", 0, 0)?,
        "VALID" => [0; 4],
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            let mut padding = [0; 4];
            for i in 0..2 {
                let out = size[i].div_ceil(stride[i]);
                let span = (out - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1;
                let total = span.saturating_sub(size[i]);
                // The odd one goes behind the image, or before it.
                let small = total / 2;
                let before = if mode == "SAME_UPPER" { small } else { total - small };
                (padding[i], padding[i + 2]) = (before, total - before);
            }
            padding
        }
        other => {
            return Err(
                node.error(format!("has auto_pad = {other}, expected NOTSET, VALID or SAME"))
            );
        }
    };
    Ok(Window { stride, dilation, padding })
}

#[cfg(test)]
mod tests {
    use super::super::super::evaluate::tests::proto;
    use super::super::super::proto::AttributeProto;
    use super::*;

    #[test]
    fn same_padding_puts_the_odd_row_behind_or_before() {
        let mut proto = proto("Conv", &[("strides", &[2, 2])], 1);
        for (mode, expected) in
            [("SAME_UPPER", [0, 0, 1, 1]), ("SAME_LOWER", [1, 1, 0, 0]), ("VALID", [0; 4])]
        {
            proto.attribute.retain(|a| a.name != "auto_pad");
            proto.attribute.push(AttributeProto {
                name: "auto_pad".into(),
                s: Some(mode.into()),
                ..Default::default()
            });
            let w = window(&Node::new(&proto, 17), [8, 8], [3, 3]).unwrap();
            assert_eq!(w.padding, expected, "{mode}");
        }
    }

    #[test]
    fn wrong_lists_are_refused() {
        for (name, values) in [
            ("strides", &[0, 1][..]),
            ("strides", &[1]),
            ("pads", &[-1, 0, 0, 0]),
            ("dilations", &[1 << 40, 1]),
        ] {
            let proto = proto("Conv", &[(name, values)], 1);
            let message =
                window(&Node::new(&proto, 17), [8, 8], [3, 3]).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}
