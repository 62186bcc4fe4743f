"""Tests of the profile by kind of kernel, with names that traces of GPUs have."""

from typing import Any

import pytest
import torch

from benchmarks.kernel_kinds import (
    ADAM,
    CONVOLUTION,
    COPIES,
    DGRAD,
    ELEMENTWISE,
    FORWARD,
    IDLE,
    NORM,
    OPTIMIZER,
    OTHER,
    REDUCTIONS,
    WGRAD,
    by_kind,
    kind,
    profiled,
)

NAMES = {
    FORWARD: [
        "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64_warpgroupsize1x1x1_g1_execute",
        "sm80_xmma_fprop_implicit_gemm_indexed_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x32_stage4_kernel_cudnn",
        "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_s1688fprop_optimized_tf32_128x128_16x4_nhwc_align4>(...Params)",
        "void cudnn::cnn::implicit_convolve_sgemm<float, float, 1024, 5, 5, 3, 3, 3, 1, false, true, false, true>(int)",
        "ampere_scudnn_128x64_relu_medium_nn_v1",
        "aten::conv2d",
    ],
    DGRAD: [
        "sm90_xmma_dgrad_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x256x64_warpgroupsize1x2x1_g1",
        "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816dgrad_optimized_bf16_64x64_32x10_nhwc>(...Params)",
        "void cudnn::cnn::dgrad2d_grouped_direct_kernel<false, true, int, float>(cudnnTensorStruct)",
    ],
    WGRAD: [
        "sm80_xmma_wgrad_implicit_gemm_indexed_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x32_stage4_splitK_kernel",
        "cutlass__5x_cudnn_cutlass_80_wmma_tensorop_s161616wgrad_optimized_tf32",
        "void cudnn::cnn::wgrad_alg0_engine<float, 128, 6, 7, 3, 3, 5, false, 512>(int, int, int, float const*)",
        "void wgrad2d_c1_k1_nhwc_kernel<float>",
    ],
    CONVOLUTION: [
        "void cask__5x_cudnn::computeWgradSplitKOffsetsKernel<false, false>(cask__5x_cudnn::ComputeSplitKOffsetsParams)",
        "void cask__5x_cudnn::computeOffsetsKernel<false, false>(cask__5x_cudnn::ComputeOffsetsParams)",
        "void cudnn::cnn::kern_precompute_indices<false>(int*, int)",
        "init_device_workspace",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float, float, float, float, false>(cublasSplitKParams)",
        "nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NNT",
        "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize64x64x64_warpgroupsize1x1x1_execute_segment_k_off_kernel",
        "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x128_16x5_nn_align4>(cutlass_80_tensorop::Params)",
    ],
    NORM: [
        "statistics_kernel",
        "normalise_kernel",
        "gradient_sums_kernel",
        "input_gradient_kernel",
        "void at::native::batch_norm_transform_input_kernel<float, float, float, true, int>(...)",
        "void at::native::batch_norm_collect_statistics_kernel<at::native::InvStd, float, float, float, int>(...)",
        "void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, 512, true, 1>(cudnnTensorStruct)",
        "void at::native::(anonymous namespace)::RowwiseMomentsCUDAKernel<float>(long, float, float const*)",
    ],
    COPIES: [
        "pad_kernel",
        "fold_kernel",
        "crop_kernel",
        "crop_gradient_kernel",
        "void cudnn::ops::nchwToNhwcKernel<float, float, float, false, true, 0>(cudnn::ops::nchw2nhwc_params_t<float>)",
        "void cudnn::engines_precompiled::nhwcToNchwKernel<__nv_bfloat16, __nv_bfloat16, float, true, false>(...)",
        "void at::native::(anonymous namespace)::reflection_pad2d_out_kernel<float>(float const*, float*, long, long)",
        "void at::native::(anonymous namespace)::CatArrayBatchedCopy_contig<at::native::OpaqueType<4u>, unsigned>(...)",
        "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)>(int)",
        "void at::native::vectorized_elementwise_kernel<4, at::native::bfloat16_copy_kernel_cuda(...)>(int, ...)",
        "void at::native::multi_tensor_apply_kernel<at::native::TensorListMetadata<2>, at::native::Copy<float, float>>",
        "void at::native::indexSelectSmallIndex<float, long, unsigned int, 2, 2, -2>(...)",
        "Memcpy DtoD (Device -> Device)",
        "Memset (Device)",
    ],
    ADAM: [
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::(anonymous namespace)::"
        "FusedOptimizerTensorListMetadata<4>, at::native::(anonymous namespace)::FusedAdamMathFunctor<float, 4, 0>>",
    ],
    OPTIMIZER: [
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::TensorListMetadata<2>, "
        "at::native::BinaryOpListAlphaFunctor<float, 2, 2, 0>, std::plus<float>, float>",
    ],
    REDUCTIONS: [
        "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, float>>>(...)",
        "void at::native::multi_tensor_apply_kernel<at::native::TensorListMetadata<1>, at::native::LpNormFunctor<float>>",
        "void at::native::lpnorm_cleanup<float, (at::native::NormType)1, float, float>(float const*)",
    ],
    ELEMENTWISE: [
        "void at::native::vectorized_elementwise_kernel<4, at::native::AbsFunctor<float>, std::array<char*, 2ul>>(int)",
        "void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl_nocast<at::native::mse_kernel_cuda>>",
    ],
    OTHER: ["mysterious_kernel"],
}


@pytest.mark.parametrize(("name", "expected"), [(name, kind) for kind, names in NAMES.items() for name in names])
def test_the_kind_of_a_kernel(name: str, expected: str) -> None:
    assert kind(name) == expected


def kernel(name: str, start: float, duration: float, category: str = "kernel") -> dict[str, Any]:
    return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": duration}


def test_kinds_and_idle_time_add_up_to_the_step() -> None:
    events = [
        kernel("mysterious_kernel", 100, 50),
        kernel("nested, which the first one contains", 110, 10),
        kernel("sm90_xmma_fprop", 140, 20),  # of which 10 beside the first
        kernel("Memcpy DtoD (Device -> Device)", 300, 40, "gpu_memcpy"),
        kernel("cudaGraphLaunch", 0, 1000, "cuda_runtime"),
        {"ph": "M", "name": "process_name"},
    ]
    profile = by_kind(events, steps=2, on_gpu=True)
    assert profile.kinds == {IDLE: 0.07, OTHER: 0.025, COPIES: 0.02, FORWARD: 0.005}
    assert profile.step_ms == pytest.approx(sum(profile.kinds.values())) == 0.12
    assert (profile.kernels, profile.unknown) == (2, {"mysterious_kernel": 0.025})


def test_a_trace_without_kernels_is_an_error() -> None:
    with pytest.raises(ValueError, match="no kernel"):
        by_kind([kernel("cudaGraphLaunch", 0, 9, "cuda_runtime")], steps=1, on_gpu=True)


def test_operations_of_a_cpu_are_profiled_in_the_same_way() -> None:
    layer, x, calls = torch.nn.Conv2d(8, 8, 3), torch.randn(4, 8, 32, 32), []

    def update() -> None:
        calls.append(1)
        layer(x).sum().backward()

    profile = profiled(update, 3, torch.device("cpu"))
    assert len(calls) == 4
    assert profile.kinds[FORWARD] > 0 and profile.kinds[CONVOLUTION] > 0
    assert sum(profile.kinds.values()) == pytest.approx(profile.step_ms)
