-- made at start
CREATE DATABASE IF NOT EXISTS audiences;
CREATE TABLE IF NOT EXISTS audiences.events (account_id Int64, mpid Int64, partition UInt16, sequence UInt64, epoch UInt32 DEFAULT 0) ENGINE = MergeTree ORDER BY (account_id, mpid) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
CREATE TABLE IF NOT EXISTS audiences.attributes (account_id Int64, mpid Int64, value Nullable(String), partition UInt16, sequence UInt64, epoch UInt32 DEFAULT 0) ENGINE = MergeTree ORDER BY (account_id) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
-- sent with every statement
-- taken out when partitions are taken over
DELETE FROM audiences.events WHERE (partition = 3 AND sequence > 900) OR (partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))) OR (partition = 5 AND sequence > 0) SETTINGS lightweight_deletes_sync = 2;
-- read
SELECT mpid FROM audiences.events WHERE account_id = 7 AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))));
