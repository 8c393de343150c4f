"""The stand-in and our tables, held against nvidia-ml-py itself."""

import ast
import ctypes
import inspect
from pathlib import Path

import pynvml
from tests.producers.gpu.fake_pynvml import FakeNvml

from runtide._sampler import _gpm, _nvml_calls, _nvml_events, _nvml_fields, _nvml_history, _nvml_policy
from runtide_schemas import STREAMS

SOURCES = sorted(Path(_nvml_calls.__file__).parent.glob("*.py"))
COLUMNS = {
    field["name"]
    for of in STREAMS["gpu_ticks"].schema["fields"]
    if of["name"] == "gpus"
    for field in of["type"]["items"]["fields"]
}

# The name that NVIDIA gives to each field that we ask for.
FIELD_NAMES = {
    83: "TOTAL_ENERGY_CONSUMPTION",
    185: "POWER_AVERAGE",
    186: "POWER_INSTANT",
    82: "MEMORY_TEMP",
    74: "PERF_POLICY_POWER",
    76: "PERF_POLICY_SYNC_BOOST",
    269: "CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
    270: "CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
    271: "CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
    79: "PERF_POLICY_RELIABILITY",
    190: "POWER_CURRENT_LIMIT",
    3: "ECC_SBE_VOL_TOTAL",
    4: "ECC_DBE_VOL_TOTAL",
    142: "REMAPPED_COR",
    143: "REMAPPED_UNC",
    144: "REMAPPED_PENDING",
    145: "REMAPPED_FAILURE",
    94: "PCIE_REPLAY_COUNTER",
    230: "GET_GPU_RECOVERY_ACTION",
    197: "PCIE_COUNT_TX_BYTES",
    198: "PCIE_COUNT_RX_BYTES",
    138: "NVLINK_THROUGHPUT_DATA_TX",
    139: "NVLINK_THROUGHPUT_DATA_RX",
    91: "NVLINK_LINK_COUNT",
    161: "NVLINK_ERROR_DL_REPLAY",
    162: "NVLINK_ERROR_DL_RECOVERY",
    163: "NVLINK_ERROR_DL_CRC",
    211: "NVLINK_COUNT_LOCAL_LINK_INTEGRITY_ERRORS",
    215: "NVLINK_COUNT_LINK_RECOVERY_EVENTS",
    208: "NVLINK_COUNT_RCV_ERRORS",
}
METRIC_NAMES = {
    "sm_active_pct": "SM_UTIL",
    "sm_occupancy_pct": "SM_OCCUPANCY",
    "tensor_active_pct": "ANY_TENSOR_UTIL",
    "dram_active_pct": "DRAM_BW_UTIL",
    "fp16_active_pct": "FP16_UTIL",
    "fp32_active_pct": "FP32_UTIL",
    "fp64_active_pct": "FP64_UTIL",
    "pcie_tx_bytes_s": "PCIE_TX_PER_SEC",
    "pcie_rx_bytes_s": "PCIE_RX_PER_SEC",
    "nvlink_tx_bytes_s": "NVLINK_TOTAL_TX_PER_SEC",
    "nvlink_rx_bytes_s": "NVLINK_TOTAL_RX_PER_SEC",
}


def called() -> set[str]:
    """Every function of NVML that the sampler's code names, as an attribute or as text."""
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.value
        for path in SOURCES
        if path.stem != "_trace"  # it names what it scrubs
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
    }
    functions = {name for name in names if name.startswith("nvml") and name[4:5].isupper() and name.isidentifier()}
    # Variables, and the name in C of a wrapper that has an argument for the version.
    return functions - {"nvmlMemory_v2", "nvmlReturn", "nvmlLib", "nvmlDeviceGetMemoryInfo_v2"}


def test_every_function_of_the_stand_in_is_called_as_the_real_one() -> None:
    stand_ins = {name: found for name, found in vars(FakeNvml).items() if name.startswith("nvml")}
    assert len(stand_ins) > 40
    for name, found in stand_ins.items():
        real = inspect.signature(inspect.unwrap(getattr(pynvml, name)))
        ours = inspect.signature(inspect.unwrap(found))
        assert list(ours.parameters)[1:] == list(real.parameters), name
        for parameter in list(real.parameters):
            assert ours.parameters[parameter].default == real.parameters[parameter].default, (name, parameter)


def test_what_the_sampler_calls_is_what_the_stand_in_has() -> None:
    stand_ins = {name for name in vars(FakeNvml) if name.startswith("nvml")}
    assert called() == stand_ins
    assert all(hasattr(pynvml, name) for name in called())


def test_what_sleeps_in_the_driver_or_changes_the_gpu_is_never_called() -> None:
    assert "nvmlDeviceGetUtilizationRates" in called(), "the search finds calls"
    assert not {name for name in called() if "PcieThroughput" in name or "Set" in name.replace("EventSet", "")}


def test_numbers_of_fields_are_nvidias() -> None:
    asked = {field.id for fields in _nvml_calls.FIELDS.values() for field in fields}
    asked |= {field.id for field, _ in _nvml_calls.TRAFFIC.values()} | {_nvml_calls.NVLINK_COUNT}
    asked |= {f.id for generation in (9, 10) for f in _nvml_calls.nvlink_fields(generation, 1)}
    assert asked == set(FIELD_NAMES)
    for number, name in FIELD_NAMES.items():
        assert getattr(pynvml, f"NVML_FI_DEV_{name}") == number
    assert pynvml.NVML_DEVICE_ARCH_BLACKWELL == _nvml_calls.BLACKWELL


def test_numbers_of_metrics_samples_and_events_are_nvidias() -> None:
    assert dict(zip(_gpm.COLUMNS, _gpm._IDS, strict=True)) == {
        column: getattr(pynvml, f"NVML_GPM_METRIC_{name}") for column, name in METRIC_NAMES.items()
    }
    assert _nvml_history.KINDS[pynvml.NVML_GPU_UTILIZATION_SAMPLES][1] == "util_history_pct"
    assert _nvml_history.KINDS[pynvml.NVML_TOTAL_POWER_SAMPLES][1] == "power_history_mw"
    assert pynvml.nvmlEventTypeXidCriticalError == _nvml_events._XID
    assert pynvml.nvmlEventMigConfigChange == _nvml_events._MIG_CHANGE
    known = {getattr(pynvml, n) for n in dir(pynvml) if n.startswith(("nvmlEventType", "nvmlEventMig"))}
    assert set(_nvml_events._TYPES) <= known
    # Everything but what is told too often, is not about health, or is a mask.
    assert pynvml.nvmlEventTypeAll & ~_nvml_events._WANTED == 0x1 | 0x4 | 0x10 | 0x80


def test_numbers_of_errors_are_nvidias() -> None:
    for name in dir(_nvml_policy):
        number = getattr(_nvml_policy, name)
        if name.isupper() and isinstance(number, int) and number > 0:
            real = {"VERSION_MISMATCH": "LIB_RM_VERSION_MISMATCH", "NOT_THERE": "GPU_NOT_FOUND"}.get(name, name)
            assert getattr(pynvml, f"NVML_ERROR_{real}") == number
    assert {13, 25, 26} == {
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
    }


def test_structures_are_laid_out_as_they_are_unpacked() -> None:
    assert ctypes.sizeof(pynvml.c_nvmlFieldValue_t) == _nvml_fields._ENTRY.size == 40
    assert ctypes.sizeof(pynvml.c_nvmlGpmMetric_t) == _gpm._METRIC.size == 40
    assert ctypes.sizeof(pynvml.c_nvmlSample_t) == _nvml_history._SAMPLE.size == 16
    assert len(_nvml_fields.DECODE) == pynvml.NVML_VALUE_TYPE_COUNT


def test_every_column_is_a_field_of_the_stream() -> None:
    ours = {c for call in (*_nvml_calls.CALLS, *_nvml_calls.INSTEAD) for c in call.columns}
    ours |= {field.column for fields in _nvml_calls.FIELDS.values() for field in fields}
    ours |= {f.column for f in _nvml_calls.nvlink_fields(9, 1)} | set(_nvml_calls.TRAFFIC) | set(_gpm.COLUMNS)
    ours |= {name for columns in _nvml_history.KINDS.values() for name in columns[:2]}
    others = {"gpu_uuid", "mig_uuid", "rank", "step", "phase", "extra"}
    assert ours == COLUMNS - others, (
        "nothing is filled that is not in the stream, and nothing of the stream is never filled"
    )
