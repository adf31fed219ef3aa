//! Which maps a network puts out: by the name of an output, of a stage, or as `cN`, the last map of stride 2^N.

use super::file::{ArchFile, DetectionHead, Head, Tap};
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

    /// Names of the neck's maps and the head's tensors.
    pub(super) fn detector_maps(&self) -> Vec<String> {
        let mut names = self.neck.as_ref().map_or_else(Vec::new, |n| n.levels.clone());
        if let Some(Head::Detector(head)) = &self.head {
            names.extend(head.tensors(&self.head_inputs(head)).into_iter().flatten());
        }
        names
    }

    /// Names of the maps a head reads.
    pub(super) fn head_inputs(&self, head: &DetectionHead) -> Vec<String> {
        match &self.neck {
            Some(neck) if head.inputs.is_empty() => neck.levels.clone(),
            _ => head.inputs.clone(),
        }
    }

    /// What a name (`c3`, `stage2`, `p4`) stands behind, as [`Tap::after`] has it.
    ///
    /// # Errors
    /// As [`ArchFile::select_outputs`].
    pub(super) fn place(&self, name: &str) -> Result<String> {
        self.tap(name).map(|tap| tap.after)
    }

    fn tap(&self, name: &str) -> Result<Tap> {
        let tap = |after: &str| Ok(Tap { name: name.to_owned(), after: after.to_owned() });
        if let Some(known) = self.outputs.iter().find(|t| t.name == name) {
            return Ok(known.clone());
        }
        if name == "output" || name == "end" {
            return tap("end");
        }
        let units = self.stem.iter().chain(&self.tail).any(|u| u.conv == name);
        let maps = self.detector_maps();
        if units || self.stages.iter().any(|s| s.name == name) || maps.iter().any(|m| m == name) {
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
        let stages = strides.iter().map(|(n, s)| format!("{n} (stride {s})"));
        let have = stages.chain(maps).collect::<Vec<_>>().join(", ");
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
