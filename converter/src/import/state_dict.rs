//! Finds the weights in what was saved: a state_dict at the root or inside a training checkpoint.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::pickle::{Id, Pickle, Value, Values};
use super::storage::{Container, Storages};
use super::tensor;
use crate::checkpoint::{Checkpoint, NamedTensor};
use crate::error::{Error, Result};

/// Keys under which checkpoints keep their weights, the preferred first.
const WRAPPERS: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "net_state_dict",
    "weights",
    "params",
    "module",
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
    "params_ema",
];

/// Wrappers inside wrappers (`ema` holding `module`).
const MAX_WRAPPERS: usize = 4;

/// Prefixes that a wrapping module puts before every name: `DataParallel` and `torch.compile`.
const PREFIXES: &[&str] = &["module.", "_orig_mod."];

/// Reads the tensors of the state_dict in a pickle.
///
/// # Errors
/// [`Error::Source`] when there is no state_dict, when several could be meant, or when a tensor is malformed.
pub(super) fn read<C: Container>(
    pickle: &Pickle,
    storages: &mut Storages<C>,
) -> Result<Checkpoint> {
    let values = &pickle.values;
    let mut search = Search { values, found: HashMap::new() };
    let (wrapper, dict) = search.find(pickle.root, MAX_WRAPPERS)?;
    let mut tensors = IndexMap::new();
    for &(key, value) in values.items(dict).unwrap_or_default() {
        let Value::Tensor(reference) = values.get(value) else {
            // Counters, `None` and extra state; a nested state_dict would have made `find` fail.
            continue;
        };
        let name = values
            .str(key)
            .ok_or_else(|| Error::source("", format!("a tensor named by {}", values.kind(key))))?;
        let tensor = tensor::read(name, reference, values, storages)?;
        if tensors.insert(name.to_owned(), tensor).is_some() {
            return Err(Error::source(name, "this name is there twice"));
        }
    }
    Ok(Checkpoint { tensors: strip_prefixes(tensors), wrapper })
}

/// Searches dicts for weights; shared dicts are searched once, cycles end.
struct Search<'a> {
    values: &'a Values,
    found: HashMap<Id, Option<(String, Id)>>,
}

impl Search<'_> {
    /// The dict that holds the weights and the keys that lead to it, joined by dots.
    fn find(&mut self, root: Id, wrappers: usize) -> Result<(String, Id)> {
        let values = self.values;
        let Some(items) = values.items(root) else {
            let kind = values.kind(root);
            return Err(Error::source(
                "",
                format!("the file holds {kind}, expected a state_dict (names and tensors)"),
            ));
        };
        let dicts: Vec<(&str, Id)> = items
            .iter()
            .filter(|(_, value)| wrappers > 0 && values.items(*value).is_some())
            .filter_map(|&(key, value)| values.str(key).map(|key| (key, value)))
            .collect();
        for name in WRAPPERS {
            let mut named = dicts.iter().filter(|(key, _)| key == name);
            if let Some(&(_, value)) = named.next() {
                if named.next().is_some() {
                    return Err(Error::source(*name, "this name is there twice"));
                }
                if let Some(found) = self.nested(name, value, wrappers) {
                    return Ok(found);
                }
            }
        }
        let mut inside = Vec::new();
        for (key, value) in dicts {
            inside.extend(self.nested(key, value, wrappers));
        }
        // Numbers beside the weights (`best_accuracy`) may be tensors without dimensions.
        let is_weight = |id: Id| matches!(values.get(id), Value::Tensor(t) if !t.sizes.is_empty());
        let direct = items.iter().any(|&(_, value)| is_weight(value));
        match (direct, inside.len()) {
            (true, 0) => Ok((String::new(), root)),
            (false, 1) => Ok(inside.remove(0)),
            (false, 0) => Err(Error::source(
                "",
                format!("no state_dict: {} without weights", describe(values, items)),
            )),
            _ => {
                let root = if direct { "the root, " } else { "" };
                let places: Vec<_> =
                    inside.iter().take(8).map(|(path, _)| format!("'{path}'")).collect();
                Err(Error::source(
                    "",
                    format!(
                        "several places hold weights ({root}{}); save the state_dict of one model",
                        places.join(", ")
                    ),
                ))
            }
        }
    }

    fn nested(&mut self, wrapper: &str, id: Id, wrappers: usize) -> Option<(String, Id)> {
        if !self.found.contains_key(&id) {
            self.found.insert(id, None);
            let found = self.find(id, wrappers - 1).ok();
            self.found.insert(id, found);
        }
        let (inner, dict) = self.found.get(&id)?.as_ref()?;
        let path = if inner.is_empty() { wrapper.to_owned() } else { format!("{wrapper}.{inner}") };
        Some((path, *dict))
    }
}

fn describe(values: &Values, items: &[(Id, Id)]) -> String {
    let names: Vec<_> = items.iter().filter_map(|(k, _)| values.str(*k)).take(8).collect();
    format!("a dict of {} entries ({})", items.len(), names.join(", "))
}

/// Takes off the prefixes that all names share. `n_averaged`, the counter of `AveragedModel`, goes too.
pub(super) fn strip_prefixes(
    mut tensors: IndexMap<String, NamedTensor>,
) -> IndexMap<String, NamedTensor> {
    loop {
        let shared = PREFIXES.iter().find(|prefix| {
            let mut names = tensors.keys().filter(|name| *name != "n_averaged").peekable();
            names.peek().is_some()
                && names
                    .all(|name| name.strip_prefix(**prefix).is_some_and(|rest| !rest.is_empty()))
        });
        let Some(prefix) = shared else { return tensors };
        tensors.shift_remove("n_averaged");
        tensors =
            tensors.into_iter().map(|(name, t)| (name[prefix.len()..].to_owned(), t)).collect();
    }
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::Checkpoint;
    use crate::error::Result;
    use crate::import::checkpoint::from_bytes;
    use crate::import::testing::{Pickler, View, floats, torch_zip};

    const SCALAR: View = View { offset: 0, sizes: &[], strides: &[] };
    const WHOLE: View = View { offset: 0, sizes: &[4], strides: &[1] };

    /// Opens a dict, puts tensors in it and leaves it on the stack.
    fn dict(p: Pickler, names: &[&str]) -> Pickler {
        names
            .iter()
            .fold(p.op(b"}"), |p, name| p.str(name).tensor("FloatStorage", "0", 4, WHOLE).op(b"s"))
    }

    fn read(p: Pickler) -> Result<Checkpoint> {
        from_bytes(&torch_zip(&p.stop(), &[&floats(&[1., 2., 3., 4.])]))
    }

    fn names(read: &Checkpoint) -> Vec<&str> {
        read.tensors.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_state_dict_is_found_at_the_root_and_in_known_wrappers() {
        let read_root = read(dict(Pickler::new(), &["a", "b"])).unwrap();
        assert_eq!((names(&read_root), &*read_root.wrapper), (vec!["a", "b"], ""));
        for wrapper in ["state_dict", "model", "net", "ema", "model_state_dict", "anything"] {
            let p = Pickler::new().op(b"}").str("epoch").int(3).op(b"s").str(wrapper);
            let read = read(dict(p, &["a"]).op(b"s")).unwrap();
            assert_eq!((names(&read), &*read.wrapper), (vec!["a"], wrapper));
        }
    }

    #[test]
    fn trained_weights_come_before_averaged_ones() {
        let p = dict(Pickler::new().op(b"}").str("ema"), &["old"]).op(b"s").str("model");
        let read = read(dict(p, &["new"]).op(b"s")).unwrap();
        assert_eq!((names(&read), &*read.wrapper), (vec!["new"], "model"));
    }

    #[test]
    fn wrappers_nest_and_scalars_beside_them_are_no_weights() {
        let p = Pickler::new().op(b"}").str("best").tensor("FloatStorage", "0", 4, SCALAR).op(b"s");
        let p = dict(p.str("ema").op(b"}").str("module"), &["a"]).op(b"ss");
        let read = read(p).unwrap();
        assert_eq!((names(&read), &*read.wrapper), (vec!["a"], "ema.module"));
    }

    #[test]
    fn prefixes_that_all_names_share_are_taken_off() {
        let found = read(dict(Pickler::new(), &["module.a", "module.b"])).unwrap();
        assert_eq!(names(&found), ["a", "b"]);
        let found = read(dict(Pickler::new(), &["n_averaged", "_orig_mod.module.a"])).unwrap();
        assert_eq!(names(&found), ["a"]);
        let found = read(dict(Pickler::new(), &["module.a", "b"])).unwrap();
        assert_eq!(names(&found), ["module.a", "b"]);
        let found = read(dict(Pickler::new(), &["module.", "module.b"])).unwrap();
        assert_eq!(names(&found), ["module.", "module.b"]);
    }

    #[test]
    fn ambiguity_is_an_error_that_names_the_places() {
        let p = dict(Pickler::new().op(b"}").str("generator"), &["a"]).op(b"s").str("critic");
        let message = read(dict(p, &["b"]).op(b"s")).unwrap_err().to_string();
        assert!(message.contains("'generator', 'critic'"), "{message}");
        let p = dict(Pickler::new(), &["a"]).str("inner");
        let message = read(dict(p, &["b"]).op(b"s")).unwrap_err().to_string();
        assert!(message.contains("the root, 'inner'"), "{message}");
    }

    #[test]
    fn repeated_names_are_refused() {
        let message = read(dict(Pickler::new(), &["a", "a"])).unwrap_err().to_string();
        assert!(message.contains("'a'") && message.contains("twice"), "{message}");
        let p = dict(Pickler::new().op(b"}").str("model"), &["a"]).op(b"s").str("model");
        assert!(read(dict(p, &["b"]).op(b"s")).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn files_without_weights_say_what_they_hold() {
        let message = read(Pickler::new().op(b"N")).unwrap_err().to_string();
        assert!(message.contains("holds None"), "{message}");
        let message = read(Pickler::new().op(b"}").str("epoch").int(1).op(b"s")).unwrap_err();
        assert!(message.to_string().contains("1 entries (epoch)"), "{message}");
    }

    #[test]
    fn dicts_that_contain_themselves_end() {
        let p = Pickler::new().op(b"}q\x00").str("model").op(b"h\x00s");
        assert!(read(p).is_err());
        let p = dict(Pickler::new(), &["a"]).op(b"q\x00").str("model").op(b"h\x00s");
        assert_eq!(names(&read(p).unwrap()), ["a"]);
    }

    #[test]
    fn tensors_that_share_one_storage_cannot_fill_the_memory() {
        let big = View { offset: 0, sizes: &[1 << 18], strides: &[1] };
        let p = (0..200).fold(Pickler::new().op(b"}"), |p, i| {
            p.str(&format!("t{i}")).tensor("FloatStorage", "0", 1 << 18, big).op(b"s")
        });
        let zeros = vec![0; 4 << 18];
        let message = from_bytes(&torch_zip(&p.stop(), &[&zeros])).unwrap_err().to_string();
        assert!(message.contains("'t") && message.contains("many times"), "{message}");
    }
}
