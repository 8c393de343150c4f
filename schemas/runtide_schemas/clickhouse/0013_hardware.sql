-- Streams `gpu_ticks`, `host_ticks`, `device_info` and `device_events`: what the sampler of a node reads. Null is a value
-- that the device does not report, or that was not asked at this tick; never 0.

CREATE TABLE IF NOT EXISTS `${database}`.landing_gpu_ticks ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, host String, time Int64, period_ms Int32, tick_us Int32, skipped Int32,
    gpus Array(Tuple(
        gpu_uuid String, mig_uuid String, rank Nullable(Int32), step Nullable(Int64), phase String,
        gpu_util_pct Nullable(Int64), mem_util_pct Nullable(Int64), mem_used_bytes Nullable(Int64),
        power_instant_mw Nullable(Int64), power_avg_mw Nullable(Int64), power_limit_mw Nullable(Int64),
        energy_mj Nullable(Int64), sm_clock_mhz Nullable(Int64), mem_clock_mhz Nullable(Int64),
        clock_event_reasons Nullable(Int64), temp_gpu_c Nullable(Int64), temp_mem_c Nullable(Int64),
        throttle_power_ns Nullable(Int64), throttle_sync_boost_ns Nullable(Int64),
        throttle_sw_thermal_ns Nullable(Int64), throttle_hw_thermal_ns Nullable(Int64),
        throttle_hw_brake_ns Nullable(Int64), throttle_reliability_ns Nullable(Int64),
        sm_active_pct Nullable(Float32), sm_occupancy_pct Nullable(Float32), tensor_active_pct Nullable(Float32),
        dram_active_pct Nullable(Float32), fp16_active_pct Nullable(Float32), fp32_active_pct Nullable(Float32),
        fp64_active_pct Nullable(Float32), pcie_tx_bytes_s Nullable(Int64), pcie_rx_bytes_s Nullable(Int64),
        nvlink_tx_bytes_s Nullable(Int64), nvlink_rx_bytes_s Nullable(Int64), ecc_corrected Nullable(Int64),
        ecc_uncorrected Nullable(Int64), remap_corrected Nullable(Int64), remap_uncorrected Nullable(Int64),
        remap_pending Nullable(Int64), remap_failure Nullable(Int64), pcie_replays Nullable(Int64),
        pcie_gen Nullable(Int64), pcie_width Nullable(Int64), nvlink_replays Nullable(Int64),
        nvlink_recoveries Nullable(Int64), nvlink_crc_errors Nullable(Int64), recovery_action Nullable(Int64),
        fan_pct Nullable(Int64), processes Nullable(Int64), util_history_us Array(Int64),
        util_history_pct Array(Float32), power_history_us Array(Int64), power_history_mw Array(Int64),
        extra Map(String, Float64))),
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        empty(host) OR isValidUTF8(host) = 0, 'no name of the node',
        time NOT BETWEEN -2208988800000 AND 10413791999999, 'a time outside 1900 to 2299',
        empty(gpus), 'a record without GPUs',
        arrayExists(g -> empty(g.gpu_uuid), gpus), 'a GPU without a UUID',
        NOT arrayAll(g -> isValidUTF8(g.gpu_uuid) = 1 AND isValidUTF8(g.mig_uuid) = 1 AND isValidUTF8(g.phase) = 1 AND arrayAll(k -> isValidUTF8(k) = 1, mapKeys(g.extra)), gpus), 'a text is not UTF-8',
        NOT arrayAll(g -> length(g.util_history_us) = length(g.util_history_pct) AND length(g.power_history_us) = length(g.power_history_mw), gpus), 'a history and its times differ in length',
        NOT arrayAll(g -> arrayAll(t -> t BETWEEN -2208988800000000 AND 10413791999999999, arrayConcat(g.util_history_us, g.power_history_us)), gpus), 'a time outside 1900 to 2299',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.gpu_samples ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    host LowCardinality(String) COMMENT 'Name of the node',
    gpu_uuid LowCardinality(String) COMMENT 'UUID of the GPU',
    mig_uuid LowCardinality(String) COMMENT 'UUID of the MIG instance, empty for a whole GPU',
    time DateTime64(3, 'UTC') COMMENT 'When the tick began' CODEC(DoubleDelta, ZSTD(1)),
    rank Nullable(Int32) COMMENT 'Rank that computes on it' CODEC(ZSTD(1)),
    step Nullable(Int64) COMMENT 'Step that the rank was at' CODEC(Delta, ZSTD(1)),
    phase LowCardinality(String) COMMENT 'Empty for training, else what Run.phase() was given',
    period_ms UInt32 COMMENT 'Milliseconds from one tick to the next, as wanted' CODEC(T64, ZSTD(1)),
    tick_us UInt32 COMMENT 'Microseconds that reading took' CODEC(ZSTD(1)),
    skipped UInt32 COMMENT 'Ticks left out before this one' CODEC(T64, ZSTD(1)),
    gpu_util_pct Nullable(UInt8) COMMENT 'Percent of the last sample period in which a kernel was running' CODEC(ZSTD(1)),
    mem_util_pct Nullable(UInt8) COMMENT 'Percent of the last sample period in which memory was read or written' CODEC(ZSTD(1)),
    mem_used_bytes Nullable(UInt64) COMMENT 'Memory in use, without what the driver reserves' CODEC(Delta, ZSTD(1)),
    power_instant_mw Nullable(UInt32) COMMENT 'Power now, milliwatts' CODEC(GCD, T64, ZSTD(1)),
    power_avg_mw Nullable(UInt32) COMMENT 'Mean power over a second, milliwatts' CODEC(GCD, T64, ZSTD(1)),
    power_limit_mw Nullable(UInt32) COMMENT 'Enforced power limit, milliwatts' CODEC(GCD, T64, ZSTD(1)),
    energy_mj Nullable(UInt64) COMMENT 'Energy since the driver was loaded, millijoules: a counter' CODEC(Delta, T64, ZSTD(1)),
    sm_clock_mhz Nullable(UInt16) COMMENT 'Clock of the multiprocessors' CODEC(GCD, T64, ZSTD(1)),
    mem_clock_mhz Nullable(UInt16) COMMENT 'Clock of the memory' CODEC(GCD, T64, ZSTD(1)),
    clock_event_reasons Nullable(UInt64) COMMENT 'NVML''s mask of why clocks are held down' CODEC(T64, ZSTD(1)),
    temp_gpu_c Nullable(Int16) COMMENT 'Temperature of the chip, degrees Celsius' CODEC(T64, ZSTD(1)),
    temp_mem_c Nullable(Int16) COMMENT 'Temperature of the memory, degrees Celsius' CODEC(T64, ZSTD(1)),
    throttle_power_ns Nullable(UInt64) COMMENT 'Time held down by the power cap: a counter, as the five that follow' CODEC(GCD, Delta, ZSTD(1)),
    throttle_sync_boost_ns Nullable(UInt64) COMMENT 'Time held down by another GPU''s clock' CODEC(GCD, Delta, ZSTD(1)),
    throttle_sw_thermal_ns Nullable(UInt64) COMMENT 'Time held down by the driver for heat' CODEC(GCD, Delta, ZSTD(1)),
    throttle_hw_thermal_ns Nullable(UInt64) COMMENT 'Time held down by the hardware for heat' CODEC(GCD, Delta, ZSTD(1)),
    throttle_hw_brake_ns Nullable(UInt64) COMMENT 'Time held down by the external power brake' CODEC(GCD, Delta, ZSTD(1)),
    throttle_reliability_ns Nullable(UInt64) COMMENT 'Time held down by the limit of voltage' CODEC(GCD, Delta, ZSTD(1)),
    sm_active_pct Nullable(Float32) COMMENT 'Percent of cycles in which a warp was on a multiprocessor, mean since the sample before' CODEC(ZSTD(1)),
    sm_occupancy_pct Nullable(Float32) COMMENT 'Resident warps, percent of the most there can be, mean since the sample before' CODEC(ZSTD(1)),
    tensor_active_pct Nullable(Float32) COMMENT 'Percent of cycles in which the tensor pipe was active' CODEC(ZSTD(1)),
    dram_active_pct Nullable(Float32) COMMENT 'Percent of cycles in which memory moved data' CODEC(ZSTD(1)),
    fp16_active_pct Nullable(Float32) COMMENT 'Percent of cycles in which the FP16 pipe was active' CODEC(ZSTD(1)),
    fp32_active_pct Nullable(Float32) COMMENT 'Percent of cycles in which the FP32 pipe was active' CODEC(ZSTD(1)),
    fp64_active_pct Nullable(Float32) COMMENT 'Percent of cycles in which the FP64 pipe was active' CODEC(ZSTD(1)),
    pcie_tx_bytes_s Nullable(UInt64) COMMENT 'Sent over PCIe, bytes a second' CODEC(GCD, T64, ZSTD(1)),
    pcie_rx_bytes_s Nullable(UInt64) COMMENT 'Received over PCIe, bytes a second' CODEC(GCD, T64, ZSTD(1)),
    nvlink_tx_bytes_s Nullable(UInt64) COMMENT 'Sent over NVLink, bytes a second' CODEC(GCD, T64, ZSTD(1)),
    nvlink_rx_bytes_s Nullable(UInt64) COMMENT 'Received over NVLink, bytes a second' CODEC(GCD, T64, ZSTD(1)),
    ecc_corrected Nullable(UInt64) COMMENT 'Corrected memory errors since the driver was loaded' CODEC(T64, ZSTD(1)),
    ecc_uncorrected Nullable(UInt64) COMMENT 'Memory errors that could not be corrected, since the driver was loaded' CODEC(T64, ZSTD(1)),
    remap_corrected Nullable(UInt64) COMMENT 'Memory rows remapped after corrected errors' CODEC(T64, ZSTD(1)),
    remap_uncorrected Nullable(UInt64) COMMENT 'Memory rows remapped after errors that could not be corrected' CODEC(T64, ZSTD(1)),
    remap_pending Nullable(UInt8) COMMENT '1 when a reset is needed to remap a row' CODEC(T64, ZSTD(1)),
    remap_failure Nullable(UInt8) COMMENT '1 when a row could not be remapped' CODEC(T64, ZSTD(1)),
    pcie_replays Nullable(UInt64) COMMENT 'Packets sent again over PCIe: a counter' CODEC(T64, ZSTD(1)),
    pcie_gen Nullable(UInt8) COMMENT 'Generation of the PCIe link now' CODEC(T64, ZSTD(1)),
    pcie_width Nullable(UInt8) COMMENT 'Lanes of the PCIe link now' CODEC(T64, ZSTD(1)),
    nvlink_replays Nullable(UInt64) COMMENT 'Packets sent again over NVLink: a counter, as the two that follow' CODEC(T64, ZSTD(1)),
    nvlink_recoveries Nullable(UInt64) COMMENT 'Times that an NVLink was trained again' CODEC(T64, ZSTD(1)),
    nvlink_crc_errors Nullable(UInt64) COMMENT 'Errors in what NVLink brought' CODEC(T64, ZSTD(1)),
    recovery_action Nullable(UInt8) COMMENT 'What the driver asks for: 0 nothing, 1 reset, 2 reboot, 3 drain' CODEC(T64, ZSTD(1)),
    fan_pct Nullable(UInt8) COMMENT 'Fan speed, percent of the most' CODEC(T64, ZSTD(1)),
    processes Nullable(UInt16) COMMENT 'Processes that compute on it' CODEC(T64, ZSTD(1)),
    writer UInt64 COMMENT 'The sampler that read it' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (run_id, host, gpu_uuid, mig_uuid, time)
SETTINGS ${window}
COMMENT 'What the GPUs of a run reported: one row per GPU and tick';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_gpu_ticks_to_gpu_samples ${on_cluster} TO `${database}`.gpu_samples AS
SELECT
    run_id, host, g.gpu_uuid AS gpu_uuid, g.mig_uuid AS mig_uuid, fromUnixTimestamp64Milli(time, 'UTC') AS time,
    g.rank AS rank, g.step AS step, g.phase AS phase,
    toUInt32(greatest(period_ms, 0)) AS period_ms, toUInt32(greatest(tick_us, 0)) AS tick_us, toUInt32(greatest(skipped, 0)) AS skipped,
    accurateCastOrNull(g.gpu_util_pct, 'UInt8') AS gpu_util_pct,
    accurateCastOrNull(g.mem_util_pct, 'UInt8') AS mem_util_pct,
    accurateCastOrNull(g.mem_used_bytes, 'UInt64') AS mem_used_bytes,
    accurateCastOrNull(g.power_instant_mw, 'UInt32') AS power_instant_mw,
    accurateCastOrNull(g.power_avg_mw, 'UInt32') AS power_avg_mw,
    accurateCastOrNull(g.power_limit_mw, 'UInt32') AS power_limit_mw,
    accurateCastOrNull(g.energy_mj, 'UInt64') AS energy_mj,
    accurateCastOrNull(g.sm_clock_mhz, 'UInt16') AS sm_clock_mhz,
    accurateCastOrNull(g.mem_clock_mhz, 'UInt16') AS mem_clock_mhz,
    accurateCastOrNull(g.clock_event_reasons, 'UInt64') AS clock_event_reasons,
    accurateCastOrNull(g.temp_gpu_c, 'Int16') AS temp_gpu_c,
    accurateCastOrNull(g.temp_mem_c, 'Int16') AS temp_mem_c,
    accurateCastOrNull(g.throttle_power_ns, 'UInt64') AS throttle_power_ns,
    accurateCastOrNull(g.throttle_sync_boost_ns, 'UInt64') AS throttle_sync_boost_ns,
    accurateCastOrNull(g.throttle_sw_thermal_ns, 'UInt64') AS throttle_sw_thermal_ns,
    accurateCastOrNull(g.throttle_hw_thermal_ns, 'UInt64') AS throttle_hw_thermal_ns,
    accurateCastOrNull(g.throttle_hw_brake_ns, 'UInt64') AS throttle_hw_brake_ns,
    accurateCastOrNull(g.throttle_reliability_ns, 'UInt64') AS throttle_reliability_ns,
    if(isFinite(g.sm_active_pct) AND g.sm_active_pct >= 0, g.sm_active_pct, NULL) AS sm_active_pct,
    if(isFinite(g.sm_occupancy_pct) AND g.sm_occupancy_pct >= 0, g.sm_occupancy_pct, NULL) AS sm_occupancy_pct,
    if(isFinite(g.tensor_active_pct) AND g.tensor_active_pct >= 0, g.tensor_active_pct, NULL) AS tensor_active_pct,
    if(isFinite(g.dram_active_pct) AND g.dram_active_pct >= 0, g.dram_active_pct, NULL) AS dram_active_pct,
    if(isFinite(g.fp16_active_pct) AND g.fp16_active_pct >= 0, g.fp16_active_pct, NULL) AS fp16_active_pct,
    if(isFinite(g.fp32_active_pct) AND g.fp32_active_pct >= 0, g.fp32_active_pct, NULL) AS fp32_active_pct,
    if(isFinite(g.fp64_active_pct) AND g.fp64_active_pct >= 0, g.fp64_active_pct, NULL) AS fp64_active_pct,
    accurateCastOrNull(g.pcie_tx_bytes_s, 'UInt64') AS pcie_tx_bytes_s,
    accurateCastOrNull(g.pcie_rx_bytes_s, 'UInt64') AS pcie_rx_bytes_s,
    accurateCastOrNull(g.nvlink_tx_bytes_s, 'UInt64') AS nvlink_tx_bytes_s,
    accurateCastOrNull(g.nvlink_rx_bytes_s, 'UInt64') AS nvlink_rx_bytes_s,
    accurateCastOrNull(g.ecc_corrected, 'UInt64') AS ecc_corrected,
    accurateCastOrNull(g.ecc_uncorrected, 'UInt64') AS ecc_uncorrected,
    accurateCastOrNull(g.remap_corrected, 'UInt64') AS remap_corrected,
    accurateCastOrNull(g.remap_uncorrected, 'UInt64') AS remap_uncorrected,
    accurateCastOrNull(g.remap_pending, 'UInt8') AS remap_pending,
    accurateCastOrNull(g.remap_failure, 'UInt8') AS remap_failure,
    accurateCastOrNull(g.pcie_replays, 'UInt64') AS pcie_replays,
    accurateCastOrNull(g.pcie_gen, 'UInt8') AS pcie_gen,
    accurateCastOrNull(g.pcie_width, 'UInt8') AS pcie_width,
    accurateCastOrNull(g.nvlink_replays, 'UInt64') AS nvlink_replays,
    accurateCastOrNull(g.nvlink_recoveries, 'UInt64') AS nvlink_recoveries,
    accurateCastOrNull(g.nvlink_crc_errors, 'UInt64') AS nvlink_crc_errors,
    accurateCastOrNull(g.recovery_action, 'UInt8') AS recovery_action,
    accurateCastOrNull(g.fan_pct, 'UInt8') AS fan_pct,
    accurateCastOrNull(g.processes, 'UInt16') AS processes,
    writer, seq
FROM `${database}`.landing_gpu_ticks
ARRAY JOIN gpus AS g
WHERE reason = '';

CREATE TABLE IF NOT EXISTS `${database}`.gpu_history ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    host LowCardinality(String) COMMENT 'Name of the node',
    gpu_uuid LowCardinality(String) COMMENT 'UUID of the GPU',
    metric LowCardinality(String) COMMENT 'gpu_util_pct or power_mw',
    time DateTime64(3, 'UTC') COMMENT 'When the driver took the sample' CODEC(DoubleDelta, ZSTD(1)),
    value Float64 COMMENT 'The sample' CODEC(ZSTD(1)),
    writer UInt64 COMMENT 'The sampler that read it' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (run_id, host, gpu_uuid, metric, time)
SETTINGS ${window}
COMMENT 'Samples that the driver itself took between two ticks, some seven a second';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_gpu_ticks_to_history_gpu_util ${on_cluster} TO `${database}`.gpu_history AS
SELECT
    run_id, host, g.gpu_uuid AS gpu_uuid, 'gpu_util_pct' AS metric,
    fromUnixTimestamp64Milli(intDiv(at, 1000), 'UTC') AS time, toFloat64(value) AS value, writer, seq
FROM `${database}`.landing_gpu_ticks
ARRAY JOIN gpus AS g
ARRAY JOIN g.util_history_us AS at, g.util_history_pct AS value
WHERE reason = '' AND isFinite(value);

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_gpu_ticks_to_history_power ${on_cluster} TO `${database}`.gpu_history AS
SELECT
    run_id, host, g.gpu_uuid AS gpu_uuid, 'power_mw' AS metric,
    fromUnixTimestamp64Milli(intDiv(at, 1000), 'UTC') AS time, toFloat64(value) AS value, writer, seq
FROM `${database}`.landing_gpu_ticks
ARRAY JOIN gpus AS g
ARRAY JOIN g.power_history_us AS at, g.power_history_mw AS value
WHERE reason = '' AND isFinite(value);

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_gpu_ticks_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'gpu_ticks' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(whole))) AS digest, length(whole) AS length, substring(whole, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'host', toString(host), 'time',
            toString(time), 'period_ms', toString(period_ms), 'tick_us', toString(tick_us), 'skipped',
            toString(skipped), 'gpus', toString(gpus))) AS whole
    FROM `${database}`.landing_gpu_ticks
    WHERE reason != ''
);

CREATE TABLE IF NOT EXISTS `${database}`.landing_host_ticks ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, host String, time Int64, period_ms Int32, tick_us Int32, skipped Int32,
    cpu_pct Nullable(Float32), cpu_user_pct Nullable(Float32), cpu_system_pct Nullable(Float32),
    cpu_iowait_pct Nullable(Float32), cpu_steal_pct Nullable(Float32), cpu_max_core_pct Nullable(Float32),
    load_1m Nullable(Float32), mem_used_bytes Nullable(Int64), mem_available_bytes Nullable(Int64),
    swap_used_bytes Nullable(Int64), cgroup_cpu_limit Nullable(Float32), cgroup_cpu_us Nullable(Int64),
    cgroup_throttled_us Nullable(Int64), cgroup_throttled_periods Nullable(Int64), cgroup_mem_bytes Nullable(Int64),
    cgroup_mem_limit_bytes Nullable(Int64), cgroup_mem_anon_bytes Nullable(Int64), cgroup_oom_kills Nullable(Int64),
    psi_cpu_some_us Nullable(Int64), psi_cpu_full_us Nullable(Int64), psi_io_some_us Nullable(Int64),
    psi_io_full_us Nullable(Int64), psi_mem_some_us Nullable(Int64), psi_mem_full_us Nullable(Int64),
    net_rx_bytes Nullable(Int64), net_tx_bytes Nullable(Int64), ib_rx_bytes Nullable(Int64),
    ib_tx_bytes Nullable(Int64), disk_read_bytes Nullable(Int64), disk_write_bytes Nullable(Int64),
    disk_used_pct Nullable(Float32),
    devices Array(Tuple(
        kind String, name String, in_bytes Int64, out_bytes Int64)),
    ranks Array(Tuple(
        rank Int32, pid Int32, step Nullable(Int64), phase String, processes Int32, cpu_us Nullable(Int64),
        rss_bytes Nullable(Int64), threads Nullable(Int32), fds Nullable(Int32), read_bytes Nullable(Int64),
        write_bytes Nullable(Int64))),
    extra Map(String, Float64),
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        empty(host) OR isValidUTF8(host) = 0, 'no name of the node',
        time NOT BETWEEN -2208988800000 AND 10413791999999, 'a time outside 1900 to 2299',
        NOT arrayAll(t -> isValidUTF8(t) = 1, arrayConcat(devices.kind, devices.name, ranks.phase, mapKeys(extra))), 'a text is not UTF-8',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.host_samples ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    host LowCardinality(String) COMMENT 'Name of the node',
    time DateTime64(3, 'UTC') COMMENT 'When the tick began' CODEC(DoubleDelta, ZSTD(1)),
    period_ms UInt32 COMMENT 'Milliseconds from one tick to the next, as wanted' CODEC(T64, ZSTD(1)),
    tick_us UInt32 COMMENT 'Microseconds that reading took' CODEC(ZSTD(1)),
    skipped UInt32 COMMENT 'Ticks left out before this one' CODEC(T64, ZSTD(1)),
    cpu_pct Nullable(Float32) COMMENT 'Processor time in use, percent of all cores' CODEC(ZSTD(1)),
    cpu_user_pct Nullable(Float32) COMMENT 'Thereof in programs' CODEC(ZSTD(1)),
    cpu_system_pct Nullable(Float32) COMMENT 'Thereof in the kernel' CODEC(ZSTD(1)),
    cpu_iowait_pct Nullable(Float32) COMMENT 'Idle while something waited for a disk, percent of all cores' CODEC(ZSTD(1)),
    cpu_steal_pct Nullable(Float32) COMMENT 'Taken by other guests of the machine, percent of all cores' CODEC(ZSTD(1)),
    cpu_max_core_pct Nullable(Float32) COMMENT 'The busiest core, percent: 100 is a program that one thread holds up' CODEC(ZSTD(1)),
    load_1m Nullable(Float32) COMMENT 'Load average of the last minute' CODEC(ZSTD(1)),
    mem_used_bytes Nullable(UInt64) COMMENT 'Memory in use' CODEC(Delta, ZSTD(1)),
    mem_available_bytes Nullable(UInt64) COMMENT 'Memory that can be had without swapping' CODEC(Delta, ZSTD(1)),
    swap_used_bytes Nullable(UInt64) COMMENT 'Swap space in use' CODEC(Delta, ZSTD(1)),
    cgroup_cpu_limit Nullable(Float32) COMMENT 'Cores that the container may use' CODEC(ZSTD(1)),
    cgroup_cpu_us Nullable(UInt64) COMMENT 'Processor time of the container, microseconds: a counter' CODEC(Delta, T64, ZSTD(1)),
    cgroup_throttled_us Nullable(UInt64) COMMENT 'Time in which the container was not let run, microseconds: a counter' CODEC(Delta, T64, ZSTD(1)),
    cgroup_throttled_periods Nullable(UInt64) COMMENT 'Periods in which it was not let run: a counter' CODEC(Delta, T64, ZSTD(1)),
    cgroup_mem_bytes Nullable(UInt64) COMMENT 'Memory of the container, page cache included' CODEC(Delta, ZSTD(1)),
    cgroup_mem_limit_bytes Nullable(UInt64) COMMENT 'Memory that the container may use' CODEC(Delta, ZSTD(1)),
    cgroup_mem_anon_bytes Nullable(UInt64) COMMENT 'Memory of the container without page cache: what it is killed for' CODEC(Delta, ZSTD(1)),
    cgroup_oom_kills Nullable(UInt64) COMMENT 'Processes killed for want of memory: a counter' CODEC(Delta, T64, ZSTD(1)),
    psi_cpu_some_us Nullable(UInt64) COMMENT 'Time in which a process waited for a core, microseconds: a counter, as the five that follow' CODEC(Delta, T64, ZSTD(1)),
    psi_cpu_full_us Nullable(UInt64) COMMENT 'Time in which all processes waited for a core' CODEC(Delta, T64, ZSTD(1)),
    psi_io_some_us Nullable(UInt64) COMMENT 'Time in which a process waited for a disk' CODEC(Delta, T64, ZSTD(1)),
    psi_io_full_us Nullable(UInt64) COMMENT 'Time in which all processes waited for a disk' CODEC(Delta, T64, ZSTD(1)),
    psi_mem_some_us Nullable(UInt64) COMMENT 'Time in which a process waited for memory' CODEC(Delta, T64, ZSTD(1)),
    psi_mem_full_us Nullable(UInt64) COMMENT 'Time in which all processes waited for memory' CODEC(Delta, T64, ZSTD(1)),
    net_rx_bytes Nullable(UInt64) COMMENT 'Received over all network interfaces but the loopback: a counter' CODEC(Delta, T64, ZSTD(1)),
    net_tx_bytes Nullable(UInt64) COMMENT 'Sent over them: a counter' CODEC(Delta, T64, ZSTD(1)),
    ib_rx_bytes Nullable(UInt64) COMMENT 'Received over InfiniBand: a counter' CODEC(Delta, T64, ZSTD(1)),
    ib_tx_bytes Nullable(UInt64) COMMENT 'Sent over InfiniBand: a counter' CODEC(Delta, T64, ZSTD(1)),
    disk_read_bytes Nullable(UInt64) COMMENT 'Read from all disks: a counter' CODEC(Delta, T64, ZSTD(1)),
    disk_write_bytes Nullable(UInt64) COMMENT 'Written to all disks: a counter' CODEC(Delta, T64, ZSTD(1)),
    disk_used_pct Nullable(Float32) COMMENT 'Space in use where the spool is, percent' CODEC(ZSTD(1)),
    writer UInt64 COMMENT 'The sampler that read it' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (run_id, host, time)
SETTINGS ${window}
COMMENT 'What the nodes of a run reported: one row per node and tick';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_host_ticks_to_host_samples ${on_cluster} TO `${database}`.host_samples AS
SELECT
    run_id, host, fromUnixTimestamp64Milli(time, 'UTC') AS time,
    toUInt32(greatest(period_ms, 0)) AS period_ms, toUInt32(greatest(tick_us, 0)) AS tick_us, toUInt32(greatest(skipped, 0)) AS skipped,
    if(isFinite(h.cpu_pct) AND h.cpu_pct >= 0, h.cpu_pct, NULL) AS cpu_pct,
    if(isFinite(h.cpu_user_pct) AND h.cpu_user_pct >= 0, h.cpu_user_pct, NULL) AS cpu_user_pct,
    if(isFinite(h.cpu_system_pct) AND h.cpu_system_pct >= 0, h.cpu_system_pct, NULL) AS cpu_system_pct,
    if(isFinite(h.cpu_iowait_pct) AND h.cpu_iowait_pct >= 0, h.cpu_iowait_pct, NULL) AS cpu_iowait_pct,
    if(isFinite(h.cpu_steal_pct) AND h.cpu_steal_pct >= 0, h.cpu_steal_pct, NULL) AS cpu_steal_pct,
    if(isFinite(h.cpu_max_core_pct) AND h.cpu_max_core_pct >= 0, h.cpu_max_core_pct, NULL) AS cpu_max_core_pct,
    if(isFinite(h.load_1m) AND h.load_1m >= 0, h.load_1m, NULL) AS load_1m,
    accurateCastOrNull(mem_used_bytes, 'UInt64') AS mem_used_bytes,
    accurateCastOrNull(mem_available_bytes, 'UInt64') AS mem_available_bytes,
    accurateCastOrNull(swap_used_bytes, 'UInt64') AS swap_used_bytes,
    if(isFinite(h.cgroup_cpu_limit) AND h.cgroup_cpu_limit >= 0, h.cgroup_cpu_limit, NULL) AS cgroup_cpu_limit,
    accurateCastOrNull(cgroup_cpu_us, 'UInt64') AS cgroup_cpu_us,
    accurateCastOrNull(cgroup_throttled_us, 'UInt64') AS cgroup_throttled_us,
    accurateCastOrNull(cgroup_throttled_periods, 'UInt64') AS cgroup_throttled_periods,
    accurateCastOrNull(cgroup_mem_bytes, 'UInt64') AS cgroup_mem_bytes,
    accurateCastOrNull(cgroup_mem_limit_bytes, 'UInt64') AS cgroup_mem_limit_bytes,
    accurateCastOrNull(cgroup_mem_anon_bytes, 'UInt64') AS cgroup_mem_anon_bytes,
    accurateCastOrNull(cgroup_oom_kills, 'UInt64') AS cgroup_oom_kills,
    accurateCastOrNull(psi_cpu_some_us, 'UInt64') AS psi_cpu_some_us,
    accurateCastOrNull(psi_cpu_full_us, 'UInt64') AS psi_cpu_full_us,
    accurateCastOrNull(psi_io_some_us, 'UInt64') AS psi_io_some_us,
    accurateCastOrNull(psi_io_full_us, 'UInt64') AS psi_io_full_us,
    accurateCastOrNull(psi_mem_some_us, 'UInt64') AS psi_mem_some_us,
    accurateCastOrNull(psi_mem_full_us, 'UInt64') AS psi_mem_full_us,
    accurateCastOrNull(net_rx_bytes, 'UInt64') AS net_rx_bytes,
    accurateCastOrNull(net_tx_bytes, 'UInt64') AS net_tx_bytes,
    accurateCastOrNull(ib_rx_bytes, 'UInt64') AS ib_rx_bytes,
    accurateCastOrNull(ib_tx_bytes, 'UInt64') AS ib_tx_bytes,
    accurateCastOrNull(disk_read_bytes, 'UInt64') AS disk_read_bytes,
    accurateCastOrNull(disk_write_bytes, 'UInt64') AS disk_write_bytes,
    if(isFinite(h.disk_used_pct) AND h.disk_used_pct >= 0, h.disk_used_pct, NULL) AS disk_used_pct,
    writer, seq
FROM `${database}`.landing_host_ticks AS h
WHERE reason = '';

CREATE TABLE IF NOT EXISTS `${database}`.host_devices ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    host LowCardinality(String) COMMENT 'Name of the node',
    kind LowCardinality(String) COMMENT 'net, ib or disk',
    name LowCardinality(String) COMMENT 'Name of the interface, of port and device, or of the disk',
    time DateTime64(3, 'UTC') COMMENT 'When the tick began' CODEC(DoubleDelta, ZSTD(1)),
    in_bytes UInt64 COMMENT 'Received or read since the machine was started' CODEC(Delta, T64, ZSTD(1)),
    out_bytes UInt64 COMMENT 'Sent or written since then' CODEC(Delta, T64, ZSTD(1)),
    writer UInt64 COMMENT 'The sampler that read it' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (run_id, host, kind, name, time)
SETTINGS ${window}
COMMENT 'Traffic of network interfaces, InfiniBand ports and disks: counters';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_host_ticks_to_host_devices ${on_cluster} TO `${database}`.host_devices AS
SELECT
    run_id, host, d.kind AS kind, d.name AS name, fromUnixTimestamp64Milli(time, 'UTC') AS time,
    toUInt64(greatest(d.in_bytes, 0)) AS in_bytes, toUInt64(greatest(d.out_bytes, 0)) AS out_bytes, writer, seq
FROM `${database}`.landing_host_ticks
ARRAY JOIN devices AS d
WHERE reason = '';

CREATE TABLE IF NOT EXISTS `${database}`.rank_processes ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    host LowCardinality(String) COMMENT 'Name of the node',
    rank Int32 COMMENT 'Rank of the process' CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') COMMENT 'When the tick began' CODEC(DoubleDelta, ZSTD(1)),
    pid Int32 COMMENT 'Its process id on the node' CODEC(ZSTD(1)),
    step Nullable(Int64) COMMENT 'Step that it was at' CODEC(Delta, ZSTD(1)),
    phase LowCardinality(String) COMMENT 'Empty for training, else what Run.phase() was given',
    processes UInt32 COMMENT 'It and all that it started' CODEC(T64, ZSTD(1)),
    cpu_us Nullable(UInt64) COMMENT 'Processor time of all of them that live, microseconds: a counter that falls when one ends' CODEC(Delta, T64, ZSTD(1)),
    rss_bytes Nullable(UInt64) COMMENT 'Memory of all of them' CODEC(Delta, T64, ZSTD(1)),
    threads Nullable(UInt32) COMMENT 'Threads of all of them' CODEC(DoubleDelta, ZSTD(1)),
    fds Nullable(UInt32) COMMENT 'Open files of the rank itself' CODEC(DoubleDelta, ZSTD(1)),
    read_bytes Nullable(UInt64) COMMENT 'Read from disks by all of them: a counter, as cpu_us' CODEC(Delta, T64, ZSTD(1)),
    write_bytes Nullable(UInt64) COMMENT 'Written by all of them' CODEC(Delta, T64, ZSTD(1)),
    writer UInt64 COMMENT 'The sampler that read it' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (run_id, host, rank, time)
SETTINGS ${window}
COMMENT 'Processes of each rank, with the workers that they started';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_host_ticks_to_rank_processes ${on_cluster} TO `${database}`.rank_processes AS
SELECT
    run_id, host, p.rank AS rank, fromUnixTimestamp64Milli(time, 'UTC') AS time, p.pid AS pid, p.step AS step, p.phase AS phase,
    toUInt32(greatest(p.processes, 0)) AS processes,
    accurateCastOrNull(p.cpu_us, 'UInt64') AS cpu_us,
    accurateCastOrNull(p.rss_bytes, 'UInt64') AS rss_bytes,
    accurateCastOrNull(p.threads, 'UInt32') AS threads,
    accurateCastOrNull(p.fds, 'UInt32') AS fds,
    accurateCastOrNull(p.read_bytes, 'UInt64') AS read_bytes,
    accurateCastOrNull(p.write_bytes, 'UInt64') AS write_bytes,
    writer, seq
FROM `${database}`.landing_host_ticks
ARRAY JOIN ranks AS p
WHERE reason = '';

CREATE TABLE IF NOT EXISTS `${database}`.sample_extras ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    host LowCardinality(String) COMMENT 'Name of the node',
    gpu_uuid LowCardinality(String) COMMENT 'UUID of the GPU, empty for the node',
    name LowCardinality(String) COMMENT 'Name of the metric',
    time DateTime64(3, 'UTC') COMMENT 'When the tick began' CODEC(DoubleDelta, ZSTD(1)),
    value Float64 COMMENT 'Its value' CODEC(ZSTD(1)),
    writer UInt64 COMMENT 'The sampler that read it' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (run_id, name, host, gpu_uuid, time)
SETTINGS ${window}
COMMENT 'What was sampled and has no column of its own';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_host_ticks_to_sample_extras ${on_cluster} TO `${database}`.sample_extras AS
SELECT
    run_id, host, '' AS gpu_uuid, name, fromUnixTimestamp64Milli(time, 'UTC') AS time, value, writer, seq
FROM `${database}`.landing_host_ticks
ARRAY JOIN mapKeys(extra) AS name, mapValues(extra) AS value
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_gpu_ticks_to_sample_extras ${on_cluster} TO `${database}`.sample_extras AS
SELECT
    run_id, host, g.gpu_uuid AS gpu_uuid, name, fromUnixTimestamp64Milli(time, 'UTC') AS time, value, writer, seq
FROM `${database}`.landing_gpu_ticks
ARRAY JOIN gpus AS g
ARRAY JOIN mapKeys(g.extra) AS name, mapValues(g.extra) AS value
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_host_ticks_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'host_ticks' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(whole))) AS digest, length(whole) AS length, substring(whole, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'host', toString(host), 'time',
            toString(time), 'period_ms', toString(period_ms), 'tick_us', toString(tick_us), 'skipped',
            toString(skipped), 'cpu_pct', toString(cpu_pct), 'cpu_user_pct', toString(cpu_user_pct),
            'cpu_system_pct', toString(cpu_system_pct), 'cpu_iowait_pct', toString(cpu_iowait_pct),
            'cpu_steal_pct', toString(cpu_steal_pct), 'cpu_max_core_pct', toString(cpu_max_core_pct), 'load_1m',
            toString(load_1m), 'mem_used_bytes', toString(mem_used_bytes), 'mem_available_bytes',
            toString(mem_available_bytes), 'swap_used_bytes', toString(swap_used_bytes), 'cgroup_cpu_limit',
            toString(cgroup_cpu_limit), 'cgroup_cpu_us', toString(cgroup_cpu_us), 'cgroup_throttled_us',
            toString(cgroup_throttled_us), 'cgroup_throttled_periods', toString(cgroup_throttled_periods),
            'cgroup_mem_bytes', toString(cgroup_mem_bytes), 'cgroup_mem_limit_bytes',
            toString(cgroup_mem_limit_bytes), 'cgroup_mem_anon_bytes', toString(cgroup_mem_anon_bytes),
            'cgroup_oom_kills', toString(cgroup_oom_kills), 'psi_cpu_some_us', toString(psi_cpu_some_us),
            'psi_cpu_full_us', toString(psi_cpu_full_us), 'psi_io_some_us', toString(psi_io_some_us),
            'psi_io_full_us', toString(psi_io_full_us), 'psi_mem_some_us', toString(psi_mem_some_us),
            'psi_mem_full_us', toString(psi_mem_full_us), 'net_rx_bytes', toString(net_rx_bytes),
            'net_tx_bytes', toString(net_tx_bytes), 'ib_rx_bytes', toString(ib_rx_bytes), 'ib_tx_bytes',
            toString(ib_tx_bytes), 'disk_read_bytes', toString(disk_read_bytes), 'disk_write_bytes',
            toString(disk_write_bytes), 'disk_used_pct', toString(disk_used_pct), 'devices', toString(devices),
            'ranks', toString(ranks), 'extra', toString(extra))) AS whole
    FROM `${database}`.landing_host_ticks
    WHERE reason != ''
);

CREATE TABLE IF NOT EXISTS `${database}`.landing_device_info ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, host String, time Int64, kind String, device String, parent String,
    gpu_index Nullable(Int32), name String, vendor String, mem_total_bytes Nullable(Int64), facts Map(String, String),
    absent Map(String, String),
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        empty(host) OR isValidUTF8(host) = 0, 'no name of the node',
        time NOT BETWEEN -2208988800000 AND 10413791999999, 'a time outside 1900 to 2299',
        kind NOT IN ('host', 'gpu', 'mig'), 'a kind that is neither host nor gpu nor mig',
        NOT arrayAll(t -> isValidUTF8(t) = 1, arrayConcat([device, parent, name, vendor], mapKeys(facts), mapValues(facts), mapKeys(absent), mapValues(absent))), 'a text is not UTF-8',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.device_info ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    host LowCardinality(String) COMMENT 'Name of the node',
    kind LowCardinality(String) COMMENT 'host, gpu or mig',
    device LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance, empty for the host',
    parent LowCardinality(String) COMMENT 'UUID of the GPU that a MIG instance is part of',
    time DateTime64(3, 'UTC') COMMENT 'When it was told' CODEC(DoubleDelta, ZSTD(1)),
    gpu_index Nullable(Int32) COMMENT 'Place among the GPUs of the node',
    name LowCardinality(String) COMMENT 'Name of the product, or of the processor',
    vendor LowCardinality(String) COMMENT 'Such as NVIDIA',
    mem_total_bytes Nullable(UInt64) COMMENT 'Memory that it has',
    facts Map(String, String) COMMENT 'Driver, CUDA version, bus id, clocks, limits; cores and kernel of a host',
    absent Map(String, String) COMMENT 'Columns that it does not report, and why',
    writer UInt64 COMMENT 'The sampler that read it' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}ReplacingMergeTree
ORDER BY (run_id, host, kind, device, time)
SETTINGS ${window}
COMMENT 'What the devices of a run are: the latest row per device counts';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_device_info_to_table ${on_cluster} TO `${database}`.device_info AS
SELECT
    run_id, host, kind, device, parent, fromUnixTimestamp64Milli(time, 'UTC') AS time, gpu_index, name, vendor,
    accurateCastOrNull(mem_total_bytes, 'UInt64') AS mem_total_bytes, facts, absent, writer, seq
FROM `${database}`.landing_device_info
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_device_info_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'device_info' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(whole))) AS digest, length(whole) AS length, substring(whole, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'host', toString(host), 'time',
            toString(time), 'kind', toString(kind), 'device', toString(device), 'parent', toString(parent),
            'gpu_index', toString(gpu_index), 'name', toString(name), 'vendor', toString(vendor),
            'mem_total_bytes', toString(mem_total_bytes), 'facts', toString(facts), 'absent', toString(absent))) AS whole
    FROM `${database}`.landing_device_info
    WHERE reason != ''
);

CREATE TABLE IF NOT EXISTS `${database}`.landing_device_events ${on_cluster}
(
    _source String, _partition Int64, _offset Int64, _appended DateTime64(6, 'UTC'),
    run_id String, writer UInt64, seq UInt64, host String, time Int64, kind String, severity String, device String,
    rank Nullable(Int32), code Nullable(Int64), message String, facts Map(String, String),
    reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        empty(host) OR isValidUTF8(host) = 0, 'no name of the node',
        time NOT BETWEEN -2208988800000 AND 10413791999999, 'a time outside 1900 to 2299',
        severity NOT IN ('info', 'warning', 'error'), 'a severity that is neither info nor warning nor error',
        NOT arrayAll(t -> isValidUTF8(t) = 1, arrayConcat([kind, device, message], mapKeys(facts), mapValues(facts))), 'a text is not UTF-8',
        '')
)
ENGINE = Null;

CREATE TABLE IF NOT EXISTS `${database}`.device_events ${on_cluster}
(
    run_id LowCardinality(String) COMMENT 'Path of the run: entity/project/id',
    host LowCardinality(String) COMMENT 'Name of the node',
    time DateTime64(3, 'UTC') COMMENT 'When it happened' CODEC(DoubleDelta, ZSTD(1)),
    kind LowCardinality(String) COMMENT 'Such as xid, gpu_lost, no_driver, sampler_ended',
    severity LowCardinality(String) COMMENT 'info, warning or error',
    device LowCardinality(String) COMMENT 'UUID of the GPU or MIG instance, empty for the node',
    rank Nullable(Int32) COMMENT 'Rank that computes on it',
    code Nullable(Int64) COMMENT 'Number of the XID, or return code of NVML',
    message String COMMENT 'What happened and what to do about it',
    facts Map(String, String) COMMENT 'Details',
    writer UInt64 COMMENT 'The sampler that read it' CODEC(DoubleDelta, ZSTD(1)),
    seq UInt64 COMMENT 'Number of the record that brought it, within the writer' CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replicated}MergeTree
ORDER BY (run_id, time, host, kind)
SETTINGS ${window}
COMMENT 'What happened to the devices of a run, and to the samplers';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_device_events_to_table ${on_cluster} TO `${database}`.device_events AS
SELECT
    run_id, host, fromUnixTimestamp64Milli(time, 'UTC') AS time, kind, severity, device, rank, code, message, facts,
    writer, seq
FROM `${database}`.landing_device_events
WHERE reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS `${database}`.landing_device_events_rejects ${on_cluster} TO `${database}`.dead_letters AS
SELECT
    'device_events' AS stream, reason, _source AS source, _partition AS partition, _offset AS offset,
    lower(hex(SHA256(whole))) AS digest, length(whole) AS length, substring(whole, 1, 65536) AS payload
FROM
(
    SELECT
        reason, _source, _partition, _offset,
        toJSONString(map('run_id', run_id, 'writer', toString(writer), 'seq', toString(seq), 'host', toString(host), 'time',
            toString(time), 'kind', toString(kind), 'severity', toString(severity), 'device', toString(device),
            'rank', toString(rank), 'code', toString(code), 'message', toString(message), 'facts',
            toString(facts))) AS whole
    FROM `${database}`.landing_device_events
    WHERE reason != ''
);
