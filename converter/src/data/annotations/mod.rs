//! Annotated boxes: COCO JSON files and Pascal VOC XML files.

mod coco;
mod voc;

pub(super) use coco::{Coco, category_names};
pub(super) use voc::{beside, images_of, read as read_voc, size as voc_size};

use crate::average_precision::Truth;
use crate::error::{Error, Result};

/// What is to be seen on the images of a data set, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// Class names: in the order of their ids (COCO), else of the alphabet (VOC).
    pub classes: Vec<String>,
    /// Objects of each image.
    pub images: Vec<Vec<Truth>>,
    /// What was left out.
    pub notes: Vec<String>,
    /// Whether `classes` are in the order that a network trained on this data set would use.
    pub ordered: bool,
}

impl Annotations {
    /// The same objects in the classes of a network: by name where it has names, else in the data set's order.
    ///
    /// Classes that only the data set has come behind the network's and are not found by anybody; a note says so.
    ///
    /// # Errors
    /// [`Error::Input`] when no name agrees, or when there are no names and the classes cannot be put in order.
    pub fn in_classes_of(mut self, labels: &[String], count: usize) -> Result<Self> {
        if labels.is_empty() {
            if self.ordered && self.classes.len() == count {
                return Ok(self);
            }
            return Err(Error::Input(format!(
                "the model has {count} classes without names, the data set has {} ({}): --labels FILE names the model's classes, one a line in their order",
                self.classes.len(),
                listed(&self.classes)
            )));
        }
        let same = |a: &str, b: &str| a.trim().eq_ignore_ascii_case(b.trim());
        let places: Vec<Option<usize>> =
            self.classes.iter().map(|name| labels.iter().position(|l| same(l, name))).collect();
        if places.iter().all(Option::is_none) {
            return Err(Error::Input(format!(
                "none of the data set's classes ({}) is one of the model's ({})",
                listed(&self.classes),
                listed(labels)
            )));
        }
        let mut classes = labels.to_vec();
        let mut unknown = Vec::new();
        let places: Vec<usize> = places
            .into_iter()
            .zip(&self.classes)
            .map(|(place, name)| {
                place.unwrap_or_else(|| {
                    classes.push(name.clone());
                    unknown.push(name.clone());
                    classes.len() - 1
                })
            })
            .collect();
        if !unknown.is_empty() {
            self.notes.push(format!(
                "the model does not know {} of the data set's classes: {}",
                unknown.len(),
                listed(&unknown)
            ));
        }
        self.images.iter_mut().flatten().for_each(|truth| truth.class = places[truth.class]);
        Ok(Self { classes, ..self })
    }
}

/// The first names, for messages.
fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 8 {
        text.push_str(", ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::average_precision::{Kind, Rect};

    fn annotations(ordered: bool) -> Annotations {
        let truth = |class| Truth { class, rect: Rect::default(), area: 1.0, kind: Kind::Object };
        Annotations {
            classes: ["cat", "dog", "owl"].map(str::to_owned).to_vec(),
            images: vec![vec![truth(0), truth(2)], vec![truth(1)]],
            notes: Vec::new(),
            ordered,
        }
    }

    #[test]
    fn classes_follow_the_names_of_the_network() {
        let labels = ["Dog", "bird", "cat"].map(str::to_owned);
        let moved = annotations(false).in_classes_of(&labels, 3).unwrap();
        assert_eq!(moved.classes, ["Dog", "bird", "cat", "owl"]);
        let classes: Vec<Vec<usize>> =
            moved.images.iter().map(|i| i.iter().map(|t| t.class).collect()).collect();
        assert_eq!(classes, [vec![2, 3], vec![0]]);
        assert!(moved.notes[0].contains("owl"));
    }

    #[test]
    fn without_names_only_an_ordered_set_of_the_same_size_serves() {
        assert_eq!(annotations(true).in_classes_of(&[], 3).unwrap(), annotations(true));
        for (ordered, count) in [(false, 3), (true, 4)] {
            let message = annotations(ordered).in_classes_of(&[], count).unwrap_err().to_string();
            assert!(message.contains("--labels"), "{message}");
        }
        let labels = ["x".to_owned()];
        let message = annotations(true).in_classes_of(&labels, 1).unwrap_err().to_string();
        assert!(message.contains("cat") && message.contains('x'), "{message}");
    }
}
