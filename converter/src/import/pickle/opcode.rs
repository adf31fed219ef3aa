//! Decodes pickle instructions, protocols 0 to 5. Source: CPython `Lib/pickletools.py`.

use super::value::Value;
use super::{error, text};
use crate::error::Result;

/// One instruction.
#[derive(Debug)]
pub(super) enum Op<'a> {
    /// Protocol number or frame: no effect.
    Nothing,
    Stop,
    /// Pushes a constant.
    Push(Value),
    Mark,
    Pop,
    PopMark,
    Dup,
    /// Pushes an empty list (then: appends one, or all to the mark).
    List,
    Append,
    Appends,
    /// Pushes a list, tuple, dict or frozenset of everything above the mark.
    MarkedList,
    MarkedTuple,
    MarkedDict,
    MarkedFrozenSet,
    /// Pushes a tuple of the topmost values.
    Tuple(usize),
    Dict,
    SetItem,
    SetItems,
    Set,
    AddItems,
    /// `module`, `name`.
    Global(&'a [u8], &'a [u8]),
    StackGlobal,
    Reduce,
    /// `cls.__new__(cls, *args)`, with keyword arguments or without.
    NewObject {
        keywords: bool,
    },
    /// Class and arguments above a mark; the class is in the stream or first above the mark.
    Instance(Option<(&'a [u8], &'a [u8])>),
    Build,
    PersistentId,
    Get(u32),
    Put(u32),
    Memoize,
}

/// The instructions of a pickle.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// Next byte.
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            let left = self.bytes.len() - self.at;
            return Err(error(self.at, format!("truncated: {n} bytes announced, {left} left")));
        };
        let bytes = &self.bytes[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u8(&mut self) -> Result<usize> {
        Ok(usize::from(self.array::<1>()?[0]))
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// A length field of four or eight bytes; signed in the older instructions, where negative is malformed
    /// and, read as unsigned, longer than any stream.
    fn length(&mut self, bytes: usize) -> Result<usize> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(usize::try_from(u64::from_le_bytes(wide)).unwrap_or(usize::MAX))
    }

    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            return Err(error(self.at, "truncated: a line without end"));
        };
        self.at += end + 1;
        Ok(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]))
    }

    fn index(&mut self) -> Result<u32> {
        let at = self.at;
        let line = self.line()?;
        let index = std::str::from_utf8(line).ok().and_then(|s| s.parse().ok());
        index.ok_or_else(|| error(at, "a memo index that is no number"))
    }

    fn str(&mut self, length: usize) -> Result<Op<'a>> {
        let at = self.at;
        let bytes = self.take(length)?;
        // Lone surrogates (`surrogatepass`) are not UTF-8; no name of a tensor has them.
        let s = std::str::from_utf8(bytes).map_err(|_| error(at, "a string that is not UTF-8"))?;
        Ok(Op::Push(Value::Str(s.into())))
    }

    fn byte_string(&mut self, length: usize) -> Result<Op<'a>> {
        Ok(Op::Push(Value::Str(text::text(self.take(length)?).into())))
    }

    fn blob(&mut self, length: usize) -> Result<Op<'a>> {
        Ok(Op::Push(Value::Bytes(self.take(length)?.into())))
    }

    /// The next instruction.
    pub(super) fn next(&mut self) -> Result<Op<'a>> {
        let at = self.at;
        let malformed = |what: &str| error(at, format!("malformed {what}"));
        Ok(match self.u8()? as u8 {
            0x80 => match self.u8()? {
                0..=5 => Op::Nothing,
                n => return Err(error(at, format!("pickle protocol {n}; 0 to 5 are known"))),
            },
            0x95 => {
                self.take(8)?;
                Op::Nothing
            }
            b'.' => Op::Stop,
            b'N' => Op::Push(Value::None),
            0x88 => Op::Push(Value::Bool(true)),
            0x89 => Op::Push(Value::Bool(false)),
            b'I' | b'L' => {
                Op::Push(text::integer(self.line()?).ok_or_else(|| malformed("integer"))?)
            }
            b'J' => Op::Push(Value::Int(i32::from_le_bytes(self.array()?).into())),
            b'K' => Op::Push(Value::Int(self.u8()? as i64)),
            b'M' => Op::Push(Value::Int(u16::from_le_bytes(self.array()?).into())),
            0x8a => {
                let n = self.u8()?;
                Op::Push(text::long(self.take(n)?))
            }
            0x8b => {
                let n = self.length(4)?;
                Op::Push(text::long(self.take(n)?))
            }
            b'F' => {
                let line = std::str::from_utf8(self.line()?).ok();
                let value = line.and_then(|s| s.trim().parse().ok());
                Op::Push(Value::Float(value.ok_or_else(|| malformed("float"))?))
            }
            b'G' => Op::Push(Value::Float(f64::from_be_bytes(self.array()?))),
            b'S' => {
                let s = text::unquote(self.line()?).ok_or_else(|| malformed("string"))?;
                Op::Push(Value::Str(s.into()))
            }
            b'V' => {
                let s = text::unescape(self.line()?).ok_or_else(|| malformed("string"))?;
                Op::Push(Value::Str(s.into()))
            }
            b'T' => {
                let n = self.length(4)?;
                self.byte_string(n)?
            }
            b'U' => {
                let n = self.u8()?;
                self.byte_string(n)?
            }
            b'X' => {
                let n = self.length(4)?;
                self.str(n)?
            }
            0x8c => {
                let n = self.u8()?;
                self.str(n)?
            }
            0x8d => {
                let n = self.length(8)?;
                self.str(n)?
            }
            b'B' => {
                let n = self.length(4)?;
                self.blob(n)?
            }
            b'C' => {
                let n = self.u8()?;
                self.blob(n)?
            }
            0x8e | 0x96 => {
                let n = self.length(8)?;
                self.blob(n)?
            }
            b'(' => Op::Mark,
            b'0' => Op::Pop,
            b'1' => Op::PopMark,
            b'2' => Op::Dup,
            b']' => Op::List,
            b'a' => Op::Append,
            b'e' => Op::Appends,
            b'l' => Op::MarkedList,
            b't' => Op::MarkedTuple,
            b'd' => Op::MarkedDict,
            b')' => Op::Tuple(0),
            0x85 => Op::Tuple(1),
            0x86 => Op::Tuple(2),
            0x87 => Op::Tuple(3),
            b'}' => Op::Dict,
            b's' => Op::SetItem,
            b'u' => Op::SetItems,
            0x8f => Op::Set,
            0x90 => Op::AddItems,
            0x91 => Op::MarkedFrozenSet,
            b'c' => Op::Global(self.line()?, self.line()?),
            0x93 => Op::StackGlobal,
            b'R' => Op::Reduce,
            0x81 => Op::NewObject { keywords: false },
            0x92 => Op::NewObject { keywords: true },
            b'i' => Op::Instance(Some((self.line()?, self.line()?))),
            b'o' => Op::Instance(None),
            b'b' => Op::Build,
            b'Q' => Op::PersistentId,
            b'g' => Op::Get(self.index()?),
            b'h' => Op::Get(self.u8()? as u32),
            b'j' => Op::Get(self.u32()?),
            b'p' => Op::Put(self.index()?),
            b'q' => Op::Put(self.u8()? as u32),
            b'r' => Op::Put(self.u32()?),
            0x94 => Op::Memoize,
            0x82..=0x84 => {
                return Err(error(at, "a name from Python's extension registry; refused"));
            }
            0x97 | 0x98 => return Err(error(at, "an out-of-band buffer; not supported")),
            b'P' => return Err(error(at, "a persistent id in text form; PyTorch writes none")),
            other => return Err(error(at, format!("unknown instruction 0x{other:02x}"))),
        })
    }
}
