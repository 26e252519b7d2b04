from __future__ import annotations

import onnx
import pytest
from onnx import parser

from espdeploy.errors import InternalError, UsageError
from espdeploy.passes import PASSES, apply, pipeline_for
from espdeploy.passes.base import Pass, PassResult


def model() -> onnx.ModelProto:
    return parser.parse_model(
        """<ir_version: 7, opset_import: ["" : 13]>
        g (float[4] input) => (float[4] output) { a = Identity(input) output = Relu(a) }"""
    )


def breaking(graph_model: onnx.ModelProto) -> PassResult:
    graph_model.graph.node[0].input[0] = "nowhere"
    return PassResult(model=graph_model, changes=1)


def raising(graph_model: onnx.ModelProto) -> PassResult:
    raise KeyError("a tensor that is not there")


BROKEN = PASSES | {
    "breaking": Pass(name="breaking", does="", run=breaking),
    "raising": Pass(name="raising", does="", run=raising),
}


@pytest.mark.parametrize("simplify", [True, False])
def test_every_requirement_of_a_pipeline_is_met_by_the_passes_before(simplify: bool) -> None:
    applied = apply(model(), pipeline_for(simplify=simplify))
    assert tuple(step.name for step in applied.steps) == pipeline_for(simplify=simplify)


def test_the_argument_stays_as_it_is() -> None:
    given = model()
    before = given.SerializeToString()
    applied = apply(given, ["remove-dead"])
    assert given.SerializeToString() == before
    assert [node.op_type for node in applied.model.graph.node] == ["Relu"]
    assert applied.changed_by == ("remove-dead",)


def test_without_simplification_no_node_comes_or_goes() -> None:
    applied = apply(model(), pipeline_for(simplify=False))
    assert [node.op_type for node in applied.model.graph.node] == ["Identity", "Relu"]


@pytest.mark.parametrize(
    ("name", "what"), [("breaking", "breaking left an invalid graph"), ("raising", "raising failed")]
)
def test_a_pass_that_breaks_is_named_with_those_before_it(name: str, what: str) -> None:
    with pytest.raises(InternalError, match=what) as caught:
        apply(model(), ["remove-dead", "name-nodes", name], passes=BROKEN)
    assert "(passes before it: remove-dead, name-nodes)" in caught.value.why


def test_verification_runs_after_each_change_and_names_the_pass() -> None:
    seen = []
    apply(model(), ["remove-dead", "remove-dead", "name-nodes"], verify=lambda m: seen.append(len(m.graph.node)))
    assert seen == [1, 1]  # the second removal changed nothing

    def differs(_: onnx.ModelProto) -> None:
        raise InternalError("relative error 0.5 (limit 0.0001)")

    with pytest.raises(InternalError, match="remove-dead changed what the network computes") as caught:
        apply(model(), ["flush-denormals", "remove-dead"], verify=differs)
    assert caught.value.why == "relative error 0.5 (limit 0.0001) (passes before it: flush-denormals)"


def test_a_requirement_that_nothing_gives_or_that_was_broken_since() -> None:
    with pytest.raises(InternalError, match="fold-batch-norm needs no-identities"):
        apply(model(), ["fold-batch-norm"])
    with pytest.raises(InternalError, match="infer-shapes needs names"):
        apply(model(), ["name-nodes", "remove-dead", "infer-shapes"])


def test_an_unknown_pass_names_the_near_one() -> None:
    with pytest.raises(UsageError, match='no graph pass "fold-batchnorm"') as caught:
        apply(model(), ["fold-batchnorm"])
    assert caught.value.do == 'did you mean "fold-batch-norm"?'
