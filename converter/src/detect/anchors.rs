//! Anchors that a network's file does not hold.

use kenar::detect::BoxCode;

use super::spec::RawHead;
use crate::error::{Error, Result};

/// What to do about a head on anchors whose file does not hold them.
pub const ANCHORS_MISSING: &str = "its head needs anchors, which the file does not hold: give them with --arch FILE.toml, \
     where [head] anchors = [[[width, height], ...], ...] lists those of every level in pixels, finest level first";

impl RawHead {
    /// Whether boxes need anchors that are not known.
    #[must_use]
    pub fn lacks_anchors(&self) -> bool {
        self.code == BoxCode::Anchor
            && self.levels.iter().any(|l| l.anchors.len() != self.anchors_per_cell)
    }

    /// Gives every level its anchors.
    ///
    /// # Errors
    /// [`Error::Input`] for a head without anchors, other numbers of levels or anchors, sizes that are not positive.
    pub fn set_anchors(&mut self, anchors: &[Vec<[f32; 2]>]) -> Result<()> {
        if self.code != BoxCode::Anchor {
            return Err(Error::Input(format!(
                "anchors are given, but the head codes boxes as {}",
                self.code.name()
            )));
        }
        let counts: Vec<usize> = anchors.iter().map(Vec::len).collect();
        if counts != vec![self.anchors_per_cell; self.levels.len()] {
            return Err(Error::Input(format!(
                "the anchors given are {counts:?} on {} levels, expected {} on each of {}",
                counts.len(),
                self.anchors_per_cell,
                self.levels.len()
            )));
        }
        if let Some(bad) = anchors.iter().flatten().flatten().find(|v| !v.is_finite() || **v <= 0.0)
        {
            return Err(Error::Input(format!(
                "an anchor has a side of {bad}, expected pixels above 0"
            )));
        }
        for (level, anchors) in self.levels.iter_mut().zip(anchors) {
            level.anchors.clone_from(anchors);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Part, RawLevel};
    use super::*;

    fn head(code: BoxCode) -> RawHead {
        let level = |stride| RawLevel {
            stride,
            boxes: Part::whole("boxes", 4),
            objectness: None,
            scores: Part::whole("scores", 1),
            points: None,
            anchors: Vec::new(),
        };
        RawHead {
            kind: "test".into(),
            code,
            centre: 0.0,
            anchors_per_cell: 2,
            classes: 1,
            points: 0,
            levels: vec![level(8), level(16)],
            labels: Vec::new(),
            input: None,
        }
    }

    #[test]
    fn a_head_takes_anchors_for_every_level() {
        let anchors = vec![vec![[1.0, 2.0], [3.0, 4.0]], vec![[5.0, 6.0], [7.0, 8.5]]];
        let mut raw = head(BoxCode::Anchor);
        assert!(raw.lacks_anchors());
        raw.set_anchors(&anchors).unwrap();
        assert!(!raw.lacks_anchors());
        assert_eq!(raw.levels[1].anchors, [[5.0, 6.0], [7.0, 8.5]]);
    }

    #[test]
    fn anchors_must_fit_the_head() {
        let two = vec![vec![[1.0, 1.0]; 2]; 2];
        let refused = |code, anchors: &[Vec<[f32; 2]>]| {
            head(code).set_anchors(anchors).unwrap_err().to_string()
        };
        assert!(refused(BoxCode::ExpSize, &two).contains("exp-size"));
        assert!(refused(BoxCode::Anchor, &two[..1]).contains("[2] on 1 levels"));
        assert!(refused(BoxCode::Anchor, &[vec![[1.0, -1.0]; 2], two[0].clone()]).contains("-1"));
    }
}
