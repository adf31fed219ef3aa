//! Data sets, recognised by looking.

use std::path::{Path, PathBuf};

use super::annotations::{self, Annotations, Coco};
use super::folder::{self, Files, Folder, Sizes};
use super::{Preprocess, Record, Records, Samples, batch, cifar, decode, list, noise};
use crate::error::{Error, Result};

/// What a path turned out to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetKind {
    /// CIFAR-10 binary records.
    Cifar10,
    /// One sub-folder per class.
    ClassFolder,
    /// Image files in one folder.
    ImageFolder,
    /// One image file.
    Image,
    /// A `.safetensors` file with many images.
    Batch,
    /// A `.txt` file of image names.
    List,
    /// A COCO JSON file.
    Coco,
    /// A Pascal VOC folder.
    Voc,
    /// Synthetic images.
    Noise,
}

/// Images in a fixed order, read one at a time.
///
/// Folders are sorted by name; classes take turns, so that any first N are spread over them.
pub struct Dataset {
    path: PathBuf,
    kind: DatasetKind,
    records: Box<dyn Records>,
    limit: usize,
    classes: Option<Vec<String>>,
    boxes: Boxes,
}

/// Where annotated boxes are.
enum Boxes {
    /// Nowhere.
    None,
    /// In one file, read already.
    Coco(Annotations),
    /// In one file per image, as far as it exists.
    Voc(Vec<Option<PathBuf>>),
}

impl Boxes {
    /// Annotation files beside images.
    fn beside(files: &mut Files) -> Self {
        let found: Vec<_> =
            files.entries.iter().map(|(image, _)| annotations::beside(image)).collect();
        files.sizes = Sizes::Voc(found.clone());
        Self::Voc(found)
    }
}

impl Dataset {
    /// Looks at a path and opens what is there; `images` is where the images of a `.txt` list, a COCO file or a VOC
    /// folder are looked up (else beside it).
    ///
    /// # Errors
    /// With the file's name: nothing there, not recognised, empty, or damaged.
    pub fn open(path: &Path, images: Option<&Path>) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        let suffix =
            path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        let (mut classes, mut boxes) = (None, Boxes::None);
        let (kind, records): (_, Box<dyn Records>) = if metadata.is_dir()
            && let Some(voc) = annotations::images_of(path, images)?
        {
            let (pictures, files): (Vec<_>, Vec<_>) = voc.into_iter().unzip();
            let files: Vec<_> = files.into_iter().map(Some).collect();
            let sizes = Sizes::Voc(files.clone());
            boxes = Boxes::Voc(files);
            (DatasetKind::Voc, Box::new(Files { sizes, ..Files::unlabelled(pictures) }))
        } else if metadata.is_dir() {
            match folder::open(path)? {
                Folder::Flat(mut files) => {
                    boxes = Boxes::beside(&mut files);
                    (DatasetKind::ImageFolder, Box::new(files))
                }
                Folder::Classes(files, names) => {
                    classes = Some(names);
                    (DatasetKind::ClassFolder, Box::new(files))
                }
            }
        } else {
            match suffix.as_str() {
                "bin" => (DatasetKind::Cifar10, Box::new(cifar::Cifar::open(path)?)),
                "safetensors" => (DatasetKind::Batch, Box::new(batch::Batch::open(path)?)),
                "txt" => {
                    let mut files = list::open(path, images)?;
                    boxes = Boxes::beside(&mut files);
                    (DatasetKind::List, Box::new(files))
                }
                "json" => {
                    let coco = Coco::open(path, images)?;
                    boxes = Boxes::Coco(coco.annotations);
                    let sizes = Sizes::Coco(coco.sizes);
                    (DatasetKind::Coco, Box::new(Files { sizes, ..Files::unlabelled(coco.images) }))
                }
                _ if decode::is_image_name(path) => {
                    let files = Files::unlabelled(vec![path.to_owned()]);
                    (DatasetKind::Image, Box::new(Files { sizes: Sizes::Picture, ..files }))
                }
                _ => {
                    return Err(Error::source(
                        "",
                        "is no data set: expected a folder of images (by class or flat), a VOC folder, a COCO .json file, a CIFAR-10 .bin file, a .safetensors batch, a .txt list of names, or a JPEG, PNG or WebP image",
                    )
                    .in_file(path));
                }
            }
        };
        if let (DatasetKind::Cifar10, Some(folder)) = (kind, path.parent()) {
            classes = ["labels.txt", "batches.meta.txt"]
                .iter()
                .find_map(|name| read_class_names(&folder.join(name)).ok())
                .filter(|names| names.len() == 10);
        }
        let limit = records.len();
        Ok(Self { path: path.to_owned(), kind, records, limit, classes, boxes })
    }

    /// `count` synthetic images with the spectrum of photographs, at a size (height, width), numbered from `first`.
    #[must_use]
    pub fn noise(size: [usize; 2], first: usize, count: usize) -> Self {
        Self {
            path: PathBuf::from("noise"),
            kind: DatasetKind::Noise,
            records: Box::new(noise::Noise { size, first, count }),
            limit: count,
            classes: None,
            boxes: Boxes::None,
        }
    }

    /// The same data set cut to its first `count` images.
    #[must_use]
    pub fn take(mut self, count: usize) -> Self {
        self.limit = self.limit.min(count);
        self
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.limit
    }

    /// Whether there are none (only after `take(0)`).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limit == 0
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was recognised.
    #[must_use]
    pub fn kind(&self) -> DatasetKind {
        self.kind
    }

    /// Class names in label order, where the data set has them.
    #[must_use]
    pub fn classes(&self) -> Option<&[String]> {
        self.classes.as_deref()
    }

    /// Whether boxes are annotated, at least on some images.
    #[must_use]
    pub fn is_annotated(&self) -> bool {
        match &self.boxes {
            Boxes::None => false,
            Boxes::Coco(_) => true,
            Boxes::Voc(files) => files.iter().any(Option::is_some),
        }
    }

    /// The boxes annotated on the images, in their order.
    ///
    /// # Errors
    /// With the file's name: an image without annotations, or damaged ones.
    pub fn annotations(&self) -> Result<Annotations> {
        let expected = "expected a COCO .json file, a VOC folder, or images with VOC .xml files beside them or in Annotations beside their folder";
        match &self.boxes {
            Boxes::None => {
                let detail = format!("holds no annotated boxes: {expected}");
                Err(Error::source("", detail).in_file(&self.path))
            }
            Boxes::Coco(annotations) => {
                let images = annotations.images[..self.limit].to_vec();
                Ok(Annotations { images, ..annotations.clone() })
            }
            Boxes::Voc(files) => {
                let files = &files[..self.limit];
                let missing = files.iter().filter(|f| f.is_none()).count();
                if missing > 0 {
                    let detail = format!(
                        "{missing} of {} images have no annotated boxes: {expected}",
                        files.len()
                    );
                    return Err(Error::source("", detail).in_file(&self.path));
                }
                let files: Vec<PathBuf> = files.iter().flatten().cloned().collect();
                annotations::read_voc(&files)
            }
        }
    }

    /// One line for people: `1000 CIFAR-10 records from calib.bin`.
    #[must_use]
    pub fn describe(&self) -> String {
        let n = self.limit;
        let path = self.path.display();
        match self.kind {
            DatasetKind::Cifar10 => format!("{n} CIFAR-10 records from {path}"),
            DatasetKind::ClassFolder => {
                format!(
                    "{n} images of {} classes from {path}",
                    self.classes.as_ref().map_or(0, Vec::len)
                )
            }
            DatasetKind::ImageFolder => format!("{n} images from {path}"),
            DatasetKind::Image => format!("{path}"),
            DatasetKind::Batch => format!("{n} images from the batch {path}"),
            DatasetKind::List => format!("{n} images listed in {path}"),
            DatasetKind::Coco => format!("{n} images of the COCO data set {path}"),
            DatasetKind::Voc => format!("{n} images of the VOC data set {path}"),
            DatasetKind::Noise => format!("{n} synthetic images"),
        }
    }

    /// The images in order, prepared; a few are decoded ahead in parallel, none is kept.
    #[must_use]
    pub fn samples<'a>(&'a self, preprocess: &'a Preprocess) -> Samples<'a> {
        Samples::new(self, preprocess)
    }

    pub(super) fn read(&self, index: usize) -> Result<Record> {
        self.records.read(index)
    }
}

/// Reads class names, one a line, or those of a COCO file's categories in the order of their ids.
///
/// # Errors
/// [`Error::Io`], or [`Error::File`] when there is none.
pub fn read_class_names(path: &Path) -> Result<Vec<String>> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        return annotations::category_names(path);
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::source("", "names no classes: expected one a line").in_file(path));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Preset;

    fn cifar(dir: &Path, count: usize) -> PathBuf {
        let bytes: Vec<u8> = (0..count)
            .flat_map(|i| std::iter::once((i % 10) as u8).chain(std::iter::repeat_n(i as u8, 3072)))
            .collect();
        let path = dir.join("test.bin");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn samples_come_in_order_and_pixels_match_the_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = Dataset::open(&cifar(dir.path(), 57), None).unwrap();
        let preprocess = Preprocess::preset(Preset::Cifar10, [32, 32]);
        let samples: Vec<_> = dataset.samples(&preprocess).map(Result::unwrap).collect();
        assert_eq!(samples.len(), 57);
        for (i, sample) in samples.iter().enumerate() {
            assert_eq!(sample.label, Some(i % 10));
            let pixels = sample.pixels.as_ref().unwrap();
            assert_eq!(pixels.data[0] as usize, i);
            assert_eq!(sample.tensor, preprocess.normalize(pixels));
        }
    }

    #[test]
    fn take_limits_and_class_names_are_found_beside_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = cifar(dir.path(), 20);
        assert!(Dataset::open(&path, None).unwrap().classes().is_none());
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        std::fs::write(dir.path().join("labels.txt"), names.join("\n")).unwrap();
        let dataset = Dataset::open(&path, None).unwrap().take(7);
        assert_eq!(dataset.classes().unwrap(), names);
        let preprocess = Preprocess::preset(Preset::Unit, [16, 16]);
        assert_eq!((dataset.len(), dataset.samples(&preprocess).count()), (7, 7));
    }

    #[test]
    fn a_broken_image_is_an_error_at_its_place_only() {
        let dir = tempfile::tempdir().unwrap();
        image::RgbImage::from_pixel(8, 8, image::Rgb([1, 2, 3]))
            .save(dir.path().join("a.png"))
            .unwrap();
        std::fs::write(dir.path().join("b.jpg"), [0xff, 0xd8, 0xff, 0xe0, 0, 3]).unwrap();
        let dataset = Dataset::open(dir.path(), None).unwrap();
        let preprocess = Preprocess::preset(Preset::Unit, [8, 8]);
        let samples: Vec<_> = dataset.samples(&preprocess).collect();
        assert!(samples[0].is_ok());
        let message = samples[1].as_ref().unwrap_err().to_string();
        assert!(message.contains("b.jpg") && message.contains("JPG"), "{message}");
    }

    #[test]
    fn unknown_and_absent_paths_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.pt");
        assert!(Dataset::open(&path, None).err().unwrap().to_string().contains("weights.pt"));
        std::fs::write(&path, "x").unwrap();
        assert!(Dataset::open(&path, None).err().unwrap().to_string().contains("is no data set"));
    }

    #[test]
    fn noise_fits_the_network() {
        let dataset = Dataset::noise([20, 30], 0, 5);
        let preprocess = Preprocess::preset(Preset::Imagenet, [20, 30]);
        for sample in dataset.samples(&preprocess) {
            assert_eq!(sample.unwrap().tensor.shape(), [1, 3, 20, 30]);
        }
    }
}
