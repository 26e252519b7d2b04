"""What nsys says went wrong, and what mends it. The texts are of 2020.4 to 2024.5."""

from __future__ import annotations

import re

from espdeploy.profilers.failures import KnownFailure, known
from espdeploy.profilers.values import ToolMessage

_MOST = 50
_LONGEST = 1000
_FROM_EXPORT = "or give the SQLite file itself to espdeploy parse, which needs no nsys"


_NO_KERNELS = (
    "record the process that uses the GPU with --trace=cuda and let it end by itself; CUDA graphs show their kernels"
    " with --cuda-graph-trace=node, and a container needs the GPU (--gpus all; on a Jetson --runtime nvidia)"
)
#: said of a report that has nothing to show: an error only where no kernels are told elsewhere
_WITHOUT_KERNELS = known(
    r"does not contain (?:CUDA kernel data|GPU trace data|GPU kernel/memory operations data|CUDA trace data)",
    "no_kernels",
    _NO_KERNELS,
)
_FAILURES = (
    known(
        r"Report was created in Nsight Systems version \((?P<version>[\d.]{1,20})[^)]*\), newer than",
        "report_too_new",
        "read it with Nsight Systems {version} or newer, or export it where it was recorded (nsys export --type sqlite"
        " REPORT.nsys-rep) and give the SQLite file to espdeploy parse",
    ),
    known(
        r"does not contain (?:the )?(?:table )?ENUM_\w+(?: table)?|could not be analyzed due to missing",
        "export_too_old",
        "the SQLite file is of an older nsys: export the recording again with this one (nsys stats --force-export=true"
        f" REPORT.nsys-rep), {_FROM_EXPORT}",
    ),
    known(
        r"[Rr]eport '[^']*' could not be found",
        "unknown_report",
        "ask by the name that this nsys knows: gpukernsum, gpumemtimesum, cudaapisum up to 2022 are cuda_gpu_kern_sum,"
        " cuda_gpu_mem_time_sum, cuda_api_sum since 2023 (nsys stats --help-reports lists them)",
    ),
    known(
        r"could not be opened and appears to be invalid",
        "damaged_export",
        "export the recording again: nsys export --type sqlite --force-overwrite true REPORT.nsys-rep",
    ),
    known(
        r"importer binary and its dependencies were not found|[Ii]mporter error status"
        r"|Unable to retrieve the importer version",
        "import_failed",
        "the recording was not turned into a report: open the .qdstrm file with Nsight Systems of the same version on a"
        " desktop (QdstrmImporter -i FILE.qdstrm), or install its host part here",
    ),
    known(
        r"ERR_NVGPUCTRPERM|[Ii]nsufficient privilege",
        "no_permission",
        "leave out --gpu-metrics-device, which alone needs it, or run with sudo; on a desktop GPU write"
        ' "options nvidia NVreg_RestrictProfilingToAdminUsers=0" to /etc/modprobe.d/nvidia-profiling.conf and reboot',
    ),
    known(
        r"CUDA tracing is not supported on NVIDIA Crypto Mining",
        "unsupported_gpu",
        "profile on a GPU of the same compute capability that is no mining card",
    ),
    known(
        r"[Uu]nrecogni[sz]ed option|[Ii]llegal .{1,60} argument",
        "invalid_option",
        "leave that option out: nsys profile --help lists what this release knows",
    ),
    known(
        r"target application (?:terminated with signal|returned non-zero exit code)"
        r"|[Aa]pplication .{0,40}exited with code [1-9]",
        "application_failed",
        "run the application without nsys and mend what it reports; figures up to there may be incomplete",
    ),
    known(
        r"^No such file or directory: |^ERROR: Specified input file .* does not exist",
        "no_file",
        "give the program or the report with its path",
    ),
    known(
        r"No CUDA events collected|[Nn]o GPU associated|CUDA profiling might have not been started correctly",
        "no_kernels",
        _NO_KERNELS,
    ),
)
#: follows an error that tells why
_FOLLOWS = known(
    r"^ERROR: Database file .* does not exist",
    "no_export",
    "make it: nsys export --type sqlite REPORT.nsys-rep; what stands above this line tells why nsys could not",
)
_NOTED = re.compile(r"WARNING: (?P<text>(?:CPU|Unified|OS runtime|CUDA)\b.{0,200})")
_WORDS = (
    "ERR",
    "rror",
    "not ",
    "No ",
    "newer",
    "llegal",
    "nrecogni",
    "missing",
    "nsufficient",
    "signal",
    "exit",
    "WARNING",
)


class Messages:
    """Takes lines that are no rows; has the errors and notes that come of them."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._errors: list[ToolMessage] = []
        self._without_kernels: ToolMessage | None = None
        self._without_file: ToolMessage | None = None

    def take(self, line: str) -> bool:
        """Whether a line tells of a failure, or is worth a note."""
        line = line[:_LONGEST].strip()
        if not any(word in line for word in _WORDS):
            return False
        if _WITHOUT_KERNELS.pattern.search(line):
            self._without_kernels = self._without_kernels or _message(_WITHOUT_KERNELS, line)
            return True
        if _FOLLOWS.pattern.search(line):
            self._without_file = self._without_file or _message(_FOLLOWS, line)
            return True
        found = next((_message(one, line, match) for one in _FAILURES if (match := one.pattern.search(line))), None)
        if found is not None:
            self.add(found)
            return True
        noted = _NOTED.search(line)
        if noted is not None and noted["text"] not in self.notes and len(self.notes) < _MOST:
            self.notes.append(noted["text"])
        return noted is not None

    def add(self, message: ToolMessage) -> None:
        """Add an error; one of each kind is enough."""
        told = {(one.code, one.do) for one in self._errors}
        if (message.code, message.do) not in told and len(self._errors) < _MOST:
            self._errors.append(message)

    def errors(self, *, kernels: bool) -> tuple[ToolMessage, ...]:
        """The errors; that a report found no kernels is none where another one did."""
        told = {one.code for one in self._errors}
        if self._without_kernels is not None and not kernels and "no_kernels" not in told:
            self._errors.append(self._without_kernels)
        if self._without_file is not None and not self._errors:
            self._errors.append(self._without_file)
        return tuple(one for one in self._errors if not (kernels and one.code == "no_kernels"))


def _message(failure: KnownFailure, line: str, match: re.Match[str] | None = None) -> ToolMessage:
    told = match.groupdict() if match else {}
    return ToolMessage(code=failure.code, text=line, do=failure.do.format(**told) if told else failure.do)
