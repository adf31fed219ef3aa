//! A checkpoint seen as modules: which path holds a convolution, a norm, a linear layer.

use std::collections::BTreeMap;

use crate::checkpoint::Checkpoint;

/// What the parameters under one path say the module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Module {
    /// Weight of rank 4: `[C_out, C_in/groups, kh, kw]`.
    Conv { shape: [usize; 4], bias: bool },
    /// Weight of rank 2: `[out, in]`.
    Linear { shape: [usize; 2], bias: bool },
    /// Running statistics of so many channels.
    Norm(usize),
    /// Weight and bias of rank 1 without running statistics: layer or group norm.
    StatelessNorm,
    /// One weight of rank 1.
    Prelu(usize),
    /// Anything else.
    Other,
}

/// Modules by path below a prefix, and the order of the file.
pub(super) struct Modules<'a> {
    ckpt: &'a Checkpoint,
    /// In front of every path here.
    pub prefix: String,
    map: BTreeMap<String, Module>,
}

/// Keys that no network computes with.
pub(super) fn is_counter(key: &str) -> bool {
    key.ends_with("num_batches_tracked")
}

impl<'a> Modules<'a> {
    /// All modules of a checkpoint whose keys start with `prefix`.
    pub fn scan(ckpt: &'a Checkpoint, prefix: &str) -> Self {
        let mut map = BTreeMap::new();
        for key in ckpt.tensors.keys().filter(|k| !is_counter(k)) {
            if let Some((path, _)) = key.strip_prefix(prefix).and_then(|k| k.rsplit_once('.')) {
                map.entry(path.to_owned())
                    .or_insert_with(|| classify(ckpt, &format!("{prefix}{path}")));
            }
        }
        Self { ckpt, prefix: prefix.to_owned(), map }
    }

    /// The modules whose path passes, with `shared` (which all of them start with) moved to the prefix.
    pub fn part(&self, shared: &str, keep: impl Fn(&str) -> bool) -> Self {
        let path = |p: &str| keep(p).then(|| p.strip_prefix(shared).map(str::to_owned)).flatten();
        let map = self.map.iter().filter_map(|(p, m)| Some((path(p)?, *m))).collect();
        Self { ckpt: self.ckpt, prefix: format!("{}{shared}", self.prefix), map }
    }

    /// The dotted prefixes that all keys share, shortest first, beginning with none.
    pub fn prefixes(ckpt: &Checkpoint) -> Vec<String> {
        shared_prefixes(ckpt.tensors.keys().map(String::as_str))
    }

    /// The same of the paths that pass.
    pub fn prefixes_of(&self, keep: impl Fn(&str) -> bool) -> Vec<String> {
        shared_prefixes(self.map.keys().map(String::as_str).filter(|p| keep(p)))
    }

    /// The module at a path.
    pub fn get(&self, path: &str) -> Option<Module> {
        self.map.get(path).copied()
    }

    /// A tensor of the module at a path.
    pub fn values(&self, path: &str, leaf: &str) -> Option<&'a ndarray::ArrayD<f32>> {
        self.ckpt.get(&format!("{}{path}.{leaf}", self.prefix))
    }

    /// Shape of the convolution at a path.
    pub fn conv(&self, path: &str) -> Option<[usize; 4]> {
        match self.get(path) {
            Some(Module::Conv { shape, .. }) => Some(shape),
            _ => None,
        }
    }

    /// Channels of the batch norm at a path.
    pub fn norm(&self, path: &str) -> Option<usize> {
        match self.get(path) {
            Some(Module::Norm(c)) => Some(c),
            _ => None,
        }
    }

    /// All modules, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Module)> {
        self.map.iter().map(|(k, m)| (k.as_str(), *m))
    }

    /// Modules below a path (with the path itself taken off); an empty path means all.
    pub fn under<'s>(&'s self, path: &'s str) -> impl Iterator<Item = (&'s str, Module)> {
        self.iter().filter_map(move |(k, m)| Some((below(k, path)?, m)))
    }

    /// Whether anything lies below a path.
    pub fn has(&self, path: &str) -> bool {
        self.under(path).next().is_some()
    }

    /// Position of a module's weight in the file, where the file keeps the order of registration (each batch
    /// norm's weight directly in front of its bias). Sorted and hashed files say nothing.
    pub fn position(&self, path: &str) -> Option<usize> {
        let index = |p: &str, leaf: &str| {
            self.ckpt.tensors.get_index_of(&format!("{}{p}.{leaf}", self.prefix))
        };
        let mut norms = self.iter().filter(|(_, module)| matches!(module, Module::Norm(_)));
        let registered = norms.all(|(p, _)| match (index(p, "weight"), index(p, "bias")) {
            (Some(weight), Some(bias)) => weight + 1 == bias,
            _ => true,
        });
        if registered { index(path, "weight") } else { None }
    }

    /// First components of all paths, for messages.
    pub fn top_level(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.map.keys().map(|k| k.split('.').next().unwrap_or(k)).collect();
        names.dedup();
        names
    }
}

fn shared_prefixes<'k>(mut keys: impl Iterator<Item = &'k str> + Clone) -> Vec<String> {
    let mut all = vec![String::new()];
    let rest = keys.clone();
    let Some(first) = keys.next() else { return all };
    let shared = |end: &usize| rest.clone().all(|k| k.starts_with(&first[..*end]));
    all.extend(
        first.match_indices('.').map(|(i, _)| i + 1).take_while(shared).map(|i| first[..i].into()),
    );
    all
}

/// `key` without `path` and the dot behind it.
fn below<'k>(key: &'k str, path: &str) -> Option<&'k str> {
    if path.is_empty() { Some(key) } else { key.strip_prefix(path)?.strip_prefix('.') }
}

fn classify(ckpt: &Checkpoint, path: &str) -> Module {
    let shape = |leaf: &str| ckpt.shape(&format!("{path}.{leaf}"));
    let bias = shape("bias").is_some();
    if let Some(&[c]) = shape("running_mean") {
        return Module::Norm(c);
    }
    match shape("weight") {
        Some(&[o, i, h, w]) => Module::Conv { shape: [o, i, h, w], bias },
        Some(&[o, i]) => Module::Linear { shape: [o, i], bias },
        Some(&[_]) if bias => Module::StatelessNorm,
        Some(&[c]) => Module::Prelu(c),
        _ => Module::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::testing::Spec;

    #[test]
    fn modules_are_classified_by_their_parameters() {
        let mut s = Spec::default();
        s.conv("a.0", 8, 3, 3).bn("a.1", 8).linear("fc", 10, 8).prelu("p", 8);
        s.tensor("ln.weight", &[8]).tensor("ln.bias", &[8]);
        let ckpt = s.checkpoint();
        let m = Modules::scan(&ckpt, "");
        assert_eq!(m.conv("a.0"), Some([8, 3, 3, 3]));
        assert_eq!(m.norm("a.1"), Some(8));
        assert_eq!(m.get("fc"), Some(Module::Linear { shape: [10, 8], bias: true }));
        assert_eq!(m.get("p"), Some(Module::Prelu(8)));
        assert_eq!(m.get("ln"), Some(Module::StatelessNorm));
        assert_eq!(m.top_level(), ["a", "fc", "ln", "p"]);
    }

    #[test]
    fn common_prefixes_are_found() {
        let mut s = Spec::default();
        s.conv("module.net.a", 8, 3, 3).bn("module.net.b", 8);
        assert_eq!(Modules::prefixes(&s.checkpoint()), ["", "module.", "module.net."]);
    }
}
