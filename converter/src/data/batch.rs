//! `.safetensors` batches: `input` (normalised, f32 `[N, 3, H, W]`) or `image` (RGB, u8 `[N, H, W, 3]`), and
//! optionally `label` (any integer type, `[N]`).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::ArrayD;
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use super::{Content, Pixels, Record, Records};
use crate::error::{Error, Result};

/// Largest header that is read; a batch has three tensors.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// An open file; one image is in memory at a time.
pub(super) struct Batch {
    path: PathBuf,
    file: Mutex<File>,
    labels: Option<Vec<usize>>,
    /// Whether the tensor is `image`.
    is_pixels: bool,
    /// Offset of the first image in the file.
    start: u64,
    /// Shape of one image as stored.
    shape: [usize; 3],
    len: usize,
}

impl Batch {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::read_header(path).map_err(|e| e.in_file(path))
    }

    fn read_header(path: &Path) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let mut file = File::open(path).map_err(io)?;
        let file_bytes = file.metadata().map_err(io)?.len();
        let mut length = [0u8; 8];
        if file_bytes < 8 {
            return Err(Error::source("", "is no safetensors file: it ends inside the header"));
        }
        file.read_exact(&mut length).map_err(io)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes + 8 > file_bytes {
            let detail = format!(
                "is no safetensors batch: it states a header of {header_bytes} bytes in a file of {file_bytes}"
            );
            return Err(Error::source("", detail));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|e| Error::source("", format!("has no valid safetensors header: {e}")))?;
        let data_start = 8 + header_bytes;
        // Only the header is in memory, so nobody else has compared it with the file's size.
        let described = data_start.checked_add(metadata.data_len() as u64);
        if described != Some(file_bytes) {
            let data = metadata.data_len();
            let detail =
                format!("is {file_bytes} bytes long, its header describes {data_start} + {data}");
            return Err(Error::source("", detail));
        }
        let names = metadata.offset_keys().join(", ");
        let (name, info, is_pixels) = match (metadata.info("input"), metadata.info("image")) {
            (Some(info), None) => ("input", info, false),
            (None, Some(info)) => ("image", info, true),
            (Some(_), Some(_)) => {
                return Err(Error::source(
                    "",
                    "has both 'input' and 'image': expected one of them",
                ));
            }
            (None, None) => {
                let detail = format!(
                    "has the tensors [{names}]: expected 'input' (f32 [N, 3, H, W], normalised) or 'image' (u8 [N, H, W, 3])"
                );
                return Err(Error::source("", detail));
            }
        };
        let (dtype, expected, colour_axis) = if is_pixels {
            (Dtype::U8, "u8 [N, H, W, 3]", 3)
        } else {
            (Dtype::F32, "f32 [N, 3, H, W]", 1)
        };
        if info.dtype != dtype
            || info.shape.len() != 4
            || info.shape[colour_axis] != 3
            || info.shape.contains(&0)
        {
            let detail = format!("is {:?} {:?}, expected {expected}", info.dtype, info.shape);
            return Err(Error::source(name, detail));
        }
        let len = info.shape[0];
        let labels = match metadata.info("label") {
            Some(label) => Some(read_labels(&mut file, data_start, label, len, path)?),
            None => None,
        };
        Ok(Self {
            path: path.to_owned(),
            labels,
            is_pixels,
            start: data_start + info.data_offsets.0 as u64,
            shape: [info.shape[1], info.shape[2], info.shape[3]],
            len,
            file: Mutex::new(file),
        })
    }
}

fn read_labels(
    file: &mut File,
    data_start: u64,
    info: &TensorInfo,
    len: usize,
    path: &Path,
) -> Result<Vec<usize>> {
    let size = match info.dtype {
        Dtype::U8 | Dtype::I8 => 1,
        Dtype::U16 | Dtype::I16 => 2,
        Dtype::U32 | Dtype::I32 => 4,
        Dtype::U64 | Dtype::I64 => 8,
        other => {
            return Err(Error::source("label", format!("is {other:?}, expected an integer type")));
        }
    };
    if info.shape != [len] {
        let detail = format!("has shape {:?}, expected [{len}], one per image", info.shape);
        return Err(Error::source("label", detail));
    }
    let mut bytes = vec![0u8; len * size];
    file.seek(SeekFrom::Start(data_start + info.data_offsets.0 as u64))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(|e| Error::io(path, e))?;
    bytes
        .chunks_exact(size)
        .enumerate()
        .map(|(i, value)| {
            let mut wide = [0u8; 8];
            wide[..size].copy_from_slice(value);
            usize::try_from(u64::from_le_bytes(wide)).ok().filter(|&v| v < 1 << 20).ok_or_else(
                || {
                    Error::source(
                        "label",
                        format!("entry {i} is negative or too large for a class index"),
                    )
                },
            )
        })
        .collect()
}

impl Records for Batch {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, index: usize) -> Result<Record> {
        let elements: usize = self.shape.iter().product();
        let size = if self.is_pixels { elements } else { 4 * elements };
        let mut bytes = vec![0u8; size];
        {
            let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            file.seek(SeekFrom::Start(self.start + (index * size) as u64))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|e| Error::io(&self.path, e))?;
        }
        let name = format!("image {index}");
        let content = if self.is_pixels {
            Content::Pixels(Pixels { height: self.shape[0], width: self.shape[1], data: bytes })
        } else {
            let values: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                let detail = format!("{name}: value {i} is {}, expected finite numbers", values[i]);
                return Err(Error::source("input", detail).in_file(&self.path));
            }
            let [c, h, w] = self.shape;
            Content::Tensor(
                ArrayD::from_shape_vec(vec![1, c, h, w], values).expect("size of one image"),
            )
        };
        Ok(Record { name, label: self.labels.as_ref().map(|l| l[index]), content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.safetensors");
        let views =
            tensors.iter().map(|(n, d, s, b)| (*n, TensorView::new(*d, s.clone(), b).unwrap()));
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        (dir, path)
    }

    fn floats(n: usize) -> Vec<u8> {
        (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect()
    }

    #[test]
    fn tensors_and_labels_are_read_one_by_one() {
        let labels = [3i64, 9].iter().flat_map(|v| v.to_le_bytes()).collect();
        let (_dir, path) = file(&[
            ("input", Dtype::F32, vec![2, 3, 1, 2], floats(12)),
            ("label", Dtype::I64, vec![2], labels),
        ]);
        let batch = Batch::open(&path).unwrap();
        let record = batch.read(1).unwrap();
        let Content::Tensor(t) = record.content else { panic!("tensor expected") };
        assert_eq!(t.as_slice().unwrap(), [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        assert_eq!((batch.len(), record.label), (2, Some(9)));
    }

    #[test]
    fn images_are_bytes() {
        let (_dir, path) = file(&[("image", Dtype::U8, vec![2, 2, 1, 3], (0..12).collect())]);
        let Content::Pixels(p) = Batch::open(&path).unwrap().read(1).unwrap().content else {
            panic!("pixels expected")
        };
        assert_eq!(p, Pixels { height: 2, width: 1, data: vec![6, 7, 8, 9, 10, 11] });
    }

    #[test]
    fn everything_else_is_refused_with_the_tensor_named() {
        let error = |tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]| {
            let (_dir, path) = file(tensors);
            Batch::open(&path).err().expect("must be refused").to_string()
        };
        let m = error(&[("weight", Dtype::U8, vec![1], vec![0])]);
        assert!(m.contains("[weight]") && m.contains("b.safetensors"), "{m}");
        let m = error(&[("input", Dtype::F32, vec![1, 4, 1, 1], floats(4))]);
        assert!(m.contains("'input'") && m.contains("[1, 4, 1, 1]"), "{m}");
        let m = error(&[("image", Dtype::F32, vec![1, 1, 1, 3], floats(3))]);
        assert!(m.contains("'image'") && m.contains("expected u8"), "{m}");
        let m = error(&[
            ("input", Dtype::F32, vec![1, 3, 1, 1], floats(3)),
            ("label", Dtype::I32, vec![1], (-1i32).to_le_bytes().to_vec()),
        ]);
        assert!(m.contains("'label'") && m.contains("entry 0"), "{m}");
    }

    #[test]
    fn truncated_files_are_refused() {
        let (_dir, path) = file(&[("input", Dtype::F32, vec![1, 3, 4, 4], floats(48))]);
        let bytes = std::fs::read(&path).unwrap();
        for len in [0, 5, 8, 30, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(Batch::open(&path).is_err(), "{len} bytes");
        }
    }
}
