//! The machine against what PyTorch writes, what other picklers write, and what an attacker would.

use super::*;
use crate::import::testing::{Pickler, View, one_tensor};

fn ok(bytes: &[u8]) -> Pickle {
    read(bytes, Globals::Refuse).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    read(bytes, Globals::Refuse).unwrap_err().to_string()
}

fn refused_with(bytes: &[u8], limits: Limits) -> String {
    read_with(bytes, Globals::Refuse, limits).unwrap_err().to_string()
}

#[test]
fn constants_of_every_protocol_are_read() {
    for (bytes, kind) in [
        (&b"I42\n."[..], "an integer"),
        (b"L42L\n.", "an integer"),
        (b"K\x2a.", "an integer"),
        (b"\x80\x02M\x2a\x00.", "an integer"),
        (b"J\x2a\x00\x00\x00.", "an integer"),
        (b"\x8b\x01\x00\x00\x00\x2a.", "an integer"),
        (b"F1.5\n.", "a float"),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "a float"),
        (b"S'abc'\n.", "a string"),
        (b"Vabc\n.", "a string"),
        (b"U\x03abc.", "a string"),
        (b"T\x03\x00\x00\x00abc.", "a string"),
        (b"\x8c\x03abc.", "a string"),
        (b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00abc.", "a string"),
        (b"C\x03abc.", "bytes"),
        (b"B\x03\x00\x00\x00abc.", "bytes"),
        (b"\x8e\x03\x00\x00\x00\x00\x00\x00\x00abc.", "bytes"),
        (b"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00N.", "None"),
        (b"\x88.", "a boolean"),
        (b"I01\n.", "a boolean"),
    ] {
        let pickle = ok(bytes);
        assert_eq!(pickle.values.kind(pickle.root), kind, "{bytes:?}");
        assert_eq!(pickle.length, bytes.len());
        match pickle.values.get(pickle.root) {
            Value::Int(n) => assert_eq!(*n, 42),
            Value::Float(x) => assert_eq!(*x, 1.5),
            Value::Str(s) => assert_eq!(&**s, "abc"),
            Value::Bytes(b) => assert_eq!(&**b, b"abc"),
            _ => {}
        }
    }
}

#[test]
fn containers_of_every_protocol_are_read() {
    for bytes in [
        &b"(lp0\nI1\naI2\na."[..],
        b"(I1\nI2\nl.",
        b"](K\x01K\x02e.",
        b"]K\x01aK\x02a.",
        b"(K\x01K\x02t.",
        b"K\x01K\x02\x86.",
        b"K\x00(K\x01K\x02t.",
        b"(K\x01K\x021K\x01K\x02\x86.",
    ] {
        let pickle = ok(bytes);
        let items = pickle.values.sequence(pickle.root).unwrap();
        let items: Vec<_> = items.iter().map(|&id| pickle.values.int(id).unwrap()).collect();
        assert_eq!(items, [1, 2], "{bytes:?}");
    }
    for bytes in [&b"(dS'a'\nI1\ns."[..], b"(S'a'\nI1\nd.", b"}U\x01aK\x01s.", b"}(U\x01aK\x01u."] {
        let pickle = ok(bytes);
        let &[(key, value)] = pickle.values.items(pickle.root).unwrap() else {
            panic!("{bytes:?}")
        };
        assert_eq!((pickle.values.str(key), pickle.values.int(value)), (Some("a"), Some(1)));
    }
    for bytes in [&b"\x8f(K\x01\x90."[..], b"(K\x01\x91."] {
        let pickle = ok(bytes);
        assert!(matches!(pickle.values.get(pickle.root), Value::Set(ids) if ids.len() == 1));
    }
}

#[test]
fn memo_entries_come_back_and_cycles_are_harmless() {
    // a = []; a.append(a)
    let pickle = ok(b"]q\x00h\x00a.");
    assert_eq!(pickle.values.sequence(pickle.root), Some(&[pickle.root][..]));
    let pickle = ok(b"\x80\x04]\x94K\x07\x940h\x01.");
    assert_eq!(pickle.values.int(pickle.root), Some(7));
    assert!(refused(b"h\x05.").contains("never stored"));
}

#[test]
fn ordered_dicts_take_items_or_python_2_pairs() {
    let items =
        Pickler::new().global("collections", "OrderedDict").op(b")R").str("a").int(1).op(b"s");
    let pickle = ok(&items.stop());
    assert_eq!(pickle.values.items(pickle.root).unwrap().len(), 1);
    // OrderedDict([["a", 1]])
    let pairs = Pickler::new()
        .global("collections", "OrderedDict")
        .op(b"(](")
        .op(b"](")
        .str("a")
        .int(1)
        .op(b"eetR");
    let pickle = ok(&pairs.stop());
    let &[(key, value)] = pickle.values.items(pickle.root).unwrap() else { panic!("one item") };
    assert_eq!((pickle.values.str(key), pickle.values.int(value)), (Some("a"), Some(1)));
}

#[test]
fn numpy_scalars_and_namespaces_stay_records() {
    let scalar = Pickler::new()
        .global("numpy.core.multiarray", "scalar")
        .global("numpy", "dtype")
        .str("f8")
        .op(b"\x85R")
        .op(b"(K\x03U\x01<NNNtb")
        .global("_codecs", "encode")
        .str("\u{0}\u{1}")
        .str("latin1")
        .op(b"\x86R\x86R");
    let pickle = ok(&scalar.stop());
    assert_eq!(pickle.values.kind(pickle.root), "an object of numpy.core.multiarray.scalar");
    let namespace =
        Pickler::new().global("argparse", "Namespace").op(b")\x81}").str("lr").int(1).op(b"sb");
    let pickle = ok(&namespace.stop());
    let Value::Object(object) = pickle.values.get(pickle.root) else { panic!("an object") };
    assert_eq!(pickle.values.items(object.state.unwrap()).unwrap().len(), 1);
}

#[test]
fn unknown_globals_are_refused_by_name_however_they_are_written() {
    for (bytes, name) in [
        (&b"cos\nsystem\n(S'true'\ntR."[..], "os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval"),
        (b"(S'true'\niposix\nsystem\n.", "posix.system"),
        (b"(cos\nsystem\nS'true'\no.", "os.system"),
        (b"c__builtin__\nexec\n.", "__builtin__.exec"),
        (b"ctorch\nload\n.", "torch.load"),
        (b"csubprocess\nPopen\n)\x81.", "subprocess.Popen"),
        (b"cbuiltins\ngetattr\n.", "builtins.getattr"),
        (b"c torch._utils\n_rebuild_tensor_v2\n.", " torch._utils._rebuild_tensor_v2"),
    ] {
        let message = refused(bytes);
        assert!(message.contains(&format!("'{name}'")), "{message}");
    }
}

#[test]
fn nothing_but_known_names_can_be_called() {
    assert!(refused(b"S'os.system'\n)R.").contains("not a named function"));
    assert!(refused(&Pickler::new().global("torch", "Size").op(b"NR").stop()).contains("None"));
    assert!(
        refused(&Pickler::new().global("torch", "Size").op(b")R").stop()).contains("arguments")
    );
    let message = refused(&one_tensor_of("_rebuild_tensor_v2", b"N"));
    assert!(message.contains("a tensor over None"), "{message}");
}

/// `function(x, 0, (), ())`.
fn one_tensor_of(function: &str, x: &[u8]) -> Vec<u8> {
    Pickler::new().global("torch._utils", function).op(b"(").op(x).op(b"K\x00))tR").stop()
}

#[test]
fn tensors_parameters_and_typed_tensors_are_references() {
    let view = View { offset: 2, sizes: &[2, 3], strides: &[3, 1] };
    let tensor = || Pickler::new().tensor("HalfStorage", "7", 8, view);
    let bare = tensor().stop();
    let wrapped = |function: &str| {
        let inner = &tensor().0[2..];
        Pickler::new()
            .global("torch._utils", function)
            .op(b"(")
            .op(inner)
            .op(b"\x88")
            .global("collections", "OrderedDict")
            .op(b")R}tR")
            .stop()
    };
    for bytes in [bare, wrapped("_rebuild_parameter"), wrapped("_rebuild_parameter_with_state")] {
        let pickle = ok(&bytes);
        let Value::Tensor(tensor) = pickle.values.get(pickle.root) else { panic!("a tensor") };
        assert_eq!(
            (tensor.offset, &*tensor.sizes, &*tensor.strides),
            (2, &[2, 3][..], &[3, 1][..])
        );
        let Value::Storage(storage) = pickle.values.get(tensor.storage) else {
            panic!("a storage")
        };
        assert_eq!(storage.element, crate::import::StorageType::Half);
        assert_eq!((&*storage.key, storage.count, storage.view), ("7", 8, None));
    }
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let whole = one_tensor(6, View { offset: 0, sizes: &[2, 3], strides: &[3, 1] });
    assert!(read(&whole, Globals::Refuse).is_ok());
    for end in 0..whole.len() {
        let message = refused(&whole[..end]);
        assert!(message.contains("truncated"), "{end}: {message}");
    }
}

#[test]
fn announced_lengths_beyond_the_stream_allocate_nothing() {
    for bytes in [
        &b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc."[..],
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc.",
        b"X\xff\xff\xff\xffabc.",
        b"B\xff\xff\xff\x7fabc.",
        b"T\xff\xff\xff\xffabc.",
        b"\x8b\xff\xff\xff\xffabc.",
    ] {
        assert!(refused(bytes).contains("truncated"));
    }
}

#[test]
fn memo_bombs_are_refused() {
    // Ten lists, each holding the one before ten times.
    let mut bomb = Pickler::new().op(b"]q\x00");
    for i in 0..10u8 {
        bomb = bomb.op(b"](").op(&[b'h', i].repeat(10)).op(&[b'e', b'q', i + 1]);
    }
    let message = refused(&bomb.stop());
    assert!(message.contains("memo bomb"), "{message}");
}

#[test]
fn limits_hold() {
    let limits = Limits { values: 10, ..Limits::default() };
    assert!(refused_with(&b"N".repeat(20), limits).contains("more than 10 values"));
    let limits = Limits { stack: 10, ..Limits::default() };
    assert!(
        refused_with(&[b"N".repeat(5), b"2".repeat(20)].concat(), limits).contains("on the stack")
    );
    let limits = Limits { marks: 10, ..Limits::default() };
    assert!(refused_with(&b"(".repeat(20), limits).contains("open marks"));
    let limits = Limits { memo: 2, ..Limits::default() };
    assert!(refused_with(b"Nq\x00q\x01q\x02.", limits).contains("memo entries"));
    let limits = Limits { depth: 10, ..Limits::default() };
    let nested = [b"N".to_vec(), b"\x85".repeat(20)].concat();
    assert!(refused_with(&nested, limits).contains("nested more than 10"));
    let limits = Limits { bytes: 10, ..Limits::default() };
    assert!(refused_with(&b"N".repeat(20), limits).contains("truncated"));
}

#[test]
fn copied_pairs_count_as_values() {
    // One list of ten pairs, made into an OrderedDict over and over.
    let mut p = Pickler::new().op(b"K\x01K\x02\x86q\x01](").op(&b"h\x01".repeat(10)).op(b"eq\x00");
    for _ in 0..20 {
        p = p.global("collections", "OrderedDict").op(b"h\x00\x85R");
    }
    let bytes = p.stop();
    assert!(read(&bytes, Globals::Refuse).is_ok());
    let limits = Limits { values: 150, ..Limits::default() };
    assert!(refused_with(&bytes, limits).contains("more than 150 values"));
}

#[test]
fn deep_nesting_neither_overflows_the_stack_nor_is_accepted() {
    let nested = [b"N".to_vec(), b"\x85".repeat(1_000_000), b".".to_vec()].concat();
    assert!(refused(&nested).contains("nested more than"));
    // Filled from the outside in, which the depth count does not see: still nothing recurses.
    let mut p = Pickler::new();
    for i in 0..100_000u32 {
        p = p.op(b"]r").op(&i.to_le_bytes());
    }
    for i in 1..100_000u32 {
        p = p
            .op(b"0j")
            .op(&(100_000 - i - 1).to_le_bytes())
            .op(b"j")
            .op(&(100_000 - i).to_le_bytes());
        p = p.op(b"a");
    }
    drop(read(&p.stop(), Globals::Refuse));
}

#[test]
fn malformed_programs_are_errors() {
    for bytes in [
        &b"."[..],
        b"0.",
        b"a.",
        b"s.",
        b"u.",
        b"t.",
        b"R.",
        b"b.",
        b"Q.",
        b"2.",
        b"q\x00.",
        b"\x94.",
        b"}(Nu.",
        b"N(NNu.",
        b"NNa.",
        b"NNb.",
        b"(t(",
        b"(o.",
        b"\x80\x09N.",
        b"Iabc\n.",
        b"Fabc\n.",
        b"Sabc\n.",
        b"gabc\n.",
        b"X\x01\x00\x00\x00\xff.",
        b"\x93.",
        b"KK\x93.",
        b"\xff.",
        b"\x82\x01.",
        b"\x97.",
        b"P0\n.",
        b"(NNNQ.",
    ] {
        assert!(read(bytes, Globals::Refuse).is_err(), "{bytes:?}");
    }
}

#[test]
fn malformed_storages_are_errors() {
    let storage = |tag: &str, class: &str, count: i64| {
        Pickler::new()
            .op(b"(")
            .str(tag)
            .global("torch", class)
            .str("0")
            .str("cpu")
            .int(count)
            .op(b"tQ")
            .stop()
    };
    assert!(read(&storage("storage", "FloatStorage", 4), Globals::Refuse).is_ok());
    assert!(refused(&storage("storage", "FloatStorage", -4)).contains("count"));
    assert!(refused(&storage("storage", "float32", 4)).contains("torch.float32"));
    assert!(refused(&storage("blob", "FloatStorage", 4)).contains("tag"));
    assert!(refused(&storage("module", "FloatStorage", 4)).contains("state_dict"));
    assert!(refused(b"\x80\x02NQ.").contains("no parts"));
    let message = refused(&storage("storage", "QInt8Storage", 4));
    assert!(
        message.contains("torch.QInt8Storage") && message.contains("element type"),
        "{message}"
    );
}

#[test]
fn inert_mode_keeps_modules_as_records() {
    let module =
        Pickler::new().global("models.yolo", "Model").op(b")\x81}").str("stride").int(8).op(b"sb");
    let bytes = module.stop();
    assert!(refused(&bytes).contains("models.yolo.Model"));
    let pickle = read(&bytes, Globals::Inert).unwrap();
    let Value::Object(object) = pickle.values.get(pickle.root) else { panic!("an object") };
    assert_eq!(&*object.class, "models.yolo.Model");
    assert_eq!(pickle.values.items(object.state.unwrap()).unwrap().len(), 1);
    assert!(read(b"cos\nsystem\n.", Globals::Inert).is_err());
}
