//! Which code turns raw numbers into the four numbers of a box.

use kenar::detect::BoxCode;

use super::poly::{Atom, Leaf, Poly, close, is};
use super::rows::Cell;

/// How a decode writes a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Left, top, right, bottom.
    Corners,
    /// Centre, then width and height.
    Centre,
}

/// A box decode, read off the four polynomials of one candidate.
#[derive(Clone, Debug)]
pub(super) struct BoxMatch {
    /// The code.
    pub code: BoxCode,
    /// How the graph writes boxes.
    pub form: Form,
    /// Reference point of a cell.
    pub centre: f64,
    /// The raw numbers, component by component.
    pub leaves: Vec<Leaf>,
    /// What the raw numbers are multiplied by before the code takes them (1 but for linear distances).
    pub factor: f64,
    /// Width and height of the anchor in pixels.
    pub anchor: [f64; 2],
}

/// What decoding needs to know of a level: its stride, and units of the result per input pixel (1, or less where boxes
/// are fractions of the image).
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Pixels per cell.
    pub stride: f64,
    /// Result units per pixel, horizontally and vertically.
    pub unit: [f64; 2],
}

/// Centre and size along one axis.
struct Side {
    centre: Poly,
    size: Poly,
}

/// One axis of a decoded box.
struct AxisMatch {
    code: BoxCode,
    reference: f64,
    leaves: [Vec<Leaf>; 2],
    factor: f64,
    anchor: f64,
}

/// Reads a box; the error says what is there and what was expected.
pub(super) fn read(polys: &[Poly], cell: Cell, scale: Scale) -> Result<BoxMatch, String> {
    let mut first = None;
    for form in [Form::Corners, Form::Centre] {
        match read_as(polys, cell, scale, form) {
            Ok(found) => return Ok(found),
            Err(e) => first = first.or(Some(e)),
        }
    }
    Err(first.unwrap_or_default())
}

fn read_as(polys: &[Poly], cell: Cell, scale: Scale, form: Form) -> Result<BoxMatch, String> {
    let axis = |i: usize| -> Result<AxisMatch, String> {
        let (a, b) = (&polys[i], &polys[i + 2]);
        let side = match form {
            Form::Centre => Side { centre: a.clone(), size: b.clone() },
            Form::Corners => {
                Side { centre: a.clone().plus(b, 1.0)?.times(0.5), size: b.clone().plus(a, -1.0)? }
            }
        };
        along(&side, scale.stride * scale.unit[i], cell.at[1 - i] as f64)
    };
    let (x, y) = (axis(0)?, axis(1)?);
    if x.code != y.code || !close(x.reference, y.reference, 1.0) || !is(x.factor, y.factor) {
        return Err("codes its columns in another way than its rows".into());
    }
    let [left, right] = x.leaves;
    let [top, bottom] = y.leaves;
    Ok(BoxMatch {
        code: x.code,
        form,
        centre: x.reference,
        leaves: [left, top, right, bottom].concat(),
        factor: x.factor,
        anchor: [x.anchor / scale.unit[0], y.anchor / scale.unit[1]],
    })
}

fn along(side: &Side, stride: f64, cell: f64) -> Result<AxisMatch, String> {
    if !close(side.size.offset(), 0.0, stride) {
        return Err(format!("has a constant part of {} in a size", side.size.offset()));
    }
    let reference = side.centre.offset() / stride - cell;
    distances(side, stride, reference)
        .or_else(|| exponential_size(side, stride, reference))
        .or_else(|| anchored(side, stride, reference))
        .ok_or_else(|| {
            "does not decode boxes as distances (linear, exp or softmax over bins), as centre and exp(size), or with \
             anchors as YOLOv5 does"
                .into()
        })
        .and_then(|found| {
            let expected = match found.code {
                BoxCode::ExpSize => &[0.0][..],
                BoxCode::Anchor => &[-0.5],
                _ => &[0.0, 0.5],
            };
            match expected.iter().find(|&&e| (found.reference - e).abs() < 1e-3) {
                Some(&reference) => Ok(AxisMatch { reference, ..found }),
                None => Err(format!(
                    "measures boxes from {:.3} cells behind a cell's corner, expected {expected:?}",
                    found.reference
                )),
            }
        })
}

/// `centre = c + k/2 * (b - a)`, `size = k * (a + b)`.
fn distances(side: &Side, stride: f64, reference: f64) -> Option<AxisMatch> {
    let [(p, kp), (q, kq)] = side.centre.linear()?.try_into().ok()?;
    let (a, b, k) = if kp < 0.0 { (p, q, kq) } else { (q, p, kp) };
    let sizes = side.size.linear()?;
    let fits = is(kp, -kq)
        && sizes.len() == 2
        && sizes.iter().all(|(atom, v)| (*atom == a || *atom == b) && is(*v, 2.0 * k));
    if !fits {
        return None;
    }
    let factor = 2.0 * k / stride;
    let leaves = [a.leaves().to_vec(), b.leaves().to_vec()];
    let code = match (a, b) {
        (Atom::Raw(_), Atom::Raw(_)) => BoxCode::Distance,
        (Atom::Exp(_), Atom::Exp(_)) if is(factor, 1.0) => BoxCode::ExpDistance,
        (Atom::Expected(g), Atom::Expected(h)) if is(factor, 1.0) && g.len() == h.len() => {
            BoxCode::Dfl { bins: u32::try_from(g.len()).ok()? }
        }
        _ => return None,
    };
    let factor = if is(factor, 1.0) { 1.0 } else { factor };
    Some(AxisMatch { code, reference, leaves, factor, anchor: 0.0 })
}

/// `centre = stride * (t + c)`, `size = stride * exp(t)`.
fn exponential_size(side: &Side, stride: f64, reference: f64) -> Option<AxisMatch> {
    let [(Atom::Raw(centre), k)] = side.centre.linear()?[..] else { return None };
    let [(Atom::Exp(size), s)] = side.size.linear()?[..] else { return None };
    let leaves = [vec![*centre], vec![*size]];
    (is(k, stride) && is(s, stride)).then_some(AxisMatch {
        code: BoxCode::ExpSize,
        reference,
        leaves,
        factor: 1.0,
        anchor: 0.0,
    })
}

/// `centre = stride * (2 * sigmoid(t) - 0.5 + c)`, `size = (2 * sigmoid(t))^2 * anchor`.
fn anchored(side: &Side, stride: f64, reference: f64) -> Option<AxisMatch> {
    let [(Atom::Sigmoid(centre), k)] = side.centre.linear()?[..] else { return None };
    let ([Atom::Sigmoid(size), Atom::Sigmoid(again)], square) = side.size.single()? else {
        return None;
    };
    let leaves = [vec![*centre], vec![*size]];
    (is(k, 2.0 * stride) && size == again && square > 0.0).then_some(AxisMatch {
        code: BoxCode::Anchor,
        reference,
        leaves,
        factor: 1.0,
        anchor: square / 4.0,
    })
}
