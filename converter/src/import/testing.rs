//! Writes pickles and containers for tests: what PyTorch writes, and what an attacker would.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Writes pickle instructions one after the other.
#[derive(Clone, Default)]
pub(crate) struct Pickler(pub Vec<u8>);

impl Pickler {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn str(self, s: &str) -> Self {
        self.op(b"X").op(&(s.len() as u32).to_le_bytes()).op(s.as_bytes())
    }

    pub fn int(self, n: i64) -> Self {
        self.op(&[0x8a, 8]).op(&n.to_le_bytes())
    }

    pub fn ints(self, list: &[i64]) -> Self {
        list.iter().fold(self.op(b"("), |p, &n| p.int(n)).op(b"t")
    }

    pub fn storage(self, class: &str, key: &str, count: i64) -> Self {
        self.op(b"(").str("storage").global("torch", class).str(key).str("cpu").int(count).op(b"tQ")
    }

    /// `_rebuild_tensor_v2` of a whole storage.
    pub fn tensor(self, class: &str, key: &str, count: i64, view: View) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b"(")
            .storage(class, key, count)
            .int(view.offset)
            .ints(view.sizes)
            .ints(view.strides)
            .op(&[0x89])
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }

    pub fn stop(self) -> Vec<u8> {
        self.op(b".").0
    }
}

/// A tensor's view into its storage.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub offset: i64,
    pub sizes: &'a [i64],
    pub strides: &'a [i64],
}

/// A pickle of `{"w": tensor}` over f32 storage `0`.
pub(crate) fn one_tensor(count: i64, view: View) -> Vec<u8> {
    Pickler::new().op(b"}").str("w").tensor("FloatStorage", "0", count, view).op(b"s").stop()
}

/// Bytes of f32 values.
pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A zip archive of the given entries.
pub(crate) fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A torch zip container; storages are named `0`, `1`, ...
pub(crate) fn torch_zip(pickle: &[u8], storages: &[&[u8]]) -> Vec<u8> {
    let names: Vec<String> = (0..storages.len()).map(|i| format!("archive/data/{i}")).collect();
    let mut entries: Vec<(&str, &[u8])> =
        vec![("archive/data.pkl", pickle), ("archive/byteorder", b"little")];
    entries.extend(names.iter().map(String::as_str).zip(storages.iter().copied()));
    entries.push(("archive/version", b"3\n"));
    archive(&entries, CompressionMethod::Stored)
}

/// The magic number, protocol and system pickles of the pre-1.6 container.
pub(crate) fn legacy_head(protocol: i64, little_endian: bool) -> Vec<u8> {
    let mut out = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    out.extend(Pickler::new().int(protocol).stop());
    let flag: &[u8] = if little_endian { &[0x88] } else { &[0x89] };
    out.extend(Pickler::new().op(b"}").str("little_endian").op(flag).op(b"s").stop());
    out
}

/// A pre-1.6 container; each storage is its key, the announced element count and its bytes.
pub(crate) fn torch_legacy(pickle: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let mut out = legacy_head(1001, true);
    out.extend_from_slice(pickle);
    let keys = storages.iter().fold(Pickler::new().op(b"]("), |p, (key, ..)| p.str(key));
    out.extend(keys.op(b"e").stop());
    for (_, count, bytes) in storages {
        out.extend(count.to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

/// A safetensors file with this header and buffer.
pub(crate) fn safetensors(header: &str, buffer: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(buffer);
    out
}
