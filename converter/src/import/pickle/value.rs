//! What a pickle is read into: a flat list of values that name each other by [`Id`].
//!
//! Flat, because a pickle can nest without end and form cycles: nothing here is recursive, not even dropping.

use std::sync::Arc;

use super::{Limits, error};
use crate::error::Result;
use crate::import::storage::StorageType;

/// A value of one [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(u32);

/// One value.
#[derive(Clone, Debug)]
pub enum Value {
    /// `None`.
    None,
    /// A boolean.
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// A larger integer.
    Long(i128),
    /// A float.
    Float(f64),
    /// Text; Python 2 byte strings too.
    Str(Arc<str>),
    /// Bytes, and integers beyond 128 bits.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A set or frozenset.
    Set(Vec<Id>),
    /// Any mapping, in insertion order; a repeated key is there twice.
    Dict(Vec<(Id, Id)>),
    /// A name that the machine knows or, under `Globals::Inert`, any name: `module.name`.
    Global(Arc<str>),
    /// What calling a global without meaning for tensors would have made.
    Object(Object),
    /// A storage, by reference.
    Storage(StorageRef),
    /// A tensor, by reference.
    Tensor(TensorRef),
}

/// An inert record of an object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its class or the function that would have made it.
    pub class: Arc<str>,
    /// The argument tuple.
    pub args: Id,
    /// What `__setstate__` would have received.
    pub state: Option<Id>,
    /// Elements added to it as to a list or set.
    pub elements: Vec<Id>,
    /// Items set on it as on a mapping.
    pub items: Vec<(Id, Id)>,
}

/// A storage that lies outside the pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageRef {
    /// Element type.
    pub element: StorageType,
    /// Its name in the container.
    pub key: Arc<str>,
    /// Elements (bytes for an untyped storage).
    pub count: u64,
    /// First element and element count of a view into the storage (the pre-1.6 container only).
    pub view: Option<(u64, u64)>,
}

/// A tensor as the pickle describes it; nothing is checked yet.
#[derive(Clone, Debug)]
pub struct TensorRef {
    /// The storage value.
    pub storage: Id,
    /// First element.
    pub offset: i64,
    /// Size of every dimension.
    pub sizes: Vec<i64>,
    /// Stride of every dimension, in elements.
    pub strides: Vec<i64>,
    /// Element type where it is not the storage's.
    pub element: Option<StorageType>,
}

/// Every value of a pickle.
#[derive(Debug)]
pub struct Values {
    values: Vec<Value>,
    /// Per value: how many values a walk from here meets, and how deep it goes.
    extent: Vec<(u64, u32)>,
    /// Copied ids, which count as values.
    copied: usize,
    limits: Limits,
}

impl Values {
    pub(super) fn new(limits: Limits) -> Self {
        Self { values: Vec::new(), extent: Vec::new(), copied: 0, limits }
    }

    /// A value.
    pub fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    pub(super) fn push(&mut self, at: usize, value: Value) -> Result<Id> {
        self.charge(at, 1)?;
        let id = Id(u32::try_from(self.values.len()).map_err(|_| error(at, "too many values"))?);
        let mut children = Vec::new();
        match &value {
            Value::List(ids) | Value::Tuple(ids) | Value::Set(ids) => children.extend(ids),
            Value::Dict(items) => children.extend(items.iter().flat_map(|&(k, v)| [k, v])),
            Value::Object(object) => children.push(object.args),
            Value::Tensor(tensor) => children.push(tensor.storage),
            _ => {}
        }
        self.values.push(value);
        self.extent.push((1, 0));
        self.adopt(at, id, children)?;
        Ok(id)
    }

    /// Fails when `n` more values would exceed the limit, and counts copies made without instructions.
    pub(super) fn charge(&mut self, at: usize, n: usize) -> Result<()> {
        if self.values.len().saturating_add(self.copied).saturating_add(n) > self.limits.values {
            return Err(error(at, format!("more than {} values", self.limits.values)));
        }
        if n > 1 {
            self.copied += n;
        }
        Ok(())
    }

    /// Accounts for values put into a container.
    pub(super) fn adopt(
        &mut self,
        at: usize,
        parent: Id,
        children: impl IntoIterator<Item = Id>,
    ) -> Result<()> {
        let (mut expanded, mut depth) = self.extent[parent.0 as usize];
        for child in children {
            let (e, d) = self.extent[child.0 as usize];
            expanded = expanded.saturating_add(e);
            depth = depth.max(d + 1);
        }
        if depth > self.limits.depth {
            let limit = self.limits.depth;
            return Err(error(at, format!("containers nested more than {limit} deep")));
        }
        if expanded > self.limits.expanded {
            return Err(error(
                at,
                format!("a memo bomb: shared values expand to more than {}", self.limits.expanded),
            ));
        }
        self.extent[parent.0 as usize] = (expanded, depth);
        Ok(())
    }

    /// Every storage that is referred to.
    pub fn storages(&self) -> impl Iterator<Item = &StorageRef> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// Text of a string value.
    pub fn str(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// An integer value.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// Elements of a tuple or list.
    pub fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(ids) | Value::List(ids) => Some(ids),
            _ => None,
        }
    }

    /// Items of a mapping.
    pub fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(items) => Some(items),
            _ => None,
        }
    }

    /// What a value is, for messages.
    pub fn kind(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "None".into(),
            Value::Bool(_) => "a boolean".into(),
            Value::Int(_) | Value::Long(_) => "an integer".into(),
            Value::Float(_) => "a float".into(),
            Value::Str(_) => "a string".into(),
            Value::Bytes(_) => "bytes".into(),
            Value::List(_) => "a list".into(),
            Value::Tuple(_) => "a tuple".into(),
            Value::Set(_) => "a set".into(),
            Value::Dict(_) => "a dict".into(),
            Value::Global(name) => format!("the name {name}"),
            Value::Object(object) => format!("an object of {}", object.class),
            Value::Storage(_) => "a storage".into(),
            Value::Tensor(_) => "a tensor".into(),
        }
    }
}
