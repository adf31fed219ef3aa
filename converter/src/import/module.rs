//! Pickled modules: `torch.save(model)` keeps objects of the author's classes instead of a state_dict.
//!
//! Nothing of those classes is needed or run. The pickle machine keeps every object as an inert record of its class and
//! attributes; this file turns the records of `torch.nn.Module`s into a tree of [`ModuleRecord`]s and gathers their
//! tensors under the names a state_dict would have given them. What the classes compute is known, for some of them, to
//! [`crate::arch::ultralytics`].

use indexmap::IndexMap;
use ndarray::ArrayD;

use super::pickle::{Globals, Id, Pickle, Value, Values};
use super::storage::{Container, Storages};
use super::torch_zip::TorchZip;
use super::{checkpoint, tensor, torch_legacy};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// Modules inside modules.
const MAX_DEPTH: usize = 64;
/// Modules in all.
const MAX_MODULES: usize = 1 << 16;
/// Values in one attribute.
const MAX_ATTRIBUTE: usize = 1 << 14;

/// Keys under which training checkpoints keep their module, the preferred first: averaged weights are what is meant to
/// be used.
const WRAPPERS: &[&str] = &["ema", "model", "module", "net", "network"];

/// A plain value among a module's attributes.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// `None`.
    None,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Str(String),
    /// A list, tuple or set.
    List(Vec<Attribute>),
    /// A mapping.
    Map(Vec<(Attribute, Attribute)>),
    /// A small tensor.
    Tensor(ArrayD<f32>),
    /// Anything else, by its kind.
    Other(String),
}

/// One module: an inert record.
#[derive(Clone, Debug, Default)]
pub struct ModuleRecord {
    /// `package.Class`.
    pub class: String,
    /// Attributes other than tensors and modules.
    pub attributes: IndexMap<String, Attribute>,
    /// Modules inside it.
    pub children: IndexMap<String, ModuleRecord>,
}

/// A pickled module with its tensors.
#[derive(Clone, Debug, Default)]
pub struct PickledModule {
    /// The module.
    pub module: ModuleRecord,
    /// Its parameters and buffers, named as in a state_dict.
    pub weights: Checkpoint,
}

/// The module in the bytes of a `torch.save` file; `None` when the file holds none.
///
/// # Errors
/// A pickle that is malformed or asks for names that reach the system, and tensors that cannot be read.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Option<PickledModule>> {
    match checkpoint::Container::of(bytes)? {
        checkpoint::Container::TorchZip => {
            let mut zip = TorchZip::open(bytes)?;
            let pickle = zip.pickle(Globals::Inert)?;
            read(&pickle, &mut Storages::new(zip, bytes.len()))
        }
        checkpoint::Container::TorchLegacy => {
            let (pickle, storages) = torch_legacy::open(bytes, Globals::Inert)?;
            read(&pickle, &mut Storages::new(storages, bytes.len()))
        }
        checkpoint::Container::Safetensors => Ok(None),
    }
}

fn read<C: Container>(
    pickle: &Pickle,
    storages: &mut Storages<C>,
) -> Result<Option<PickledModule>> {
    let values = &pickle.values;
    let Some((wrapper, root)) = find(values, pickle.root) else { return Ok(None) };
    let mut reader = Reader { values, storages, tensors: IndexMap::new(), modules: 0 };
    let module = reader.module(root, "", 0)?;
    let weights = Checkpoint { tensors: reader.tensors, wrapper };
    Ok(Some(PickledModule { module, weights }))
}

/// The module that was saved, alone or in a training checkpoint.
fn find(values: &Values, root: Id) -> Option<(String, Id)> {
    let is_module = |id: Id| field(values, id, "_modules").is_some();
    if is_module(root) {
        return Some((String::new(), root));
    }
    let items = values.items(root)?;
    let named = WRAPPERS.iter().find_map(|name| {
        let (_, value) =
            items.iter().find(|(k, v)| values.str(*k) == Some(name) && is_module(*v))?;
        Some(((*name).to_owned(), *value))
    });
    let any = || {
        let (key, value) = items.iter().find(|(k, v)| values.str(*k).is_some() && is_module(*v))?;
        Some((values.str(*key)?.to_owned(), *value))
    };
    named.or_else(any)
}

/// The items of an object's state.
fn state(values: &Values, id: Id) -> Option<&[(Id, Id)]> {
    match values.get(id) {
        Value::Object(object) => values.items(object.state?),
        _ => None,
    }
}

fn field(values: &Values, id: Id, name: &str) -> Option<Id> {
    let items = state(values, id)?;
    items.iter().rev().find(|(key, _)| values.str(*key) == Some(name)).map(|(_, value)| *value)
}

struct Reader<'a, 'b, C> {
    values: &'a Values,
    storages: &'b mut Storages<C>,
    tensors: IndexMap<String, crate::checkpoint::NamedTensor>,
    modules: usize,
}

impl<C: Container> Reader<'_, '_, C> {
    /// The module at `id`, whose parts are named with `prefix` in front.
    fn module(&mut self, id: Id, prefix: &str, depth: usize) -> Result<ModuleRecord> {
        let values = self.values;
        let at = || prefix.trim_end_matches('.').to_owned();
        self.modules += 1;
        if depth > MAX_DEPTH || self.modules > MAX_MODULES {
            return Err(Error::source(at(), "modules nested without end"));
        }
        let (Value::Object(object), Some(items)) = (values.get(id), state(values, id)) else {
            let kind = values.kind(id);
            return Err(Error::source(
                at(),
                format!("{kind}, expected a module with its attributes"),
            ));
        };
        let mut record =
            ModuleRecord { class: object.class.to_string(), ..ModuleRecord::default() };
        for &(key, value) in items {
            let Some(name) = values.str(key) else { continue };
            match name {
                "_parameters" | "_buffers" => self.gather(value, prefix)?,
                "_modules" => {
                    for &(key, child) in values.items(value).unwrap_or_default() {
                        let Some(name) = values.str(key) else { continue };
                        if matches!(values.get(child), Value::None) {
                            continue;
                        }
                        let child = self.module(child, &format!("{prefix}{name}."), depth + 1)?;
                        record.children.insert(name.to_owned(), child);
                    }
                }
                _ if name.starts_with('_') => {}
                _ => {
                    let mut budget = MAX_ATTRIBUTE;
                    let attribute = self.attribute(value, &mut budget, 0);
                    record.attributes.insert(name.to_owned(), attribute);
                }
            }
        }
        Ok(record)
    }

    /// The tensors of a mapping from names.
    fn gather(&mut self, id: Id, prefix: &str) -> Result<()> {
        for &(key, value) in self.values.items(id).unwrap_or_default() {
            let (Some(name), Value::Tensor(t)) = (self.values.str(key), self.values.get(value))
            else {
                continue;
            };
            let name = format!("{prefix}{name}");
            let tensor = tensor::read(&name, t, self.values, self.storages)?;
            if self.tensors.insert(name.clone(), tensor).is_some() {
                return Err(Error::source(name, "this name is there twice"));
            }
        }
        Ok(())
    }

    /// A plain value; what is too large or no plain value is left out.
    fn attribute(&mut self, id: Id, budget: &mut usize, depth: usize) -> Attribute {
        let values = self.values;
        let other = || Attribute::Other(values.kind(id));
        if *budget == 0 || depth > MAX_DEPTH {
            return other();
        }
        *budget -= 1;
        match values.get(id) {
            Value::None => Attribute::None,
            Value::Bool(b) => Attribute::Bool(*b),
            Value::Int(i) => Attribute::Int(*i),
            Value::Float(f) => Attribute::Float(*f),
            Value::Str(s) => Attribute::Str(s.to_string()),
            Value::List(ids) | Value::Tuple(ids) | Value::Set(ids) => Attribute::List(
                ids.iter().map(|&id| self.attribute(id, budget, depth + 1)).collect(),
            ),
            Value::Dict(items) => {
                let pair = |&(key, value): &(Id, Id)| {
                    let key = self.attribute(key, budget, depth + 1);
                    (key, self.attribute(value, budget, depth + 1))
                };
                Attribute::Map(items.iter().map(pair).collect())
            }
            Value::Tensor(t) => match tensor::read("", t, values, self.storages) {
                Ok(tensor) if tensor.array.len() <= MAX_ATTRIBUTE => {
                    Attribute::Tensor(tensor.array)
                }
                _ => other(),
            },
            _ => other(),
        }
    }
}

impl Attribute {
    /// An integer.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// A number.
    pub fn float(&self) -> Option<f64> {
        match self {
            Self::Float(f) => Some(*f),
            Self::Int(i) => Some(*i as f64),
            _ => None,
        }
    }

    /// Text.
    pub fn str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Elements.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The value of a key that is text.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(items) => items.iter().find(|(k, _)| k.str() == Some(key)).map(|(_, v)| v),
            _ => None,
        }
    }
}

impl ModuleRecord {
    /// The class without its package.
    pub fn kind(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or(&self.class)
    }

    /// An attribute that is an integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.attributes.get(name)?.int()
    }

    /// An attribute that is true.
    pub fn is(&self, name: &str) -> bool {
        matches!(self.attributes.get(name), Some(Attribute::Bool(true)))
    }
}
