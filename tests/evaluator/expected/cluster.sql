-- made at start
CREATE DATABASE IF NOT EXISTS audiences ON CLUSTER 'main';
CREATE TABLE IF NOT EXISTS audiences.events_local ON CLUSTER 'main' (account_id Int64, mpid Int64, partition UInt16, sequence UInt64, epoch UInt32 DEFAULT 0) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/audiences/events', '{replica}') ORDER BY (account_id, mpid) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
CREATE TABLE IF NOT EXISTS audiences.events ON CLUSTER 'main' AS audiences.events_local ENGINE = Distributed('main', 'audiences', 'events_local', cityHash64(mpid));
CREATE TABLE IF NOT EXISTS audiences.attributes_local ON CLUSTER 'main' (account_id Int64, mpid Int64, value Nullable(String), partition UInt16, sequence UInt64, epoch UInt32 DEFAULT 0) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/audiences/attributes', '{replica}') ORDER BY (account_id) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
CREATE TABLE IF NOT EXISTS audiences.attributes ON CLUSTER 'main' AS audiences.attributes_local ENGINE = Distributed('main', 'audiences', 'attributes_local', cityHash64(mpid));
-- sent with every statement
SET distributed_foreground_insert = 1;
SET insert_quorum = auto;
SET insert_quorum_parallel = 0;
SET select_sequential_consistency = 1;
SET distributed_ddl_task_timeout = 60;
-- taken out when partitions are taken over
DELETE FROM audiences.events_local ON CLUSTER 'main' WHERE (partition = 3 AND sequence > 900) OR (partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))) OR (partition = 5 AND sequence > 0) SETTINGS lightweight_deletes_sync = 2;
-- read
SELECT mpid FROM audiences.events WHERE account_id = 7 AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))));
