-- Kafka: what the ledger says of whole batches, and text that is none.

ALTER TABLE `${database}`.ledger ${on_cluster}
    COMMENT COLUMN run_id 'Path of the run: entity/project/id; empty in the row of a whole batch, which Kafka''s batches have besides: all from first_offset to next_offset is done',
    COMMENT COLUMN records 'last_seq - first_seq + 1; 0 in the row of a whole batch';

ALTER TABLE `${database}`.landing_metrics ${on_cluster}
    MODIFY COLUMN reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        length(times) != length(steps), 'times and steps differ in length',
        length(values) != length(keys) * length(steps), 'values are not keys x steps',
        length(keys) = 0 OR length(steps) = 0, 'a frame without points',
        length(arrayDistinct(keys)) != length(keys), 'a key stands twice',
        NOT arrayAll(k -> isValidUTF8(k) = 1, keys), 'a key is not UTF-8',
        NOT arrayAll((a, b) -> a < b, arrayPopBack(steps), arrayPopFront(steps)), 'steps do not ascend',
        NOT arrayAll(t -> t BETWEEN -2208988800000 AND 10413791999999, times), 'a time outside 1900 to 2299',
        '');

ALTER TABLE `${database}`.landing_metrics_json ${on_cluster}
    MODIFY COLUMN reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        length(keys) != length(values) OR length(steps) != length(values) OR length(times) != length(values),
            'keys, steps, times and values differ in length',
        NOT arrayAll(k -> isValidUTF8(k) = 1, keys) OR NOT arrayAll(v -> isValidUTF8(v) = 1, values), 'a key or a value is not UTF-8',
        NOT arrayAll(t -> t BETWEEN -2208988800000 AND 10413791999999, times), 'a time outside 1900 to 2299',
        '');

ALTER TABLE `${database}`.landing_runs ${on_cluster}
    MODIFY COLUMN reason String MATERIALIZED multiIf(
        length(splitByChar('/', run_id)) != 3, 'run_id is not entity/project/id',
        event NOT IN ('start', 'update', 'heartbeat', 'finish'), concat('unknown event ', event),
        NOT arrayAll(t -> isValidUTF8(t) = 1, arrayConcat([name, group, job_type, notes, config, definitions, environment, state], tags, mapKeys(summary), mapValues(summary))),
            'a text is not UTF-8',
        '');
