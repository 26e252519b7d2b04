"""Names of kernels: short ones to read, and spellings that are the same whichever tool printed them.

A kernel has the name of its C++ function: with return type, namespaces, template arguments and parameters, often of
thousands of characters. nvprof writes ``f<int=4>(float const *)``, nsys ``f<(int)4>(const float *)`` and ncu
``f<4>(const float *)``; longer names are cut by text tables. Read off the outputs of CUDA 5 to 12.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from espdeploy.profilers.mangled import demangled

#: a short name is at most so long; one that is cut keeps both ends
LONGEST_SHORT = 96
#: so much of a name is looked at
_LONGEST = 2048
_NOWHERE = re.compile(r"(?:\(anonymous namespace\)|<unnamed>|\{anonymous\}|_GLOBAL__N__?\w*|<unnamed-namespace>)::")
_SIGNATURE = re.compile(r"[<(]")
#: what stands round a function's own name and may hold brackets itself
_ROUND = re.compile(r"\(anonymous namespace\)|<unnamed>|\[clone [^\]]*\]")
_OWN_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*$")
_NO_NAME = re.compile(r":{3,}")
_OPEN, _CLOSED = frozenset("<([{"), frozenset(">)]}")
#: the sign of an operator is part of its name
_PIECE = re.compile(
    r"\boperator *(?:\(\)|\[\]|[-+*/<>=!&|^%~,]{1,2})|->|[<(\[{>)\]}]|\s+|(?:(?!\boperator\b)[^\s<>()\[\]{}-])+|\w+|-"
)
#: functions that run whatever they are given: what they are given tells
_WRAPPERS = re.compile(
    r"\w*elementwise_kernel\w*|reduce_kernel|multi_tensor_apply_kernel|(?:kernelP|p)ointwiseApply\w*|\w*kernel_agent"
    r"|Kernel\d?|(?:device|static|transform|for_each)_kernel|kernel_wrapper|launch_by_value|cuda_kernel|kernel_for"
)
#: and those among them that say nothing by themselves
_MUTE = re.compile(r"Kernel\d?|(?:device|static)_kernel|kernel_wrapper|launch_by_value|_?kernel_agent|cuda_kernel")
_COMMON = re.compile(r"_?kernel|operator ?\(\)|run|execute|launch|apply|search_kernel|globalKernel|kern|type")
_WORD = re.compile(r"[A-Za-z_]\w*(?:\s*::\s*~?[A-Za-z_]\w*)*")
#: types, and what stands round a functor without saying what it does
_TELLS_NOTHING = re.compile(
    r"T\d+|std|cuda|u?int(?:\d+_t)?|unsigned|signed|char\d?|short|long|float\d?|double\d?|bool|void|__half2?|half|bfloat16"
    r"|__nv_bfloat16|Half|BFloat16|complex|const|instance|lambda|operator|true|false|size_t|typename|struct|class|enum"
    r"|Array|OpaqueType|TensorIteratorBase|gpu_kernel_impl\w*|gpu_kernel_with_\w+|[AB]UnaryFunctor|BinaryFunctor"
    r"|CompareFunctor\w*|ReduceOp|func_wrapper_t|TensorListMetadata|policy\w*|identity|cuda_task|parallel_group"
    r"|concurrent_group|agent|closure|enable_(?:3x_kernel|sm)\w*|__nv_h?dl_\w+|enable_if|type|opmath_\w+|\w*loops?_kernel_impl\w*|launch_\w+_kernel"
)
_TACTIC = re.compile(r"xmma|cudnn|^trt_|^__myl|^triton_|cutlass")
#: how a tactic is tiled and compiled: which one it is stands in the rest
_TILING = re.compile(
    r"_(?:stage\d+|warpsize\d+x\d+x\d+|g\d+(?=_)|tensor\d+x\d+x\d+|execute_kernel_trt|kernel_trt|execute_kernel__5x_cudnn"
    r"|kernel__5x_cudnn|kernel_cudnn|0x[0-9a-f]{8,}|(?:\d+[dce]+){2,})(?![a-zA-Z0-9])"
)
_CAST = re.compile(r"\([\w: ]+\)(?=-?\w)|\b\w+(?:[ :]+\w+){0,3}=(?=-?\d)")
#: text tables cut long names, and say so
_CUT = re.compile(r"(?:\.\.\.|…)$")
_LAST_WORD = re.compile(r"[\w:]*$")
_LAMBDA = re.compile(r"\[lambda\(([^()\[\]]*)\) ?\(instance (\d+)\)\]")
_QUALIFIER = re.compile(r"\b\w+::")
_SPELLING = re.compile(
    r"\b(?:const|typename|struct|class|enum)\b\s*|(?<!\w)\s+|\s+(?!\w)|(?<=\d)[uU]?[lL]{1,2}\b|(?<=\d)[uU]\b"
)
_FALSE, _TRUE = re.compile(r"\bfalse\b"), re.compile(r"\btrue\b")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A signature: the function with its namespaces, template arguments and parameters; the last two may be empty."""

    function: str
    arguments: str = ""
    parameters: str = ""

    @property
    def tail(self) -> str:
        """The function without namespaces."""
        return self.function.rpartition("::")[2]


@lru_cache(maxsize=4096)
def parts(name: str) -> Parts:
    """A kernel's name taken apart; any text is taken, and one that is no signature is a function as it stands."""
    text = name[:_LONGEST].strip()
    plain = demangled(text)
    if plain is not None:
        return Parts(function=plain.function, arguments=", ".join(plain.words))
    text = _NOWHERE.sub("", text)
    if not _SIGNATURE.search(text):
        return Parts(function=text)
    return _scanned(text)


def short(name: str) -> str:
    """A name to read, of at most 96 characters: ``vectorized_elementwise_kernel<GeluCUDAKernelImpl>``."""
    told = parts(name)
    tail = told.tail or told.function or name.strip()
    inner = _inner(told)
    if inner:
        return _fitting(inner if _MUTE.fullmatch(tail) else f"{tail}<{inner}>")
    if _COMMON.fullmatch(tail):
        tail = "::".join(told.function.split("::")[-2:])
    return _fitting(_TILING.sub("", tail) if _TACTIC.search(tail) else tail)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """A short name for each, and no two alike: those that would be get what tells them apart."""
    given = list(dict.fromkeys(names))
    shorts = {name: short(name) for name in given}
    shared = {text for text, count in Counter(shorts.values()).items() if count > 1}
    longer = {name: _with_arguments(name) for name, text in shorts.items() if text in shared}
    told = Counter(longer.values())
    shorts |= {name: text for name, text in longer.items() if told[text] == 1 and len(text) < LONGEST_SHORT}
    seen: Counter[str] = Counter()
    for name, text in shorts.items():
        seen[text] += 1
        if seen[text] > 1:
            shorts[name] = f"{text} #{seen[text]}"
    return shorts


def telling(name: str) -> str:
    """What the rules of categories look at: the function, and what it was given where it runs what it is given."""
    told = parts(name)
    inner = _inner(told)
    return f"{told.function}<{inner}>" if inner else told.function


def spelled(name: str) -> str:
    """A name as every tool would spell it, with template arguments and parameters."""
    told = parts(name)
    return f"{spelled_function(name)}({_canonical(told.parameters)})"


def spelled_function(name: str) -> str:
    """A name as every tool would spell it, without parameters: tools write their types in different ways."""
    told = parts(name)
    return f"{told.tail}<{_canonical(told.arguments)}>"


def _inner(told: Parts) -> str:
    if not told.arguments or not _WRAPPERS.fullmatch(told.tail):
        return ""
    whole = _CUT.sub("", told.arguments)
    if whole != told.arguments:
        whole = _LAST_WORD.sub("", whole)
    words = (match[0].replace(" ", "").rpartition("::")[2] for match in _WORD.finditer(whole))
    return next((word for word in words if not _TELLS_NOTHING.fullmatch(word)), "")


def _with_arguments(name: str) -> str:
    told = parts(name)
    return _fitting(f"{told.tail}<{_canonical(told.arguments).replace(',', ', ')}>")


def _fitting(text: str) -> str:
    text = " ".join(text.split())
    if len(text) <= LONGEST_SHORT:
        return text
    end = LONGEST_SHORT // 3
    return f"{text[: LONGEST_SHORT - end - 1]}…{text[-end:]}"


def _canonical(text: str) -> str:
    text = _LAMBDA.sub(r"{lambda(\1)#\2}", _CAST.sub("", text))
    return _SPELLING.sub("", _TRUE.sub("1", _FALSE.sub("0", _QUALIFIER.sub("", text))))


def _scanned(text: str) -> Parts:
    """One pass over a signature. Brackets of all kinds count alike, since a name may be cut inside any of them."""
    plain: list[str] = []
    arguments: list[str] = []
    depth, end = 0, len(text)
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece in _OPEN:
            if depth == 0 and piece == "(" and plain:
                end = match.end()
                break
            depth += 1
            inside = depth > 1
        elif piece in _CLOSED:
            depth = max(depth - 1, 0)
            inside = depth > 0
        else:
            inside = depth > 0
            if not inside and piece.isspace():  # what came before is the type that the function returns
                plain, arguments = ([], []) if plain else (plain, arguments)
            elif not inside:
                plain.append(piece)
        if inside:
            arguments.append(piece)
    function = _NO_NAME.sub("::", "".join(plain)).strip(": ")
    parameters = text[end:].removesuffix(" const").removesuffix(")")
    return Parts(function=function or text, arguments="".join(arguments).strip(), parameters=parameters)


def own_word(kernel: str) -> str:
    """The function's own name, for a regular expression that picks a kernel, and with it all its instantiations.

    ``void ns::gemm<float, int=4>(float const *)`` is ``gemm``; of a name that has no such word, dots stand for what
    would mean something in an expression.
    """
    text = _ROUND.sub("", kernel).strip()
    word = _OWN_WORD.search(_SIGNATURE.split(text, maxsplit=1)[0].strip())
    if word is not None and word[0] != "operator":
        return word[0]
    return re.sub(r"[^A-Za-z0-9_]", ".", text) or "."
