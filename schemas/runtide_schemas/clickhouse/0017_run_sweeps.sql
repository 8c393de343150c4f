-- The sweep that a run is a trial of, as the run itself says: without a join with trials.

CREATE OR REPLACE VIEW `${database}`.runs ${on_cluster} AS
SELECT * EXCEPT (deleted), JSONExtractString(environment, 'sweep') AS sweep_id
FROM `${database}`.all_runs
WHERE NOT deleted;
