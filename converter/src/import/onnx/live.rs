//! Which nodes the results depend on. Everything else in a file is ignored, supported or not.

use std::collections::{HashMap, HashSet};

use super::proto::GraphProto;
use crate::error::{Error, Result};

/// Live nodes and the names they read.
#[derive(Debug)]
pub(super) struct Live {
    /// Indices of nodes, ascending.
    pub nodes: Vec<usize>,
    /// Every name that a live node or the list of results reads.
    pub names: HashSet<String>,
}

/// Walks back from the results.
///
/// # Errors
/// A name that two nodes make.
pub(super) fn live(graph: &GraphProto) -> Result<Live> {
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if maker.insert(output, i).is_some() {
                return Err(Error::source(output, "is made by two nodes; expected each name once"));
            }
        }
    }
    let mut names: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    let mut open: Vec<&str> = names.iter().copied().collect();
    let mut nodes = HashSet::new();
    while let Some(name) = open.pop() {
        let Some(&i) = maker.get(name) else { continue };
        if nodes.insert(i) {
            let inputs = graph.node[i].input.iter().map(String::as_str).filter(|n| !n.is_empty());
            open.extend(inputs.filter(|&n| names.insert(n)));
        }
    }
    let mut nodes: Vec<usize> = nodes.into_iter().collect();
    nodes.sort_unstable();
    Ok(Live { nodes, names: names.into_iter().map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::super::proto::{NodeProto, ValueInfoProto};
    use super::*;

    fn node(input: &str, output: &str) -> NodeProto {
        NodeProto { input: vec![input.into()], output: vec![output.into()], ..Default::default() }
    }

    #[test]
    fn only_what_the_results_need_is_live() {
        let graph = GraphProto {
            node: vec![node("x", "a"), node("a", "unused"), node("a", "y")],
            output: vec![ValueInfoProto { name: "y".into(), ..Default::default() }],
            ..Default::default()
        };
        let live = live(&graph).unwrap();
        assert_eq!(live.nodes, [0, 2]);
        assert!(live.names.contains("x") && !live.names.contains("unused"));
    }

    #[test]
    fn a_name_is_made_once() {
        let graph = GraphProto { node: vec![node("x", "a"), node("x", "a")], ..Default::default() };
        assert!(live(&graph).unwrap_err().to_string().contains("made by two nodes"));
    }
}
