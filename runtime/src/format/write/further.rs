//! Further input sizes of a model that is written.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::ModelWriter;
use crate::Error;
use crate::desc::{Geometry, TensorDesc};
use crate::format::sizes::with_geometry;

/// What another input size has of its own; places are known once the memory is planned.
#[derive(Clone, Debug)]
pub(super) struct FurtherSize {
    pub shapes: Vec<[u32; 2]>,
    pub geometries: Vec<(u32, Geometry)>,
    pub tensors: Vec<TensorDesc>,
    pub arena_bytes: u32,
}

impl ModelWriter {
    /// Adds an input size that shares all of the model but `shapes`, height and width of every tensor in their order, and
    /// the geometries of these operators. Call it when all tensors and operators are known.
    ///
    /// # Errors
    ///
    /// [`Error::SizesSection`] if there is not one shape for each tensor; [`Error::SizeGeometry`] for an operator that
    /// does not exist, or has no geometry of this kind, or two of them.
    pub fn add_size(
        &mut self,
        shapes: &[[u32; 2]],
        geometries: &[(usize, Geometry)],
    ) -> Result<(), Error> {
        if shapes.len() != self.tensors.len() {
            return Err(Error::SizesSection);
        }
        let size = self.sizes.len() as u32 + 1;
        let mut changed = BTreeMap::new();
        for &(index, geometry) in geometries {
            let wrong = Error::SizeGeometry { size, op: index as u32 };
            let kind = self.ops.get(index).ok_or(wrong)?.kind;
            with_geometry(kind, geometry).ok_or(wrong)?;
            if changed.insert(index as u32, geometry).is_some() {
                return Err(wrong);
            }
        }
        changed.retain(|&op, geometry| self.ops[op as usize].kind.geometry() != Some(*geometry));
        self.sizes.push(FurtherSize {
            shapes: shapes.to_vec(),
            geometries: changed.into_iter().collect(),
            tensors: Vec::new(),
            arena_bytes: 0,
        });
        Ok(())
    }

    /// The model at a further size, without its constants.
    pub(super) fn at_size(&self, size: &FurtherSize) -> Self {
        let mut model = Self {
            tensors: self.tensors.clone(),
            ops: self.ops.clone(),
            lists: self.lists.clone(),
            input: self.input,
            outputs: self.outputs.clone(),
            ..Self::default()
        };
        for (tensor, &[height, width]) in model.tensors.iter_mut().zip(&size.shapes) {
            (tensor.height, tensor.width) = (height, width);
        }
        for &(op, geometry) in &size.geometries {
            if let Some(op) = model.ops.get_mut(op as usize)
                && let Some(kind) = with_geometry(op.kind, geometry)
            {
                op.kind = kind;
            }
        }
        model
    }
}
