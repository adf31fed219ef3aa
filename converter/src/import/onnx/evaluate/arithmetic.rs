//! Elementwise arithmetic, comparisons and casts on constants.

use ndarray::{ArrayD, IxDyn, Zip};

use super::super::constant::Constant;
use super::super::node::Node;
use super::super::{shapes, tensor};
use super::{Budget, Operands};

/// The result of an elementwise operator; `None` if it is none.
pub(super) fn evaluate(
    node: &Node,
    o: &Operands,
    budget: &mut Budget,
) -> Result<Option<Constant>, String> {
    let op = node.op_type();
    Ok(Some(match op {
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" => {
            arithmetic(op, node, o.get(0)?, o.get(1)?, budget)?
        }
        "Min" | "Max" | "Sum" => {
            let mut result = o.get(0)?.clone();
            for i in 1..o.values.len() {
                result = arithmetic(op, node, &result, o.get(i)?, budget)?;
            }
            result
        }
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => {
            compare(op, o.get(0)?, o.get(1)?, budget)?
        }
        "Where" => select(o.get(0)?, o.get(1)?, o.get(2)?, budget)?,
        "Cast" => {
            let to = node.int("to", 0).map_err(|e| e.to_string())?;
            cast(o.get(0)?, i32::try_from(to).unwrap_or(-1))?
        }
        "Neg" | "Abs" | "Floor" | "Ceil" | "Round" | "Sqrt" | "Reciprocal" | "Exp" | "Log"
        | "Not" | "Relu" | "Sigmoid" => unary(op, o.get(0)?)?,
        _ => return Ok(None),
    }))
}

/// Applies a function to two arrays of which either may be stretched.
fn zip<A: Clone, B: Clone, R>(
    a: &ArrayD<A>,
    b: &ArrayD<B>,
    budget: &mut Budget,
    f: impl Fn(A, B) -> R,
) -> Result<ArrayD<R>, String> {
    let shape = shapes::broadcast(a.shape(), b.shape())?;
    budget.spend(shapes::element_count(&shape)?)?;
    let wrong = || format!("shapes {:?} and {:?} do not broadcast", a.shape(), b.shape());
    let a = a.broadcast(IxDyn(&shape)).ok_or_else(wrong)?;
    let b = b.broadcast(IxDyn(&shape)).ok_or_else(wrong)?;
    Ok(Zip::from(a).and(b).map_collect(|x, y| f(x.clone(), y.clone())))
}

fn arithmetic(
    op: &str,
    node: &Node,
    a: &Constant,
    b: &Constant,
    budget: &mut Budget,
) -> Result<Constant, String> {
    match (a, b) {
        (Constant::F32(a), Constant::F32(b)) => {
            let f: fn(f32, f32) -> f32 = match op {
                "Add" | "Sum" => |x, y| x + y,
                "Sub" => |x, y| x - y,
                "Mul" => |x, y| x * y,
                "Div" => |x, y| x / y,
                "Mod" => |x, y| x % y,
                "Pow" => f32::powf,
                "Min" => f32::min,
                _ => f32::max,
            };
            Ok(zip(a, b, budget, f)?.into())
        }
        (Constant::I64(a), Constant::I64(b)) => {
            if matches!(op, "Div" | "Mod") && b.iter().any(|&d| d == 0) {
                return Err("divides by zero".into());
            }
            let truncating = node.int("fmod", 0).map_err(|e| e.to_string())? != 0;
            let f: fn(i64, i64) -> i64 = match op {
                "Add" | "Sum" => i64::wrapping_add,
                "Sub" => i64::wrapping_sub,
                "Mul" => i64::wrapping_mul,
                "Div" => i64::wrapping_div,
                "Mod" if truncating => i64::wrapping_rem,
                // The sign of the divisor, as in Python.
                "Mod" => |x, y| {
                    let r = x.wrapping_rem(y);
                    if r != 0 && (r < 0) != (y < 0) { r.wrapping_add(y) } else { r }
                },
                "Pow" => |x, y| (x as f64).powf(y as f64) as i64,
                "Min" => i64::min,
                _ => i64::max,
            };
            Ok(zip(a, b, budget, f)?.into())
        }
        // The one operator whose operands may differ in type.
        (Constant::F32(_), Constant::I64(_)) if op == "Pow" => {
            arithmetic(op, node, a, &cast(b, 1)?, budget)
        }
        _ => Err(format!("has operands of type {} and {}", a.type_name(), b.type_name())),
    }
}

fn compare(op: &str, a: &Constant, b: &Constant, budget: &mut Budget) -> Result<Constant, String> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let holds = |order: Option<std::cmp::Ordering>| match op {
        "Equal" => order == Some(Equal),
        "Greater" => order == Some(Greater),
        "GreaterOrEqual" => matches!(order, Some(Greater | Equal)),
        "Less" => order == Some(Less),
        _ => matches!(order, Some(Less | Equal)),
    };
    let result = match (a, b) {
        (Constant::Bool(a), Constant::Bool(b)) => zip(a, b, budget, |x, y| match op {
            "And" => x && y,
            "Or" => x || y,
            "Xor" => x != y,
            _ => x == y,
        })?,
        (Constant::F32(a), Constant::F32(b)) => zip(a, b, budget, |x, y| holds(x.partial_cmp(&y)))?,
        (Constant::I64(a), Constant::I64(b)) => zip(a, b, budget, |x, y| holds(Some(x.cmp(&y))))?,
        _ => return Err(format!("has operands of type {} and {}", a.type_name(), b.type_name())),
    };
    Ok(result.into())
}

fn select(
    condition: &Constant,
    a: &Constant,
    b: &Constant,
    budget: &mut Budget,
) -> Result<Constant, String> {
    let Constant::Bool(condition) = condition else {
        return Err("its condition is not boolean".into());
    };
    macro_rules! pick {
        ($a:expr, $b:expr) => {{
            let pairs = zip($a, $b, budget, |x, y| (x, y))?;
            Ok(zip(condition, &pairs, budget, |c, (x, y)| if c { x } else { y })?.into())
        }};
    }
    match (a, b) {
        (Constant::F32(a), Constant::F32(b)) => pick!(a, b),
        (Constant::I64(a), Constant::I64(b)) => pick!(a, b),
        (Constant::Bool(a), Constant::Bool(b)) => pick!(a, b),
        _ => Err(format!("chooses between {} and {}", a.type_name(), b.type_name())),
    }
}

/// A constant in another element type; the narrow integers are cut to their range by wrapping.
fn cast(x: &Constant, to: i32) -> Result<Constant, String> {
    let narrow: fn(i64) -> i64 = match to {
        2 => |v| i64::from(v as u8),
        3 => |v| i64::from(v as i8),
        4 => |v| i64::from(v as u16),
        5 => |v| i64::from(v as i16),
        6 => |v| i64::from(v as i32),
        12 => |v| i64::from(v as u32),
        7 | 13 => |v| v,
        _ if tensor::is_float(to) || to == 9 => |v| v,
        _ => return Err(format!("casts to {}, expected a number or bool", tensor::type_name(to))),
    };
    Ok(match x {
        Constant::F32(a) if tensor::is_float(to) => Constant::F32(a.clone()),
        Constant::F32(a) if to == 9 => a.mapv(|v| v != 0.0).into(),
        Constant::F32(a) => a.mapv(|v| narrow(v as i64)).into(),
        Constant::I64(a) if tensor::is_float(to) => a.mapv(|v| v as f32).into(),
        Constant::I64(a) if to == 9 => a.mapv(|v| v != 0).into(),
        Constant::I64(a) => a.mapv(narrow).into(),
        Constant::Bool(a) if tensor::is_float(to) => a.mapv(|v| f32::from(u8::from(v))).into(),
        Constant::Bool(a) if to == 9 => Constant::Bool(a.clone()),
        Constant::Bool(a) => a.mapv(i64::from).into(),
    })
}

fn unary(op: &str, x: &Constant) -> Result<Constant, String> {
    match x {
        Constant::F32(a) => {
            let f: fn(f32) -> f32 = match op {
                "Neg" => |v| -v,
                "Abs" => f32::abs,
                "Floor" => f32::floor,
                "Ceil" => f32::ceil,
                "Round" => f32::round_ties_even,
                "Sqrt" => f32::sqrt,
                "Reciprocal" => f32::recip,
                "Exp" => f32::exp,
                "Log" => f32::ln,
                "Relu" => |v| v.max(0.0),
                "Sigmoid" => |v| 1.0 / (1.0 + (-v).exp()),
                _ => return Err("has a float operand".into()),
            };
            Ok(a.mapv(f).into())
        }
        Constant::I64(a) => match op {
            "Neg" => Ok(a.mapv(i64::wrapping_neg).into()),
            "Abs" => Ok(a.mapv(i64::wrapping_abs).into()),
            _ => Err("has an integer operand".into()),
        },
        Constant::Bool(a) if op == "Not" => Ok(a.mapv(|v| !v).into()),
        Constant::Bool(_) => Err("has a boolean operand".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{run, run_ints};
    use super::*;

    fn ints(values: &[i64]) -> Constant {
        Constant::from_ints(values.to_vec())
    }

    #[test]
    fn integer_division_truncates_and_zero_is_refused() {
        assert_eq!(
            run_ints("Div", &[], &[ints(&[7, -7, i64::MIN]), ints(&[2, 2, -1])]),
            [3, -3, i64::MIN]
        );
        assert_eq!(run_ints("Mod", &[], &[ints(&[7, -7]), ints(&[3])]), [1, 2]);
        assert_eq!(run_ints("Mod", &[("fmod", &[1])], &[ints(&[-7]), ints(&[3])]), [-1]);
        assert!(run("Div", &[], &[ints(&[1]), ints(&[0])]).is_err());
        assert!(run("Add", &[], &[ints(&[1]), Constant::from_floats(vec![1.0])]).is_err());
    }

    #[test]
    fn the_target_of_an_expand_is_chosen() {
        // Where(target == -1, ones, target), as exporters write expand().
        let target = ints(&[-1, 3]);
        let unset = run("Equal", &[], &[target.clone(), ints(&[-1])]).unwrap().unwrap().remove(0);
        assert_eq!(run_ints("Where", &[], &[unset, ints(&[1, 1]), target]), [1, 3]);
    }

    #[test]
    fn casts_go_both_ways() {
        let floats = Constant::from_floats(vec![2.9, -2.9, f32::NAN]);
        assert_eq!(run_ints("Cast", &[("to", &[7])], &[floats]), [2, -2, 0]);
        assert_eq!(run_ints("Cast", &[("to", &[3])], &[ints(&[200])]), [-56]);
        let half = run("Cast", &[("to", &[1])], &[ints(&[3])]).unwrap().unwrap().remove(0);
        assert_eq!(half.float(), Some(3.0));
        assert!(run("Cast", &[("to", &[8])], &[ints(&[3])]).is_err());
        assert_eq!(run_ints("Max", &[], &[ints(&[1, 5]), ints(&[3]), ints(&[2])]), [3, 5]);
    }
}
