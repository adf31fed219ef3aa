//! Files that are refused, and why: small models built message by message.

use prost::Message;

use super::from_bytes;
use super::proto::*;

/// A model under construction: an image input `x` `[1, 4, 8, 8]`, nodes, and the results `y...`.
struct Model(ModelProto);

fn value(name: &str, dims: &[Option<i64>]) -> ValueInfoProto {
    let dim = |d: &Option<i64>| DimensionProto { dim_value: *d, dim_param: None };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { tensor_type: Some(TensorTypeProto { elem_type: 1, shape }) }),
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        i: ints.first().copied(),
        ints: ints.to_vec(),
        ..Default::default()
    }
}

fn string(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: Some(s.into()), ..Default::default() }
}

impl Model {
    fn new() -> Self {
        let graph = GraphProto {
            input: vec![value("x", &[Some(1), Some(4), Some(8), Some(8)])],
            output: vec![value("y", &[])],
            ..Default::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        Self(ModelProto { graph: Some(graph), opset_import, ..Default::default() })
    }

    fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }

    fn input(mut self, dims: &[Option<i64>]) -> Self {
        self.graph().input = vec![value("x", dims)];
        self
    }

    fn opset(mut self, version: i64) -> Self {
        self.0.opset_import[0].version = version;
        self
    }

    fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> Self {
        let node = NodeProto {
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: outputs.iter().map(|s| s.to_string()).collect(),
            name: format!("the_{}", op.to_lowercase()),
            op_type: op.into(),
            attribute,
            ..Default::default()
        };
        self.graph().node.push(node);
        self
    }

    fn floats(mut self, name: &str, dims: &[i64], v: f32) -> Self {
        let n = dims.iter().product::<i64>() as usize;
        self.graph().initializer.push(TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: 1,
            float_data: vec![v; n],
            ..Default::default()
        });
        self
    }

    fn integers(mut self, name: &str, values: &[i64]) -> Self {
        self.graph().initializer.push(TensorProto {
            name: name.into(),
            dims: vec![values.len() as i64],
            data_type: 7,
            int64_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    fn refused(&self) -> String {
        match from_bytes(&self.bytes(), None) {
            Ok(graph) => panic!("accepted: {:?}", graph.nodes()),
            Err(e) => e.to_string(),
        }
    }

    fn shape(&self, input: Option<[usize; 3]>) -> Vec<usize> {
        let graph = from_bytes(&self.bytes(), input).unwrap_or_else(|e| panic!("{e}"));
        graph.shape(graph.outputs[0].value).to_vec()
    }
}

/// Every part must occur in a message.
fn assert_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let whole = Model::new().node("Relu", &["x"], &["y"], vec![]).bytes();
    assert!(from_bytes(&whole, None).is_ok());
    for cut in 0..whole.len() {
        assert!(from_bytes(&whole[..cut], None).is_err(), "cut at {cut}");
    }
    for garbage in [&b"not a model"[..], b"PK\x03\x04", &[0xff; 64], &[0; 64], b"\x80\x02}q\x00."] {
        let message = from_bytes(garbage, None).unwrap_err().to_string();
        assert_names(&message, &["expected", ".onnx"]);
    }
}

#[test]
fn operator_sets_outside_the_range_are_refused() {
    for version in [10, 23, 0, -1, i64::MAX] {
        let message = Model::new().opset(version).node("Relu", &["x"], &["y"], vec![]).refused();
        assert_names(&message, &[&format!("operator set {version}"), "expected 11 to 22"]);
    }
}

#[test]
fn unsupported_operators_are_named() {
    for (op, expected) in [
        ("Einsum", "is not supported"),
        ("If", "without control flow"),
        ("Loop", "without control flow"),
        ("SequenceAt", "no sequences"),
        ("OptionalGetElement", "no sequences"),
        ("QLinearConv", "QDQ"),
        ("NonMaxSuppression", "without post-processing"),
        ("LayerNormalization", "batch normalization"),
        ("Upsample", "Resize"),
    ] {
        let message = Model::new().node(op, &["x"], &["y"], vec![]).refused();
        assert_names(&message, &[&format!("'the_{}'", op.to_lowercase()), op, expected]);
    }
    // What no result needs is not looked at.
    let idle =
        Model::new().node("Einsum", &["x"], &["z"], vec![]).node("Relu", &["x"], &["y"], vec![]);
    assert_eq!(idle.shape(None), [1, 4, 8, 8]);
}

#[test]
fn other_domains_and_local_functions_are_named() {
    let mut model = Model::new().node("FusedConv", &["x"], &["y"], vec![]);
    model.graph().node[0].domain = "com.microsoft".into();
    assert_names(&model.refused(), &["'the_fusedconv'", "com.microsoft", "ONNX itself"]);
    model.0.functions =
        vec![FunctionProto { name: "FusedConv".into(), domain: "com.microsoft".into() }];
    assert_names(&model.refused(), &["'the_fusedconv'", "function", "inliner"]);
}

#[test]
fn sub_graphs_and_sparse_weights_are_named() {
    let body = AttributeProto { name: "body".into(), g: Some(vec![1, 2, 3]), ..Default::default() };
    assert_names(
        &Model::new().node("Relu", &["x"], &["y"], vec![body]).refused(),
        &["'the_relu'", "sub-graph"],
    );
    let mut model = Model::new().node("Relu", &["x"], &["y"], vec![]);
    let values = TensorProto { name: "thin.weight".into(), ..Default::default() };
    model.graph().sparse_initializer = vec![SparseTensorProto { values: Some(values) }];
    assert_names(&model.refused(), &["'thin.weight'", "sparse"]);
}

#[test]
fn open_sizes_need_the_callers() {
    let model =
        Model::new().input(&[None, Some(4), None, None]).node("Relu", &["x"], &["y"], vec![]);
    assert_names(&model.refused(), &["'x'", "[?, 4, ?, ?]", "--input"]);
    assert_eq!(model.shape(Some([4, 6, 10])), [1, 4, 6, 10]);
    let open_batch =
        Model::new().input(&[None, Some(4), Some(8), Some(8)]).node("Relu", &["x"], &["y"], vec![]);
    assert_eq!(open_batch.shape(None), [1, 4, 8, 8]);
}

#[test]
fn a_fixed_batch_becomes_one_or_is_refused() {
    let batch = |target: &[i64]| {
        let model = Model::new().input(&[Some(2), Some(4), Some(8), Some(8)]);
        model.integers("shape", target).node("Reshape", &["x", "shape"], &["y"], vec![])
    };
    assert_eq!(batch(&[2, 4, 64]).shape(None), [1, 4, 64]);
    assert_eq!(batch(&[2, -1]).shape(None), [1, 256]);
    assert_names(&batch(&[8, 64]).refused(), &["'the_reshape'", "[1, 4, 8, 8]", "batch of 2"]);
}

#[test]
fn training_forms_are_refused() {
    let norm = |attributes, outputs: &[&str]| {
        let mut model = Model::new().opset(14);
        for name in ["g", "b", "m", "v"] {
            model = model.floats(name, &[4], 1.0);
        }
        model.node("BatchNormalization", &["x", "g", "b", "m", "v"], outputs, attributes)
    };
    assert_eq!(norm(vec![], &["y"]).shape(None), [1, 4, 8, 8]);
    assert_names(
        &norm(vec![ints("training_mode", &[1])], &["y"]).refused(),
        &["'the_batchnormalization'", "eval()"],
    );
    assert_names(&norm(vec![], &["y", "mean", "var"]).opset(13).refused(), &["eval()"]);
    let mut dropout = Model::new().floats("ratio", &[], 0.5).node(
        "Dropout",
        &["x", "ratio", "t"],
        &["y"],
        vec![],
    );
    let training =
        TensorProto { name: "t".into(), data_type: 9, int32_data: vec![1], ..Default::default() };
    dropout.graph().initializer.push(training);
    assert_names(&dropout.refused(), &["'the_dropout'", "eval()"]);
}

#[test]
fn weights_must_be_constant_finite_and_fitting() {
    let conv = |dims: &[i64], v, attributes| {
        Model::new().floats("w", dims, v).node("Conv", &["x", "w"], &["y"], attributes)
    };
    assert_eq!(conv(&[2, 4, 3, 3], 0.1, vec![]).shape(None), [1, 2, 6, 6]);
    assert_names(
        &conv(&[2, 3, 3, 3], 0.1, vec![]).refused(),
        &["'the_conv'", "[2, 3, 3, 3]", "4 channels"],
    );
    assert_names(&conv(&[2, 4, 3], 0.1, vec![]).refused(), &["'the_conv'", "two-dimensional"]);
    assert_names(&conv(&[2, 4, 9, 9], 0.1, vec![]).refused(), &["'the_conv'", "does not fit"]);
    assert_names(
        &conv(&[2, 4, 3, 3], f32::NAN, vec![]).refused(),
        &["'the_conv'", "'w'", "not finite"],
    );
    assert_names(&conv(&[2, 4, 3, 3], 0.1, vec![ints("group", &[-1])]).refused(), &["group = -1"]);
    assert_names(&conv(&[2, 4, 3, 3], 0.1, vec![ints("strides", &[0, 0])]).refused(), &["strides"]);
    assert_names(
        &conv(&[2, 4, 3, 3], 0.1, vec![string("auto_pad", "MAYBE")]).refused(),
        &["auto_pad = MAYBE"],
    );
    let computed = Model::new().node("Relu", &["x"], &["r"], vec![]).node(
        "MatMul",
        &["x", "r"],
        &["y"],
        vec![],
    );
    assert_names(&computed.refused(), &["'the_matmul'", "constant", "two activations"]);
}

#[test]
fn only_nearest_resizing_is_taken() {
    let resize = |mode: &str, coordinates: &str| {
        let mut model = Model::new().node(
            "Resize",
            &["x", "", "s"],
            &["y"],
            vec![
                string("mode", mode),
                string("coordinate_transformation_mode", coordinates),
                string("nearest_mode", "floor"),
            ],
        );
        model.graph().initializer.push(TensorProto {
            name: "s".into(),
            dims: vec![4],
            data_type: 1,
            float_data: vec![1.0, 1.0, 2.0, 2.0],
            ..Default::default()
        });
        model
    };
    assert_eq!(resize("nearest", "asymmetric").shape(None), [1, 4, 16, 16]);
    assert_names(
        &resize("linear", "half_pixel").refused(),
        &["'the_resize'", "'linear'", "'nearest'"],
    );
    assert_names(
        &resize("nearest", "align_corners").refused(),
        &["'the_resize'", "'align_corners'", "asymmetric"],
    );
}

#[test]
fn external_data_is_refused_by_name() {
    let mut model =
        Model::new().floats("w", &[2, 4, 3, 3], 0.1).node("Conv", &["x", "w"], &["y"], vec![]);
    let tensor = &mut model.graph().initializer[0];
    tensor.float_data.clear();
    tensor.data_location = 1;
    tensor.external_data =
        vec![StringStringEntryProto { key: "location".into(), value: "../secret".into() }];
    assert_names(&model.refused(), &["'w'", "'../secret'", "external_data=False"]);
}

#[test]
fn names_must_be_made_once_and_before_they_are_read() {
    let cycle =
        Model::new().node("Add", &["x", "b"], &["a"], vec![]).node("Relu", &["a"], &["b"], vec![]);
    let mut cycle = cycle.node("Relu", &["b"], &["y"], vec![]);
    assert_names(&cycle.refused(), &["'b'", "execution order"]);
    cycle.graph().node[1].output = vec!["a".into()];
    assert_names(&cycle.refused(), &["'a'", "two nodes"]);
    let missing = Model::new().node("Add", &["x", "nowhere"], &["y"], vec![]);
    assert_names(&missing.refused(), &["'nowhere'", "read before"]);
    assert_names(&Model::new().refused(), &["no input"]);
    let twice = Model::new().floats("w", &[1], 0.0).floats("w", &[1], 0.0).node(
        "Relu",
        &["x"],
        &["y"],
        vec![],
    );
    assert_names(&twice.refused(), &["'w'", "stored twice"]);
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let add = Model::new().floats("c", &[5], 0.0).node("Add", &["x", "c"], &["y"], vec![]);
    assert_names(&add.refused(), &["'the_add'", "[1, 4, 8, 8]", "[5]"]);
    let grow =
        Model::new().floats("c", &[4, 1, 1, 1], 0.0).node("Add", &["x", "c"], &["y"], vec![]);
    assert_names(&grow.refused(), &["'the_add'", "stretches"]);
    let huge = Model::new().integers("p", &[0, 0, 0, 0, 0, 0, 65_536, 65_536]);
    assert_names(&huge.node("Pad", &["x", "p"], &["y"], vec![]).refused(), &["'the_pad'", "65544"]);
    let backwards = Model::new().integers("m", &[-1]).integers("e", &[-9]).integers("a", &[3]);
    let backwards = backwards.node("Slice", &["x", "m", "e", "a", "m"], &["y"], vec![]);
    assert_names(&backwards.refused(), &["'the_slice'", "backwards"]);
}

#[test]
fn constant_results_are_kept() {
    let mut model = Model::new().node("Relu", &["x"], &["y"], vec![]).floats("k", &[2], 3.0);
    model.graph().output.push(value("k", &[]));
    let graph = from_bytes(&model.bytes(), None).unwrap();
    let names: Vec<_> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["y", "k"]);
    assert_eq!(graph.shape(graph.outputs[1].value), [2]);
}

#[test]
fn parameters_are_counted_once_a_name() {
    let model = Model::new().floats("w", &[4, 4, 1, 1], 0.1).floats("b", &[4], 0.1);
    let model = model.node("Conv", &["x", "w", "b"], &["a"], vec![]).node(
        "Conv",
        &["a", "w"],
        &["y"],
        vec![],
    );
    let graph = from_bytes(&model.bytes(), None).unwrap();
    assert_eq!(graph.parameters, 20);
    // Two nodes of one name stay apart.
    let names: Vec<_> = graph.nodes().iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["the_conv", "the_conv#2"]);
}
