//! The best classes of an image.

use super::results::Results;

/// One line of the class table.
pub struct Class {
    /// Index.
    pub class: usize,
    /// Name, where known.
    pub label: Option<String>,
    /// As the network gives it.
    pub score: f32,
    /// After a softmax, if the scores are no distribution already.
    pub probability: f32,
}

/// The five best classes of a single image, if an output holds class scores.
pub fn top5(results: &Results, labels: &[String]) -> Option<Vec<Class>> {
    let scores = results.values.iter().find_map(|v| match v.as_slice() {
        [one] if matches!(one.shape(), [1, k] if *k > 1) => {
            Some(one.iter().copied().collect::<Vec<f32>>())
        }
        _ => None,
    })?;
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = scores.iter().sum();
    let is_distribution = scores.iter().all(|s| *s >= 0.0) && (sum - 1.0).abs() < 1e-3;
    let total: f32 = scores.iter().map(|s| (s - largest).exp()).sum();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    Some(
        order
            .into_iter()
            .take(5)
            .map(|class| Class {
                class,
                label: if labels.len() == scores.len() {
                    Some(labels[class].clone())
                } else {
                    None
                },
                score: scores[class],
                probability: if is_distribution {
                    scores[class]
                } else {
                    (scores[class] - largest).exp() / total
                },
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;

    fn results(shape: &[usize], scores: &[f32]) -> Results {
        let one = ArrayD::from_shape_vec(IxDyn(shape), scores.to_vec()).unwrap();
        Results { values: vec![vec![one]], ..Results::default() }
    }

    #[test]
    fn scores_are_ranked_and_become_probabilities() {
        let labels = ["a", "b", "c"].map(str::to_owned);
        let top = top5(&results(&[1, 3], &[0.0, 2.0, 1.0]), &labels).unwrap();
        assert_eq!(top.iter().map(|c| c.class).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(top[0].label.as_deref(), Some("b"));
        let total: f32 = top.iter().map(|c| c.probability).sum();
        assert!((total - 1.0).abs() < 1e-6 && top[0].probability > 0.6);
        let top = top5(&results(&[1, 2], &[0.25, 0.75]), &labels).unwrap();
        assert_eq!((top[0].probability, &top[0].label), (0.75, &None));
    }

    #[test]
    fn maps_have_no_classes() {
        assert!(top5(&results(&[1, 1, 1, 2], &[1.0, 2.0]), &[]).is_none());
    }
}
