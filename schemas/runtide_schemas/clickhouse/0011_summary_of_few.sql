-- The summary of a few runs or keys no longer looks at all series there are: a condition on the view reaches both sides
-- of a join, and never the subquery of an IN.

CREATE OR REPLACE VIEW `${database}`.metric_summary ${on_cluster} AS
SELECT
    run_id, key, rank,
    sum(s.count) AS count, sum(s.nan_count) AS nan_count, sum(s.inf_count) AS inf_count,
    if(count = nan_count + inf_count, NULL, min(s.min)) AS min,
    if(count = nan_count + inf_count, NULL, max(s.max)) AS max,
    if(count = nan_count + inf_count, NULL, sum(s.sum) / (count - nan_count - inf_count)) AS mean,
    argMaxMerge(s.last) AS last,
    min(s.first_step) AS first_step, max(s.last_step) AS last_step, max(s.last_time) AS last_time
FROM `${database}`.metric_summary_state AS s
WHERE run_id NOT IN (SELECT run_id FROM `${database}`.run_rewinds)
GROUP BY run_id, key, rank
HAVING min(s.ordered) = 1 AND length(groupUniqArrayArray(s.writers)) = 1
UNION ALL
SELECT
    p.run_id AS run_id, p.key AS key, p.rank AS rank,
    count() AS count, countIf(isNaN(p.value)) AS nan_count, countIf(isInfinite(p.value)) AS inf_count,
    minOrNullIf(p.value, isFinite(p.value)) AS min,
    maxOrNullIf(p.value, isFinite(p.value)) AS max,
    if(count = nan_count + inf_count, NULL, sumIf(p.value, isFinite(p.value)) / (count - nan_count - inf_count)) AS mean,
    argMax(p.value, (p.attempt, p.time, p.seq, p.step)) AS last,
    min(p.step) AS first_step, max(p.step) AS last_step, max(p.time) AS last_time
FROM `${database}`.metrics_latest AS p
INNER JOIN
(
    SELECT run_id, key, rank
    FROM `${database}`.metric_summary_state
    GROUP BY run_id, key, rank
    HAVING min(ordered) = 0 OR length(groupUniqArrayArray(writers)) > 1
        OR run_id IN (SELECT run_id FROM `${database}`.run_rewinds)
) AS mixed ON p.run_id = mixed.run_id AND p.key = mixed.key AND p.rank = mixed.rank
GROUP BY run_id, key, rank;
