//! What follows the accumulation: residual, clamp, rounding, table, store. See [`crate::desc::Epilogue`].

use super::Context;
use super::map::{Map, MapMut, Part};
use crate::arena::Inputs;
use crate::desc::{Epilogue, Store};
use crate::format::F32s;
use crate::quant::requantize;

/// One store with its target.
pub(super) struct StoreTo<'s, 'm> {
    out: MapMut<'s>,
    zero_point: i32,
    clamp_min: i32,
    clamp_max: i32,
    table: Option<&'m [u8]>,
}

impl<'s, 'm> StoreTo<'s, 'm> {
    /// `bytes` begin at the first element of `part`.
    ///
    /// # Panics
    ///
    /// If there are no bytes: the lease is of another operator.
    pub(super) fn new(
        context: Context<'_, 'm>,
        store: &Store,
        bytes: Option<&'s mut [u8]>,
        part: &Part,
    ) -> Self {
        Self {
            out: context.map_mut(
                bytes.expect("an operator's output is leased"),
                store.output,
                part,
            ),
            zero_point: store.zero_point,
            clamp_min: store.clamp_min,
            clamp_max: store.clamp_max,
            table: store.table.map(|table| context.model.data(table)),
        }
    }

    /// Height and width of the output.
    pub(super) const fn size(&self) -> [usize; 2] {
        [self.out.height, self.out.width]
    }

    /// Requantises `t` and stores it.
    #[inline]
    pub(super) fn put(&mut self, pixel: usize, channel: usize, t: f32) {
        let q = requantize(t, self.zero_point, self.clamp_min, self.clamp_max);
        let q = self.table.map_or(q, |table| i32::from(table[(q + 128) as usize] as i8));
        self.out.put(pixel, channel, q);
    }

    /// Stores a quantised value as it is.
    #[inline]
    pub(super) fn put_quantized(&mut self, pixel: usize, channel: usize, q: i32) {
        self.out.put(pixel, channel, q);
    }
}

/// A whole epilogue with its operands.
pub(super) struct End<'s, 'm> {
    residual: Option<(Map<'s>, f32)>,
    store: Option<StoreTo<'s, 'm>>,
    second: Option<(F32s<'m>, F32s<'m>, StoreTo<'s, 'm>)>,
}

impl<'s, 'm> End<'s, 'm> {
    /// `outputs` begin at the first element of `part`.
    pub(super) fn new(
        context: Context<'_, 'm>,
        epilogue: &Epilogue,
        inputs: Inputs<'s>,
        outputs: [Option<&'s mut [u8]>; 2],
        part: &Part,
    ) -> Self {
        let [first, second] = outputs;
        Self {
            residual: epilogue.residual.map(|r| (context.map(inputs, r.tensor), r.multiplier)),
            store: epilogue.store.map(|store| StoreTo::new(context, &store, first, part)),
            second: epilogue.second.map(|(affine, store)| {
                let (a, b) = (context.model.f32s(affine.a), context.model.f32s(affine.b));
                (a, b, StoreTo::new(context, &store, second, part))
            }),
        }
    }

    /// Height and width of the result.
    pub(super) fn size(&self) -> [usize; 2] {
        let second = self.second.as_ref().map(|(_, _, store)| store);
        self.store.as_ref().or(second).map_or([0, 0], StoreTo::size)
    }

    /// Finishes one element from `t`, the scaled accumulator.
    #[inline]
    pub(super) fn put(&mut self, pixel: usize, channel: usize, t: f32) {
        let mut t = t;
        if let Some((residual, multiplier)) = &self.residual {
            t += residual.centered(pixel, channel) as f32 * *multiplier;
        }
        if let Some(store) = &mut self.store {
            store.put(pixel, channel, t);
        }
        if let Some((a, b, store)) = &mut self.second {
            let u = t * a.get(channel);
            store.put(pixel, channel, u + b.get(channel));
        }
    }
}
