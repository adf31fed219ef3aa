//! Shapes of layers.

use kenar::desc::DType;

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Convolution, padded to keep the map's size; on a map of one pixel a linear layer.
    Conv {
        /// Output channels.
        out: u32,
        /// Height and width of the window.
        size: u32,
        /// Step.
        stride: u32,
        /// Groups.
        groups: u32,
    },
    /// Maximum, padded to keep the map's size.
    MaxPool {
        /// Height and width of the window.
        size: u32,
        /// Step.
        stride: u32,
    },
    /// Average over the whole map.
    Average,
    /// Nearest neighbour, both sides doubled.
    Resize,
    /// Sum of two maps.
    Add,
    /// Product with one value per channel (squeeze and excitation).
    Gate,
    /// 256 values looked up.
    Table,
    /// A factor and a summand per channel.
    Affine,
    /// Copies of the input side by side, so many.
    Concat(u32),
    /// The first channels, so many.
    Slice(u32),
}

/// A layer of a network: its operator, sizes, and what its epilogue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// How often the network has it.
    pub count: u32,
    /// Height, width, channels.
    pub input: [u32; 3],
    /// The input is i16.
    pub wide_input: bool,
    /// Operator.
    pub kind: Kind,
    /// What is added.
    pub residual: Option<DType>,
    /// SiLU on the unrounded sums.
    pub silu: bool,
    /// A table behind the rounded ones.
    pub table: bool,
    /// The next block's batch norm, in place of the plain result or beside it.
    pub affine: Option<Beside>,
    /// The plain result is i16.
    pub wide: bool,
}

/// Whether the plain result is written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Both are written.
    Plain,
    /// Only the affine image is.
    Nothing,
}

const fn layer(count: u32, input: [u32; 3], kind: Kind) -> Layer {
    Layer {
        count,
        input,
        wide_input: false,
        kind,
        residual: None,
        silu: false,
        table: false,
        affine: None,
        wide: false,
    }
}

/// A convolution with windows of `size` by `size`.
#[must_use]
pub const fn conv(count: u32, input: [u32; 3], out: u32, size: u32) -> Layer {
    layer(count, input, Kind::Conv { out, size, stride: 1, groups: 1 })
}

/// A linear layer.
#[must_use]
pub const fn linear(count: u32, channels: u32, out: u32) -> Layer {
    conv(count, [1, 1, channels], out, 1)
}

/// A maximum over windows of `size` by `size`.
#[must_use]
pub const fn max_pool(count: u32, input: [u32; 3], size: u32, stride: u32) -> Layer {
    layer(count, input, Kind::MaxPool { size, stride })
}

/// Any other operator.
#[must_use]
pub const fn other(count: u32, input: [u32; 3], kind: Kind) -> Layer {
    layer(count, input, kind)
}

impl Layer {
    /// With a step, for convolutions.
    #[must_use]
    pub const fn stride(self, stride: u32) -> Self {
        match self.kind {
            Kind::Conv { out, size, groups, .. } => {
                Self { kind: Kind::Conv { out, size, stride, groups }, ..self }
            }
            _ => self,
        }
    }

    /// With groups, for convolutions.
    #[must_use]
    pub const fn groups(self, groups: u32) -> Self {
        match self.kind {
            Kind::Conv { out, size, stride, .. } => {
                Self { kind: Kind::Conv { out, size, stride, groups }, ..self }
            }
            _ => self,
        }
    }

    /// With an i8 residual.
    #[must_use]
    pub const fn add(self) -> Self {
        Self { residual: Some(DType::I8), ..self }
    }

    /// With an i16 residual.
    #[must_use]
    pub const fn add_wide(self) -> Self {
        Self { residual: Some(DType::I16), ..self }
    }

    /// With SiLU.
    #[must_use]
    pub const fn silu(self) -> Self {
        Self { silu: true, ..self }
    }

    /// With a table.
    #[must_use]
    pub const fn table(self) -> Self {
        Self { table: true, ..self }
    }

    /// With a second store.
    #[must_use]
    pub const fn second(self) -> Self {
        Self { affine: Some(Beside::Plain), ..self }
    }

    /// With nothing but the second store.
    #[must_use]
    pub const fn affine(self) -> Self {
        Self { affine: Some(Beside::Nothing), ..self }
    }

    /// With an i16 result.
    #[must_use]
    pub const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// With an i16 input.
    #[must_use]
    pub const fn from_wide(self) -> Self {
        Self { wide_input: true, ..self }
    }

    /// Height, width, channels of the output.
    #[must_use]
    pub const fn output(&self) -> [u32; 3] {
        let [h, w, c] = self.input;
        match self.kind {
            Kind::Conv { out, size, stride, .. } => {
                [kept(h, size, stride), kept(w, size, stride), out]
            }
            Kind::MaxPool { size, stride } => [kept(h, size, stride), kept(w, size, stride), c],
            Kind::Average => [1, 1, c],
            Kind::Resize => [2 * h, 2 * w, c],
            Kind::Concat(n) => [h, w, n * c],
            Kind::Slice(c) => [h, w, c],
            Kind::Add | Kind::Gate | Kind::Table | Kind::Affine => [h, w, c],
        }
    }

    /// Multiply-accumulates.
    #[must_use]
    pub const fn macs(&self) -> u64 {
        let Kind::Conv { size, groups, .. } = self.kind else { return 0 };
        let [h, w, c] = self.output();
        (h * w) as u64 * c as u64 * (size * size * self.input[2] / groups) as u64
    }

    /// Elements of the larger end.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        let ([h, w, c], [y, x, n]) = (self.input, self.output());
        let (before, after) = ((h * w) as u64 * c as u64, (y * x) as u64 * n as u64);
        if before > after { before } else { after }
    }

    /// The same on a map of at most so many rows and columns.
    #[must_use]
    pub fn cropped(self, side: u32) -> Self {
        let [h, w, c] = self.input;
        Self { input: [h.min(side), w.min(side), c], ..self }
    }

    /// What it is, in a few words: operator, map, channels, epilogue.
    #[must_use]
    pub fn name(&self) -> String {
        let [h, w, c] = self.input;
        let step = |stride: u32| if stride == 1 { String::new() } else { format!("/{stride}") };
        let mut name = match self.kind {
            Kind::Conv { out, size: 1, groups: 1, .. } if [h, w] == [1, 1] => {
                format!("linear {c}-{out}")
            }
            Kind::Conv { out, size, stride, groups } => {
                let groups = match groups {
                    1 => String::new(),
                    g if g == c && g == out => "dw ".to_owned(),
                    g => format!("g{g} "),
                };
                format!("{groups}{size}x{size}{} {c}-{out}", step(stride))
            }
            Kind::MaxPool { size, stride } => format!("max {size}x{size}{} {c}", step(stride)),
            Kind::Average => format!("average {c}"),
            Kind::Resize => format!("resize {c}"),
            Kind::Add => format!("add {c}"),
            Kind::Gate => format!("gate {c}"),
            Kind::Table => format!("table {c}"),
            Kind::Affine => format!("affine {c}"),
            Kind::Concat(n) => format!("concat {n}x{c}"),
            Kind::Slice(out) => format!("slice {c}-{out}"),
        };
        let words = [
            (self.wide_input, " from16"),
            (self.silu, " silu"),
            (self.table, " table"),
            (self.residual == Some(DType::I8), " add"),
            (self.residual == Some(DType::I16), " add16"),
            (self.affine == Some(Beside::Plain), " second"),
            (self.affine == Some(Beside::Nothing), " affine"),
            (self.wide, " to16"),
        ];
        name.extend(words.iter().filter(|(given, _)| *given).map(|(_, word)| *word));
        if [h, w] == [1, 1] { name } else { format!("{name} @{h}x{w}") }
    }
}

/// A side of the map behind a window with padding of half its size.
const fn kept(side: u32, size: u32, stride: u32) -> u32 {
    (side + 2 * (size / 2) - size) / stride + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_figures() {
        let l = conv(1, [56, 56, 256], 256, 3).groups(32).stride(2).add();
        assert_eq!(l.name(), "g32 3x3/2 256-256 add @56x56");
        assert_eq!((l.output(), l.macs()), ([28, 28, 256], 28 * 28 * 256 * 9 * 8));
        assert_eq!(linear(1, 2048, 1000).name(), "linear 2048-1000");
        assert_eq!(conv(1, [8, 8, 64], 64, 5).groups(64).name(), "dw 5x5 64-64 @8x8");
        let l = other(1, [8, 8, 16], Kind::Concat(3));
        assert_eq!((l.name().as_str(), l.output(), l.macs()), ("concat 3x16 @8x8", [8, 8, 48], 0));
        assert_eq!(max_pool(1, [112, 112, 64], 3, 2).output(), [56, 56, 64]);
        assert_eq!(
            other(1, [7, 7, 64], Kind::Average).from_wide().name(),
            "average 64 from16 @7x7"
        );
        assert_eq!(conv(1, [40, 50, 3], 8, 3).cropped(20).input, [20, 20, 3]);
    }
}
