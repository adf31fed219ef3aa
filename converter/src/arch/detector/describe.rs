//! Necks and heads in a line each, for reports.

use crate::arch::file::{ArchFile, DetectionHead, Head, Merge, Neck};

impl ArchFile {
    /// The neck and the detection head in words, where there are any.
    pub fn detector_lines(&self) -> Vec<(&'static str, String)> {
        let neck = self.neck.as_ref().map(|neck| ("neck", neck.describe()));
        let head = match &self.head {
            Some(Head::Detector(head)) => Some(("head", head.describe(&self.head_inputs(head)))),
            _ => None,
        };
        neck.into_iter().chain(head).collect()
    }
}

impl Neck {
    /// `PAN of stage2, stage3, stage4 to p3, p4, p5, joined by concatenation, silu`.
    fn describe(&self) -> String {
        format!(
            "{} of {} to {}, joined by {}, {}",
            self.kind.name(),
            self.inputs.join(", "),
            self.levels.join(", "),
            if self.merge == Merge::Add { "addition" } else { "concatenation" },
            self.activation.name()
        )
    }
}

impl DetectionHead {
    /// `dfl on p3, p4, p5: 3 classes, 16 bins, silu`.
    fn describe(&self, levels: &[String]) -> String {
        let mut text =
            format!("{} on {}: {} classes", self.kind.name(), levels.join(", "), self.classes);
        if let Some(bins) = self.bins {
            text.push_str(&format!(", {bins} bins"));
        }
        if self.anchors_per_cell > 1 {
            text.push_str(&format!(", {} boxes per cell", self.anchors_per_cell));
        }
        if self.lacks_anchors() {
            text.push_str(" (sizes of the anchors unknown)");
        }
        if !self.objectness.is_empty() {
            text.push_str(", objectness");
        }
        format!("{text}, {}", self.activation.name())
    }
}
