//! The zoo of reference networks: what is recognised survives the way through an edited arch file, with
//! PyTorch's parameter counts. The numbers are compared in `zoo_float.rs`.

use kenar_convert::arch::{self, ArchFile};
use kenar_convert::import::checkpoint;
use kenar_tests::zoo;

#[test]
fn every_model_gives_its_parameters_and_output_shapes_through_its_arch_file() {
    let Some(models) = zoo::models() else { return };
    assert!(models.len() >= 25);
    for model in models {
        let name = &model.name;
        let ckpt = checkpoint::read(&model.path("safetensors")).unwrap();
        let text = arch::recognise(&ckpt).unwrap_or_else(|e| panic!("{name}: {e}")).to_toml();
        let arch = ArchFile::from_toml(&text).unwrap();
        let graph =
            arch::build(&ckpt, &arch, Some(model.input)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(graph.parameters, model.parameters, "{name}");
        let reference = model.reference();
        assert_eq!(graph.outputs.len() + 1, reference.len(), "{name}");
        for output in &graph.outputs {
            let wanted = reference[&output.name].shape();
            assert_eq!(graph.shape(output.value)[1..], wanted[1..], "{name} {}", output.name);
        }
    }
}
