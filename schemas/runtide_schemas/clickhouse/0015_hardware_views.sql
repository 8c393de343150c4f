-- Formulas over what GPUs and nodes reported: docs/hardware_sql.md has each with its source, and how good it is. What is
-- asked per run is a view with parameters: SELECT * FROM gpu_hang(run = 'entity/project/id').

CREATE VIEW IF NOT EXISTS `${database}`.device_info_latest ${on_cluster} AS
SELECT
    run_id, host, kind, device,
    argMax((d.parent, d.gpu_index, d.name, d.vendor, d.mem_total_bytes, d.facts, d.absent), (d.time, d.seq)) AS told,
    told.1 AS parent, told.2 AS gpu_index, told.3 AS name, told.4 AS vendor, told.5 AS mem_total_bytes,
    told.6 AS facts, told.7 AS absent, max(d.time) AS time
FROM `${database}`.device_info AS d
GROUP BY run_id, host, kind, device;

CREATE VIEW IF NOT EXISTS `${database}`.device_absent ${on_cluster} AS
SELECT run_id, host, kind, device, column, reason
FROM `${database}`.device_info_latest
ARRAY JOIN mapKeys(absent) AS column, mapValues(absent) AS reason;

-- Energy. A counter that falls began anew: what it shows since then counts. No GPU takes 2 kW: a step that would need
-- more is a reading that went wrong, or one of two samplers that was a little late, and counts nothing.
CREATE VIEW IF NOT EXISTS `${database}`.gpu_energy ${on_cluster} AS
SELECT
    run_id, host, gpu_uuid, max(m.gpu_rank) AS rank,
    min(m.began) AS began, max(m.ended) AS ended, dateDiff('millisecond', began, ended) / 1000 AS seconds,
    sum(if(m.within <= 2e6 * (m.within_s + 1), m.within, 0) + if(m.between <= 2e6 * (m.between_s + 1), m.between, 0)) / 1000 AS joules,
    joules / nullIf(seconds, 0) AS mean_w,
    sumIf(m.within, m.power_mw IS NOT NULL AND m.within <= 2e6 * (m.within_s + 1)) / 1000 AS compared_joules,
    sum(m.power_mw * m.within_s) / 1000 AS power_joules,
    compared_joules / nullIf(power_joules, 0) - 1 AS divergence,
    ifNull(abs(divergence) > 0.15, false) AS doubtful,
    countIf(m.fell) AS resets
FROM
(
    SELECT
        run_id, host, gpu_uuid, gpu_rank, began, ended, power_mw,
        lagInFrame(toNullable(final), 1, NULL) OVER w AS before,
        lagInFrame(toNullable(ended), 1, NULL) OVER w AS before_ended,
        final < first OR ifNull(first < before, false) AS fell,
        if(final >= first, final - first, top - first + final) AS within,
        dateDiff('millisecond', began, ended) / 1000 AS within_s,
        ifNull(if(first >= before, first - before, first), 0) AS between,
        ifNull(dateDiff('millisecond', before_ended, began) / 1000, 0) AS between_s
    FROM
    (
        SELECT
            run_id, host, gpu_uuid, start, max(r.rank) AS gpu_rank, min(r.first_time) AS began, max(r.last_time) AS ended,
            assumeNotNull(argMinMerge(r.energy_mj_first)) AS first, assumeNotNull(argMaxMerge(r.energy_mj_last)) AS final,
            assumeNotNull(max(r.energy_mj_max)) AS top,
            sum(r.power_instant_mw_sum) / nullIf(sum(r.power_instant_mw_count), 0) AS power_mw
        FROM `${database}`.gpu_rollup_60s AS r
        WHERE mig_uuid = ''
        GROUP BY run_id, host, gpu_uuid, start
        HAVING max(r.energy_mj_max) IS NOT NULL
    )
    WINDOW w AS (PARTITION BY run_id, host, gpu_uuid ORDER BY start ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
) AS m
GROUP BY run_id, host, gpu_uuid;

CREATE VIEW IF NOT EXISTS `${database}`.run_energy ${on_cluster} AS
SELECT
    run_id, uniqExact(e.host) AS hosts, count() AS gpus, min(e.began) AS began, max(e.ended) AS ended,
    sum(e.joules) AS joules, joules / 3.6e6 AS kwh,
    sum(e.compared_joules) / nullIf(sum(e.power_joules), 0) - 1 AS divergence, countIf(e.doubtful) AS doubtful_gpus
FROM `${database}`.gpu_energy AS e
GROUP BY run_id;

CREATE VIEW IF NOT EXISTS `${database}`.run_cost ${on_cluster} AS
SELECT
    run_id, kwh, kwh * {pue:Float64} AS site_kwh, site_kwh * {price:Float64} AS price,
    site_kwh * {grams_co2:Float64} / 1000 AS kg_co2
FROM `${database}`.run_energy
WHERE run_id = {run:String};

-- Power of all GPUs of a run over time, from their counters: between two readings of a GPU it is the mean of that time.
-- `joules` is the energy from the first reading until `time`; `gpus` is how many are being read from then on.
CREATE VIEW IF NOT EXISTS `${database}`.power_curve ${on_cluster} AS
WITH
    series AS
    (
        SELECT arraySort(groupArray((s.time, assumeNotNull(s.energy_mj)))) AS readings
        FROM `${database}`.gpu_samples AS s
        WHERE run_id = {run:String} AND mig_uuid = '' AND s.energy_mj IS NOT NULL
            AND s.time BETWEEN fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
        GROUP BY host, gpu_uuid
    ),
    -- Two samplers that see one GPU may read it at the same time: that is no span.
    spans AS
    (
        SELECT
            a.1 AS since, b.1 AS until, dateDiff('millisecond', since, until) / 1000 AS span_s,
            if(b.2 >= a.2, b.2 - a.2, b.2) AS mj, if(mj <= 2e6 * (span_s + 1), mj / 1000 / span_s, 0) AS w
        FROM series
        ARRAY JOIN arrayPopBack(readings) AS a, arrayPopFront(readings) AS b
        WHERE since < until
    ),
    edges AS
    (
        SELECT time, sum(change) AS change_w, sum(n) AS change_n
        FROM (SELECT since AS time, w AS change, 1 AS n FROM spans UNION ALL SELECT until AS time, -w AS change, -1 AS n FROM spans)
        GROUP BY time
    ),
    levels AS
    (
        SELECT
            time, sum(change_w) OVER upto AS watts, sum(change_n) OVER upto AS gpus,
            dateDiff('millisecond', time, leadInFrame(time, 1, time) OVER (ORDER BY time ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)) / 1000 AS seconds
        FROM edges
        WINDOW upto AS (ORDER BY time ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
    )
SELECT
    time, watts, gpus,
    sum(watts * seconds) OVER (ORDER BY time ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - watts * seconds AS joules
FROM levels;

-- Energy of each step, from the end of the step before to its own: a step ends when the lowest rank that logs the metric
-- logs it. The counters advance about every 100 ms, so either end may be wrong by that much.
CREATE VIEW IF NOT EXISTS `${database}`.step_energy ${on_cluster} AS
WITH
    ends AS
    (
        SELECT step, time, 1 AS one
        FROM `${database}`.metrics_latest
        WHERE run_id = {run:String} AND key = {key:String} AND step BETWEEN {first_step:Int64} AND {last_step:Int64}
            AND rank = (SELECT min(rank) FROM `${database}`.metric_summary_state WHERE run_id = {run:String} AND key = {key:String})
    ),
    curve AS
    (
        SELECT time, watts, gpus, joules
        FROM `${database}`.power_curve(
            run = {run:String},
            from_ms = (SELECT toUnixTimestamp64Milli(min(time)) - 60000 FROM ends), to_ms = (SELECT toUnixTimestamp64Milli(max(time)) + 60000 FROM ends))
    ),
    marks AS
    (
        SELECT
            e.step AS step, e.time AS ended, c.gpus AS gpus,
            c.joules + c.watts * dateDiff('millisecond', c.time, e.time) / 1000 AS joules
        FROM ends AS e
        ASOF INNER JOIN (SELECT 1 AS one, * FROM curve) AS c ON e.one = c.one AND e.time >= c.time
    )
SELECT
    step, began, ended, dateDiff('millisecond', began, ended) / 1000 AS seconds, gpus, joules - before AS joules,
    joules / seconds AS mean_w, 0.2 * mean_w AS error_joules
FROM
(
    SELECT step, ended, gpus, joules, lagInFrame(joules) OVER w AS before, lagInFrame(toNullable(ended), 1, NULL) OVER w AS began
    FROM marks
    WINDOW w AS (ORDER BY step ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE began < ended AND gpus > 0;

-- Energy per token, by windows of so many seconds, five at least. Tokens count when their step is logged, and again when
-- it is computed again.
CREATE VIEW IF NOT EXISTS `${database}`.token_energy ${on_cluster} AS
WITH
    greatest({seconds:UInt32}, 5) * 1000 AS width,
    steps AS
    (
        SELECT toUnixTimestamp64Milli(time) - 1 - positiveModulo(toUnixTimestamp64Milli(time) - 1, width) AS window_ms, sum(value) AS tokens
        FROM `${database}`.metrics
        WHERE run_id = {run:String} AND key = {key:String} AND isFinite(value)
        GROUP BY window_ms
    ),
    marks AS
    (
        SELECT w.mark_ms AS mark_ms, c.gpus AS gpus, c.joules + c.watts * (w.mark_ms - toUnixTimestamp64Milli(c.time)) / 1000 AS joules
        FROM (SELECT DISTINCT 1 AS one, arrayJoin([window_ms, window_ms + width]) AS mark_ms, fromUnixTimestamp64Milli(mark_ms, 'UTC') AS mark FROM steps) AS w
        ASOF INNER JOIN
        (
            SELECT 1 AS one, *
            FROM `${database}`.power_curve(
                run = {run:String},
                from_ms = (SELECT min(window_ms) - 60000 FROM steps), to_ms = (SELECT max(window_ms) + width + 60000 FROM steps))
        ) AS c ON w.one = c.one AND w.mark >= c.time
    )
SELECT
    fromUnixTimestamp64Milli(s.window_ms, 'UTC') AS start, width / 1000 AS seconds, s.tokens AS tokens,
    e.joules - b.joules AS joules, joules / nullIf(tokens, 0) AS joules_per_token
FROM steps AS s
INNER JOIN marks AS b ON b.mark_ms = s.window_ms
INNER JOIN marks AS e ON e.mark_ms = s.window_ms + width
WHERE e.gpus > 0;

-- Whether a GPU computes. Without activity counters: a kernel runs, and it takes a tenth more than when idle. Idle is the
-- least that it ever took, and not more than 0.3 of its limit: one that was never idle has shown no such power.
CREATE VIEW IF NOT EXISTS `${database}`.gpu_busy ${on_cluster} AS
SELECT
    s.run_id AS run_id, s.host AS host, s.gpu_uuid AS gpu_uuid, s.mig_uuid AS mig_uuid, s.time AS time, s.rank AS rank,
    s.phase AS phase, s.phase IN ('eval', 'checkpoint', 'compile') AS excluded,
    toUInt64(s.period_ms) * (s.skipped + 1) AS ms,
    multiIf(
        s.sm_active_pct IS NOT NULL, s.sm_active_pct >= 5,
        s.gpu_util_pct > 0 AND s.power_instant_mw IS NOT NULL, s.power_instant_mw > 1.1 * i.idle_mw,
        s.gpu_util_pct > 0) AS busy,
    s.sm_clock_mhz AS sm_clock_mhz
FROM `${database}`.gpu_samples AS s
LEFT JOIN
(
    SELECT
        run_id, host, gpu_uuid,
        least(min(r.power_instant_mw_min), ifNull(0.3 * max(r.power_limit_mw), 4294967295)) AS idle_mw
    FROM `${database}`.gpu_rollup_60s AS r
    GROUP BY run_id, host, gpu_uuid
) AS i ON s.run_id = i.run_id AND s.host = i.host AND s.gpu_uuid = i.gpu_uuid;

CREATE VIEW IF NOT EXISTS `${database}`.gpu_idle ${on_cluster} AS
SELECT
    run_id, host, gpu_uuid, mig_uuid, max(b.rank) AS rank,
    sumIf(b.ms, NOT b.excluded AND b.busy IS NOT NULL) / 1000 AS seconds,
    sumIf(b.ms, NOT b.excluded AND NOT b.busy) / 1000 AS idle_seconds,
    idle_seconds / nullIf(seconds, 0) AS idle_fraction, idle_seconds / 3600 AS idle_gpu_hours,
    sumIf(b.ms, b.excluded) / 1000 AS excluded_seconds,
    avgIf(b.sm_clock_mhz, b.busy AND NOT b.excluded) AS busy_sm_clock_mhz
FROM `${database}`.gpu_busy AS b
GROUP BY run_id, host, gpu_uuid, mig_uuid;

-- How far clocks are below the highest that the device has.
CREATE VIEW IF NOT EXISTS `${database}`.gpu_clock_loss ${on_cluster} AS
SELECT
    run_id, host, gpu_uuid, rank, busy_sm_clock_mhz, toUInt32OrNull(d.facts['max_sm_clock_mhz']) AS max_sm_clock_mhz,
    1 - busy_sm_clock_mhz / nullIf(max_sm_clock_mhz, 0) AS clock_loss
FROM `${database}`.gpu_idle AS g
LEFT JOIN `${database}`.device_info_latest AS d ON g.run_id = d.run_id AND g.host = d.host AND g.gpu_uuid = d.device
WHERE mig_uuid = '';

-- How much of the time each reason held a GPU's clocks down, from counters that miss nothing between samples.
CREATE VIEW IF NOT EXISTS `${database}`.gpu_throttle ${on_cluster} AS
SELECT
    *, quantileExact(0.5)(fraction) OVER (PARTITION BY run_id, reason) AS peers_fraction,
    multiIf(
        reason IN ('hw_thermal', 'hw_brake', 'reliability') AND throttled_seconds > 0, 'warning',
        reason = 'sw_thermal' AND fraction > 0.01, 'warning',
        reason = 'power' AND fraction > peers_fraction + 0.1, 'warning',
        throttled_seconds > 0, 'info',
        '') AS severity
FROM
(
    SELECT
        run_id, host, gpu_uuid, reason, max(m.gpu_rank) AS rank,
        dateDiff('millisecond', min(m.began), max(m.ended)) / 1000 AS seconds,
        -- No counter gains more than the time that has passed.
        sum(if(m.within <= 1e9 * (m.within_s + 1), m.within, 0) + if(m.between <= 1e9 * (m.between_s + 1), m.between, 0)) / 1e9 AS throttled_seconds,
        least(throttled_seconds / nullIf(seconds, 0), 1) AS fraction
    FROM
    (
        SELECT
            run_id, host, gpu_uuid, reason, gpu_rank, began, ended,
            lagInFrame(toNullable(final), 1, NULL) OVER w AS before,
            lagInFrame(toNullable(ended), 1, NULL) OVER w AS before_ended,
            if(final >= first, final - first, top - first + final) AS within,
            dateDiff('millisecond', began, ended) / 1000 AS within_s,
            ifNull(if(first >= before, first - before, first), 0) AS between,
            ifNull(dateDiff('millisecond', before_ended, began) / 1000, 0) AS between_s
        FROM
        (
            SELECT
                run_id, host, gpu_uuid, start, gpu_rank, began, ended,
                counter.1 AS reason, assumeNotNull(counter.2) AS first, assumeNotNull(counter.3) AS final, assumeNotNull(counter.4) AS top
            FROM
            (
                SELECT
                    run_id, host, gpu_uuid, start, max(r.rank) AS gpu_rank, min(r.first_time) AS began, max(r.last_time) AS ended,
                    [
                        ('power', argMinMerge(r.throttle_power_ns_first), argMaxMerge(r.throttle_power_ns_last), max(r.throttle_power_ns_max)),
                        ('sync_boost', argMinMerge(r.throttle_sync_boost_ns_first), argMaxMerge(r.throttle_sync_boost_ns_last), max(r.throttle_sync_boost_ns_max)),
                        ('sw_thermal', argMinMerge(r.throttle_sw_thermal_ns_first), argMaxMerge(r.throttle_sw_thermal_ns_last), max(r.throttle_sw_thermal_ns_max)),
                        ('hw_thermal', argMinMerge(r.throttle_hw_thermal_ns_first), argMaxMerge(r.throttle_hw_thermal_ns_last), max(r.throttle_hw_thermal_ns_max)),
                        ('hw_brake', argMinMerge(r.throttle_hw_brake_ns_first), argMaxMerge(r.throttle_hw_brake_ns_last), max(r.throttle_hw_brake_ns_max)),
                        ('reliability', argMinMerge(r.throttle_reliability_ns_first), argMaxMerge(r.throttle_reliability_ns_last), max(r.throttle_reliability_ns_max))
                    ] AS counters
                FROM `${database}`.gpu_rollup_60s AS r
                WHERE mig_uuid = ''
                GROUP BY run_id, host, gpu_uuid, start
            )
            ARRAY JOIN counters AS counter
            WHERE counter.4 IS NOT NULL
        )
        WINDOW w AS (PARTITION BY run_id, host, gpu_uuid, reason ORDER BY start ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ) AS m
    GROUP BY run_id, host, gpu_uuid, reason
);

-- Time that ranks wait for data, and why: key names are those of the time a step takes and of the part of it in which the
-- rank waits for its loader. `nic_bytes_s` is what the network can bring, 0 when not known.
CREATE VIEW IF NOT EXISTS `${database}`.loader_stall ${on_cluster} AS
WITH
    times AS
    (
        SELECT
            rank, sumIf(value, key = {data_key:String}) AS data_s, sumIf(value, key = {step_key:String}) AS step_s,
            min(time) AS began, max(time) AS ended
        FROM `${database}`.metrics_latest
        WHERE run_id = {run:String} AND key IN ({data_key:String}, {step_key:String}) AND isFinite(value)
            AND step BETWEEN {first_step:Int64} AND {last_step:Int64}
        GROUP BY rank
    ),
    places AS (SELECT rank, argMax(p.host, p.time) AS host FROM `${database}`.rank_processes AS p WHERE run_id = {run:String} GROUP BY rank),
    nodes AS
    (
        SELECT
            host, avg(h.cpu_pct) AS cpu_pct, avg(h.cpu_max_core_pct) AS cpu_max_core_pct, avg(h.cpu_max_core_pct >= 90 OR h.cpu_pct >= 90) AS cpu_full,
            dateDiff('millisecond', min(h.time), max(h.time)) * 1000 AS us,
            (argMax(h.cgroup_throttled_us, h.time) - argMin(h.cgroup_throttled_us, h.time)) / nullIf(us, 0) AS cgroup_throttled,
            (argMax(h.psi_io_full_us, h.time) - argMin(h.psi_io_full_us, h.time)) / nullIf(us, 0) AS io_full,
            (argMax(h.net_rx_bytes, h.time) + ifNull(argMax(h.ib_rx_bytes, h.time), 0) - argMin(h.net_rx_bytes, h.time) - ifNull(argMin(h.ib_rx_bytes, h.time), 0)) / nullIf(us, 0) * 1e6 AS rx_bytes_s
        FROM `${database}`.host_samples AS h
        WHERE run_id = {run:String} AND h.time BETWEEN (SELECT min(began) FROM times) AND (SELECT max(ended) FROM times)
        GROUP BY host
    ),
    devices AS
    (
        SELECT rank AS of_rank, sumIf(ms, NOT busy) / nullIf(sum(ms), 0) AS gpu_idle
        FROM `${database}`.gpu_busy
        WHERE run_id = {run:String} AND NOT excluded AND rank IS NOT NULL
            AND time BETWEEN (SELECT min(began) FROM times) AND (SELECT max(ended) FROM times)
        GROUP BY of_rank
    )
SELECT
    t.rank AS rank, p.host AS host, t.data_s AS data_s, t.step_s AS step_s, data_s / nullIf(step_s, 0) AS stall_fraction,
    n.cpu_pct AS cpu_pct, n.cpu_max_core_pct AS cpu_max_core_pct, n.cpu_full AS cpu_full, n.cgroup_throttled AS cgroup_throttled, n.io_full AS io_full,
    n.rx_bytes_s AS rx_bytes_s, d.gpu_idle AS gpu_idle,
    multiIf(
        stall_fraction < 0.1 AND d.gpu_idle > 0.2, 'not the loader: launches, waiting for others, or saving',
        ifNull(stall_fraction, 0) < 0.1, '',
        n.cpu_full >= stall_fraction / 2 OR n.cgroup_throttled > 0.01, 'preprocessing',
        n.io_full > 0.05, 'storage',
        {nic_bytes_s:Float64} > 0 AND n.rx_bytes_s > 0.8 * {nic_bytes_s:Float64}, 'remote store',
        'unknown') AS cause
FROM times AS t
LEFT JOIN places AS p ON t.rank = p.rank
LEFT JOIN nodes AS n ON p.host = n.host
LEFT JOIN devices AS d ON t.rank = d.of_rank;

-- Ranks that are slower than the others over the last 20 steps: the key names the time of a step without waiting for others.
CREATE VIEW IF NOT EXISTS `${database}`.stragglers ${on_cluster} AS
WITH
    points AS
    (
        SELECT rank, step, value, time
        FROM `${database}`.metrics_latest
        WHERE run_id = {run:String} AND key = {key:String} AND isFinite(value)
            AND step IN (
                SELECT step FROM `${database}`.metrics WHERE run_id = {run:String} AND key = {key:String}
                GROUP BY step ORDER BY step DESC LIMIT 20)
    ),
    centered AS
    (
        SELECT *, quantileExactInclusive(0.5)(abs(value - middle)) OVER (PARTITION BY step) AS mad
        FROM (SELECT *, quantileExactInclusive(0.5)(value) OVER (PARTITION BY step) AS middle, max(value) OVER (PARTITION BY step) AS worst FROM points)
    ),
    scores AS
    (
        SELECT
            rank, count() AS steps, quantileExactInclusive(0.5)(value / nullIf(middle, 0)) AS score,
            -- Where most ranks are equal to the last digit, a thousandth of the median is taken for their spread.
            quantileExactInclusive(0.5)((value - middle) / greatest(1.4826 * mad, 0.001 * middle)) AS robust_z,
            countIf((value - middle) / greatest(1.4826 * mad, 0.001 * middle) > 5) AS slow_steps,
            avg(worst / nullIf(middle, 0)) - 1 AS cost
        FROM centered
        GROUP BY rank
    ),
    evidence AS
    (
        SELECT
            s.rank AS of_rank, any(s.host) AS host, any(s.gpu_uuid) AS gpu_uuid, avg(s.sm_clock_mhz) AS sm_clock_mhz,
            avg(s.temp_gpu_c) AS temp_gpu_c, avg(s.power_instant_mw) / 1000 AS watts,
            max(s.throttle_hw_thermal_ns) - min(s.throttle_hw_thermal_ns) AS hw_ns, max(s.throttle_sw_thermal_ns) - min(s.throttle_sw_thermal_ns) AS sw_ns,
            if(hw_ns IS NULL AND sw_ns IS NULL, NULL, (ifNull(hw_ns, 0) + ifNull(sw_ns, 0)) / 1e9) AS thermal_s,
            max(s.pcie_replays) - min(s.pcie_replays) AS pcie_replays, min(s.pcie_width) AS pcie_width
        FROM `${database}`.gpu_samples AS s
        WHERE run_id = {run:String} AND s.rank IS NOT NULL
            AND s.time BETWEEN (SELECT min(time) - INTERVAL 30 SECOND FROM points) AND (SELECT max(time) FROM points)
        GROUP BY of_rank
    )
SELECT
    s.rank AS rank, e.host AS host, e.gpu_uuid AS gpu_uuid, s.steps AS steps, s.score AS score, s.robust_z AS robust_z,
    s.slow_steps AS slow_steps, score > 1.1 AND slow_steps >= 15 AS straggler, s.cost AS cost,
    e.sm_clock_mhz - quantileExactInclusive(0.5)(e.sm_clock_mhz) OVER () AS sm_clock_mhz_delta,
    e.temp_gpu_c - quantileExactInclusive(0.5)(e.temp_gpu_c) OVER () AS temp_gpu_c_delta,
    e.watts - quantileExactInclusive(0.5)(e.watts) OVER () AS watts_delta,
    e.thermal_s - quantileExactInclusive(0.5)(e.thermal_s) OVER () AS thermal_s_delta,
    e.pcie_replays AS pcie_replays, e.pcie_width AS pcie_width, quantileExactInclusive(0.5)(e.pcie_width) OVER () AS peers_pcie_width
FROM scores AS s
LEFT JOIN evidence AS e ON s.rank = e.of_rank;

-- Whether a run hangs, and where: all wait for one. Steps are those that ranks told the sampler. What led to it is read by
-- minute, what counts by ten seconds; so `stuck_seconds` may be a minute short.
CREATE VIEW IF NOT EXISTS `${database}`.gpu_hang ${on_cluster} AS
WITH
    -- Of the job: its newest sample, the minute in which its last step began, that step, and how long nothing may happen.
    (
        SELECT (seen_ms, since_ms, last_step, greatest(60, ifNull(10 * (since_ms - began_ms) / 1000 / nullIf(last_step - first_step, 0), 0)))
        FROM
        (
            SELECT
                toUnixTimestamp64Milli(max(r.last_time)) AS seen_ms, toUnixTimestamp64Milli(min(r.first_time)) AS began_ms,
                max(r.step) AS last_step, min(r.step) AS first_step,
                if(last_step IS NULL, NULL, 60000 - maxIf((assumeNotNull(r.step), -toUnixTimestamp64Milli(r.start)), r.step IS NOT NULL).2) AS since_ms
            FROM `${database}`.gpu_rollup_60s AS r
            WHERE run_id = {run:String}
        )
    ) AS job,
    job.1 AS job_seen_ms, job.2 AS job_since_ms, job.3 AS job_step, job.4 AS needed_seconds,
    devices AS
    (
        SELECT
            host, gpu_uuid, mig_uuid, max(r.rank) AS rank, max(r.step) AS at_step, argMax(r.phase, r.last_time) AS phase,
            toUnixTimestamp64Milli(max(r.last_time)) AS seen_ms, max(r.power_limit_mw) AS limit_mw,
            ifNull(least(min(r.power_instant_mw_min), 0.3 * limit_mw), min(r.power_instant_mw_min)) AS idle_mw
        FROM `${database}`.gpu_rollup_60s AS r
        WHERE run_id = {run:String}
        GROUP BY host, gpu_uuid, mig_uuid
    ),
    recent AS
    (
        SELECT
            host, gpu_uuid, mig_uuid, toNullable(max(r.step) - min(r.step)) AS steps, min(r.gpu_util_pct_min) AS util_min, max(r.gpu_util_pct_max) AS util_max,
            max(r.tensor_active_pct_max) AS tensor, max(r.dram_active_pct_max) AS dram,
            greatest(max(r.nvlink_tx_bytes_s_max), max(r.nvlink_rx_bytes_s_max)) AS nvlink,
            sum(r.power_instant_mw_sum) / nullIf(sum(r.power_instant_mw_count), 0) AS power_mw
        FROM `${database}`.gpu_rollup_10s AS r
        WHERE run_id = {run:String} AND start >= fromUnixTimestamp64Milli(toInt64(job_seen_ms - 1000 * needed_seconds), 'UTC')
        GROUP BY host, gpu_uuid, mig_uuid
    ),
    states AS
    (
        SELECT
            d.rank AS rank, d.host AS host, d.gpu_uuid AS gpu_uuid, d.mig_uuid AS mig_uuid, d.phase AS phase, d.at_step AS step,
            d.seen_ms > job_seen_ms - 30000 AS alive, r.tensor AS tensor, ifNull(r.steps, 0) AS steps,
            multiIf(
                NOT alive, 'no samples',
                r.util_min >= 95 AND ifNull(tensor <= 2, true) AND ifNull(r.dram <= 5, true) AND ifNull(r.nvlink <= 100000000, true)
                    AND ifNull(r.power_mw <= d.idle_mw + 0.35 * (d.limit_mw - d.idle_mw), false), 'waiting',
                r.util_max = 0, 'idle',
                'computing') AS state
        FROM devices AS d
        LEFT JOIN recent AS r ON d.host = r.host AND d.gpu_uuid = r.gpu_uuid AND d.mig_uuid = r.mig_uuid
    ),
    counted AS
    (
        SELECT
            *, countIf(state = 'waiting') OVER () AS waiting, count() OVER () AS gpus, max(steps) OVER () AS new_steps,
            max(alive AND phase IN ('eval', 'checkpoint', 'compile')) OVER () AS suppressed,
            count(tensor) OVER () AS with_tensor
        FROM states
    )
SELECT
    rank, host, gpu_uuid, mig_uuid, state, phase, step, waiting / gpus AS waiting_share, suppressed, needed_seconds,
    if(job_step IS NULL OR new_steps > 0, 0, greatest((job_seen_ms - job_since_ms) / 1000, 0)) AS stuck_seconds,
    job_step IS NOT NULL AND new_steps = 0 AND NOT suppressed AND waiting > 0 AND (waiting >= 0.9 * gpus OR waiting = gpus - 1)
        AND job_seen_ms - 1000 * needed_seconds >= job_since_ms - 60000 AS hung,
    if(with_tensor > 0, 'high', 'low') AS confidence,
    hung AND (state != 'waiting' OR ifNull(step < job_step, false)) AS suspect
FROM counted;

-- Dense peak of the matrix units, without sparsity, by NVML's name of the product.
CREATE VIEW IF NOT EXISTS `${database}`.gpu_peak_flops ${on_cluster} AS
SELECT peak.1 AS pattern, peak.2 AS dtype, peak.3 * 1e12 AS flops
FROM
(
    SELECT arrayJoin([
        ('^(NVIDIA )?A100', 'bf16', 312),
        ('^NVIDIA H100 PCIe$$', 'bf16', 756),
        ('^NVIDIA H100 NVL$$', 'bf16', 835),
        ('^NVIDIA H100 .*HBM', 'bf16', 989),
        ('^NVIDIA H200$$', 'bf16', 989),
        ('^NVIDIA H20$$', 'bf16', 148),
        ('^NVIDIA B[23]00', 'bf16', 2250),
        ('^NVIDIA GB[23]00', 'bf16', 2500),
        ('^NVIDIA L40S$$', 'bf16', 362)]) AS peak
);

-- Model FLOPs utilization by windows of so many seconds. `key` counts tokens of a step and rank (unit 'tokens') or is a
-- rate of each rank (unit 'tokens/s'); `peak_flops` is that of one GPU, 0 to look its name up; `recomputed` is the share of
-- the forward pass that is computed again.
CREATE VIEW IF NOT EXISTS `${database}`.gpu_mfu ${on_cluster} AS
WITH
    greatest({seconds:UInt32}, 10) * 1000 AS width,
    points AS
    (
        SELECT rank, value, toUnixTimestamp64Milli(time) AS at
        FROM `${database}`.metrics
        WHERE run_id = {run:String} AND key = {key:String} AND isFinite(value)
    ),
    -- What the first step of a run took is not known: the others are counted from its end.
    (SELECT (min(at), max(at)) FROM points) AS bounds,
    windows AS
    (
        SELECT
            -- A step that ends with a window is part of it.
            at - 1 - positiveModulo(at - 1, width) AS window_ms,
            (least(window_ms + width, bounds.2) - greatest(window_ms, bounds.1)) / 1000 AS window_s,
            sum(value) AS total, sum(value) / count() * uniqExact(rank) AS rate
        FROM points
        WHERE at > bounds.1
        GROUP BY window_ms
    ),
    devices AS
    (
        SELECT DISTINCT host, gpu_uuid FROM `${database}`.gpu_rollup_60s
        WHERE run_id = {run:String} AND mig_uuid = '' AND (rank IS NOT NULL OR run_id NOT IN (
            SELECT run_id FROM `${database}`.gpu_rollup_60s WHERE run_id = {run:String} AND rank IS NOT NULL))
    ),
    peak AS
    (
        SELECT count() AS gpus, if({peak_flops:Float64} > 0, {peak_flops:Float64} * gpus, if(countIf(known = 0) = 0, sum(known), NULL)) AS flops
        FROM
        (
            SELECT g.host AS host, g.gpu_uuid AS gpu_uuid, max(if(match(i.name, t.pattern) AND t.dtype = {dtype:String}, t.flops, 0)) AS known
            FROM devices AS g
            LEFT JOIN (SELECT host, device, name FROM `${database}`.device_info_latest WHERE run_id = {run:String}) AS i ON g.host = i.host AND g.gpu_uuid = i.device
            CROSS JOIN `${database}`.gpu_peak_flops AS t
            GROUP BY g.host, g.gpu_uuid
        )
    ),
    -- By ten seconds: those in which the GPUs computed.
    clocks AS
    (
        SELECT start_ms - positiveModulo(start_ms, width) AS window_ms, sum(clock_sum) / nullIf(sum(clock_count), 0) AS busy_sm_clock_mhz
        FROM
        (
            SELECT
                toUnixTimestamp64Milli(start) AS start_ms, sum(r.sm_clock_mhz_sum) AS clock_sum, sum(r.sm_clock_mhz_count) AS clock_count,
                if(sum(r.sm_active_pct_count) > 0, sum(r.sm_active_pct_sum) / sum(r.sm_active_pct_count) >= 5, sum(r.gpu_util_pct_sum) > 0) AS busy
            FROM `${database}`.gpu_rollup_10s AS r
            WHERE run_id = {run:String} AND mig_uuid = '' AND r.phase NOT IN ('eval', 'checkpoint', 'compile')
            GROUP BY host, gpu_uuid, start
        )
        WHERE busy
        GROUP BY window_ms
    ),
    fastest AS
    (
        SELECT max(toUInt32OrNull(facts['max_sm_clock_mhz'])) AS max_sm_clock_mhz
        FROM `${database}`.device_info_latest WHERE run_id = {run:String} AND kind = 'gpu'
    )
SELECT
    fromUnixTimestamp64Milli(w.window_ms, 'UTC') AS start, w.window_s AS seconds,
    if({unit:String} = 'tokens/s', w.rate, w.total / nullIf(w.window_s, 0)) AS tokens_s, p.gpus AS gpus, p.flops AS peak,
    {flops_per_token:Float64} * tokens_s / nullIf(p.flops, 0) AS mfu,
    mfu * (3 + {recomputed:Float64}) / 3 AS hfu,
    c.busy_sm_clock_mhz AS busy_sm_clock_mhz, mfu * f.max_sm_clock_mhz / nullIf(c.busy_sm_clock_mhz, 0) AS clock_adjusted_mfu
FROM windows AS w
CROSS JOIN peak AS p
CROSS JOIN fastest AS f
LEFT JOIN clocks AS c ON w.window_ms = c.window_ms;
