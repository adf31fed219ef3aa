//! What calling a known name means: containers, tensors by reference, storages by persistent id.

use super::globals::Role;
use super::value::{Id, Object, StorageRef, TensorRef, Value, Values};
use super::{Globals, error, globals};
use crate::error::Result;
use crate::import::storage::StorageType;

/// PyTorch allows 64 dimensions; weights have at most five.
const MAX_RANK: usize = 16;

/// The value of `callable(*args)`: the id of an existing one, or a new one.
pub(super) fn call(
    values: &mut Values,
    at: usize,
    callable: Id,
    args: Id,
    mode: Globals,
) -> Result<Id> {
    let Value::Global(name) = values.get(callable) else {
        return Err(error(at, format!("calls {}, not a named function", values.kind(callable))));
    };
    let name = name.clone();
    let Value::Tuple(list) = values.get(args) else {
        return Err(error(at, format!("'{name}' called with {}", values.kind(args))));
    };
    let arg = |i: usize| {
        let missing = || error(at, format!("'{name}' called with {} arguments", list.len()));
        list.get(i).copied().ok_or_else(missing)
    };
    let value = match globals::role(&name, mode).map_err(|detail| error(at, detail))? {
        Role::OrderedDict => Value::Dict(match list.first() {
            Some(&pairs) => pairs_of(values, at, pairs)?,
            None => Vec::new(),
        }),
        Role::DefaultDict => Value::Dict(Vec::new()),
        Role::Size | Role::RebuildParameter => {
            let first = arg(0)?;
            let fits = match values.get(first) {
                Value::Tuple(_) | Value::List(_) => name.ends_with("Size"),
                Value::Tensor(_) => !name.ends_with("Size"),
                _ => false,
            };
            if !fits {
                return Err(error(at, format!("'{name}' called with {}", values.kind(first))));
            }
            return Ok(first);
        }
        Role::RebuildTensor => {
            Value::Tensor(tensor(values, at, [arg(0)?, arg(1)?, arg(2)?, arg(3)?], None)?)
        }
        Role::RebuildTyped => {
            let dtype = arg(6)?;
            let element = match values.get(dtype) {
                Value::Global(dtype) => StorageType::from_dtype(dtype),
                _ => None,
            };
            let Some(element) = element else {
                let kind = values.kind(dtype);
                return Err(error(at, format!("'{name}' with element type {kind}")));
            };
            Value::Tensor(tensor(values, at, [arg(0)?, arg(1)?, arg(2)?, arg(3)?], Some(element))?)
        }
        Role::RebuildFromType => {
            let (function, inner) = (arg(0)?, arg(2)?);
            let is_rebuild = matches!(values.get(function), Value::Global(f) if matches!(
                globals::role(f, mode),
                Ok(Role::RebuildTensor | Role::RebuildTyped | Role::RebuildParameter)
            ));
            if !is_rebuild {
                return Err(error(at, format!("'{name}' of {}", values.kind(function))));
            }
            return call(values, at, function, inner, mode);
        }
        Role::Inert => Value::Object(Object {
            class: name,
            args,
            state: None,
            elements: Vec::new(),
            items: Vec::new(),
        }),
    };
    values.push(at, value)
}

/// `[(key, value), ...]`, as Python 2 passes the items of an OrderedDict.
fn pairs_of(values: &mut Values, at: usize, list: Id) -> Result<Vec<(Id, Id)>> {
    let Some(pairs) = values.sequence(list) else {
        return Err(error(at, format!("an OrderedDict made of {}", values.kind(list))));
    };
    let pair = |&pair: &Id| match values.sequence(pair) {
        Some(&[key, value]) => Ok((key, value)),
        _ => Err(error(at, "an OrderedDict made of something else than pairs")),
    };
    let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>>>()?;
    values.charge(at, pairs.len())?;
    Ok(pairs)
}

fn tensor(
    values: &Values,
    at: usize,
    [storage, offset, sizes, strides]: [Id; 4],
    element: Option<StorageType>,
) -> Result<TensorRef> {
    if !matches!(values.get(storage), Value::Storage(_)) {
        return Err(error(at, format!("a tensor over {}", values.kind(storage))));
    }
    let integer =
        |id| values.int(id).ok_or_else(|| error(at, format!("{} for an integer", values.kind(id))));
    let integers = |id| {
        let list = values
            .sequence(id)
            .ok_or_else(|| error(at, format!("a tensor shape given by {}", values.kind(id))))?;
        if list.len() > MAX_RANK {
            return Err(error(at, format!("a tensor of {} dimensions", list.len())));
        }
        list.iter().map(|&id| integer(id)).collect()
    };
    Ok(TensorRef {
        storage,
        offset: integer(offset)?,
        sizes: integers(sizes)?,
        strides: integers(strides)?,
        element,
    })
}

/// A storage from `("storage", class, key, location, count[, view])`.
pub(super) fn storage(values: &Values, at: usize, id: Id) -> Result<StorageRef> {
    let malformed = |what: &str| error(at, format!("a storage reference with {what}"));
    let parts = values.sequence(id).ok_or_else(|| malformed("no parts"))?;
    match parts.first().and_then(|&tag| values.str(tag)) {
        Some("storage") => {}
        Some("module") => {
            return Err(error(
                at,
                "the file is a pickled module with its source code; refused. Save the weights alone, \
                 torch.save(model.state_dict(), \"weights.pt\"), or export the model to ONNX",
            ));
        }
        _ => return Err(malformed("an unknown tag")),
    }
    let &[_, class, key, _location, count, ref view @ ..] = parts else {
        return Err(malformed("missing parts"));
    };
    let element = match values.get(class) {
        Value::Global(name) => StorageType::from_class(name)
            .ok_or_else(|| malformed(&format!("the class '{name}'")))?,
        _ => return Err(malformed(&format!("{} for a class", values.kind(class)))),
    };
    let Value::Str(key) = values.get(key) else {
        return Err(malformed(&format!("{} for a key", values.kind(key))));
    };
    let unsigned = |id| values.int(id).and_then(|n| u64::try_from(n).ok());
    let count = unsigned(count).ok_or_else(|| malformed("a negative or missing element count"))?;
    let view = match view.first().map(|&id| (values.get(id), values.sequence(id))) {
        None | Some((Value::None, _)) => None,
        Some((_, Some(&[_key, offset, size]))) => {
            let part = |id| unsigned(id).ok_or_else(|| malformed("a malformed view"));
            Some((part(offset)?, part(size)?))
        }
        Some(_) => return Err(malformed("a malformed view")),
    };
    Ok(StorageRef { element, key: key.clone(), count, view })
}
