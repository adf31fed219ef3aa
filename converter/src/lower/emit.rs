//! Steps and ranges to the operators of a model file.

use std::collections::{HashMap, HashSet};

use kenar::desc::{self, DType, Epilogue, OpKind, Residual, Store, TensorId};
use kenar::format::write::ModelWriter;
use kenar::quant::{RESIDUAL_BITS, significant};

use super::balance;
use super::conv::{self, How};
use super::pixels::Pixels;
use super::prepare::Network;
use super::ranges::Ranges;
use super::report::{Guard, OpReport, Written};
use super::step::{Finish, Step, Target, Work};
use super::table;
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::quantize::{Calibration, QParams};

/// Affine factors smaller than this are no normal f32 any more; nothing of them would be seen.
const SMALLEST_FACTOR: f64 = 1e-30;

/// Behind the name of a tensor that is written a second time.
const JOINED: &str = ":joined";

/// Writes tensors and operators.
pub(crate) struct Emitter<'a> {
    pub network: &'a Network<'a>,
    pub calibration: &'a Calibration,
    pub ranges: &'a Ranges,
    pub pixels: Option<&'a Pixels>,
    pub how: How,
    /// Values that are written a second time, for the concatenation that reads them.
    pub twins: HashSet<ValueId>,
    pub writer: ModelWriter,
    /// The tensors of these.
    doubles: HashMap<ValueId, TensorId>,
    tensors: HashMap<(ValueId, DType), TensorId>,
}

/// A target with its numbers.
struct Placed {
    store: Store,
    /// Real size of one step of `t`.
    unit: f32,
}

impl<'a> Emitter<'a> {
    pub fn new(
        network: &'a Network<'a>,
        calibration: &'a Calibration,
        ranges: &'a Ranges,
        pixels: Option<&'a Pixels>,
        how: How,
    ) -> Self {
        Self {
            network,
            calibration,
            ranges,
            pixels,
            how,
            twins: HashSet::new(),
            writer: ModelWriter::new(),
            doubles: HashMap::new(),
            tensors: HashMap::new(),
        }
    }

    /// The tensor of one rendition of a value, added when it is first asked for.
    pub fn tensor(&mut self, value: ValueId, dtype: DType) -> Result<TensorId> {
        if let Some(&id) = self.tensors.get(&(value, dtype)) {
            return Ok(id);
        }
        let [mut c, h, w] = self.network.map(value).map(|x| x as u32);
        if value == self.network.graph.input && self.masks() {
            c += 1;
        }
        let p = self.ranges.get(value, dtype);
        let name = &self.network.graph.value(value).name;
        let suffix = self.ranges.factors(value, dtype).map_or("", |_| balance::SUFFIX);
        let name = format!("{name}{suffix}");
        let id = self.writer.add_activation(&name, [h, w, c], dtype, p.scale, p.zero_point)?;
        self.tensors.insert((value, dtype), id);
        Ok(id)
    }

    /// The value of every tensor, in the tensors' order.
    pub fn values(&self) -> Vec<ValueId> {
        let mut values: Vec<(TensorId, ValueId)> =
            self.tensors.iter().map(|(&(value, _), &id)| (id, value)).collect();
        values.extend(self.doubles.iter().map(|(&value, &id)| (id, value)));
        values.sort_unstable();
        values.into_iter().map(|(_, value)| value).collect()
    }

    /// Whether the input tensor has a mask.
    fn masks(&self) -> bool {
        self.pixels.is_some_and(|p| p.normalisation.is_some())
    }

    /// The tensor of an output: i16 where there is one.
    pub fn output_tensor(&mut self, value: ValueId) -> Result<TensorId> {
        let fine = self.network.fine.contains(&value);
        let dtype = match fine && self.tensors.contains_key(&(value, DType::I16)) {
            true => DType::I16,
            false => DType::I8,
        };
        self.tensor(value, dtype)
    }

    fn scale(&self, value: ValueId, dtype: DType) -> f32 {
        self.ranges.get(value, dtype).scale
    }

    /// Adds the operator of a step.
    pub fn step(&mut self, step: &Step) -> Result<OpReport> {
        let mut guards = Vec::new();
        let input = match step.work {
            Work::Concat { .. } => None,
            _ => Some(self.tensor(step.input, step.input_dtype)?),
        };
        let kind = match (&step.work, input) {
            (Work::Concat { operands }, _) => self.concat(operands, step)?,
            (_, None) => unreachable!("only concatenations have no first operand"),
            (work, Some(input)) => {
                let input_scale = self.scale(step.input, step.input_dtype);
                let first = step.first.as_ref().map(|t| self.place(t)).transpose()?;
                // Without a first store the unit is free; that of an i16 stream keeps every multiplier ordinary.
                let unit = first.as_ref().map_or_else(|| self.free_unit(step.raw), |p| p.unit);
                let ranges = self.ranges;
                let counted = counted(step, ranges);
                let read = ranges.factors(step.input, step.input_dtype);
                match work {
                    Work::Conv(c) => {
                        let patches = c.source.and_then(|v| self.calibration.patches(v));
                        let of_pixels = match patches.zip(self.pixels) {
                            Some((patches, pixels)) if step.input == self.network.graph.input => {
                                pixels.patches(patches)
                            }
                            _ => None,
                        };
                        let patches = of_pixels.as_ref().or(patches);
                        let offsets = ranges.offsets(step.input, step.input_dtype);
                        let shifted = offsets.map(|o| conv::without(c, o));
                        let moved = patches.zip(offsets).map(|(p, o)| p.shifted(o));
                        let (c, patches) =
                            (shifted.as_ref().unwrap_or(c), moved.as_ref().or(patches));
                        // SiLU takes real values; what follows it counts in units again.
                        let (sum, written) = if step.silu { (1.0, None) } else { (unit, counted) };
                        let how = self.how;
                        let k = conv::quantize(c, input_scale, sum, [read, written], patches, how);
                        guards.clone_from(&k.guards);
                        self.conv(step, c, &k, input, first, unit)?
                    }
                    Work::Add => OpKind::Add {
                        input,
                        multiplier: ratio(input_scale, unit),
                        epilogue: self.epilogue(step, first, unit)?,
                    },
                    Work::Mul { gate } => OpKind::Mul {
                        input,
                        gate: self.tensor(*gate, DType::I8)?,
                        multiplier: (f64::from(input_scale)
                            * f64::from(self.scale(*gate, DType::I8))
                            / f64::from(unit)) as f32,
                        epilogue: self.epilogue(step, first, unit)?,
                    },
                    _ => self.simple(step, input, input_scale, first.expect("has one store"))?,
                }
            }
        };
        let name = self.writer.add_string(&step.name)?;
        self.writer.add_op(desc::Op { name, kind });
        self.report(step, guards)
    }

    fn conv(
        &mut self,
        step: &Step,
        c: &super::prepare::Conv,
        k: &conv::Constants,
        input: TensorId,
        first: Option<Placed>,
        unit: f32,
    ) -> Result<OpKind> {
        if c.weight.iter().chain(&c.bias).any(|w| !w.is_finite()) {
            return Err(Error::graph(&step.name, "has weights that are not finite numbers"));
        }
        let factors = step.silu.then(|| -> Vec<f32> {
            let counted = counted(step, self.ranges);
            let factor = |c: usize| counted.map_or(1.0, |f| f64::from(f[c]));
            (0..c.shape[0]).map(|c| (1.0 / (f64::from(unit) * factor(c))) as f32).collect()
        });
        Ok(OpKind::Conv2d(desc::Conv2d {
            input,
            window: c.window.desc(),
            groups: c.groups as u32,
            channels_out: c.shape[0] as u32,
            weights: self.writer.add_i8(&k.weights)?,
            bias: self.writer.add_i32(&k.bias)?,
            multiplier: self.writer.add_f32(&k.multiplier)?,
            slope: step.slope.as_ref().map(|s| self.writer.add_f32(s)).transpose()?,
            epilogue: self.epilogue(step, first, unit)?,
            silu: factors.map(|f| self.writer.add_f32(&f)).transpose()?,
        }))
    }

    /// Operators with one store.
    fn simple(
        &mut self,
        step: &Step,
        input: TensorId,
        input_scale: f32,
        first: Placed,
    ) -> Result<OpKind> {
        let Placed { store, unit } = first;
        let output = store.output;
        Ok(match &step.work {
            Work::Affine { scale, shift } => {
                let target = step.first.as_ref().expect("has one store");
                let scale = times(scale, self.ranges.factors(step.input, step.input_dtype));
                let affine = self.affine(&scale, shift, input_scale, unit, target)?;
                OpKind::Affine { input, affine, store }
            }
            Work::AvgPool { window, count_padding } => OpKind::Pool(desc::Pool {
                kind: desc::PoolKind::Average,
                input,
                window: window.desc(),
                multiplier: ratio(input_scale, unit),
                count_padding: *count_padding,
                store,
            }),
            Work::MaxPool(window) => OpKind::Pool(desc::Pool {
                kind: desc::PoolKind::Max,
                input,
                window: window.desc(),
                multiplier: 1.0,
                count_padding: false,
                store,
            }),
            Work::Resize => OpKind::Resize(desc::Resize { input, output }),
            Work::Table(activation) => {
                let from = self.ranges.get(step.input, DType::I8);
                let to = self.ranges.get(step.raw, DType::I8);
                let table = self.writer.add_i8(&table::build(activation, from, to))?;
                OpKind::Table(desc::Table { input, output, table })
            }
            Work::Copy(c) => OpKind::Copy(desc::Copy {
                input,
                output,
                start: c.start,
                step: c.step.map(|s| s as u32),
            }),
            Work::Conv(_) | Work::Add | Work::Mul { .. } | Work::Concat { .. } => {
                unreachable!("these have an epilogue or a list")
            }
        })
    }

    fn concat(&mut self, operands: &[ValueId], step: &Step) -> Result<OpKind> {
        let target = step.first.as_ref().map_or(step.raw, |t| t.value);
        let output = self.tensor(target, DType::I8)?;
        let to = self.ranges.get(target, DType::I8);
        let mut ids = Vec::with_capacity(operands.len());
        let mut multipliers = Vec::with_capacity(operands.len());
        for &v in operands {
            ids.push(match self.doubles.get(&v) {
                Some(&double) => double,
                None => self.tensor(v, DType::I8)?,
            });
            multipliers.push(ratio(self.scale(v, DType::I8), to.scale));
        }
        Ok(OpKind::Concat {
            inputs: self.writer.add_list(&ids),
            multipliers: self.writer.add_f32(&multipliers)?,
            output,
        })
    }

    fn free_unit(&self, raw: ValueId) -> f32 {
        let h = self.calibration.histogram(raw);
        QParams::i16(h.max().max(-h.min())).scale
    }

    /// The store of a target, and the unit that it wants `t` in.
    fn place(&mut self, target: &Target) -> Result<Placed> {
        let output = self.tensor(target.value, target.dtype)?;
        self.place_in(output, target)
    }

    /// The second store of a target, in a tensor of its own if the first has the same value.
    fn place_second(&mut self, step: &Step, target: &Target) -> Result<Placed> {
        if !self.is_twin(step, target) {
            return self.place(target);
        }
        let first = self.tensor(target.value, target.dtype)?;
        let mut desc = *self.writer.tensor(first);
        let name = format!("{}{JOINED}", self.network.graph.value(target.value).name);
        desc.name = self.writer.add_string(&name)?;
        let double = self.writer.add_tensor(desc);
        self.doubles.insert(target.value, double);
        self.place_in(double, target)
    }

    /// Whether a second store writes what the first one does.
    fn is_twin(&self, step: &Step, target: &Target) -> bool {
        let same = |first: &Target| first.value == target.value && first.dtype == target.dtype;
        self.twins.contains(&target.value) && step.first.as_ref().is_some_and(same)
    }

    fn place_in(&mut self, output: TensorId, target: &Target) -> Result<Placed> {
        let params = self.ranges.get(target.value, target.dtype);
        let (low, high) = params.limits();
        let plain = Store {
            output,
            zero_point: params.zero_point,
            clamp_min: low,
            clamp_max: high,
            table: None,
        };
        Ok(match &target.finish {
            Finish::Plain => Placed { store: plain, unit: params.scale },
            &Finish::Clamp(min, max) => {
                let clamp_min = params.quantize(f64::from(min));
                let clamp_max = params.quantize(f64::from(max)).max(clamp_min);
                Placed { store: Store { clamp_min, clamp_max, ..plain }, unit: params.scale }
            }
            Finish::Table(activation) => {
                let histogram = self.calibration.histogram(target.before);
                let before = table::input_params(activation, histogram, params);
                let table = self.writer.add_i8(&table::build(activation, before, params))?;
                Placed {
                    store: Store { zero_point: before.zero_point, table: Some(table), ..plain },
                    unit: before.scale,
                }
            }
        })
    }

    fn epilogue(&mut self, step: &Step, first: Option<Placed>, unit: f32) -> Result<Epilogue> {
        let residual = match step.residual {
            Some((v, dtype)) => {
                let multiplier = ratio(self.scale(v, dtype), unit);
                let multiplier = match dtype {
                    DType::I8 => significant(multiplier, RESIDUAL_BITS),
                    DType::I16 => multiplier,
                };
                Some(Residual { tensor: self.tensor(v, dtype)?, multiplier })
            }
            None => None,
        };
        let second = match &step.second {
            Some(s) => {
                let placed = self.place_second(step, &s.target)?;
                let scale = times(&s.scale, counted(step, self.ranges));
                Some((self.affine(&scale, &s.shift, unit, placed.unit, &s.target)?, placed.store))
            }
            None => None,
        };
        Ok(Epilogue { residual, store: first.map(|p| p.store), second })
    }

    /// `real = scale * x + shift` from units of `from` to units of `to`.
    fn affine(
        &mut self,
        scale: &[f32],
        shift: &[f32],
        from: f32,
        to: f32,
        target: &Target,
    ) -> Result<desc::Affine> {
        let normal = |x: f64| if x.abs() < SMALLEST_FACTOR { 0.0 } else { x as f32 };
        let factors = self.ranges.factors(target.value, target.dtype);
        let to = |c: usize| f64::from(to) * factors.map_or(1.0, |f| f64::from(f[c]));
        let a: Vec<f32> = (scale.iter().enumerate())
            .map(|(c, &s)| normal(f64::from(s) * f64::from(from) / to(c)))
            .collect();
        let b: Vec<f32> =
            shift.iter().enumerate().map(|(c, &s)| normal(f64::from(s) / to(c))).collect();
        Ok(desc::Affine { a: self.writer.add_f32(&a)?, b: self.writer.add_f32(&b)? })
    }

    fn report(&self, step: &Step, guards: Vec<Guard>) -> Result<OpReport> {
        let second = step.second.as_ref().map(|s| &s.target);
        let written = step
            .first
            .iter()
            .chain(second.filter(|target| !self.is_twin(step, target)))
            .map(|t| {
                let p = self.ranges.get(t.value, t.dtype);
                Written {
                    tensor: self.tensors[&(t.value, t.dtype)],
                    value: t.value,
                    name: self.network.graph.value(t.value).name.clone(),
                    dtype: t.dtype,
                    scale: p.scale,
                    zero_point: p.zero_point,
                }
            })
            .collect();
        Ok(OpReport { name: step.name.clone(), kind: describe(step), written, guards })
    }
}

/// The factors of the channels that a step's sum is counted in, beside its unit: those of what it adds up, or else of
/// its first store.
fn counted<'r>(step: &Step, ranges: &'r Ranges) -> Option<&'r [f32]> {
    let operand = match step.work {
        Work::Add => Some((step.input, step.input_dtype)),
        _ => step.residual,
    };
    let first = step.first.as_ref().map(|t| (t.value, t.dtype));
    operand.or(first).and_then(|(value, dtype)| ranges.factors(value, dtype))
}

/// `scale` in units of the factors.
fn times(scale: &[f32], factors: Option<&[f32]>) -> Vec<f32> {
    match factors {
        Some(factors) => scale.iter().zip(factors).map(|(s, f)| s * f).collect(),
        None => scale.to_vec(),
    }
}

fn ratio(a: f32, b: f32) -> f32 {
    (f64::from(a) / f64::from(b)) as f32
}

/// `Conv2d + slope + residual, clamp; affine, clamp`.
fn describe(step: &Step) -> String {
    let mut text = String::from(match &step.work {
        Work::Conv(_) => "Conv2d",
        Work::Add => "Add",
        Work::Mul { .. } => "Mul",
        Work::Affine { .. } => "Affine",
        Work::MaxPool(_) => "MaxPool",
        Work::AvgPool { .. } => "AvgPool",
        Work::Resize => "Resize",
        Work::Table(_) => "Table",
        Work::Copy(_) => "Copy",
        Work::Concat { .. } => "Concat",
    });
    if step.slope.is_some() {
        text += " + slope";
    }
    if step.silu {
        text += ", SiLU";
    }
    if step.residual.is_some() && !matches!(step.work, Work::Add) {
        text += " + residual";
    }
    let finish = |text: &mut String, finish: &Finish| match finish {
        Finish::Plain => {}
        Finish::Clamp(..) => *text += ", clamp",
        Finish::Table(_) => *text += ", table",
    };
    match &step.first {
        Some(first) => finish(&mut text, &first.finish),
        None => text += " (not stored)",
    }
    if let Some(second) = &step.second {
        text += "; affine";
        finish(&mut text, &second.target.finish);
    }
    text
}
