//! The algebra of decodes: sums of products of what a head computes from its raw maps.
//!
//! Exporters write the same decode in dozens of ways (slices or splits, corners or centres, halves before or after the
//! stride). As a polynomial over raw elements, their sigmoids, exponentials and softmax shares, each has one form.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::graph::ValueId;

/// One element of a raw map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Leaf {
    /// The map, `[1, C, H, W]`.
    pub map: ValueId,
    /// Channel.
    pub channel: usize,
    /// Row.
    pub row: usize,
    /// Column.
    pub column: usize,
}

/// What stays unknown until the network runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    /// The element itself.
    Raw(Leaf),
    /// Its sigmoid.
    Sigmoid(Leaf),
    /// Its exponential.
    Exp(Leaf),
    /// Member `index` of the softmax over a group of elements.
    Share {
        /// The elements.
        group: Rc<[Leaf]>,
        /// Which of them.
        index: usize,
    },
    /// `sum(i * softmax(group)[i])`.
    Expected(Rc<[Leaf]>),
}

impl Atom {
    /// Every raw element inside.
    pub(super) fn leaves(&self) -> &[Leaf] {
        match self {
            Self::Raw(leaf) | Self::Sigmoid(leaf) | Self::Exp(leaf) => std::slice::from_ref(leaf),
            Self::Share { group, .. } | Self::Expected(group) => group,
        }
    }
}

/// Products of more atoms occur in no decode.
const MAX_DEGREE: usize = 2;
/// No decoded number is a sum of more terms; a distance over bins has one a bin.
const MAX_TERMS: usize = 512;

/// A sum of products: sorted atoms to coefficient. The empty product is the constant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Poly {
    terms: BTreeMap<Vec<Atom>, f64>,
}

impl Poly {
    /// A number.
    pub(super) fn constant(value: f64) -> Self {
        let mut p = Self::default();
        p.put(Vec::new(), value);
        p
    }

    /// One atom.
    pub(super) fn atom(atom: Atom) -> Self {
        Self { terms: BTreeMap::from([(vec![atom], 1.0)]) }
    }

    fn put(&mut self, product: Vec<Atom>, value: f64) {
        let sum = self.terms.entry(product).or_insert(0.0);
        *sum += value;
    }

    /// `self + factor * other`.
    pub(super) fn plus(mut self, other: &Self, factor: f64) -> Result<Self, String> {
        for (product, value) in &other.terms {
            self.put(product.clone(), value * factor);
        }
        self.terms.retain(|_, v| *v != 0.0);
        if self.terms.len() > MAX_TERMS {
            return Err(format!("adds up more than {MAX_TERMS} terms"));
        }
        Ok(self)
    }

    /// `self * factor`.
    pub(super) fn times(mut self, factor: f64) -> Self {
        self.terms.values_mut().for_each(|v| *v *= factor);
        self.terms.retain(|_, v| *v != 0.0);
        self
    }

    /// `self * other`.
    pub(super) fn product(&self, other: &Self) -> Result<Self, String> {
        let mut result = Self::default();
        if self.terms.len() * other.terms.len() > MAX_TERMS {
            return Err(format!("multiplies sums of more than {MAX_TERMS} terms"));
        }
        for (a, x) in &self.terms {
            for (b, y) in &other.terms {
                let mut product = [a.as_slice(), b].concat();
                if product.len() > MAX_DEGREE {
                    return Err(format!("multiplies more than {MAX_DEGREE} activations"));
                }
                product.sort_unstable();
                result.put(product, x * y);
            }
        }
        Ok(result)
    }

    /// The number that this is, if nothing in it is unknown.
    pub(super) fn number(&self) -> Option<f64> {
        match self.terms.iter().next() {
            None => Some(0.0),
            Some((product, &v)) if product.is_empty() && self.terms.len() == 1 => Some(v),
            Some(_) => None,
        }
    }

    /// The constant term.
    pub(super) fn offset(&self) -> f64 {
        self.terms.get(&Vec::new()).copied().unwrap_or(0.0)
    }

    /// The terms that are no constant.
    pub(super) fn unknowns(&self) -> impl Iterator<Item = (&[Atom], f64)> {
        self.terms.iter().filter(|(p, _)| !p.is_empty()).map(|(p, &v)| (p.as_slice(), v))
    }

    /// The atoms and coefficients of a sum without products.
    pub(super) fn linear(&self) -> Option<Vec<(&Atom, f64)>> {
        self.unknowns()
            .map(|(product, v)| Some((product.first().filter(|_| product.len() == 1)?, v)))
            .collect()
    }

    /// The element, if this is nothing but a raw element.
    pub(super) fn raw(&self) -> Option<Leaf> {
        match self.single()? {
            ([Atom::Raw(leaf)], v) if is(v, 1.0) => Some(*leaf),
            _ => None,
        }
    }

    /// The one product that this is, without a constant.
    pub(super) fn single(&self) -> Option<(&[Atom], f64)> {
        let mut all = self.terms.iter();
        let (product, &v) = all.next()?;
        (all.next().is_none() && !product.is_empty()).then_some((product.as_slice(), v))
    }

    /// Every raw element inside.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.terms.keys().flatten().flat_map(|atom| atom.leaves())
    }

    /// With sums of softmax shares written as expectations, where the weights are 0, 1, 2, ... times one factor.
    pub(super) fn with_expectations(self) -> Self {
        let mut groups: BTreeMap<Rc<[Leaf]>, Vec<f64>> = BTreeMap::new();
        for (product, v) in self.unknowns() {
            if let [Atom::Share { group, index }] = product {
                let weights = groups.entry(group.clone()).or_insert_with(|| vec![0.0; group.len()]);
                weights[*index] = v;
            }
        }
        let mut result = self;
        for (group, weights) in groups {
            let Some(&factor) = weights.get(1) else { continue };
            if !weights.iter().enumerate().all(|(i, &w)| close(w, factor * i as f64, factor.abs()))
            {
                continue;
            }
            result.terms.retain(
                |p, _| !matches!(p.as_slice(), [Atom::Share { group: g, .. }] if *g == group),
            );
            result.put(vec![Atom::Expected(group)], factor);
        }
        result
    }
}

/// Whether two numbers are equal but for rounding of f32, at a given magnitude.
pub(super) fn close(a: f64, b: f64, magnitude: f64) -> bool {
    (a - b).abs() <= 2e-5 * magnitude.max(1e-6)
}

/// Whether a coefficient is this number.
pub(super) fn is(a: f64, b: f64) -> bool {
    close(a, b, a.abs().max(b.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(channel: usize) -> Leaf {
        Leaf { map: ValueId(1), channel, row: 0, column: 0 }
    }

    #[test]
    fn equal_decodes_have_one_form() {
        let (l, r) = (Poly::atom(Atom::Raw(leaf(0))), Poly::atom(Atom::Raw(leaf(1))));
        let x1 = Poly::constant(4.0).plus(&l, -8.0).unwrap();
        let x2 = Poly::constant(4.0).plus(&r, 8.0).unwrap();
        let centre = x1.clone().plus(&x2, 1.0).unwrap().times(0.5);
        let width = x2.clone().plus(&x1, -1.0).unwrap();
        assert_eq!(centre.clone().plus(&width, -0.5).unwrap(), x1);
        assert_eq!(centre.plus(&width, 0.5).unwrap(), x2);
        assert_eq!(width.offset(), 0.0);
    }

    #[test]
    fn shares_become_expectations() {
        let group: Rc<[Leaf]> = (0..4).map(leaf).collect();
        let mut sum = Poly::constant(1.0);
        for index in 0..4 {
            let share = Poly::atom(Atom::Share { group: group.clone(), index });
            sum = sum.plus(&share, 8.0 * index as f64).unwrap();
        }
        let sum = sum.with_expectations();
        assert_eq!(sum.linear().unwrap(), [(&Atom::Expected(group), 8.0)]);
        assert_eq!(sum.offset(), 1.0);
    }

    #[test]
    fn growth_is_bounded() {
        let a = Poly::atom(Atom::Sigmoid(leaf(0)));
        let square = a.product(&a).unwrap();
        assert!(square.product(&a).unwrap_err().contains("more than 2"));
        let wide = |from: usize| {
            (from..from + 30)
                .fold(Poly::default(), |p, c| p.plus(&Poly::atom(Atom::Raw(leaf(c))), 1.0).unwrap())
        };
        assert!(wide(0).product(&wide(30)).unwrap_err().contains("512"));
    }
}
