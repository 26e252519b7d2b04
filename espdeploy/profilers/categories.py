"""What kernels are for, by rules on their names.

A library's kernels are named by what they compute, each library in its own way; nothing else in a profile tells. The
first rule that fits decides, and ``why`` says what the rule rests on. What no rule knows is ``unknown``, never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from espdeploy.profilers.names import telling

GEMM, CONVOLUTION, ELEMENTWISE, MEMORY = "gemm", "convolution", "elementwise", "memory"
REDUCTION, NORMALISATION, POOLING, OTHER, UNKNOWN = "reduction", "normalisation", "pooling", "other", "unknown"
#: in the order in which they are shown
CATEGORIES = (GEMM, CONVOLUTION, ELEMENTWISE, MEMORY, REDUCTION, NORMALISATION, POOLING, OTHER, UNKNOWN)
_LOOKED_AT = 600


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Names that ``pattern`` is found in are of a category; ``kind`` tells kinds of it apart.

    The pattern looks at the function's name, and at what it runs where it runs what it is given; with ``signature`` at
    the name with all that the tool printed. Case does not count.
    """

    category: str
    pattern: str
    why: str
    kind: str = ""
    signature: bool = False
    found: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "found", re.compile(self.pattern, re.IGNORECASE))


_MYELIN = "TensorRT's Myelin strings its steps together, in three letters each (8) or four: __myl_MulAddSum"
_TRITON = "PyTorch's Inductor names what it generates: poi(ntwise), red(uction), per(sistent reduction), tem(plate)"
_CUDNN = "cuDNN, and TensorRT's copies of its kernels (trt_*)"
_XMMA = "TensorRT's and cuDNN's xmma kernels name the pass: fprop, dgrad, wgrad"
_BLAS = "cuBLAS and cuBLASLt; nvjet is theirs from CUDA 12.8 on"
_TORCH = "PyTorch, at::native"
_THC = "Torch 7 and PyTorch before 1.0: THC, THCUNN"
_PLAIN = "the name says it plainly, whoever wrote the kernel"
_MOVES = "clone|copy|_to_copy|cat|stack|permute|transpose|t|view|slice|select|constant_pad_nd|unsqueeze|squeeze|expand"

RULES: tuple[Rule, ...] = (
    # generated kernels first: they carry the names of all that was fused into them
    Rule(category=CONVOLUTION, pattern=r"^__myln?_\w*(?:corr|conv)", why=_MYELIN, kind="fused"),
    Rule(category=GEMM, pattern=r"^__myln?_\w*(?:gemm|fc(?:_|[A-Z]|$)|fullyconn|matmul|bmm|fmha|mha)", why=_MYELIN),
    Rule(category=NORMALISATION, pattern=r"^__myln?_\w*mea\w*(?:sqr|rsq)", why=f"{_MYELIN}; a mean and a root"),
    Rule(category=REDUCTION, pattern=r"^__myln?_\w*(?:sum|mea|maxr|minr|prod|argm|topk)", why=_MYELIN),
    Rule(
        category=MEMORY,
        pattern=r"^__myln?_(?:bb\d+_\d+_)?(?:move?|tran?|resh?|slic?|conc?|copy?|cast?|repl?|pad+|gath?|scat?|squee?|bcst)+(?:_|$)",
        why=f"{_MYELIN}; steps that move data and nothing else",
        kind="layout",
    ),
    Rule(category=ELEMENTWISE, pattern=r"^__myln?_", why=_MYELIN),
    Rule(category=CONVOLUTION, pattern=r"^triton_tem_\w*conv", why=_TRITON, kind="implicit_gemm"),
    Rule(category=GEMM, pattern=r"^triton_(?:tem_|\w*(?:mm|bmm|addmm|matmul)(?:_|$))", why=_TRITON),
    Rule(category=NORMALISATION, pattern=r"^triton_(?:red|per)_\w*norm", why=_TRITON),
    Rule(category=REDUCTION, pattern=r"^triton_(?:red|per)_", why=_TRITON),
    Rule(
        category=MEMORY,
        pattern=rf"^triton_poi_fused_(?:_?(?:{_MOVES}))(?:_(?:{_MOVES}))*(?:_\d+|$)",
        why=f"{_TRITON}; operators that move data and nothing else",
        kind="layout",
    ),
    Rule(category=ELEMENTWISE, pattern=r"^triton_(?:poi|for|uni)_", why=_TRITON),
    # before fused kernels and passes of convolutions: cuDNN names attention sdpa_..._flash_fprop
    Rule(
        category=GEMM,
        pattern=r"fmha|fused_\w*mha|flash_(?:fwd|bwd|fprop|bprop|attn)|sdpa|attention|(?:^|_)attn_(?:fwd|bwd)",
        why="attention: two products in one kernel",
        kind="attention",
    ),
    Rule(
        category=REDUCTION, pattern=r"^(?:fused|nvfuser)_\w*(?:sum|mean|softmax|amax|reduction|persistent)", why="NNC"
    ),
    Rule(
        category=ELEMENTWISE,
        pattern=r"^(?:fused|nvfuser)_\w+",
        why="TorchScript's fusers, NNC and nvFuser: fused_add_mul",
    ),
    # convolutions come before products and layouts, which their names mention
    Rule(category=MEMORY, pattern=r"im2col|col2im|vol2col|im2row", why="Caffe, THCUNN and cuDNN", kind="im2col"),
    Rule(category=CONVOLUTION, pattern=r"winograd", why=f"{_CUDNN}; its tile transforms too", kind="winograd"),
    Rule(
        category=CONVOLUTION,
        pattern=r"depth_?wise|dw_?conv|conv\w*_dw|depthsep|grouped_direct|conv2d_c1_k1|conv_dw",
        why=f"{_CUDNN}; PyTorch's and TensorRT's own",
        kind="depthwise",
    ),
    Rule(
        category=CONVOLUTION,
        pattern=r"fft2d_|fft1d_[rc]2[rc]|flip_filter|cudnn\w*::\w*fft|pointwise_mult_and_sum_complex|compute_gemm_pointers",
        why=f"{_CUDNN}: convolution by FFT",
        kind="fft",
    ),
    Rule(
        category=CONVOLUTION,
        pattern=r"implicit_(?:convolve|gemm|precomp)|ImplicitGemm|[shid]\d*(?:x\d+_)?cudnn_|precomputed_convolve|"
        r"compute\w*offsets?_?kernel|kern_precompute_indices|conv1x1|ConvUniversal|first_layer|cumm::conv",
        why=f"{_CUDNN}; {_XMMA}; CUTLASS",
        kind="implicit_gemm",
    ),
    Rule(
        category=CONVOLUTION,
        pattern=r"xmma\w*::implicit_gemm",
        why=f"{_XMMA}; cuDNN 8 names the pass among the arguments of xmma_cudnn::gemm::kernel",
        kind="implicit_gemm",
        signature=True,
    ),
    Rule(
        category=CONVOLUTION,
        pattern=r"(?:^|_|\d)(?:fprop|dgrad|wgrad)(?:\d|_)",
        why=f"{_XMMA}; CUTLASS in cuDNN",
        kind="implicit_gemm",
    ),
    Rule(
        category=CONVOLUTION,
        pattern=r"convol(?:ve|ution)|conv(?:trans)?\d?d|deconv|fusedconv|conv_act|conv_kernel|dgrad_|wgrad_|"
        r"dgrad\d*d|wgrad\d*d|(?:^|::|_)conv(?:_|$|<)",
        why=f"{_CUDNN}; {_PLAIN}",
        kind="direct",
    ),
    Rule(category=POOLING, pattern=r"(?<!thread)pool", why=_PLAIN),
    Rule(
        category=NORMALISATION,
        pattern=r"(?:batch|layer|group|instance|rms)_?norm|(?:^|::)normalize_kernel|\bbn_(?:fw|bw)|cudnn\w*::\w*bn_|(?:^|::|_)lrn|welford",
        why=f"{_CUDNN} (bn_fw); PyTorch; Caffe (LRN); darknet",
    ),
    Rule(category=REDUCTION, pattern=r"soft_?max", why=f"{_PLAIN}: a maximum, a sum and a division", kind="softmax"),
    Rule(
        category=REDUCTION,
        pattern=r"^(?:\w+::)*(?:reduce_1block_kernel|dot_kernel|asum_kernel|nrm2_kernel|iamax_kernel)",
        why=f"{_BLAS}: dot, asum, nrm2, amax",
    ),
    Rule(
        category=GEMM,
        pattern=r"gemm|gemv|splitk|cublas|(?:^|::)nvjet_|matmul|matrixmul|fully_?connected|contraction|cutlass.*tensorop|"
        r"trsm|\bger_kernel",
        why=f"{_BLAS}; CUTLASS; cuTENSOR",
    ),
    Rule(
        category=GEMM,
        pattern=r"\bcublas(?:gemv|lt|splitk)",
        why=f"{_BLAS}: types of theirs among the arguments; ncu prints internal::kernel for internal::gemvx::kernel",
        signature=True,
    ),
    Rule(
        category=OTHER,
        pattern=r"caldetection|(?:^|_|::|batched|class)nms|non_?max|top_?detections|roi_?align|decode_?box|prior_?box|yolo|detection",
        why="heads of detectors in TensorRT's plugins",
        kind="detection",
    ),
    Rule(
        category=MEMORY,
        pattern=r"n(?:c|h|hw|chw)[a-z0-9]*to_?n(?:c|h|hw|chw)|nchw_?to|nhwc_?to|to_?n(?:chw|hwc)\b|transpos|permut|reformat|"
        r"reorder|shuffle|repack|copyPacked|copyVectorized|chlast|channels_last|swapdimension",
        why=f"TensorRT's reformats (cuInt8::nchwToNhwc, genericReformat); {_CUDNN}; cuTENSOR; cuBLAS; TensorFlow",
        kind="layout",
    ),
    Rule(
        category=MEMORY,
        pattern=r"eigenmetakernel.*tensor(?:shuffling|slicing|striding|padding|reverse|concatenation)",
        why="TensorFlow: Eigen runs every expression in one kernel, and names it among the arguments",
        kind="layout",
        signature=True,
    ),
    Rule(
        category=MEMORY,
        pattern=r"elementwise_kernel\w*<(?:direct_copy|bfloat16_copy|float8_copy|\w*copy_kernel|copy_device|CopyOp)|"
        r"catarray|concat|index_?(?:select|copy|put|fill|add|elementwise)|gather(?!_?top)|scatter|embedding|slice|(?:^|_|::)(?<!fft_)pad(?:_|ding|$)|"
        r"pointwiseApply\w*<(?:copy|Copy)|(?:^|_|::)(?:split|cat|stack|roll|flip|repeat|tile|crop)(?:_|kernel|$|<)",
        why=f"{_TORCH}; {_THC}; Caffe (Concat, Slice); TensorRT",
        kind="movement",
    ),
    Rule(
        category=MEMORY,
        pattern=r"mem_?set|zero_?mem|fillfunctor|(?:^|_|::)fill|setvalue|set_value",
        why=_PLAIN,
        kind="set",
    ),
    Rule(
        category=MEMORY,
        pattern=r"(?:^|_|::|cu|<)(?:memc?o?py|copy|copies)|copy(?:_kernel|kernel|op)",
        why=_PLAIN,
        kind="movement",
    ),
    Rule(
        category=OTHER,
        pattern=r"up_?sampl|resize|interpol|upscale|nearest_neighbo|grid_sampl|affine_grid",
        why="TensorRT (cuResizeLayer), PyTorch, THCUNN",
        kind="resize",
    ),
    Rule(
        category=OTHER,
        pattern=r"radix_?sort|(?:^|_|::|bitonic)sort|merge_?sort|top_?k|devicescan|(?:^|_|::)scan(?:_|kernel)|histogram|unique|"
        r"deviceselect|devicepartition|run_?length",
        why="CUB and Thrust: sorting, scanning, selecting",
        kind="sort",
    ),
    Rule(
        category=OTHER,
        pattern=r"(?:prime|regular|vector|radix|multi_bluestein)_?fft|fft_factor|packr2c|(?:^|_|::)fft(?:_|$)|real_complex_args",
        why="cuFFT",
        kind="fft",
        signature=True,
    ),
    Rule(
        category=OTHER, pattern=r"curand|philox|(?:^|_|::)(?:generate_)?seed|xorwow|mtgp", why="cuRAND", kind="random"
    ),
    Rule(
        category=OTHER,
        pattern=r"(?:^|_|::)(?:rnn|lstm|gru)(?:_|cell|\d|$)",
        why="cuDNN's recurrent layers",
        kind="recurrent",
    ),
    Rule(
        category=REDUCTION,
        pattern=r"reduc|arg_?m(?:ax|in)|(?:^|_|::)(?:sum|mean|prod|norm|amax|dot|vdot)(?:_|$|<|kernel)|logsumexp|cross_entropy|nll_?loss",
        why=f"{_TORCH} (reduce_kernel), {_THC} (kernelReduceAll), CUB, TensorRT; {_PLAIN}",
    ),
    Rule(
        category=ELEMENTWISE,
        pattern=r"generatednativepointwise|pwgen|point_?wise|element_?wise|elt_?wise|op_(?:generic_)?tensor_kernel|activat(?:ion|e_)|"
        r"scale(?:packed)?_?tensor|add_tensor|tensor_?add|multi_tensor_apply|for_?each|quantiz|eigenmetakernel|mapplan|mxnet_generic_kernel|applyadam|"
        r"transform_kernel|parallelfor|linspace|arange",
        why=f"TensorRT (generatedNativePointwise), {_TORCH}, {_THC} (kernelPointwiseApply), {_CUDNN}, CUB and Thrust, "
        "TensorFlow (Eigen), MXNet",
    ),
    Rule(
        category=ELEMENTWISE,
        pattern=r"(?:^|_|::|<|c|cudnn)(?:p?relu\d?|leaky_?relu|elu|gelu|silu|swish|sigmoid|tanh|clip|clamp|dropout)(?:_|forward|kernel|$|<|>|i)|"
        r"(?:^|_|::)(?:add_?bias|bias_?add|scale_?bias|scale|bias|shortcut)(?:_|kernel|forward|n[ch]|$|<)",
        why=f"Caffe (PReLUForward), TensorRT's plugins, darknet (shortcut), TensorFlow (BiasNHWCKernel); {_PLAIN}",
    ),
    Rule(
        category=ELEMENTWISE,
        pattern=r"(?:^|::)(?:vec(?:tor)?_?)?(?:add|sub|mul|div|s?axpy|scale?)(?:_?(?:const|vectors?|arrays?|float|double|gpu|kernel))*$|"
        r"(?:^|_|::)(?:axpy|scal|rot)_kernel",
        why=f"{_BLAS}: axpy, scal; {_PLAIN}",
    ),
)


def category(name: str) -> str:
    """What a kernel is for: one of ``CATEGORIES``."""
    found = rule_of(name)
    return found.category if found else UNKNOWN


def kind(name: str) -> str:
    """What tells a kernel from others of its category, such as ``winograd``; empty where nothing does."""
    found = rule_of(name)
    return found.kind if found else ""


@lru_cache(maxsize=4096)
def rule_of(name: str) -> Rule | None:
    """The rule that decides on a kernel; None where none knows it."""
    function, signature = telling(name)[:_LOOKED_AT], name[:_LOOKED_AT]
    return next((rule for rule in RULES if rule.found.search(signature if rule.signature else function)), None)
