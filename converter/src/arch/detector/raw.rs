//! What the tensors of a head mean, for decoding.

use kenar::detect::BoxCode;

use super::file::{BoxKind, DetectionHead};
use crate::arch::file::{ArchFile, Head};
use crate::detect::{self, Part, RawHead, RawLevel};
use crate::error::{Error, Result};
use crate::graph::Graph;

impl ArchFile {
    /// What keeps the boxes of a detector from being decoded.
    pub fn undecodable(&self) -> Option<String> {
        match &self.head {
            Some(Head::Detector(head)) if head.lacks_anchors() => Some(format!(
                "the head's anchors are in no checkpoint, so its boxes cannot be decoded and only raw outputs remain: \
                 write [head] anchors = [[[w, h], ...], ...] in pixels of the input, {} for each of {} levels, into a file \
                 for --arch",
                head.anchors_per_cell,
                self.head_inputs(head).len()
            )),
            _ => None,
        }
    }

    /// What the graph's outputs mean, if they are the tensors of a detector's head. Where nobody knows the anchors they are
    /// empty, see [`ArchFile::undecodable`].
    ///
    /// # Errors
    /// [`Error::Graph`] when a map of the head has no whole stride.
    pub fn raw_head(&self, graph: &Graph) -> Result<Option<RawHead>> {
        let Some(Head::Detector(head)) = &self.head else { return Ok(None) };
        let tensors = head.tensors(&self.head_inputs(head));
        let kept = |name: &String| graph.outputs.iter().any(|o| o.name == *name);
        if !tensors.iter().flatten().all(kept) {
            return Ok(None);
        }
        let levels = tensors.iter().enumerate().map(|(i, names)| head.raw_level(graph, names, i));
        Ok(Some(RawHead {
            kind: head.kind.name().into(),
            code: head.code(),
            centre: head.centre(),
            anchors_per_cell: head.anchors_per_cell,
            classes: head.classes,
            points: 0,
            levels: levels.collect::<Result<_>>()?,
            labels: head.labels.clone(),
            input: self.input.hint()?,
        }))
    }
}

impl DetectionHead {
    /// Whether boxes cannot be decoded because the anchors are in no file.
    pub(in crate::arch) fn lacks_anchors(&self) -> bool {
        self.kind == BoxKind::Anchor && self.anchors.is_empty()
    }

    fn code(&self) -> BoxCode {
        match self.kind {
            BoxKind::Dfl => BoxCode::Dfl { bins: (self.box_channels() / 4) as u32 },
            BoxKind::Distance => BoxCode::Distance,
            BoxKind::ExpDistance => BoxCode::ExpDistance,
            BoxKind::ExpSize => BoxCode::ExpSize,
            BoxKind::Anchor => BoxCode::Anchor,
        }
    }

    fn raw_level(&self, graph: &Graph, names: &[String], level: usize) -> Result<RawLevel> {
        let boxes = self.box_channels();
        let stride = stride(graph, &names[0])?;
        let anchors = self.anchors.get(level).cloned().unwrap_or_default();
        let (boxes, objectness, scores) = match names {
            [reg, cls] => (Part::whole(reg, boxes), None, Part::whole(cls, self.classes)),
            [reg, obj, cls] => {
                (Part::whole(reg, boxes), Some(Part::whole(obj, 1)), Part::whole(cls, self.classes))
            }
            _ => return Ok(RawLevel::mixed(stride, &names[0], self.classes, anchors)),
        };
        Ok(RawLevel { stride, boxes, objectness, scores, points: None, anchors })
    }
}

/// Input pixels per cell of an output.
fn stride(graph: &Graph, name: &str) -> Result<u32> {
    let output = graph.outputs.iter().find(|o| o.name == name);
    let map = output.map(|o| graph.shape(o.value)).unwrap_or_default();
    let input = graph.shape(graph.input);
    detect::stride(input, map).ok_or_else(|| {
        Error::graph(name, format!("a map of {map:?} has no whole stride in an input of {input:?}"))
    })
}
