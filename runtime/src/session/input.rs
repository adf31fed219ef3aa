//! Filling the input.

use super::planes::FromPlanes;
use super::{Session, State};
use crate::Error;
use crate::desc::{DType, TensorDesc};
use crate::format::ChannelOrder;
use crate::ops::{MapMut, Part, Units, target};
use crate::quant::requantize;

/// The input of a session. Each `set` fills all of it, and makes the session ready to run.
#[derive(Debug)]
pub struct Input<'s, 'm, 'a> {
    session: &'s mut Session<'m, 'a>,
}

impl<'s, 'm, 'a> Input<'s, 'm, 'a> {
    pub(super) const fn new(session: &'s mut Session<'m, 'a>) -> Self {
        Self { session }
    }

    fn desc(&self) -> TensorDesc {
        self.session.model.tensor(self.session.model.input().tensor)
    }

    /// `[1, height, width, channels]`; a mask is no channel of its user, see [`crate::format::InputContract::tensor`].
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        let [height, width, channels] = self.session.model.input_shape().map(|size| size as usize);
        [1, height, width, channels]
    }

    fn channels(&self) -> usize {
        self.shape()[3]
    }

    /// How real values of each channel are quantised.
    fn quantizer(&self) -> Quantizer {
        let (desc, contract) = (self.desc(), self.session.model.input());
        let masked = desc.channels as usize > self.channels();
        Quantizer { desc, normalisation: masked.then_some([contract.mean, contract.std]) }
    }

    /// Sets an image: u8 red, green, blue of each pixel, row by row, of exactly the input's size. Normalisation and
    /// quantisation are one look-up. A gray model takes `round((299 r + 587 g + 114 b) / 1000)`.
    ///
    /// # Errors
    ///
    /// [`Error::InputSize`] if the image has another size, [`Error::InputKind`] if the model takes no images.
    pub fn set_rgb8(&mut self, pixels: &[u8], width: usize, height: usize) -> Result<(), Error> {
        let contract = *self.session.model.input();
        if contract.order == ChannelOrder::Features {
            return Err(Error::InputKind);
        }
        self.check_image(pixels.len(), 3, width, height)?;
        let table = self.session.model.data(contract.table);
        let pixels = pixels.as_chunks::<3>().0;
        let tables = table.as_chunks::<256>().0.first_chunk::<3>();
        let at = match contract.order {
            ChannelOrder::Rgb => Some([0, 1, 2]),
            ChannelOrder::Bgr => Some([2, 1, 0]),
            ChannelOrder::Gray | ChannelOrder::Features => None,
        };
        if let (Some([first, second, third]), Some(at), true) = (tables, at, self.has_bytes(4)) {
            // A word per pixel: with a byte per channel, an image took longer than its first convolution.
            let xor = self.session.xor;
            self.write(|map, _| {
                let places = map.bytes().1.as_chunks_mut::<4>().0;
                for (place, rgb) in places.iter_mut().zip(pixels) {
                    let [a, b, c] = at.map(|i| usize::from(rgb[i]));
                    *place = [first[a], second[b], third[c], MASK as u8].map(|byte| byte ^ xor);
                }
                true
            });
            return Ok(());
        }
        self.fill(|pixel, c| {
            let [r, g, b] = pixels[pixel];
            let value = match contract.order {
                ChannelOrder::Bgr => pixels[pixel][2 - c],
                ChannelOrder::Gray => {
                    ((299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) + 500) / 1000)
                        as u8
                }
                ChannelOrder::Rgb | ChannelOrder::Features => pixels[pixel][c],
            };
            i32::from(table[256 * c + usize::from(value)] as i8)
        });
        Ok(())
    }

    /// Sets a gray image: one u8 per pixel, row by row, of exactly the input's size. A colour model gets it in all
    /// channels.
    ///
    /// # Errors
    ///
    /// As [`Input::set_rgb8`].
    pub fn set_gray8(&mut self, pixels: &[u8], width: usize, height: usize) -> Result<(), Error> {
        let contract = *self.session.model.input();
        if contract.order == ChannelOrder::Features {
            return Err(Error::InputKind);
        }
        self.check_image(pixels.len(), 1, width, height)?;
        let table = self.session.model.data(contract.table);
        self.fill(|pixel, c| i32::from(table[256 * c + usize::from(pixels[pixel])] as i8));
        Ok(())
    }

    /// Sets real values, already normalised, channel by channel: `q = requantize(x / scale)`. NaN becomes 0.0. Beside a
    /// mask it is the nearest pixel value, `q = requantize((x * std + mean) / scale)`.
    ///
    /// # Errors
    ///
    /// [`Error::InputSize`] if there are not exactly as many values as the input has.
    pub fn set_f32_nchw(&mut self, values: &[f32]) -> Result<(), Error> {
        let quantizer = self.quantizer();
        self.check_len(values.len())?;
        let platform = self.session.platform;
        let (quads, triples) = (self.has_bytes(4), self.has_bytes(3));
        self.write(|map, part| {
            let (pixels, rest) = (part.pixels.end, MASK as u8 ^ platform.act_xor());
            let quantize = |value, c| quantizer.quantize(value, c);
            if quads {
                platform.run(FromPlanes::<4, _> { values, pixels, map, rest, quantize });
                return true;
            }
            if triples {
                platform.run(FromPlanes::<3, _> { values, pixels, map, rest, quantize });
                return true;
            }
            // Some pixels of one plane at a time: that much vectorises, and stays in registers' reach.
            let mut quantized = [0; 64];
            for (c, plane) in values.chunks_exact(part.pixels.end).enumerate() {
                for (run, values) in plane.chunks(quantized.len()).enumerate() {
                    for (q, &value) in quantized.iter_mut().zip(values) {
                        *q = quantizer.quantize(value, c);
                    }
                    map.put_run(run * quantized.len(), c, &quantized[..values.len()]);
                }
            }
            false
        });
        Ok(())
    }

    /// Sets real values, already normalised, row by row with channels innermost.
    ///
    /// # Errors
    ///
    /// As [`Input::set_f32_nchw`].
    pub fn set_f32_nhwc(&mut self, values: &[f32]) -> Result<(), Error> {
        let quantizer = self.quantizer();
        self.check_len(values.len())?;
        let channels = self.channels();
        self.fill(|pixel, c| quantizer.quantize(values[pixel * channels + c], c));
        Ok(())
    }

    /// Sets quantised values of an i8 input, row by row with channels innermost.
    ///
    /// # Errors
    ///
    /// [`Error::InputSize`] if there are not exactly as many values as the input has, [`Error::ElementType`] if the
    /// input is i16.
    pub fn set_i8(&mut self, values: &[i8]) -> Result<(), Error> {
        let desc = self.desc();
        if desc.dtype != DType::I8 {
            return Err(Error::ElementType);
        }
        self.check_len(values.len())?;
        let channels = self.channels();
        self.fill(|pixel, c| i32::from(values[pixel * channels + c]));
        Ok(())
    }

    /// Sets quantised values of an i16 input, row by row with channels innermost; -32768 becomes -32767.
    ///
    /// # Errors
    ///
    /// [`Error::InputSize`] if there are not exactly as many values as the input has, [`Error::ElementType`] if the
    /// input is i8.
    pub fn set_i16(&mut self, values: &[i16]) -> Result<(), Error> {
        let desc = self.desc();
        if desc.dtype != DType::I16 {
            return Err(Error::ElementType);
        }
        self.check_len(values.len())?;
        let channels = desc.channels as usize;
        self.fill(|pixel, c| i32::from(values[pixel * channels + c]).max(-32767));
        Ok(())
    }

    /// Fills the input with a fixed pseudo-random pattern that depends on `seed` (not 0) alone: quantised values from
    /// a 32-bit xorshift generator (Marsaglia 2003, doi:10.18637/jss.v008.i14), row by row with channels innermost. The
    /// same model and seed give the same [`Session::output_hash`] on every machine; that is what it is for.
    pub fn set_pattern(&mut self, seed: u32) {
        let dtype = self.desc().dtype;
        let mut state = seed.max(1);
        self.fill(|_, _| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            match dtype {
                DType::I8 => i32::from((state >> 24) as i8),
                DType::I16 => i32::from((state >> 16) as i16).max(-32767),
            }
        });
    }

    /// Whether pixels are `count` i8 without gaps: four are three channels and a mask, or four channels.
    fn has_bytes(&self, count: u32) -> bool {
        let desc = self.desc();
        desc.dtype == DType::I8 && desc.channels == count && desc.pixel_stride == count
    }

    fn check_len(&self, len: usize) -> Result<(), Error> {
        let expected = self.desc().pixels() * self.channels() as u32;
        if len == expected as usize { Ok(()) } else { Err(Error::InputSize { expected }) }
    }

    fn check_image(
        &self,
        len: usize,
        channels: usize,
        width: usize,
        height: usize,
    ) -> Result<(), Error> {
        let desc = self.desc();
        let fits = width == desc.width as usize
            && height == desc.height as usize
            && len == desc.pixels() as usize * channels;
        if fits { Ok(()) } else { Err(Error::InputSize { expected: desc.pixels() }) }
    }

    /// Writes `q(pixel, channel)` everywhere but in the mask.
    fn fill(&mut self, mut q: impl FnMut(usize, usize) -> i32) {
        self.write(|map, part| {
            part.for_each(|pixel, c| map.put(pixel, c, q(pixel, c)));
            false
        });
    }

    /// Lets `write` fill the whole tensor; it says whether it has written the mask too.
    fn write(&mut self, write: impl FnOnce(&mut MapMut<'_>, &Part) -> bool) {
        let desc = self.desc();
        let (pixels, channels) = (desc.pixels() as usize, self.channels());
        let part = Part { pixels: 0..pixels, channels: 0..channels };
        let whole = Part { pixels: 0..pixels, channels: 0..desc.channels as usize };
        let outputs = crate::arena::Outputs {
            targets: [Some(target(&desc, Units::Pixels)), None],
            units: part.pixels.end,
            granule: 1,
        };
        let xor = self.session.xor;
        let lease = self.session.arena.lease(&outputs);
        if let [Some(bytes), _] = lease.outputs {
            let mut map = MapMut::new(bytes, &desc, xor, &whole);
            if !write(&mut map, &part) {
                let mask = Part { pixels: 0..pixels, channels: channels..desc.channels as usize };
                mask.for_each(|pixel, channel| map.put(pixel, channel, MASK));
            }
        }
        self.session.state = State::Ready;
    }
}

/// What the mask holds wherever there is an image: 255 above its zero.
const MASK: i32 = 127;

/// From real values to quantised ones.
struct Quantizer {
    desc: TensorDesc,
    /// Mean and standard deviation per channel, where the tensor holds pixel values.
    normalisation: Option<[[f32; 3]; 2]>,
}

impl Quantizer {
    fn quantize(&self, real: f32, channel: usize) -> i32 {
        let (low, high) = match self.desc.dtype {
            DType::I8 => (-128, 127),
            DType::I16 => (-32767, 32767),
        };
        let real = if real.is_nan() { 0.0 } else { real };
        let real = match &self.normalisation {
            Some([mean, std]) => real * std[channel] + mean[channel],
            None => real,
        };
        requantize(real / self.desc.scale, self.desc.zero_point, low, high)
    }
}
