"""What limits a run: closed forms of the roofline, and each limit where its evidence is there and nowhere else."""

from __future__ import annotations

import pytest

from espdeploy.profilers.evidence import Counted, Evidence, KernelShare
from espdeploy.profilers.explain import explained
from espdeploy.profilers.layers import laid_on
from espdeploy.profilers.roofline import Peaks, Piece, at_clock, of_pieces
from espdeploy.profilers.trtexec.values import LayerProfile, LayerTime

#: 1000 GFLOPS and 100 GB/s meet at 10 operations per byte
PEAKS = Peaks(gflops=1000.0, dram_gb_s=100.0)


def test_below_the_ridge_memory_decides() -> None:
    # 10^8 multiply-adds over 10^8 bytes: 2 operations per byte, 1 ms of memory against 0.2 ms of arithmetic
    roof = of_pieces([Piece(name="a", macs=10**8, bytes=1e8)], PEAKS, 2.0)
    assert roof.intensity == 2.0
    assert roof.bound == "memory"
    assert roof.attainable_gflops == 200.0
    assert roof.achieved_gflops == pytest.approx(100.0)
    assert roof.floor_ms == pytest.approx(1.0)
    assert roof.reached_pct == pytest.approx(50.0)


def test_above_the_ridge_arithmetic_decides() -> None:
    roof = of_pieces([Piece(name="a", macs=10**9, bytes=1e7)], PEAKS, 4.0)
    assert roof.intensity == 200.0
    assert roof.bound == "compute"
    assert roof.attainable_gflops == 1000.0
    assert roof.floor_ms == pytest.approx(2.0)
    assert roof.reached_pct == pytest.approx(50.0)


def test_each_piece_has_its_own_limit() -> None:
    """On average the two would be compute-bound, and 2.1 ms be the floor; one after the other they need 3."""
    pieces = [Piece(name="a", macs=10**9, bytes=1e7), Piece(name="b", macs=5 * 10**7, bytes=1e8)]
    roof = of_pieces(pieces, PEAKS, None)
    assert roof.floor_ms == pytest.approx(3.0)
    assert roof.memory_floor_ms == pytest.approx(1.0)
    assert roof.achieved_gflops is None
    assert roof.reached_pct is None


def test_peaks_follow_the_clock() -> None:
    assert at_clock(1331.7, peak_mhz=1300.5, mhz=650.25) == pytest.approx(665.85)
    assert at_clock(1331.7, peak_mhz=None, mhz=650.25) == 1331.7
    assert at_clock(1331.7, peak_mhz=1300.5, mhz=None) == 1331.7


def _roof(time_ms: float) -> Evidence:
    pieces = [Piece(name="a", macs=10**9, bytes=1e7), Piece(name="b", macs=10**6, bytes=6e8)]  # 2 ms and 6 ms
    return Evidence(roofline=of_pieces(pieces, PEAKS, time_ms))


def test_nothing_is_said_without_evidence_and_that_is_said() -> None:
    told = explained(Evidence())
    assert told.limits == ()
    assert "nothing to judge" in told.sentences[0]
    assert len(told.notes) == 4
    assert all("not judged" in note for note in told.notes)


@pytest.mark.parametrize(("enqueue_ms", "codes"), [(9.0, ["launch_bound"]), (8.0, []), (12.0, ["launch_bound"])])
def test_launching_limits_above_four_fifths(enqueue_ms: float, codes: list[str]) -> None:
    told = explained(Evidence(compute_ms=10.0, enqueue_ms=enqueue_ms))
    assert [limit.code for limit in told.limits] == codes
    assert [limit.share_pct for limit in told.limits] == [min(100.0, 10 * enqueue_ms) for _ in codes]


def test_the_roofs_shares_are_of_the_measured_time() -> None:
    told = explained(_roof(10.0))
    assert {limit.code: limit.share_pct for limit in told.limits} == {"memory_bound": pytest.approx(60.0)}
    untimed = explained(Evidence(roofline=of_pieces([Piece(name="a", macs=1, bytes=1e8)], PEAKS, None)))
    assert "no less than 1 ms" in untimed.sentences[0]
    told = explained(_roof(100.0))
    assert {limit.code: limit.share_pct for limit in told.limits} == {"far_from_roof": pytest.approx(92.0)}
    waiting = Evidence(roofline=_roof(100.0).roofline, compute_ms=100.0, enqueue_ms=99.0)
    assert [limit.code for limit in explained(waiting).limits] == ["launch_bound"]  # which says why it is far


def test_layout_changes_and_quantizing_are_told_apart() -> None:
    layers = laid_on(
        LayerProfile(
            iterations=1,
            layers=tuple(
                LayerTime(name=name, mean_ms=ms, time_pct=None)
                for name, ms in (
                    ("Conv_1", 4.0),
                    ("Conv_2", 4.0),
                    ("Conv_3", 4.0),
                    ("Conv_4", 4.0),
                    ("Reformatting CopyNode for Input Tensor 0 to Conv_2", 2.5),
                    ("Conv_1 copy", 0.5),
                    ("QuantizeLinear_9", 1.0),
                )
            ),
        )
    )
    told = explained(Evidence(layers=layers))
    assert {limit.code: limit.share_pct for limit in told.limits} == {
        "layout_changes": pytest.approx(15.0),
        "quantize_overhead": pytest.approx(5.0),
    }


def test_counters_tell_what_a_kernel_could_gain_at_most() -> None:
    counters = {
        "warp_execution_efficiency": Counted(mean_pct=80.0, kernels=(("a", 50.0, 40.0), ("b", 100.0, 60.0))),
        "gld_efficiency": Counted(mean_pct=40.0, kernels=(("a", 25.0, 40.0), ("b", 50.0, 60.0))),
        "gst_efficiency": Counted(mean_pct=60.0, kernels=(("a", 60.0, 40.0), ("b", 60.0, 60.0))),
        "achieved_occupancy": Counted(mean_pct=20.0, kernels=(("b", 20.0, 60.0),)),
        "shared_efficiency": Counted(mean_pct=0.0, kernels=(("b", 0.0, 60.0),)),  # no such access
    }
    told = explained(Evidence(counters=counters))
    # half of 40 % of the time; three quarters of it; occupancy promises nothing, so it comes last
    assert [(limit.code, limit.share_pct) for limit in told.limits] == [
        ("uncoalesced_loads", pytest.approx(30.0)),
        ("divergence", pytest.approx(20.0)),
        ("low_occupancy", None),
    ]
    assert told.limits[1].evidence["kernel"] == "a"


def test_without_times_a_poor_kernel_is_told_and_its_share_is_not() -> None:
    counters = {"warp_execution_efficiency": Counted(mean_pct=50.0, kernels=(("a", 50.0, None),))}
    (limit,) = explained(Evidence(counters=counters)).limits
    assert limit.code == "divergence"
    assert limit.share_pct is None
    assert "50 %" in limit.text


def test_kernels_that_move_and_one_that_takes_all() -> None:
    kernels = (
        KernelShare(name="conv", category="convolution", kind="", time_pct=55.0),
        KernelShare(name="nchwToNhwc", category="memory", kind="layout", time_pct=25.0),
        KernelShare(name="CatArray", category="memory", kind="movement", time_pct=20.0),
    )
    told = explained(Evidence(kernels=kernels))
    assert [limit.code for limit in told.limits] == ["one_kernel", "layout_changes", "memory_movement"]


def test_every_limit_says_what_helps_and_idle_gaps_and_copies_are_limits() -> None:
    told = explained(Evidence(idle_pct=45.0, launches=120, compute_ms=3.0, enqueue_ms=0.1, copies_ms=2.0))
    assert [(limit.code, limit.share_pct) for limit in told.limits] == [("idle_gaps", 45.0), ("transfers", 40.0)]
    assert all(limit.do and limit.text.endswith(".") for limit in told.limits)


def test_kernels_of_hardly_any_time_limit_nothing() -> None:
    def poor(share_pct: float | None) -> Evidence:
        return Evidence(counters={"achieved_occupancy": Counted(mean_pct=90.0, kernels=(("a", 10.0, share_pct),))})

    assert not explained(poor(2.0)).limits
    assert [limit.code for limit in explained(poor(30.0)).limits] == ["low_occupancy"]
    assert [limit.code for limit in explained(poor(None)).limits] == ["low_occupancy"]


def test_what_to_do_about_one_kernel_does_not_ask_for_counters_that_are_there() -> None:
    kernels = tuple(KernelShare(name=n, category="gemm", kind="", time_pct=p) for n, p in (("a", 70.0), ("b", 30.0)))
    (without,) = explained(Evidence(kernels=kernels)).limits
    (having,) = explained(Evidence(kernels=kernels, counters={})).limits
    assert "espdeploy profile" in without.do
    assert "espdeploy parse --json" in having.do
