//! Filling the input.

use super::planes::FromPlanes;
use super::quantizer::Quantizer;
use super::{Session, State};
use crate::Error;
use crate::arena::{Lease, Outputs};
use crate::desc::{DType, TensorDesc};
use crate::format::ChannelOrder;
use crate::ops::{MapMut, Part, Units, target};

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
            self.write(|map, part| {
                let places = map.bytes().1.as_chunks_mut::<4>().0;
                for (place, rgb) in places.iter_mut().zip(&pixels[part.pixels.clone()]) {
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
        let pixels = self.desc().pixels() as usize;
        self.write(|map, part| {
            let (first, rest) = (part.pixels.start, MASK as u8 ^ platform.act_xor());
            let quantize = |c| {
                let channel = quantizer.channel(c);
                move |value| channel.quantize(value)
            };
            if quads && part.channels.len() == 3 {
                platform.run(FromPlanes::<4, 3, _> { values, pixels, first, map, rest, quantize });
                return true;
            }
            if quads {
                platform.run(FromPlanes::<4, 4, _> { values, pixels, first, map, rest, quantize });
                return true;
            }
            if triples {
                platform.run(FromPlanes::<3, 3, _> { values, pixels, first, map, rest, quantize });
                return true;
            }
            // Some pixels of one plane at a time: that much vectorises, and stays in registers' reach.
            let mut quantized = [0; 64];
            for (c, plane) in values.chunks_exact(pixels).enumerate() {
                let channel = quantizer.channel(c);
                for (run, values) in plane[part.pixels.clone()].chunks(quantized.len()).enumerate()
                {
                    for (q, &value) in quantized.iter_mut().zip(values) {
                        *q = channel.quantize(value);
                    }
                    map.put_run(first + run * quantized.len(), c, &quantized[..values.len()]);
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
        self.fill(|pixel, c| quantizer.channel(c).quantize(values[pixel * channels + c]));
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
        self.write_in_order(|map, part| {
            part.for_each(|pixel, channel| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                let q = match dtype {
                    DType::I8 => i32::from((state >> 24) as i8),
                    DType::I16 => i32::from((state >> 16) as i16).max(-32767),
                };
                map.put(pixel, channel, q);
            });
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
    fn fill(&mut self, q: impl Fn(usize, usize) -> i32 + Sync) {
        self.write(|map, part| {
            part.for_each(|pixel, c| map.put(pixel, c, q(pixel, c)));
            false
        });
    }

    /// Lets `write` fill the whole tensor, in parts if it is large; it says whether it has written the mask too.
    fn write(&mut self, write: impl Fn(&mut MapMut<'_>, &Part) -> bool + Sync) {
        let (desc, xor, channels) = (self.desc(), self.session.xor, self.channels());
        let outputs = self.outputs();
        let body = |lease: Lease<'_>| fill_lease(lease, &desc, xor, channels, &write);
        #[cfg(feature = "std")]
        match (&self.session.engine, desc.elements()) {
            (Some(engine), DIVIDED..) => {
                engine.divide(&mut self.session.arena, &outputs, &body);
                self.session.state = State::Ready;
                return;
            }
            (Some(engine), NOTICED..) => engine.expect(),
            _ => {}
        }
        body(self.session.arena.lease(&outputs));
        self.session.state = State::Ready;
    }

    /// As [`Input::write`], of all pixels in their order.
    fn write_in_order(&mut self, mut write: impl FnMut(&mut MapMut<'_>, &Part)) {
        let (desc, xor, channels) = (self.desc(), self.session.xor, self.channels());
        let outputs = self.outputs();
        fill_lease(self.session.arena.lease(&outputs), &desc, xor, channels, |map, part| {
            write(map, part);
            false
        });
        self.session.state = State::Ready;
    }

    /// The input as something that is written.
    fn outputs(&self) -> Outputs {
        let desc = self.desc();
        let units = desc.pixels() as usize;
        Outputs { targets: [Some(target(&desc, Units::Pixels)), None], units, granule: GRANULE }
    }
}

/// Fills the pixels of a lease, with `write` and, where that leaves it to be done, the mask.
fn fill_lease(
    lease: Lease<'_>,
    desc: &TensorDesc,
    xor: u8,
    channels: usize,
    write: impl FnOnce(&mut MapMut<'_>, &Part) -> bool,
) {
    let Lease { outputs: [Some(bytes), _], units: pixels, .. } = lease else { return };
    let all = desc.channels as usize;
    let part = Part { pixels: pixels.clone(), channels: 0..channels };
    let whole = Part { pixels: pixels.clone(), channels: 0..all };
    let mut map = MapMut::new(bytes, desc, xor, &whole);
    if !write(&mut map, &part) {
        let mask = Part { pixels, channels: channels..all };
        mask.for_each(|pixel, channel| map.put(pixel, channel, MASK));
    }
}

/// Inputs of so many elements are filled by all threads: a smaller one is done before another thread has come.
#[cfg(feature = "std")]
const DIVIDED: u32 = 1 << 18;
/// While inputs of so many elements are filled the other threads may have gone to sleep.
#[cfg(feature = "std")]
const NOTICED: u32 = 1 << 14;

/// Parts begin at multiples of so many pixels.
const GRANULE: usize = 64;

/// What the mask holds wherever there is an image: 255 above its zero.
const MASK: i32 = 127;

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::desc::{Op, OpKind, Table};
    use crate::format::write::{InputSpec, ModelWriter};
    use crate::{Model, Options};
    use std::vec;
    use std::vec::Vec;

    /// Copies an image of `channels` channels.
    fn file(size: u32, channels: u32) -> Vec<u8> {
        let (mut writer, shape) = (ModelWriter::new(), [size, size + 1, channels]);
        let x = writer.add_activation("x", shape, DType::I8, 1.0 / 255.0, -128).unwrap();
        let y = writer.add_activation("y", shape, DType::I8, 1.0, 0).unwrap();
        let same: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        let table = writer.add_i8(&same).unwrap();
        let name = writer.add_string("same").unwrap();
        writer.add_op(Op { name, kind: OpKind::Table(Table { input: x, output: y, table }) });
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let spec = InputSpec { order: ChannelOrder::Rgb, mean, std, ..InputSpec::features() };
        writer.set_input("image", x, spec).unwrap();
        writer.add_output("copy", y).unwrap();
        writer.plan_memory().unwrap();
        writer.finish().unwrap()
    }

    /// Hashes of what every setter leaves.
    fn hashes(file: &[u8], threads: usize) -> Vec<u64> {
        let model = Model::parse(file).unwrap();
        let mut arena = vec![0x55; model.arena_bytes()];
        let options = Options { threads, ..Options::default() };
        let mut session = Session::with_options(&model, &mut arena, options).unwrap();
        let [_, h, w, c] = session.input().shape();
        let bytes: Vec<u8> = (0..h * w * 3).map(|i| (i * 31 % 253) as u8).collect();
        let real: Vec<f32> = (0..h * w * c).map(|i| (i * 17 % 97) as f32 / 20.0 - 2.0).collect();
        let whole: Vec<i8> = bytes.iter().map(|b| *b as i8).collect();
        (0..6)
            .map(|setter| {
                let mut input = session.input();
                match setter {
                    0 => input.set_rgb8(&bytes, w, h).unwrap(),
                    1 => input.set_gray8(&bytes[..h * w], w, h).unwrap(),
                    2 => input.set_f32_nchw(&real).unwrap(),
                    3 => input.set_f32_nhwc(&real).unwrap(),
                    4 => input.set_i8(&whole).unwrap(),
                    _ => input.set_pattern(7),
                }
                session.run().unwrap();
                session.output_hash().unwrap()
            })
            .collect()
    }

    #[test]
    fn large_inputs_are_filled_by_all_threads() {
        for channels in [3, 4] {
            let file = file(300, channels);
            let alone = hashes(&file, 1);
            assert_eq!(alone, hashes(&file, 3), "{channels} channels");
            assert_ne!(alone[0], alone[1]);
        }
    }

    #[test]
    fn threads_that_are_woken_early_wait_for_the_run() {
        let file = file(100, 3);
        assert!((NOTICED..DIVIDED).contains(&(100 * 101 * 3)));
        assert_eq!(hashes(&file, 1), hashes(&file, 3));
        let model = Model::parse(&file).unwrap();
        let level = |session: &mut Session<'_, '_>, level: u8| {
            session.input().set_rgb8(&vec![level; 100 * 101 * 3], 101, 100).unwrap();
        };
        let [mut arena, mut other] = [(); 2].map(|()| vec![0; model.arena_bytes()]);
        let options = |threads| Options { threads, ..Options::default() };
        let mut alone = Session::with_options(&model, &mut other, options(1)).unwrap();
        let mut session = Session::with_options(&model, &mut arena, options(3)).unwrap();
        let mut before = 0;
        for last in [130, 140, 150] {
            // Inputs that no run follows, and an input that the session is dropped with.
            level(&mut session, 77);
            level(&mut session, last);
            level(&mut alone, last);
            session.run().unwrap();
            alone.run().unwrap();
            let hash = session.output_hash().unwrap();
            assert_eq!(hash, alone.output_hash().unwrap());
            assert_ne!(hash, core::mem::replace(&mut before, hash));
            level(&mut session, 0);
        }
    }
}
