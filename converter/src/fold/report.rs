//! What the passes did.

use std::fmt;

/// The changes of one pass.
#[derive(Clone, Debug, Default)]
pub struct PassReport {
    /// What the pass does, as a verb and its object: `fold batch norm`.
    pub name: &'static str,
    /// One line per change, with the names of the nodes.
    pub changes: Vec<String>,
}

/// The changes of all passes, in their order.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One entry per pass, also where it changed nothing.
    pub passes: Vec<PassReport>,
}

impl Report {
    pub(super) fn new(names: impl Iterator<Item = &'static str>) -> Self {
        Self { passes: names.map(|name| PassReport { name, changes: Vec::new() }).collect() }
    }

    /// Changes of the pass with this name.
    pub fn changes(&self, name: &str) -> &[String] {
        self.passes.iter().find(|p| p.name == name).map_or(&[], |p| &p.changes)
    }

    /// Number of changes of all passes.
    pub fn total(&self) -> usize {
        self.passes.iter().map(|p| p.changes.len()).sum()
    }
}

/// `fold batch norm 12, remove identity 3`; with `{:#}` every change on a line of its own.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.passes.iter().filter(|p| !p.changes.is_empty());
        for (i, pass) in used.enumerate() {
            if f.alternate() {
                writeln!(f, "{} ({})", pass.name, pass.changes.len())?;
                for change in &pass.changes {
                    writeln!(f, "  {change}")?;
                }
            } else {
                let comma = if i == 0 { "" } else { ", " };
                write!(f, "{comma}{} {}", pass.name, pass.changes.len())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_form() {
        let mut r = Report::new(["a", "b", "c"].into_iter());
        r.passes[0].changes.push("x".into());
        r.passes[2].changes.extend(["y".into(), "z".into()]);
        assert_eq!(r.to_string(), "a 1, c 2");
        assert_eq!(format!("{r:#}"), "a (1)\n  x\nc (2)\n  y\n  z\n");
        assert_eq!((r.total(), r.changes("c").len(), r.changes("d").len()), (3, 2, 0));
    }
}
