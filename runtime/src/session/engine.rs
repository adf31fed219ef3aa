//! A session's threads and prepared operators.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::Vec;

use super::squeeze::{Role, Squeeze};
use super::{Relay, Session, State, share};
use crate::arena::{Arena, Lease, Outputs};
use crate::desc::{Op, OpKind};
use crate::isa::Platform;
use crate::kernels::{Blocking, PackedOp, PackedPool, Problem, Scratch, ScratchSize, Shelf};
use crate::ops::{self, Context, Units};
use crate::{Error, Model};

/// How a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads that work on one run, the calling one included; at least 1.
    pub threads: usize,
    /// Instruction set. [`Platform::scalar`] runs the definitions themselves, others run kernels; the outputs are the
    /// same bytes.
    pub platform: Platform,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, platform: Platform::detect() }
    }
}

/// Most runs in a row that the calling thread does alone.
const ALONE: u32 = 32;

/// An operator, prepared.
#[derive(Debug)]
pub(super) struct Step {
    pub op: Op,
    pub units: Units,
    /// None: the scalar definition serves.
    pub packed: Option<PackedOp>,
}

impl Step {
    fn new(model: &Model<'_>, op: Op, platform: Platform, shelf: &mut Shelf) -> Self {
        let packed = if platform == Platform::scalar() {
            None
        } else {
            PackedOp::pack_on(platform, &op, model, shelf)
        };
        let units = packed.as_ref().map_or_else(|| ops::units(model, &op), PackedOp::units);
        Self { op, units, packed }
    }

    /// The weights that a run from unit `first` on begins with.
    fn head(&self, first: usize) -> &[i8] {
        self.packed.as_ref().map_or(&[], |packed| packed.head(first))
    }

    /// What [`Step::run`] needs beside its operands.
    fn scratch(&self) -> ScratchSize {
        self.packed.as_ref().map_or_else(ScratchSize::default, PackedOp::scratch)
    }

    fn run(
        &self,
        model: &Model<'_>,
        xor: u8,
        lease: Lease<'_>,
        next: &[i8],
        scratch: &mut Scratch,
    ) {
        match &self.packed {
            Some(packed) => packed.run(&self.op, model, lease, next, scratch),
            None => ops::run(Context { model, xor }, &self.op, self.units, lease),
        }
    }
}

/// Prepared operators and the threads that run them.
#[derive(Debug)]
pub(super) struct Engine {
    steps: Vec<Step>,
    outputs: Vec<Outputs>,
    /// How many parts each is computed in.
    parts: Vec<u32>,
    /// The threads beside the calling one.
    pool: Option<rayon::ThreadPool>,
    /// Runs that the calling thread does alone, because other programs keep the threads waiting, and how many it will
    /// be the next time.
    alone: AtomicU32,
    next_alone: AtomicU32,
    /// Whether a run is expected, and the threads have been woken for it.
    expected: Arc<AtomicBool>,
    squeeze: Squeeze,
    /// Memory for the step that needs most, for each thread: first the calling one.
    scratch: Vec<Mutex<Scratch>>,
}

/// Prepares all operators with all threads.
fn prepare(
    model: &Model<'_>,
    options: Options,
    pool: Option<&rayon::ThreadPool>,
    released: &(dyn Fn(&[u8]) + Sync),
    blocking: Option<Blocking>,
) -> Vec<Step> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(model.op_count()));
    // Room for a thread's part of the weights, and for what packing rounds up; what is not written takes no memory.
    let share = model.data_bytes() / options.threads;
    let work = || {
        let shelf = Shelf::new(share + share / 4 + (64 << 10));
        let mut shelf = shelf.threads(options.threads).blocked(blocking);
        let mut mine = Vec::new();
        loop {
            // The last ones have the most weights.
            let taken = next.fetch_add(1, Relaxed);
            let Some(index) = model.op_count().checked_sub(taken + 1) else { break };
            let step = Step::new(model, model.op(index), options.platform, &mut shelf);
            if let (OpKind::Conv2d(conv), Some(_)) = (&step.op.kind, &step.packed) {
                released(model.data(conv.weights));
            }
            mine.push((index, step));
        }
        let shelf = shelf.finish();
        for packed in mine.iter_mut().filter_map(|(_, step)| step.packed.as_mut()) {
            packed.attach(&shelf);
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).extend(mine);
    };
    match pool {
        None => work(),
        Some(pool) => pool.in_place_scope(|scope| {
            scope.spawn_broadcast(|_, _| work());
            work();
        }),
    }
    let mut steps = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    steps.sort_unstable_by_key(|(index, _)| *index);
    steps.into_iter().map(|(_, step)| step).collect()
}

impl Engine {
    fn new(
        model: &Model<'_>,
        options: Options,
        released: &(dyn Fn(&[u8]) + Sync),
        blocking: Option<Blocking>,
    ) -> Result<Self, Error> {
        let pool = match options.threads {
            0 => return Err(Error::Threads),
            1 => None,
            threads => {
                let builder = rayon::ThreadPoolBuilder::new().num_threads(threads - 1);
                let builder = builder.thread_name(|index| std::format!("kenar-{}", index + 1));
                Some(builder.build().map_err(|_| Error::Threads)?)
            }
        };
        let steps = prepare(model, options, pool.as_ref(), released, blocking);
        let mut outputs = Vec::with_capacity(steps.len());
        let mut parts = Vec::with_capacity(steps.len());
        for step in &steps {
            let mut output = ops::outputs(model, &step.op, step.units);
            parts.push(match step.packed {
                Some(_) => share::parts(model, &step.op, step.units, options.threads, &mut output),
                None if output.units == 0 => 0,
                // Slow enough to be divided always.
                None => options.threads.min(Relay::MOST as usize) as u32,
            });
            outputs.push(output);
        }
        let [alone, next_alone] = [0, 0].map(AtomicU32::new);
        let scratch_size =
            steps.iter().map(Step::scratch).fold(ScratchSize::default(), ScratchSize::max);
        let scratch = (0..options.threads).map(|_| Mutex::new(Scratch::new(scratch_size)));
        let scratch = scratch.collect();
        let (expected, squeeze) =
            (Arc::default(), Squeeze::new(&steps, &mut parts, options.threads));
        Ok(Self { steps, outputs, parts, pool, alone, next_alone, expected, squeeze, scratch })
    }

    /// The weights that `thread` begins the next convolution with.
    fn next(&self, index: usize, thread: usize) -> &[i8] {
        let mut later = (index + 1..self.steps.len()).map(|index| {
            let first = self.outputs[index].first(self.parts[index], thread, self.scratch.len());
            self.steps[index].head(first)
        });
        later.find(|head| !head.is_empty()).unwrap_or_default()
    }

    /// Runs a part of an operator.
    fn part(&self, model: &Model<'_>, xor: u8, index: usize, lease: Lease<'_>) {
        let thread = self.pool.as_ref().and_then(rayon::ThreadPool::current_thread_index);
        let thread = thread.map_or(0, |index| index + 1);
        let Lease { inputs, mut outputs, columns, units } = lease;
        let role = self.squeeze.role(index);
        if let (Role::Average, Some(pool)) = (role, self.as_pool(index)) {
            let [Some(out), _] = outputs else { return };
            return self.squeeze.finish(pool, out);
        }
        let (step, next) = (&self.steps[index], self.next(index, thread));
        let again = outputs.each_mut().map(|out| out.as_deref_mut());
        let lease = Lease { inputs, outputs: again, columns, units };
        if step.scratch() == ScratchSize::default() {
            step.run(model, xor, lease, next, &mut Scratch::none());
        } else {
            // Each thread has its own, which is in its core's cache.
            let mut scratch = self.scratch[thread].lock().unwrap_or_else(PoisonError::into_inner);
            step.run(model, xor, lease, next, &mut scratch);
        }
        if let (Role::Sums(which), Some(pool)) = (role, self.as_pool(index + 1))
            && let Some(bytes) = &outputs[which]
        {
            self.squeeze.add(thread, pool, bytes);
        }
    }

    fn as_pool(&self, index: usize) -> Option<&PackedPool> {
        self.steps.get(index)?.packed.as_ref()?.as_pool()
    }

    /// Forgets what a run that ended early has left.
    pub(super) fn reset(&self) {
        self.squeeze.reset();
    }

    /// Wakes the threads for a run that is about to come: one that sleeps takes as long to wake as a small input takes to
    /// be set.
    pub(super) fn expect(&self) {
        let Some(pool) = &self.pool else { return };
        if self.alone.load(Relaxed) > 0 || self.expected.swap(true, Relaxed) {
            return;
        }
        let expected = self.expected.clone();
        pool.spawn_broadcast(move |_| {
            let mut looks = 0..Relay::LOOKS;
            while expected.load(Relaxed) && looks.next().is_some() {
                core::hint::spin_loop();
            }
        });
    }

    /// Runs all operators with all threads; `after` is called on the calling thread when each has ended.
    pub(super) fn run(
        &self,
        model: &Model<'_>,
        arena: &mut Arena<'_>,
        xor: u8,
        after: Option<&mut dyn FnMut(usize)>,
    ) {
        let body = |index: usize, lease: Lease<'_>| {
            self.part(model, xor, index, lease);
        };
        let steps = (&self.outputs[..], &self.parts[..]);
        self.expected.store(false, Relaxed);
        let alone = self.alone.load(Relaxed);
        let pool = if alone > 0 && after.is_none() { None } else { self.pool.as_ref() };
        let went_well = arena.run_team(pool, steps, &body, after);
        if pool.is_none() {
            self.alone.store(alone.saturating_sub(1), Relaxed);
        } else {
            // Twice as long with every failure in a row.
            let next = if went_well { 0 } else { self.next_alone.load(Relaxed).clamp(2, ALONE) };
            self.alone.store(next, Relaxed);
            self.next_alone.store(2 * next, Relaxed);
        }
    }

    /// Divides the work on one tensor among all threads.
    pub(super) fn divide(
        &self,
        arena: &mut Arena<'_>,
        outputs: &Outputs,
        body: &(dyn Fn(Lease<'_>) + Sync),
    ) {
        let pool = if self.alone.load(Relaxed) > 0 { None } else { self.pool.as_ref() };
        let threads = 1 + pool.map_or(0, rayon::ThreadPool::current_num_threads);
        let parts = (4 * threads).min(outputs.units).min(Relay::MOST as usize) as u32;
        arena.run_team(pool, (&[*outputs], &[parts]), &|_, lease| body(lease), None);
    }

    /// Runs one operator on the calling thread.
    pub(super) fn step(&self, model: &Model<'_>, arena: &mut Arena<'_>, xor: u8, index: usize) {
        self.part(model, xor, index, arena.lease(&self.outputs[index]));
    }
}

impl<'m, 'a> Session<'m, 'a> {
    /// A session with threads. Packs weights and starts threads; that takes time and memory once.
    ///
    /// # Errors
    ///
    /// [`Error::ArenaTooSmall`] as [`Session::new`]; [`Error::Threads`] for zero threads, or if they cannot be
    /// started.
    pub fn with_options(
        model: &Model<'m>,
        arena: &'a mut [u8],
        options: Options,
    ) -> Result<Self, Error> {
        Self::with_options_releasing(model, arena, options, &|_| {})
    }

    /// As [`Session::with_options`]. Calls `released`, on any of the threads, with weights of the model's file that
    /// were packed and will not be read again: a program that maps the file can give their pages back to the system.
    ///
    /// # Errors
    ///
    /// As [`Session::with_options`].
    pub fn with_options_releasing(
        model: &Model<'m>,
        arena: &'a mut [u8],
        options: Options,
        released: &(dyn Fn(&[u8]) + Sync),
    ) -> Result<Self, Error> {
        Self::made(model, arena, options, released, None)
    }

    /// As [`Session::with_options`], with one blocking for all convolutions: for finding out which is the fastest.
    ///
    /// # Errors
    ///
    /// As [`Session::with_options`].
    #[doc(hidden)]
    pub fn with_blocking(
        model: &Model<'m>,
        arena: &'a mut [u8],
        options: Options,
        blocking: Option<Blocking>,
    ) -> Result<Self, Error> {
        Self::made(model, arena, options, &|_| {}, blocking)
    }

    fn made(
        model: &Model<'m>,
        arena: &'a mut [u8],
        options: Options,
        released: &(dyn Fn(&[u8]) + Sync),
        blocking: Option<Blocking>,
    ) -> Result<Self, Error> {
        Ok(Self {
            model: *model,
            arena: Arena::new(arena, model.plan_bytes())?,
            state: State::Empty,
            platform: options.platform,
            xor: options.platform.act_xor(),
            engine: Some(Engine::new(model, options, released, blocking)?),
        })
    }

    /// Size and blocking of operator `index`, if it is a convolution that has one.
    #[doc(hidden)]
    #[must_use]
    pub fn blocking(&self, index: usize) -> Option<(Problem, Blocking)> {
        self.engine.as_ref()?.steps.get(index)?.packed.as_ref()?.blocking()
    }

    /// Time of the products of operator `index`, relative to those of its definition, both at the processor's peak: less
    /// than 1 where the kernel needs fewer products.
    #[doc(hidden)]
    #[must_use]
    pub fn effort(&self, index: usize) -> f32 {
        let step = self.engine.as_ref().and_then(|engine| engine.steps.get(index));
        step.and_then(|step| step.packed.as_ref()).map_or(1.0, PackedOp::effort)
    }

    /// The kernel that runs operator `index`: a name of [`crate::kernels::KERNELS`], or `scalar`.
    #[must_use]
    pub fn kernel(&self, index: usize) -> &'static str {
        let step = self.engine.as_ref().and_then(|engine| engine.steps.get(index));
        step.and_then(|step| step.packed.as_ref()).map_or("scalar", PackedOp::kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::{Conv2d, DType, Epilogue, Pool, PoolKind, Store, Window};
    use crate::format::write::{InputSpec, ModelWriter};
    use std::vec;

    /// A pointwise convolution of `16` to `channels` channels and the average of its map.
    fn file(channels: u32, size: u32, dtype: DType) -> Vec<u8> {
        let mut writer = ModelWriter::new();
        let (map, one) = ([size, size + 1, channels], [1, 1, channels]);
        let x = writer.add_activation("x", [size, size + 1, 16], DType::I8, 0.1, 3).unwrap();
        let y = writer.add_activation("y", map, dtype, 0.1, 0).unwrap();
        let z = writer.add_activation("z", one, DType::I8, 0.01, 5).unwrap();
        let weights: Vec<i8> =
            (0..16 * channels as i32).map(|i| (i * 37 % 251 - 125) as i8).collect();
        let bias: Vec<i32> = (0..channels as i32).map(|i| i * 13 % 101 - 50).collect();
        let (low, high) = if dtype == DType::I8 { (-128, 127) } else { (-32767, 32767) };
        let store = |output, low, high| {
            let zero_point = if output == z { 5 } else { 0 };
            Store { output, zero_point, clamp_min: low, clamp_max: high, table: None }
        };
        let conv = Conv2d {
            input: x,
            channels_out: channels,
            weights: writer.add_i8(&weights).unwrap(),
            bias: writer.add_i32(&bias).unwrap(),
            multiplier: writer.add_f32(&vec![0.004; channels as usize]).unwrap(),
            window: Window { size: [1, 1], stride: [1, 1], padding: [0; 4], dilation: [1, 1] },
            groups: 1,
            slope: None,
            silu: None,
            epilogue: Epilogue { residual: None, store: Some(store(y, low, high)), second: None },
        };
        let name = writer.add_string("conv").unwrap();
        writer.add_op(Op { name, kind: OpKind::Conv2d(conv) });
        let window =
            Window { size: [size, size + 1], stride: [1, 1], padding: [0; 4], dilation: [1, 1] };
        let (kind, store) = (PoolKind::Average, store(z, -128, 127));
        let pool = Pool { kind, input: y, window, multiplier: 10.0, count_padding: false, store };
        let name = writer.add_string("pool").unwrap();
        writer.add_op(Op { name, kind: OpKind::Pool(pool) });
        writer.set_input("x", x, InputSpec::features()).unwrap();
        writer.add_output("z", z).unwrap();
        writer.plan_memory().unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn threads_sum_up_what_they_compute() {
        let mut seen = std::collections::BTreeSet::new();
        for (channels, size, dtype) in [
            (128, 20, DType::I8),
            (256, 90, DType::I8),
            (384, 20, DType::I16),
            (120, 20, DType::I8),
        ] {
            let file = file(channels, size, dtype);
            let model = Model::parse(&file).unwrap();
            for platform in Platform::available() {
                for threads in [1, 2, 3] {
                    let mut arena = vec![0x55; model.arena_bytes()];
                    let options = Options { threads, platform };
                    let mut session = Session::with_options(&model, &mut arena, options).unwrap();
                    let roles = [0, 1].map(|i| session.engine.as_ref().unwrap().squeeze.role(i));
                    let kernels = platform != Platform::scalar();
                    let expected = if threads > 1 && kernels && channels != 120 {
                        [Role::Sums(0), Role::Average]
                    } else {
                        [Role::None; 2]
                    };
                    assert_eq!(roles, expected, "{} {threads} {channels}", platform.name());
                    for _ in 0..if cfg!(miri) { 1 } else { 3 } {
                        session.input().set_pattern(7);
                        session.run().unwrap();
                        seen.insert((channels, session.output_hash().unwrap()));
                    }
                    // A run that ends between the two leaves nothing to the next one.
                    session.input().set_pattern(7);
                    let early = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
                        let _ = session.run_with(&mut |_, _| panic!("early"));
                    }));
                    assert!(early.is_err());
                    session.input().set_pattern(7);
                    session.run_with(&mut |_, _| ()).unwrap();
                    seen.insert((channels, session.output_hash().unwrap()));
                    let left = session.engine.as_ref().unwrap().squeeze.sums_of(0);
                    assert!(left.iter().all(|sum| *sum == 0));
                }
            }
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }
}
