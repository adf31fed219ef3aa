//! A session's threads and prepared operators.

use std::vec::Vec;

use super::{Session, State};
use crate::arena::{Arena, Lease, Outputs};
use crate::desc::Op;
use crate::isa::Platform;
use crate::kernels::PackedOp;
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

/// An operator, prepared.
#[derive(Debug)]
struct Step {
    op: Op,
    units: Units,
    /// None: the scalar definition serves.
    packed: Option<PackedOp>,
}

impl Step {
    fn new(model: &Model<'_>, op: Op, platform: Platform) -> Self {
        let packed = if platform == Platform::scalar() {
            None
        } else {
            PackedOp::pack(platform, &op, model)
        };
        let units = packed.as_ref().map_or_else(|| ops::units(model, &op), PackedOp::units);
        Self { op, units, packed }
    }

    fn head(&self) -> &[i8] {
        self.packed.as_ref().map_or(&[], PackedOp::head)
    }

    fn run(&self, model: &Model<'_>, xor: u8, lease: Lease<'_>, next: &[i8]) {
        match &self.packed {
            Some(packed) => packed.run(&self.op, model, lease, next),
            None => ops::run(Context { model, xor }, &self.op, self.units, lease),
        }
    }
}

/// Prepared operators and the threads that run them.
#[derive(Debug)]
pub(super) struct Engine {
    steps: Vec<Step>,
    outputs: Vec<Outputs>,
    /// The threads beside the calling one.
    pool: Option<rayon::ThreadPool>,
}

impl Engine {
    fn new(model: &Model<'_>, options: Options) -> Result<Self, Error> {
        let pool = match options.threads {
            0 => return Err(Error::Threads),
            1 => None,
            threads => {
                let builder = rayon::ThreadPoolBuilder::new().num_threads(threads - 1);
                let builder = builder.thread_name(|index| std::format!("kenar-{}", index + 1));
                Some(builder.build().map_err(|_| Error::Threads)?)
            }
        };
        let steps: Vec<Step> =
            model.ops().map(|op| Step::new(model, op, options.platform)).collect();
        let outputs = steps.iter().map(|step| ops::outputs(model, &step.op, step.units)).collect();
        Ok(Self { steps, outputs, pool })
    }

    /// The weights that the next convolution begins with.
    fn next(&self, index: usize) -> &[i8] {
        let mut later = self.steps[index + 1..].iter().map(Step::head);
        later.find(|head| !head.is_empty()).unwrap_or_default()
    }

    /// Runs all operators with all threads; `after` is called on the calling thread behind each.
    pub(super) fn run(
        &self,
        model: &Model<'_>,
        arena: &mut Arena<'_>,
        xor: u8,
        after: &mut dyn FnMut(usize),
    ) {
        let body = |index: usize, lease: Lease<'_>| {
            self.steps[index].run(model, xor, lease, self.next(index));
        };
        arena.run_team(self.pool.as_ref(), &self.outputs, &body, after);
    }

    /// Runs one operator on the calling thread.
    pub(super) fn step(&self, model: &Model<'_>, arena: &mut Arena<'_>, xor: u8, index: usize) {
        self.steps[index].run(model, xor, arena.lease(&self.outputs[index]), self.next(index));
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
        Ok(Self {
            model: *model,
            arena: Arena::new(arena, model.plan_bytes())?,
            state: State::Empty,
            platform: options.platform,
            xor: options.platform.act_xor(),
            engine: Some(Engine::new(model, options)?),
        })
    }

    /// The kernel that runs operator `index`: a name of [`crate::kernels::KERNELS`], or `scalar`.
    #[must_use]
    pub fn kernel(&self, index: usize) -> &'static str {
        let step = self.engine.as_ref().and_then(|engine| engine.steps.get(index));
        step.and_then(|step| step.packed.as_ref()).map_or("scalar", PackedOp::kernel)
    }
}
