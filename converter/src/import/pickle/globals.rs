//! The names a pickle may use, and the message for those it may not.

use super::Globals;

/// What a name means to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Calling it makes an empty mapping, or one of the given pairs.
    OrderedDict,
    /// Calling it makes an empty mapping.
    DefaultDict,
    /// Calling it gives its argument.
    Size,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`: storage, offset, size, stride, ...
    RebuildTensor,
    /// `_rebuild_tensor_v3`: the same with an element type.
    RebuildTyped,
    /// `_rebuild_parameter` and its kin: the tensor comes first.
    RebuildParameter,
    /// `_rebuild_from_type_v2`: function, type, arguments, state.
    RebuildFromType,
    /// Kept as a record.
    Inert,
}

/// The meaning of `module.name`, or why it is refused.
pub(super) fn role(name: &str, globals: Globals) -> Result<Role, String> {
    if let Some(role) = known(name) {
        return Ok(role);
    }
    let root = name.split('.').next().unwrap_or_default();
    if SYSTEM.contains(&root) {
        return Err(format!(
            "the file asks for '{name}', which no weights need; refused, nothing was run"
        ));
    }
    if globals == Globals::Inert {
        return Ok(Role::Inert);
    }
    let (module, class) = name.rsplit_once('.').unwrap_or(("", name));
    let is_dtype =
        ["float8", "float4", "complex", "qint", "quint"].iter().any(|d| class.starts_with(d));
    if name.starts_with("torch.") && (class.ends_with("Storage") || is_dtype) {
        return Err(format!("'{name}': tensors of this element type are not supported"));
    }
    let is_class = class.starts_with(|c: char| c.is_ascii_uppercase());
    if is_class && (root != "torch" || module.starts_with("torch.nn")) {
        return Err(format!(
            "the file is a pickled module: it asks for the class '{name}', whose code is not here and would \
             have to be run; refused. Save the weights alone, torch.save(model.state_dict(), \"weights.pt\"), \
             or export the model to ONNX"
        ));
    }
    Err(format!(
        "the file asks for '{name}', which is not among the names that rebuild tensors; refused, nothing was \
         run. Save the weights alone, torch.save(model.state_dict(), \"weights.pt\")"
    ))
}

fn known(name: &str) -> Option<Role> {
    use crate::import::storage::StorageType;
    Some(match name {
        "collections.OrderedDict" => Role::OrderedDict,
        "collections.defaultdict" => Role::DefaultDict,
        "torch.Size" => Role::Size,
        "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2" => Role::RebuildTensor,
        "torch._utils._rebuild_tensor_v3" => Role::RebuildTyped,
        "torch._utils._rebuild_parameter"
        | "torch._utils._rebuild_parameter_with_state"
        | "torch.nn.parameter.Parameter" => Role::RebuildParameter,
        "torch._tensor._rebuild_from_type_v2" => Role::RebuildFromType,
        _ if INERT.contains(&name) => Role::Inert,
        _ if StorageType::from_class(name).is_some() => Role::Inert,
        _ if StorageType::from_dtype(name).is_some() => Role::Inert,
        _ => return None,
    })
}

/// Harmless company of weights: kept as records, never called.
const INERT: &[&str] = &[
    "_codecs.encode",
    "argparse.Namespace",
    "collections.Counter",
    "collections.deque",
    "copy_reg._reconstructor",
    "copyreg._reconstructor",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "torch.Tensor",
    "torch.device",
    "torch.serialization._get_layout",
    "torch.torch_version.TorchVersion",
    "types.SimpleNamespace",
    "builtins.bool",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.range",
    "builtins.set",
    "builtins.slice",
    "builtins.str",
    "builtins.tuple",
    "__builtin__.bool",
    "__builtin__.bytearray",
    "__builtin__.complex",
    "__builtin__.dict",
    "__builtin__.float",
    "__builtin__.frozenset",
    "__builtin__.int",
    "__builtin__.list",
    "__builtin__.long",
    "__builtin__.object",
    "__builtin__.set",
    "__builtin__.slice",
    "__builtin__.str",
    "__builtin__.tuple",
    "__builtin__.unicode",
];

/// Modules that reach the system or the interpreter: refused even where other names are kept as records.
const SYSTEM: &[&str] = &[
    "__builtin__",
    "_io",
    "_pickle",
    "_posixsubprocess",
    "_socket",
    "_thread",
    "asyncio",
    "bdb",
    "builtins",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "functools",
    "http",
    "imp",
    "importlib",
    "io",
    "marshal",
    "multiprocessing",
    "nt",
    "ntpath",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "platform",
    "posix",
    "posixpath",
    "profile",
    "pty",
    "pydoc",
    "requests",
    "runpy",
    "shutil",
    "signal",
    "site",
    "smtplib",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "timeit",
    "types",
    "urllib",
    "venv",
    "webbrowser",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rebuild_tensors_are_known() {
        assert_eq!(
            role("torch._utils._rebuild_tensor_v2", Globals::Refuse),
            Ok(Role::RebuildTensor)
        );
        assert_eq!(role("torch.FloatStorage", Globals::Refuse), Ok(Role::Inert));
        assert_eq!(role("torch.bfloat16", Globals::Refuse), Ok(Role::Inert));
        assert_eq!(role("numpy.core.multiarray.scalar", Globals::Refuse), Ok(Role::Inert));
    }

    #[test]
    fn every_other_name_is_refused_by_name() {
        for name in [
            "os.system",
            "posix.system",
            "nt.system",
            "builtins.eval",
            "builtins.exec",
            "builtins.getattr",
            "__builtin__.eval",
            "subprocess.Popen",
            "torch.load",
            "torch.hub.load",
            "torch.storage._load_from_bytes",
            "torch.jit.load",
            "numpy.load",
            "numpy.testing._private.utils.runstring",
            "types.CodeType",
            "importlib.import_module",
        ] {
            let message = role(name, Globals::Refuse).unwrap_err();
            assert!(message.contains(&format!("'{name}'")), "{message}");
            assert!(message.contains("refused"), "{message}");
        }
    }

    #[test]
    fn a_pickled_module_is_told_the_way_out() {
        for name in ["models.yolo.Model", "torch.nn.modules.conv.Conv2d", "__main__.Net"] {
            let message = role(name, Globals::Refuse).unwrap_err();
            assert!(message.contains("torch.save(model.state_dict()"), "{message}");
            assert!(message.contains("ONNX") && message.contains(name), "{message}");
        }
    }

    #[test]
    fn inert_keeps_classes_but_never_the_system() {
        assert_eq!(role("models.yolo.Model", Globals::Inert), Ok(Role::Inert));
        assert!(role("os.system", Globals::Inert).is_err());
        assert!(role("builtins.eval", Globals::Inert).is_err());
        assert_eq!(role("builtins.set", Globals::Inert), Ok(Role::Inert));
    }

    #[test]
    fn an_unsupported_element_type_says_so() {
        for name in ["torch.QInt8Storage", "torch.float8_e4m3fn", "torch.complex64"] {
            let message = role(name, Globals::Refuse).unwrap_err();
            assert!(message.contains("element type") && message.contains(name), "{message}");
        }
    }
}
