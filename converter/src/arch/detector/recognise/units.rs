//! Convolution units of a part of the checkpoint.

use crate::arch::detector::unit::SPELLINGS;
use crate::arch::modules::Modules;

/// A convolution, alone or with its batch norm.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Path as a [`Chain`](crate::arch::file::Chain) has it.
    pub path: String,
    /// Channels put out.
    pub out: usize,
    /// Channels read, if the convolution is not grouped.
    pub read: usize,
    /// Whether a batch norm follows.
    pub norm: bool,
}

/// The units below a group; `None` when something else than convolutions and their norms is there.
pub(super) fn under(m: &Modules<'_>, group: &str) -> Option<Vec<Unit>> {
    let mut units = Vec::new();
    let mut parts = 0;
    let base = group.trim_end_matches('.');
    for (relative, _) in m.under(base) {
        parts += 1;
        let conv = format!("{base}.{relative}");
        let Some([out, read, ..]) = m.conv(&conv) else { continue };
        let spelling = SPELLINGS.iter().find_map(|(name, norms)| {
            let path = conv.strip_suffix(name)?.strip_suffix('.')?;
            let norm = norms.iter().any(|n| m.norm(&format!("{path}.{n}")) == Some(out));
            (norm || *name == "conv").then(|| (path.to_owned(), norm))
        });
        let (path, norm) = spelling.unwrap_or((conv, false));
        parts -= 1 + usize::from(norm);
        units.push(Unit { path, out, read, norm });
    }
    (parts == 0 && !units.is_empty()).then_some(units)
}

/// The units of one module in their order: by channels, else by number.
///
/// # Errors
/// The units form no chain.
pub(super) fn chain(mut units: Vec<Unit>, read: Option<usize>) -> Result<Vec<Unit>, String> {
    let number = |u: &Unit| u.path.rsplit('.').next().and_then(|n| n.parse::<usize>().ok());
    if units.iter().all(|u| number(u).is_some()) {
        units.sort_by_key(number);
    }
    let mut ordered: Vec<Unit> = Vec::new();
    let mut incoming = read;
    while !units.is_empty() {
        let fits = |u: &Unit| incoming.is_none_or(|c| u.read == c);
        // A unit that another one still has to feed comes later.
        let fed = |u: &Unit| {
            units.iter().any(|o| o.path != u.path && o.out == u.read && o.read != u.read)
        };
        let next = units
            .iter()
            .position(|u| fits(u) && !fed(u))
            .or_else(|| units.iter().position(fits))
            .ok_or_else(|| {
                let names: Vec<&str> = units.iter().map(|u| u.path.as_str()).collect();
                format!("{} form no chain of convolutions", names.join(", "))
            })?;
        let unit = units.remove(next);
        incoming = Some(unit.out);
        ordered.push(unit);
    }
    Ok(ordered)
}
