//! Executes pickle instructions on a stack of value ids.

use std::collections::HashMap;
use std::sync::Arc;

use super::opcode::{Op, Reader};
use super::value::{Id, Value, Values};
use super::{Globals, Limits, Pickle, error, globals, rebuild, text};
use crate::error::Result;

/// Longest module or class name.
const MAX_NAME: usize = 256;

pub(super) struct Machine<'a> {
    reader: Reader<'a>,
    globals: Globals,
    limits: Limits,
    values: Values,
    stack: Vec<Id>,
    /// Stack heights.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Position of the current instruction.
    at: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8], globals: Globals, limits: Limits) -> Self {
        Self {
            reader: Reader::new(&bytes[..bytes.len().min(limits.bytes)]),
            globals,
            limits,
            values: Values::new(limits),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            at: 0,
        }
    }

    pub(super) fn run(mut self) -> Result<Pickle> {
        loop {
            self.at = self.reader.at;
            match self.reader.next()? {
                Op::Stop => {
                    let root = self.pop()?;
                    return Ok(Pickle { values: self.values, root, length: self.reader.at });
                }
                op => self.step(op)?,
            }
        }
    }

    fn step(&mut self, op: Op<'a>) -> Result<()> {
        match op {
            Op::Nothing | Op::Stop => Ok(()),
            Op::Push(value) => self.push(value),
            Op::Mark => {
                if self.marks.len() >= self.limits.marks {
                    return self.fail(format!("more than {} open marks", self.limits.marks));
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            Op::Pop if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
                Ok(())
            }
            Op::Pop => self.pop().map(drop),
            Op::PopMark => self.pop_mark().map(drop),
            Op::Dup => {
                let top = self.top()?;
                self.push_id(top)
            }
            Op::List => self.push(Value::List(Vec::new())),
            Op::Append => {
                let item = self.pop()?;
                self.extend(&[item])
            }
            Op::Appends | Op::AddItems => {
                let items = self.pop_mark()?;
                self.extend(&items)
            }
            Op::MarkedList => {
                let items = self.pop_mark()?;
                self.push(Value::List(items))
            }
            Op::MarkedTuple => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items))
            }
            Op::MarkedFrozenSet => {
                let items = self.pop_mark()?;
                self.push(Value::Set(items))
            }
            Op::MarkedDict => {
                let items = self.pop_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set_items(&items)
            }
            Op::Tuple(n) => {
                let mut items = (0..n).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                items.reverse();
                self.push(Value::Tuple(items))
            }
            Op::Dict => self.push(Value::Dict(Vec::new())),
            Op::Set => self.push(Value::Set(Vec::new())),
            Op::SetItem => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])
            }
            Op::SetItems => {
                let items = self.pop_mark()?;
                self.set_items(&items)
            }
            Op::Global(module, name) => self.push_global(&text::text(module), &text::text(name)),
            Op::StackGlobal => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.values.get(module), self.values.get(name)) {
                    (Value::Str(module), Value::Str(name)) => {
                        let (module, name) = (module.clone(), name.clone());
                        self.push_global(&module, &name)
                    }
                    _ => self.fail("a name that is no string"),
                }
            }
            Op::Reduce => {
                let (args, callable) = (self.pop()?, self.pop()?);
                self.call(callable, args)
            }
            Op::NewObject { keywords } => {
                if keywords {
                    self.pop()?;
                }
                let (args, class) = (self.pop()?, self.pop()?);
                self.call(class, args)
            }
            Op::Instance(class) => {
                let mut args = self.pop_mark()?;
                let class = match class {
                    Some((module, name)) => {
                        self.push_global(&text::text(module), &text::text(name))?;
                        self.pop()?
                    }
                    None if args.is_empty() => return self.fail("an object without class"),
                    None => args.remove(0),
                };
                let args = self.values.push(self.at, Value::Tuple(args))?;
                self.call(class, args)
            }
            Op::Build => self.build(),
            Op::PersistentId => {
                let id = self.pop()?;
                let storage = rebuild::storage(&self.values, self.at, id)?;
                self.push(Value::Storage(storage))
            }
            Op::Get(index) => match self.memo.get(&index) {
                Some(&id) => self.push_id(id),
                None => self.fail(format!("memo entry {index} was never stored")),
            },
            Op::Put(index) => self.put(index),
            Op::Memoize => self.put(self.memo.len() as u32),
        }
    }

    fn fail<T>(&self, detail: impl Into<String>) -> Result<T> {
        Err(error(self.at, detail))
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let id = self.values.push(self.at, value)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<()> {
        if self.stack.len() >= self.limits.stack {
            return self.fail(format!("more than {} values on the stack", self.limits.stack));
        }
        self.stack.push(id);
        Ok(())
    }

    /// The topmost value above the last mark.
    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => self.fail("the stack is empty"),
        }
    }

    fn pop(&mut self) -> Result<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => self.fail("no mark is open"),
        }
    }

    fn put(&mut self, index: u32) -> Result<()> {
        let id = self.top()?;
        if self.memo.len() >= self.limits.memo && !self.memo.contains_key(&index) {
            return self.fail(format!("more than {} memo entries", self.limits.memo));
        }
        self.memo.insert(index, id);
        Ok(())
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<()> {
        if module.len() > MAX_NAME || name.len() > MAX_NAME {
            return self.fail("a name of absurd length");
        }
        let full: Arc<str> = format!("{module}.{name}").into();
        globals::role(&full, self.globals).map_err(|detail| error(self.at, detail))?;
        self.push(Value::Global(full))
    }

    fn call(&mut self, callable: Id, args: Id) -> Result<()> {
        let id = rebuild::call(&mut self.values, self.at, callable, args, self.globals)?;
        self.push_id(id)
    }

    fn extend(&mut self, items: &[Id]) -> Result<()> {
        let target = self.top()?;
        match self.values.get_mut(target) {
            Value::List(list) | Value::Set(list) => list.extend(items),
            Value::Object(object) => object.elements.extend(items),
            _ => return self.fail(format!("appends to {}", self.values.kind(target))),
        }
        self.values.adopt(self.at, target, items.iter().copied())
    }

    fn set_items(&mut self, flat: &[Id]) -> Result<()> {
        let target = self.top()?;
        if !flat.len().is_multiple_of(2) {
            return self.fail("a key without value");
        }
        let pairs = flat.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        match self.values.get_mut(target) {
            Value::Dict(items) => items.extend(pairs),
            Value::Object(object) => object.items.extend(pairs),
            _ => return self.fail(format!("sets items of {}", self.values.kind(target))),
        }
        self.values.adopt(self.at, target, flat.iter().copied())
    }

    /// Attributes of a mapping (`_metadata` of a state_dict) are dropped; those of an object kept.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.values.get_mut(target) {
            Value::Dict(_) => return Ok(()),
            Value::Object(object) => object.state = Some(state),
            _ => return self.fail(format!("sets the state of {}", self.values.kind(target))),
        }
        self.values.adopt(self.at, target, [state])
    }
}
