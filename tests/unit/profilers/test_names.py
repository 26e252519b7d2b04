"""Kernels' names shortened, and recognised again in another tool's spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.profilers.joining import joined
from espdeploy.profilers.names import LONGEST_SHORT, short, short_names, spelled, telling

GELU = (
    "void at::native::vectorized_elementwise_kernel<(int)4, at::native::GeluCUDAKernelImpl(at::TensorIteratorBase &, "
    "at::native::GeluType)::[lambda() (instance 2)]::operator ()() const::[lambda(float) (instance 1)], "
    "at::detail::Array<char *, (int)2>>(int, T2, T3)"
)
GELU_OF_NCU = GELU.replace("at::native::", "at::").replace("(int)", "").replace("at::detail", "detail")
SHORT = {
    GELU: "vectorized_elementwise_kernel<GeluCUDAKernelImpl>",
    "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x64_16x6_nn_align4>(T1::Params)": (
        "cutlass_80_tensorop_s1688gemm_128x64_16x6_nn_align4"
    ),
    "std::enable_if<!T7, void>::type internal::gemvx::kernel<int, float, (bool)0>(T13)": "gemvx::kernel",
    "void at::native::(anonymous namespace)::softmax_warp_forward<float, float, 8, false>(float*, float const*)": (
        "softmax_warp_forward"
    ),
    "void kernelPointwiseApply2<ThresholdUpdateOutput<float>, float, float, unsigned int, 1, 1>(TensorInfo<float>)": (
        "kernelPointwiseApply2<ThresholdUpdateOutput>"
    ),
    "copySharedMem(float *, const float *)": "copySharedMem",
    "bool Less::operator<(Less const&)": "operator<",
    "void run<A::operator()(int) const::{lambda(float)#1}>(int)": "run",
    "_ZN5caffe17im2col_gpu_kernelIfEEviPKT_": "im2col_gpu_kernel",
    "_ZN2at6native12_GLOBAL__N_110fill_thingEv": "fill_thing",
    "_Zzz": "_Zzz",
    "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x128x32_stage4_warpsize2x2x1_g1"
    "_tensor16x8x16_t1r3s3_execute_kernel_trt": (
        "sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize128x128x32_t1r3s3"
    ),
    "__myl_MulSum_0xf51780477f7b66bae3896079c053d676": "__myl_MulSum",
    "trt_volta_h884cudnn_256x64_ldg8_relu_exp_small_nhwc_tn_v1": (
        "trt_volta_h884cudnn_256x64_ldg8_relu_exp_small_nhwc_tn_v1"
    ),
    "push_mod_gpu_pushe_kernel_gpu_": "push_mod_gpu_pushe_kernel_gpu_",
}


@pytest.mark.parametrize(("name", "expected"), SHORT.items())
def test_names_are_short_and_still_tell(name: str, expected: str) -> None:
    assert short(name) == expected


def test_a_mangled_name_tells_what_a_wrapper_runs() -> None:
    mangled = (
        "_ZN2at6native29vectorized_elementwise_kernelILi4ENS0_11FillFunctorIfEENS_6detail5ArrayIPcLi1EEEEEviT0_T1_"
    )
    assert telling(mangled) == "at::native::vectorized_elementwise_kernel<FillFunctor>"


def test_no_two_kernels_get_one_short_name() -> None:
    copy = (
        "void at::elementwise_kernel<128, 2, void at::gpu_kernel_impl<at::direct_copy_kernel_cuda(int)::[lambda({t})]>>"
    )
    names = [
        "void pool<(int)2>(int)",
        "void pool<(int)3>(int)",
        "pool(int)",
        copy.format(t="float"),
        copy.format(t="int"),
    ]
    shorts = short_names(names)
    assert len(set(shorts.values())) == len(names)
    assert shorts["void pool<(int)2>(int)"] == "pool<2>"
    assert short_names(names) == shorts


@given(st.text(max_size=400) | st.text("<>()[]{}:, _operator-=a1…", max_size=400))
def test_any_text_has_a_short_name(text: str) -> None:
    name = short(text)
    assert len(name) <= LONGEST_SHORT
    assert "\n" not in name
    assert short(text) == name
    assert list(short_names([text])) == [text]


def test_gigantic_names_take_no_gigantic_time() -> None:
    for piece in ("a<", "(", "[lambda(", "_ZN1a", "int =", "a ", "operator"):
        assert len(short(piece * 1_000_000)) <= LONGEST_SHORT
        assert len(spelled(piece * 1_000_000)) < 10_000


@pytest.mark.parametrize(
    ("nvprof", "nsys", "ncu"),
    [
        (
            "void pool<int=2, bool=1, nvinfer1::Mode>(float const *, __half*)",
            "void pool<(int)2, (bool)1, nvinfer1::Mode>(const float *, __half *)",
            "void pool<2, 1, nvinfer1::Mode>(const float *, __half *)",
        ),
        (GELU.replace("(int)", "int="), GELU, GELU_OF_NCU),
        (
            "void f<unsigned int=7, unsigned long=131072>(float*)",
            "void f<(unsigned int)7, (unsigned long)131072>(float *)",
            "void f<7, 131072>(float *)",
        ),
        ("add(int, float*)", "add(int, float *)", "add"),
    ],
)
def test_each_tools_spelling_is_one_kernel(nvprof: str, nsys: str, ncu: str) -> None:
    others = ["void pool<(int)9>(int)", "unrelated_kernel(float *)"]
    for one in (nvprof, nsys, ncu):
        for other in (nvprof, nsys, ncu):
            assert joined([*others, one], [other]) == {other: one}


def test_what_differs_in_more_than_spelling_stays_apart() -> None:
    assert joined(["void f<(int)2>(int)"], ["void f<3>(int)"]) == {}
    # two overloads and a tool that tells the function alone: it may be either
    assert joined(["void f<(int)2>(int)", "void f<(int)3>(int)"], ["f"]) == {}
    assert joined(["f(int)", "f(float)"], ["f(float)", "f(int)"]) == {"f(int)": "f(int)", "f(float)": "f(float)"}


def test_a_name_that_a_table_cut_is_the_only_one_that_begins_so() -> None:
    whole = [
        GELU_OF_NCU,
        "void at::vectorized_elementwise_kernel<4, at::FillFunctor<float>, detail::Array<char *, 1>>(int)",
    ]
    cut = [GELU[:100] + "…", "void at::native::vectorized_elementwise_kernel<(int)4, at::native::FillFunctor<floa…"]
    assert joined(whole, cut) == dict(zip(cut, whole, strict=True))
    assert joined(cut, whole) == dict(zip(whole, cut, strict=True))
    assert joined(whole, ["void at::native::vectorized_elementwise_kernel<(int)4, at::nat…"]) == {}
