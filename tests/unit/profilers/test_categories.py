"""Kernels by what they do: names of the libraries' kernels, each as its library prints it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from espdeploy.pipeline.profiling.parse import parse_files
from espdeploy.profilers.categories import CATEGORIES, RULES, category, kind

#: for each category and kind, names of cuDNN, cuBLAS, CUTLASS, TensorRT 7 to 11, PyTorch, Triton, Caffe and Torch 7
NAMES = {
    "convolution implicit_gemm": """
        ampere_first_layer_filter3x3_imma_fwd_swish_execute_filter3x3_swish_kernel_trt
        xmma_cudnn::gemm::kernel<xmma_cudnn::implicit_gemm::fprop_indexed::Kernel_traits<xmma_cudnn::Ampere>>(int)
        void cudnn::detail::implicit_convolve_sgemm<float, float, 1024, 5, 5, 3, 3, 3, 1, true, false, true>(int, int)
        maxwell_scudnn_128x64_relu_interior_nn_v1
        turing_h1688cudnn_256x128_ldg8_relu_exp_small_nhwc2nchw_tn_v1
        maxwell_int8x4_icudnn_int8x4_128x32_relu_small_nn_v1
        cudnn_infer_ampere_scudnn_128x64_relu_xregs_large_nn_v1
        trt_volta_h884cudnn_256x64_ldg8_relu_exp_small_nhwc_tn_v1
        trt_turing_cutlass_image_network_first_layer_hmma_fprop_f16f16f32_nhwc_nhwc_k64r7s7c4_stride2x2
        sm80_xmma_fprop_implicit_gemm_i8i8_i8i32_f32_nhwckrsc_nhwc_tilesize128x64x64_stage4_t1r3s3_execute_kernel_trt
        sm80_xmma_dgrad_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize64x64x64
        void cutlass::Kernel<cutlass::conv::kernel::ImplicitGemmConvolution<cutlass::conv::A<int>>>(T1::Params)
        cudnn::gemm::computeOffsetsKernel(cudnn::gemm::ComputeOffsetsParams)
        void cutlass__5x_cudnn::Kernel<cutlass_tensorop_f16_s16816fprop_optimized_f16_256x64_32x4>(T1::Params)
        triton_tem_fused_convolution_4""",
    "convolution winograd": """
        void cudnn::winograd::generateWinogradTilesKernel<0, float, float>(cudnn::winograd::Params<float, float>)
        void cudnn::winograd_nonfused::winogradForwardData4x4<float, float>(cudnn::winograd_nonfused::Params<float>)
        volta_scudnn_winograd_128x128_ldg1_ldg4_relu_tile148t_nt_v1
        trt_maxwell_fp16x2_hcudnn_winograd_fp16x2_128x128_ldg1_ldg4_relu_tile148m_nt_v1""",
    "convolution depthwise": """
        sm50_xmma_fprop_conv2d_c1_k1_f32f32_f32_f32_nchwkcrs_nchw_tilesize10x40x8_threadsize4x4_r3s3_execute_kernel_trt
        void conv2d_grouped_direct_kernel<float, float, float, float, float, true, false, 0, 0, 0>(cudnnTensorStruct)
        void cuDepthwise::depthwiseConvHMMAPrefetchKernel<7, 32, 3, 3>(cuDepthwise::depthwiseConvParams)
        void at::native::(anonymous namespace)::conv_depthwise2d_forward_kernel<3, float, int>(int)
        void spatialDepthWiseConvolutionUpdateOutput<float, float, unsigned int, 3>(THCDeviceTensor<float>)""",
    "convolution fft": """
        void pointwise_mult_and_sum_complex<float2, 8, 4>(float2*, float2*, float2*, int)
        void fft2d_r2c_32x32<float, false, 1u, false>(float2*, float const*, int)
        void flip_filter<float, float>(float*, float const*, int, int, int, int)""",
    "convolution direct": """
        sm80_trt_conv_act_pool_v3_tile_rows_8_tile_cols_120_execute_kernel_trt
        fusedConvolutionReluKernel
        void cudnn::detail::dgrad_engine<float, 512, 6, 5, 3, 3, 3, false>(int)
        void cudnn::detail::explicit_convolve_sgemm<float, int, 128, 5, 5, 3, 3, 3, 0, true>(int)""",
    "gemm": """
        volta_sgemm_128x64_nn
        ampere_fp16_s16816gemm_fp16_128x128_ldg8_relu_f2f_stages_64x3_tn
        void gemv2T_kernel_val<int, int, float, float, float, 128, 16, 4, 4, false, cublasGemvParams<float>>(int)
        std::enable_if<!T7, void>::type internal::kernel<int, float, cublasGemvParamsEx<int, float>>(T13)
        void cublasLt::splitKreduce_kernel<32, 16, int, float>(cublasLt::cublasSplitKParams<T6>)
        nvjet_hsh_128x128_64x6_1x2_h_bz_TNT
        void cutlass::Kernel<cutlass_80_wmma_tensorop_s161616gemm_f16_32x32_64x2_tn_align8>(T1::Params)
        void cutlass::device_kernel<at::cuda::enable_3x_kernel_for_sm9x<cutlass::gemm::kernel::GemmUniversal<int>>>(P)
        void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cute::tuple<int, int, int>>>(T1::Params)
        sm90_xmma_gemm_f16f16_f16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1
        sm50_xmma_cublas_gemvx_f32f32_f32_f32_tn_n_int32_unit_n_launch_param8x32x32_strided_unit_stride
        __myl_FcAdd_myl0_3
        triton_tem_fused_addmm_2""",
    "gemm attention": """
        flash_fwd_kernel
        cudnn_generated_fort_native_sdpa_sm80_flash_fprop_wmma_f16_knob_32_64x64x64_4x1x1_kernel0_0
        fused_mha_kernel_fp16""",
    "elementwise": """
        void Eigen::internal::EigenMetaKernel<Eigen::TensorEvaluator<Eigen::TensorCwiseBinaryOp<int>>>(int)
        __myl_ResNegExpResAddDivMul
        void tensorflow::BiasNHWCKernel<float>(int)
        activate_array_leaky_kernel(float*, int)
        void mshadow::cuda::MapPlanKernel<mshadow::sv::saveto, 8>(int)
        generatedNativePointwise
        void op_generic_tensor_kernel<2, float, float, float, 256, (cudnnGenericOp_t)8>(cudnnTensorStruct)
        void cuEltwise::eltwise<cuEltwise::SimpleAlgo<float, float>, cuEltwise::Compute<0>>(cuEltwise::LaunchParams)
        void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl<at::native::AddFunctor<float>>>(int)
        void kernelPointwiseApply2<ThresholdUpdateOutput<float>, float, float, unsigned int, 1, 1>(TensorInfo<float>)
        void caffe::ReLUForward<float>(int, float const*, float*, float)
        void caffe::PReLUForward<float>(int, int, int, float const*, float*, float const*, int)
        void axpy_kernel_val<float, 0>(cublasAxpyParamsVal<float, float, float>)
        __myl_AddResh_myl3_1
        triton_poi_fused__native_batch_norm_legit_no_training_relu_1
        fused_unsqueeze_sub_add_div""",
    "memory layout": """
        __myl_bb0_3_ResTraCas_com_vec
        void transpose_readWrite_alignment_kernel<float2, float2, 1, false, 6, 4, 4>(cublasTransposeParams<float2>)
        void tensorflow::functor::SwapDimension0And2InTensor3Simple<float, bool=0>(int, float const *)
        void Eigen::internal::EigenMetaKernel<Eigen::TensorEvaluator<Eigen::TensorShufflingOp<int>>>(int)
        void cudnn::ops::nchwToNhwcKernel<float, float, float, false, true, (cudnnKernelDataType_t)2>(int)
        void genericReformat::copyVectorizedKernel<double, float, __half, true, true, 1>(unsigned int)
        void genericReformat::copyPackedKernel<float, float, true, genericReformat::IdentityCoordinateMapper<4>>(int)
        void cuInt8::nchwToNchhw2<float>(float const *, __half*, int)
        void CUTENSOR_NAMESPACE::permutationKernelPLC3<CUTENSOR_NAMESPACE::VectorWrite2DTensorView<2>>(int)
        transposeNoBankConflicts(float *, const float *)
        __myl_MoveSlicSlicSlicSlic_myl816_1
        triton_poi_fused_clone_7""",
    "memory im2col": """
        void im2col_kernel<float>(int, float const*, int, int, int, int, int)
        void caffe::im2col_gpu_kernel<float>(int)
        void at::native::im2col_kernel<float>(long, float const*, long)""",
    "memory movement": """
        void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(int)::{lambda()#2}, int>(int)
        void kernelPointwiseApply2<CopyOp<float, float>, float, float, unsigned int, -2, 1>(TensorInfo<float>)
        void CatArrayBatchedCopy<float, unsigned int, 4>(float*)
        void at::native::(anonymous namespace)::indexSelectLargeIndex<float, long, unsigned int, 2, 2, -2, true>(int)
        void caffe::Concat<float>(int)
        copySliceKernel""",
    "memory set": """
        void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>, at::Array<char*, 1>>(int)
        __pgi_dev_cumemset_16n""",
    "reduction": """
        void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float>, int>>(int)
        void kernelReduceAll<float, ReduceAdd<float>>(int)
        void cub::DeviceReduceKernel<cub::DeviceReducePolicy<float>>(int)
        void dot_kernel<float, 128, 0, cublasDotParams<cublasGemvTensor<float const>>>(int)
        __myl_AddMaxrSubExpSum_myl4_2
        triton_red_fused_mean_12""",
    "reduction softmax": """
        void cudnn::detail::softmax_fw_kernel<2, float, float, 256, 1, 0, 0>(int)
        void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float, float, float>(float*)""",
    "normalisation": """
        __myl_bb0_8_ResTraCasAddMeaSubMulMeaAddSqrDivMulMulAddRes_com_vec
        normalize_kernel(int, float*, float*, float*, int, int, int)
        void cudnn::bn_fw_inf_1C11_kernel_NCHW<float, float, true, 1>(float, float, cudnnTensorStruct)
        void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float>(int, float, float const*)
        void BatchNormalizationUpdateOutputInference_kernel<float, float, THCDeviceTensor<float, 3>>(int)
        void caffe::LRNFillScale<float>(int)
        __myl_MoveMeanSubMulMeanAddSqrtDivMulMulAdd_myl98_0
        triton_per_fused_native_layer_norm_0""",
    "pooling": """
        void cudnn::detail::pooling_fw_4d_kernel<float, float, cudnn::detail::maxpooling_func<float>>(int)
        sm50_xmma_pooling_fw_4d_FP16FP32NHWC_Average_FastDiv_CAlign8
        void nvinfer1::rt::cuda::poolCHW_PQT<int=2, int=2>(nvinfer1::rt::cuda::TiledPoolingParams, int)
        void MaxUnpoolForward<float>(int, float const*, long const*)
        void caffe::MaxPoolForward<float>(int)""",
    "other resize": """
        void at::native::(anonymous namespace)::upsample_bilinear2d_out_frame<float, float>(int)
        void cuResizeLayer::ResizeNearestGenericKernel<float, int=2, int=128>(float*)""",
    "other sort": """
        void at::native::sbtopk::gatherTopK<float, unsigned int, 2, false>(int)
        void cub::DeviceRadixSortOnesweepKernel<cub::DeviceRadixSortPolicy<float>>(int)""",
    "other fft": """
        void DSE::regular_fft_pad<0, 1, 128, 16, 32, 1, float, float, float2>(float*)
        void regular_fft_factor<(unsigned int)4, EPT<(unsigned int)4>>(kernel_arguments_t<T9>)
        void preprocess_kernel<float, unsigned int, 2>(real_complex_args_t<T2>)""",
    "other detection": """
        nvinfer1::CalDetection(float const *, float*, int)
        gatherTopDetections_kernel
        allClassNMS_kernel""",
    "unknown": """
        push_mod_gpu_pushe_kernel_gpu_
        assignClusters(float const *, int*, float*, int*, float*, float*, int, int)
        preprocess_kernel(unsigned char*, float*)
        <

        render""",
}
#: captures of networks and of libraries' samples; the others are of applications that wrote their own kernels
OF_NETWORKS = (
    "nvprof/jetson_nano_yolov4tiny_summary.csv",
    "nvprof/jetson_nano_yolov4tiny_with_nvtx_ranges.csv",
    "nsys/jetson_nano_yolov4tiny_profile_console.txt",
    "nsys/jetson_orin_cuda_gpu_kern_sum.csv",
    "nsys/jetson_orin_kern_sum_nvtx_filtered.csv",
    "nsys/jetson_orin_fno_stats_console_joshua.txt",
    "ncu/jetson_orin_deeponet_darcy_raw.csv",
    "ncu/jetson_orin_fno_per_kernel.csv",
    "nsys/a100_kamal_schema291.sqlite",
)


@pytest.mark.parametrize("expected", NAMES)
def test_kernels_are_sorted_by_what_they_do(expected: str) -> None:
    for name in NAMES[expected].strip().splitlines():
        assert f"{category(name.strip())} {kind(name.strip())}".strip() == expected, name


def test_each_rule_has_a_name_that_it_decides_on_and_a_reason() -> None:
    from espdeploy.profilers.categories import rule_of

    decided = {rule_of(name.strip()) for names in NAMES.values() for name in names.splitlines()}
    assert all(rule.why and rule.category in CATEGORIES for rule in RULES)
    without = [rule.pattern for rule in RULES if rule not in decided]
    assert len(without) <= len(RULES) // 4, without


@pytest.mark.data
@pytest.mark.parametrize("name", OF_NETWORKS)
def test_of_a_networks_time_less_than_a_twentieth_is_unknown(name: str, data_dir: Path) -> None:
    path = data_dir / "logs" / name
    if not path.is_file():
        pytest.skip(f"{data_dir} has no logs/{name}")
    document = parse_files([str(path)])
    shares = document["categories"]
    assert isinstance(shares, dict)
    assert shares["unknown"] < 5, [one for one in document["kernels"] if one["category"] == "unknown"]
    assert sum(shares.values()) == pytest.approx(100)
    assert {"gemm", "convolution", "elementwise", "memory", "reduction", "other"} <= set(shares)


@pytest.mark.data
def test_shares_are_those_of_the_database(data_dir: Path) -> None:
    path = data_dir / "logs/nsys/a100_kamal_schema291.sqlite"
    if not path.is_file():
        pytest.skip(f"{data_dir} has no logs/nsys")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT value, total(end - start) FROM CUPTI_ACTIVITY_KIND_KERNEL "
            "JOIN StringIds ON id = demangledName GROUP BY 1"
        ).fetchall()
    whole = sum(time for _, time in rows)
    moved = sum(time for name, time in rows if "transpose" in name or "copy" in name)
    document = parse_files([str(path)])
    assert document["memory_alignment_pct"] == pytest.approx(100 * moved / whole)
    assert {one["name"]: one["time_pct"] for one in document["kernels"]} == pytest.approx(
        {name: 100 * time / whole for name, time in rows}
    )
