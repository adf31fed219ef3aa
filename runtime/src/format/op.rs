//! Operator records: 192 bytes, reader and writer side by side.
//!
//! A record is the fields of the descriptor in the order in which they are declared, one word each: tensors as their
//! number (`u32::MAX` for none), f32 as bits, spans and lists as two words, an absent span as zeros. What is
//! left of the 48 words is zero. Reading accepts only what writing produces.

use super::le::word;
use crate::desc::{
    Affine, Conv2d, Copy, Epilogue, List, Op, OpKind, Pool, PoolKind, Residual, Resize, Span,
    Store, Table, TensorId, Window,
};

const OP_WORDS: usize = 48;
/// Bytes of an operator record.
pub(crate) const OP_BYTES: usize = 4 * OP_WORDS;

const NONE: u32 = u32::MAX;

/// Operator codes; never reused.
mod code {
    pub(super) const CONV2D: u32 = 1;
    pub(super) const ADD: u32 = 2;
    pub(super) const MUL: u32 = 3;
    pub(super) const AFFINE: u32 = 4;
    pub(super) const POOL: u32 = 5;
    pub(super) const RESIZE: u32 = 6;
    pub(super) const TABLE: u32 = 7;
    pub(super) const COPY: u32 = 8;
    pub(super) const CONCAT: u32 = 9;
}

/// Reads a record; `None` if it is not the canonical form of any operator.
pub(crate) fn decode_op(record: &[u8]) -> Option<Op> {
    let mut r = Reader { record, at: 0 };
    let code = r.word();
    let name = r.span();
    let kind = match code {
        code::CONV2D => OpKind::Conv2d(Conv2d {
            input: r.tensor(),
            window: r.window(),
            groups: r.word(),
            channels_out: r.word(),
            weights: r.span(),
            bias: r.span(),
            multiplier: r.span(),
            slope: r.optional_span(),
            epilogue: r.epilogue(),
            silu: r.optional_span(),
        }),
        code::ADD => {
            OpKind::Add { input: r.tensor(), multiplier: r.float(), epilogue: r.epilogue() }
        }
        code::MUL => OpKind::Mul {
            input: r.tensor(),
            gate: r.tensor(),
            multiplier: r.float(),
            epilogue: r.epilogue(),
        },
        code::AFFINE => OpKind::Affine { input: r.tensor(), affine: r.affine(), store: r.store() },
        code::POOL => OpKind::Pool(Pool {
            kind: match r.word() {
                0 => PoolKind::Max,
                1 => PoolKind::Average,
                _ => return None,
            },
            input: r.tensor(),
            window: r.window(),
            multiplier: r.float(),
            count_padding: r.word() != 0,
            store: r.store(),
        }),
        code::RESIZE => OpKind::Resize(Resize { input: r.tensor(), output: r.tensor() }),
        code::TABLE => {
            OpKind::Table(Table { input: r.tensor(), output: r.tensor(), table: r.span() })
        }
        code::COPY => OpKind::Copy(Copy {
            input: r.tensor(),
            output: r.tensor(),
            start: [r.word() as i32, r.word() as i32, r.word() as i32],
            step: [r.word(), r.word()],
        }),
        code::CONCAT => OpKind::Concat {
            inputs: List { start: r.word(), len: r.word() },
            multipliers: r.span(),
            output: r.tensor(),
        },
        _ => return None,
    };
    let op = Op { name, kind };
    let canonical = encode_op(&op);
    (0..OP_WORDS).all(|index| word(record, index) == canonical[index]).then_some(op)
}

/// The record of an operator.
pub(super) fn encode_op(op: &Op) -> [u32; OP_WORDS] {
    let mut w = Writer { words: [0; OP_WORDS], at: 1 };
    w.span(op.name);
    w.words[0] = match &op.kind {
        OpKind::Conv2d(conv) => {
            w.word(conv.input.0);
            w.window(&conv.window);
            w.word(conv.groups);
            w.word(conv.channels_out);
            w.span(conv.weights);
            w.span(conv.bias);
            w.span(conv.multiplier);
            w.span(conv.slope.unwrap_or_default());
            w.epilogue(&conv.epilogue);
            w.span(conv.silu.unwrap_or_default());
            code::CONV2D
        }
        OpKind::Add { input, multiplier, epilogue } => {
            w.word(input.0);
            w.word(multiplier.to_bits());
            w.epilogue(epilogue);
            code::ADD
        }
        OpKind::Mul { input, gate, multiplier, epilogue } => {
            w.word(input.0);
            w.word(gate.0);
            w.word(multiplier.to_bits());
            w.epilogue(epilogue);
            code::MUL
        }
        OpKind::Affine { input, affine, store } => {
            w.word(input.0);
            w.affine(affine);
            w.store(store);
            code::AFFINE
        }
        OpKind::Pool(pool) => {
            w.word(match pool.kind {
                PoolKind::Max => 0,
                PoolKind::Average => 1,
            });
            w.word(pool.input.0);
            w.window(&pool.window);
            w.word(pool.multiplier.to_bits());
            w.word(u32::from(pool.count_padding));
            w.store(&pool.store);
            code::POOL
        }
        OpKind::Resize(resize) => {
            w.word(resize.input.0);
            w.word(resize.output.0);
            code::RESIZE
        }
        OpKind::Table(table) => {
            w.word(table.input.0);
            w.word(table.output.0);
            w.span(table.table);
            code::TABLE
        }
        OpKind::Copy(copy) => {
            w.word(copy.input.0);
            w.word(copy.output.0);
            copy.start.iter().for_each(|&start| w.word(start as u32));
            copy.step.iter().for_each(|&step| w.word(step));
            code::COPY
        }
        OpKind::Concat { inputs, multipliers, output } => {
            w.word(inputs.start);
            w.word(inputs.len);
            w.span(*multipliers);
            w.word(output.0);
            code::CONCAT
        }
    };
    w.words
}

struct Reader<'m> {
    record: &'m [u8],
    at: usize,
}

impl Reader<'_> {
    fn word(&mut self) -> u32 {
        self.at += 1;
        word(self.record, self.at - 1)
    }

    fn float(&mut self) -> f32 {
        f32::from_bits(self.word())
    }

    fn tensor(&mut self) -> TensorId {
        TensorId(self.word())
    }

    fn span(&mut self) -> Span {
        Span { offset: self.word(), len: self.word() }
    }

    fn optional_span(&mut self) -> Option<Span> {
        Some(self.span()).filter(|span| *span != Span::default())
    }

    fn window(&mut self) -> Window {
        let size = [self.word(), self.word()];
        let stride = [self.word(), self.word()];
        let padding = [self.word(), self.word(), self.word(), self.word()];
        let dilation = [self.word(), self.word()];
        Window { size, stride, padding, dilation }
    }

    fn affine(&mut self) -> Affine {
        Affine { a: self.span(), b: self.span() }
    }

    fn store(&mut self) -> Store {
        Store {
            output: self.tensor(),
            zero_point: self.word() as i32,
            clamp_min: self.word() as i32,
            clamp_max: self.word() as i32,
            table: self.optional_span(),
        }
    }

    fn epilogue(&mut self) -> Epilogue {
        let present = |tensor: TensorId| tensor.0 != NONE;
        let residual = Residual { tensor: self.tensor(), multiplier: self.float() };
        let store = self.store();
        let second = (self.affine(), self.store());
        Epilogue {
            residual: Some(residual).filter(|residual| present(residual.tensor)),
            store: Some(store).filter(|store| present(store.output)),
            second: Some(second).filter(|(_, store)| present(store.output)),
        }
    }
}

struct Writer {
    words: [u32; OP_WORDS],
    at: usize,
}

impl Writer {
    fn word(&mut self, value: u32) {
        self.words[self.at] = value;
        self.at += 1;
    }

    fn span(&mut self, span: Span) {
        self.word(span.offset);
        self.word(span.len);
    }

    fn window(&mut self, window: &Window) {
        window.size.iter().for_each(|&value| self.word(value));
        window.stride.iter().for_each(|&value| self.word(value));
        window.padding.iter().for_each(|&value| self.word(value));
        window.dilation.iter().for_each(|&value| self.word(value));
    }

    fn affine(&mut self, affine: &Affine) {
        self.span(affine.a);
        self.span(affine.b);
    }

    fn store(&mut self, store: &Store) {
        self.word(store.output.0);
        self.word(store.zero_point as u32);
        self.word(store.clamp_min as u32);
        self.word(store.clamp_max as u32);
        self.span(store.table.unwrap_or_default());
    }

    fn epilogue(&mut self, epilogue: &Epilogue) {
        const NO_STORE: Store = Store {
            output: TensorId(NONE),
            zero_point: 0,
            clamp_min: 0,
            clamp_max: 0,
            table: None,
        };
        let none = Residual { tensor: TensorId(NONE), multiplier: 0.0 };
        let residual = epilogue.residual.unwrap_or(none);
        self.word(residual.tensor.0);
        self.word(residual.multiplier.to_bits());
        self.store(&epilogue.store.unwrap_or(NO_STORE));
        let empty = Affine { a: Span::default(), b: Span::default() };
        let (affine, store) = epilogue.second.unwrap_or((empty, NO_STORE));
        self.affine(&affine);
        self.store(&store);
    }
}
