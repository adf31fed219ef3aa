//! Which maps a network puts out: by the name of an output, of a stage, or as `cN`, the last map of stride 2^N.

use super::file::{ArchFile, Tap};
use crate::error::{Error, Result};

impl ArchFile {
    /// Stages with the total stride of their maps.
    pub fn strides(&self) -> Vec<(&str, usize)> {
        let mut total: usize = 1;
        for unit in &self.stem {
            total = total
                .saturating_mul(unit.stride)
                .saturating_mul(unit.max_pool.map_or(1, |p| p.stride));
        }
        self.stages
            .iter()
            .map(|s| {
                total = total.saturating_mul(s.stride);
                (s.name.as_str(), total)
            })
            .collect()
    }

    /// Chooses the outputs, in the order given: `c3`, `stage2`, `output` (the end), or one the file has already.
    ///
    /// # Errors
    /// A name that stands for nothing here; the message lists what there is.
    pub fn select_outputs(&mut self, names: &[&str]) -> Result<()> {
        let taps: Result<Vec<Tap>> = names.iter().map(|name| self.tap(name)).collect();
        let taps = taps?;
        if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
            return Err(Error::Input(format!("output '{}' is asked for twice", twice.1)));
        }
        self.outputs = taps;
        Ok(())
    }

    fn tap(&self, name: &str) -> Result<Tap> {
        let tap = |after: &str| Ok(Tap { name: name.to_owned(), after: after.to_owned() });
        if let Some(known) = self.outputs.iter().find(|t| t.name == name) {
            return Ok(known.clone());
        }
        if name == "output" || name == "end" {
            return tap("end");
        }
        if self.stages.iter().any(|s| s.name == name) {
            return tap(name);
        }
        let strides = self.strides();
        let level =
            name.strip_prefix(['c', 'C']).and_then(|n| n.parse::<u32>().ok()).filter(|n| *n < 16);
        if let Some(level) = level
            && let Some((stage, _)) = strides.iter().rev().find(|(_, s)| *s == 1 << level)
        {
            return tap(stage);
        }
        let have =
            strides.iter().map(|(n, s)| format!("{n} (stride {s})")).collect::<Vec<_>>().join(", ");
        let level = level.map_or(String::new(), |l| format!(": no map has stride {}", 1 << l));
        Err(Error::Input(format!(
            "no output '{name}' in this {}{level}; there are output, {have}",
            self.family
        )))
    }
}

#[cfg(test)]
mod tests {
    use crate::arch::by_name;

    #[test]
    fn maps_by_level_stage_and_end() {
        let mut arch = by_name("resnet50").unwrap();
        arch.select_outputs(&["c3", "layer3", "c5", "output"]).unwrap();
        let after: Vec<&str> = arch.outputs.iter().map(|t| t.after.as_str()).collect();
        assert_eq!(after, ["layer2", "layer3", "layer4", "end"]);
        assert!(arch.select_outputs(&["c3", "c3"]).is_err());
    }
}
