-- with every statement
SET distributed_foreground_insert = 1;
SET insert_quorum = auto;
SET insert_quorum_parallel = 0;
SET select_sequential_consistency = 1;
SET distributed_ddl_task_timeout = 60;
CREATE DATABASE IF NOT EXISTS audiences ON CLUSTER 'main';
CREATE TABLE IF NOT EXISTS audiences.events_local ON CLUSTER 'main' (account_id Int64, workspace_id Int64, input_id Int64, type Int16, name LowCardinality(String), mpid Int64, time_ms Int64 CODEC(Delta, ZSTD(1)), event_id Int64 CODEC(NONE), partition UInt16, sequence UInt64 CODEC(Delta, ZSTD(1)), position UInt32 CODEC(Delta, ZSTD(1)), application_version LowCardinality(String), application_build LowCardinality(String), platform LowCardinality(String), os_version LowCardinality(String), details String CODEC(ZSTD(1)), INDEX person mpid TYPE bloom_filter(0.01) GRANULARITY 1, epoch UInt32 DEFAULT 0)
  ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/audiences/events', '{replica}')
  ORDER BY (account_id, type, name, input_id, time_ms)
  SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 67108864;
CREATE TABLE IF NOT EXISTS audiences.events ON CLUSTER 'main' AS audiences.events_local
  ENGINE = Distributed('main', 'audiences', 'events_local', cityHash64(mpid));
CREATE TABLE IF NOT EXISTS audiences.attributes_local ON CLUSTER 'main' (account_id Int64, workspace_id Int64, kind LowCardinality(String), attribute LowCardinality(String), mpid Int64, time_ms Int64, value Nullable(String), partition UInt16, sequence UInt64, position UInt32, epoch UInt32 DEFAULT 0)
  ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/audiences/attributes', '{replica}')
  ORDER BY (account_id, workspace_id, kind, attribute, mpid, time_ms)
  SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 67108864;
CREATE TABLE IF NOT EXISTS audiences.attributes ON CLUSTER 'main' AS audiences.attributes_local
  ENGINE = Distributed('main', 'audiences', 'attributes_local', cityHash64(mpid));
-- {database} = 'audiences'
SELECT toString(uuid)
  FROM system.tables
  WHERE database = {database:String} AND name = 'events';

-- take_over
SELECT count()
  FROM audiences.events
  WHERE (partition = 3 AND sequence > 900) OR (partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))) OR (partition = 5 AND sequence > 0);
DELETE
  FROM audiences.events_local ON CLUSTER 'main'
  WHERE (partition = 3 AND sequence > 900) OR (partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))) OR (partition = 5 AND sequence > 0)
  SETTINGS lightweight_deletes_sync = 2;
SELECT count()
  FROM audiences.attributes
  WHERE (partition = 3 AND sequence > 900) OR (partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))) OR (partition = 5 AND sequence > 0);
DELETE
  FROM audiences.attributes_local ON CLUSTER 'main'
  WHERE (partition = 3 AND sequence > 900) OR (partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))) OR (partition = 5 AND sequence > 0)
  SETTINGS lightweight_deletes_sync = 2;

-- insert
INSERT INTO audiences.events (account_id, workspace_id, input_id, type, name, mpid, time_ms, event_id, partition, sequence, position, application_version, application_build, platform, os_version, details, epoch);
INSERT INTO audiences.attributes (account_id, workspace_id, kind, attribute, mpid, time_ms, value, partition, sequence, position, epoch);

-- forget, with what outlives it
SELECT count()
  FROM audiences.events
  WHERE partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND type != 3 AND ((time_ms < 1000 AND account_id IN (7, 8)) OR (time_ms < 500 AND account_id IN (9)));
INSERT INTO audiences.attributes (account_id, workspace_id, kind, attribute, mpid, time_ms, value, partition, sequence, position) SELECT account_id, workspace_id, 'here', '', mpid, min(time_ms), NULL, partition, 0, 0
  FROM audiences.events
  WHERE partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND type != 3 AND ((time_ms < 1000 AND account_id IN (7, 8)) OR (time_ms < 500 AND account_id IN (9)))
  GROUP BY account_id, workspace_id, mpid, partition;
INSERT INTO audiences.attributes (account_id, workspace_id, kind, attribute, mpid, time_ms, value, partition, sequence, position) SELECT account_id, workspace_id, 'here', '', mpid, max(time_ms), NULL, partition, 0, 0
  FROM audiences.events
  WHERE partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND type != 3 AND ((time_ms < 1000 AND account_id IN (7, 8)) OR (time_ms < 500 AND account_id IN (9)))
  GROUP BY account_id, workspace_id, mpid, partition;
INSERT INTO audiences.attributes (account_id, workspace_id, kind, attribute, mpid, time_ms, value, partition, sequence, position) SELECT account_id, workspace_id, 'place', '', mpid, max(time_ms), concat('{"location":', JSONExtractRaw(argMax(details, (time_ms, sequence, position)), 'location'), '}'), partition, argMax(sequence, (time_ms, sequence, position)), 0
  FROM audiences.events
  WHERE partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND type != 3 AND ((time_ms < 1000 AND account_id IN (7, 8)) OR (time_ms < 500 AND account_id IN (9))) AND position(details, '"location"') > 0 AND JSONHas(details, 'location', 'latitude') AND JSONHas(details, 'location', 'longitude')
  GROUP BY account_id, workspace_id, mpid, partition;
DELETE
  FROM audiences.events_local ON CLUSTER 'main'
  WHERE partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND type != 3 AND ((time_ms < 1000 AND account_id IN (7, 8)) OR (time_ms < 500 AND account_id IN (9)))
  SETTINGS lightweight_deletes_sync = 0;

-- sources
-- {account} = 7
SELECT DISTINCT workspace_id, input_id
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900))));

-- events
-- {account} = 7
-- {since} = 1000
SELECT DISTINCT cityHash64(type, name, input_id) AS code, type, name, input_id
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND time_ms >= {since:Int64}
  ORDER BY code;
-- {account} = 7
-- {since} = 1000
SELECT cityHash64(type, name, input_id) AS code, mpid, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND time_ms >= {since:Int64};

-- events, after a snapshot of one partition
-- {account} = 7
-- {since} = 1000
SELECT DISTINCT cityHash64(type, name, input_id) AS code, type, name, input_id
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND time_ms >= {since:Int64} AND NOT ((partition = 3 AND sequence <= 901))
  ORDER BY code;
-- {account} = 7
-- {since} = 1000
SELECT cityHash64(type, name, input_id) AS code, mpid, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND time_ms >= {since:Int64} AND NOT ((partition = 3 AND sequence <= 901));

-- events, after a snapshot of all
-- {account} = 7
-- {since} = 1000
SELECT DISTINCT cityHash64(type, name, input_id) AS code, type, name, input_id
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND time_ms >= {since:Int64} AND sequence > 17 AND NOT ((partition = 3 AND sequence <= 901) OR (partition = 5 AND sequence <= 17))
  ORDER BY code;
-- {account} = 7
-- {since} = 1000
SELECT cityHash64(type, name, input_id) AS code, mpid, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND time_ms >= {since:Int64} AND sequence > 17 AND NOT ((partition = 3 AND sequence <= 901) OR (partition = 5 AND sequence <= 17));

-- attributes
-- {account} = 7
-- {kinds} = ['', 'device', 'consent', 'attribution']
SELECT workspace_id, kind, attribute, count()
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND kind IN {kinds:Array(String)}
  GROUP BY workspace_id, kind, attribute
  ORDER BY workspace_id, kind, attribute;
-- {account} = 7
-- {kind} = ''
-- {names} = ['plan']
-- {workspace} = 71
SELECT transform(attribute, {names:Array(String)}, range(length({names:Array(String)})), 0) AS which, mpid, toLowCardinality(value) AS value, time_ms
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND workspace_id = {workspace:Int64} AND kind = {kind:String} AND attribute IN {names:Array(String)}
  ORDER BY attribute, mpid, time_ms DESC, sequence DESC, position DESC LIMIT 1 BY attribute, mpid;

-- told_of
-- {account} = 7
SELECT mpid, time_ms, event_id, details, (input_id, workspace_id), (type, name), (application_version, application_build, platform, os_version)
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND mpid IN (-5, 12)
  ORDER BY sequence, position;
-- {account} = 7
SELECT workspace_id, attribute, mpid, time_ms, value, partition, sequence, kind
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND mpid IN (-5, 12)
  ORDER BY sequence, position;

-- told_changes
-- {account} = 7
SELECT (sequence, position), workspace_id, attribute, mpid, time_ms, value, partition, sequence, kind
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND mpid = -5 AND (sequence, position) > (900, -1)
  ORDER BY sequence, position LIMIT 10;

-- told_events
-- {account} = 7
SELECT (sequence, position), mpid, time_ms, event_id, details, (input_id, workspace_id), (type, name), (application_version, application_build, platform, os_version)
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND mpid = -5 AND (sequence, position) > (0, -1)
  ORDER BY sequence, position LIMIT 10;

-- lost_identities
-- {account} = 7
-- {kind} = 'identity gone'
SELECT mpid, attribute, value, max(sequence)
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND kind = {kind:String} AND mpid IN (-5, 12)
  GROUP BY mpid, attribute, value;

-- is_deleting
-- {database} = 'audiences'
SELECT count()
  FROM clusterAllReplicas('main', system.mutations)
  WHERE database = {database:String} AND NOT is_done;

-- hide

-- erase, the first time
SELECT mpid, count()
  FROM audiences.events
  WHERE account_id = 7 AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)
  GROUP BY mpid;
DELETE
  FROM audiences.events_local ON CLUSTER 'main'
  WHERE account_id = 7 AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)
  SETTINGS lightweight_deletes_sync = 0;
SELECT mpid, count()
  FROM audiences.attributes
  WHERE account_id = 7 AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)
  GROUP BY mpid;
DELETE
  FROM audiences.attributes_local ON CLUSTER 'main'
  WHERE account_id = 7 AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)
  SETTINGS lightweight_deletes_sync = 0;

-- erase, the second time
-- {database} = 'audiences'
SELECT count()
  FROM clusterAllReplicas('main', system.mutations)
  WHERE database = {database:String} AND NOT is_done;

-- identities_of
-- {account} = 7
-- {kinds} = ['identity', 'identity gone']
-- {mpid} = -5
-- {types} = ['8']
SELECT attribute, time_ms, value, kind
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND kind IN {kinds:Array(String)} AND attribute IN {types:Array(String)} AND mpid = {mpid:Int64}
  ORDER BY sequence, position;

-- places_of
-- {account} = 7
-- {kind} = 'place'
-- {mpid} = -5
-- {workspace} = 71
SELECT time_ms, value
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND kind = {kind:String} AND mpid = {mpid:Int64}
  ORDER BY sequence, position;

-- events_of
-- {account} = 7
-- {before} = 2000
-- {most} = 9
-- {mpid} = -5
-- {since} = 1000
-- {types} = [1, 4]
SELECT input_id, type, name, time_ms, details, application_version, application_build, platform, os_version
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type IN {types:Array(Int16)} AND mpid = {mpid:Int64} AND time_ms >= {since:Int64} AND time_ms < {before:Int64}
  ORDER BY time_ms DESC, sequence DESC, position DESC LIMIT {most:UInt32};

-- life_of, what was paid
-- {account} = 7
-- {most} = 9
-- {mpid} = -5
-- {workspace} = 71
SELECT name, time_ms, details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND mpid = {mpid:Int64} AND type = 3 AND name IN ('purchase', 'refund')
  ORDER BY time_ms DESC, sequence DESC, position DESC LIMIT {most:UInt32};

-- life_of, where it was
-- {account} = 7
-- {most} = 9
-- {mpid} = -5
-- {workspace} = 71
SELECT name, time_ms, details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND mpid = {mpid:Int64} AND position(details, '"location"') > 0 AND JSONHas(details, 'location', 'latitude') AND JSONHas(details, 'location', 'longitude')
  ORDER BY time_ms DESC, sequence DESC, position DESC LIMIT {most:UInt32};

-- sights_of
-- {account} = 7
-- {most} = 9
-- {mpid} = -5
-- {now} = 2000
-- {workspace} = 71
SELECT DISTINCT time_ms
  FROM (SELECT time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND mpid = {mpid:Int64}
  UNION ALL SELECT time_ms
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND mpid = {mpid:Int64})
  WHERE time_ms <= {now:Int64}
  ORDER BY time_ms DESC LIMIT {most:UInt32};

-- heard_of
-- {account} = 7
-- {mpid} = -5
SELECT workspace_id, min(time_ms)
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND mpid = {mpid:Int64}
  GROUP BY workspace_id;
-- {account} = 7
-- {mpid} = -5
SELECT workspace_id, min(time_ms)
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND mpid = {mpid:Int64}
  GROUP BY workspace_id;

-- changes_of
-- {account} = 7
-- {kind} = ''
-- {mpid} = -5
-- {names} = ['plan']
SELECT workspace_id, attribute, time_ms, value
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND kind = {kind:String} AND attribute IN {names:Array(String)} AND mpid = {mpid:Int64}
  ORDER BY sequence, position;

-- seen, first
-- {account} = 7
-- {now} = 2000
-- {workspace} = 71
SELECT mpid, min(time_ms)
  FROM (SELECT mpid, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64}
  UNION ALL SELECT mpid, time_ms
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64})
  WHERE time_ms <= {now:Int64}
  GROUP BY mpid
  UNION ALL SELECT mpid, time_ms
  FROM (SELECT mpid, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64}
  UNION ALL SELECT mpid, time_ms
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64})
  WHERE time_ms > {now:Int64};

-- seen, last
-- {account} = 7
-- {now} = 2000
-- {workspace} = 71
SELECT mpid, max(time_ms)
  FROM (SELECT mpid, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64}
  UNION ALL SELECT mpid, time_ms
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64})
  WHERE time_ms <= {now:Int64}
  GROUP BY mpid
  UNION ALL SELECT mpid, time_ms
  FROM (SELECT mpid, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64}
  UNION ALL SELECT mpid, time_ms
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64})
  WHERE time_ms > {now:Int64};

-- places
-- {account} = 7
-- {now} = 2000
-- {workspace} = 71
SELECT mpid, argMax(details, (time_ms, sequence, position)), max(time_ms)
  FROM (SELECT mpid, time_ms, sequence, position, details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND position(details, '"location"') > 0 AND JSONHas(details, 'location', 'latitude') AND JSONHas(details, 'location', 'longitude')
  UNION ALL SELECT mpid, time_ms, sequence, position, assumeNotNull(value) AS details
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND kind = 'place')
  WHERE time_ms <= {now:Int64}
  GROUP BY mpid
  UNION ALL SELECT mpid, details, time_ms
  FROM (SELECT mpid, time_ms, sequence, position, details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND position(details, '"location"') > 0 AND JSONHas(details, 'location', 'latitude') AND JSONHas(details, 'location', 'longitude')
  UNION ALL SELECT mpid, time_ms, sequence, position, assumeNotNull(value) AS details
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND kind = 'place')
  WHERE time_ms > {now:Int64};

-- purchases
-- {account} = 7
-- {workspace} = 71
SELECT mpid, name, details, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND workspace_id = {workspace:Int64} AND type = 3 AND name IN ('purchase', 'refund');

-- identities
-- {account} = 7
-- {kinds} = ['identity', 'identity gone']
-- {type} = '8'
SELECT mpid, kind, value
  FROM audiences.attributes
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND kind IN {kinds:Array(String)} AND attribute = {type:String}
  ORDER BY sequence, position;

-- recall, by a name
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k6} = 'level'
-- {name0} = 'signed up'
-- {since} = 1000
-- {type} = 1
SELECT groupUniqArray(cityHash64(details)), any(details), '', '', '', ''
  FROM (SELECT details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64}) AND name IN ({name0:String})
  GROUP BY details)
  GROUP BY multiIf(countSubstrings(details, concat('"', {k6:String}, '"')) = 0 AND position(details, '\\u') = 0 AND position(details, '\\/') = 0, '', countSubstrings(details, concat('"', {k6:String}, '"')) = 1 AND startsWith(details, '{"attributes":{') AND position(details, concat(concat('"', {k6:String}, '"'), ':')) > 0 AND position(details, concat(concat('"', {k6:String}, '"'), ':')) < position(details, '}') AND countSubstrings(substring(details, 1, position(details, concat(concat('"', {k6:String}, '"'), ':'))), '{') = 2 AND isValidJSON(details), simpleJSONExtractRaw(details, {k6:String}), concat('\0', details))
  SETTINGS max_rows_to_group_by = 200000, group_by_overflow_mode = 'break';
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k6} = 'level'
-- {name0} = 'signed up'
-- {since} = 1000
-- {type} = 1
SELECT cityHash64(details) AS code, mpid, time_ms, sequence, position
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64}) AND name IN ({name0:String});

-- recall, by a test of names, with two subjects
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {since} = 1000
-- {type} = 1
SELECT DISTINCT name
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64});
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k6} = 'level'
-- {k7} = 'products'
-- {name0} = 'signed up'
-- {since} = 1000
-- {type} = 1
SELECT groupUniqArray(cityHash64(details)), any(details), '', '', '', ''
  FROM (SELECT details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64}) AND name IN ({name0:String})
  GROUP BY details)
  GROUP BY multiIf(countSubstrings(details, concat('"', {k6:String}, '"')) = 0 AND position(details, '\\u') = 0 AND position(details, '\\/') = 0, '', countSubstrings(details, concat('"', {k6:String}, '"')) = 1 AND startsWith(details, '{"attributes":{') AND position(details, concat(concat('"', {k6:String}, '"'), ':')) > 0 AND position(details, concat(concat('"', {k6:String}, '"'), ':')) < position(details, '}') AND countSubstrings(substring(details, 1, position(details, concat(concat('"', {k6:String}, '"'), ':'))), '{') = 2 AND isValidJSON(details), simpleJSONExtractRaw(details, {k6:String}), concat('\0', details)), multiIf(countSubstrings(details, concat('"', {k7:String}, '"')) = 0 AND position(details, '\\u') = 0 AND position(details, '\\/') = 0, '', countSubstrings(details, concat('"', {k7:String}, '"')) = 1 AND JSONHas(details, {k7:String}), simpleJSONExtractRaw(details, {k7:String}), concat('\0', details))
  SETTINGS max_rows_to_group_by = 200000, group_by_overflow_mode = 'break';
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k6} = 'level'
-- {k7} = 'products'
-- {name0} = 'signed up'
-- {since} = 1000
-- {type} = 1
SELECT cityHash64(details) AS code, mpid, time_ms
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64}) AND name IN ({name0:String});

-- recall, of all names
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k5} = 'level'
-- {since} = 1000
-- {type} = 4
SELECT groupUniqArray(cityHash64(details)), any(details), '', '', '', ''
  FROM (SELECT details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64})
  GROUP BY details)
  GROUP BY multiIf(countSubstrings(details, concat('"', {k5:String}, '"')) = 0 AND position(details, '\\u') = 0 AND position(details, '\\/') = 0, '', countSubstrings(details, concat('"', {k5:String}, '"')) = 1 AND startsWith(details, '{"attributes":{') AND position(details, concat(concat('"', {k5:String}, '"'), ':')) > 0 AND position(details, concat(concat('"', {k5:String}, '"'), ':')) < position(details, '}') AND countSubstrings(substring(details, 1, position(details, concat(concat('"', {k5:String}, '"'), ':'))), '{') = 2 AND isValidJSON(details), simpleJSONExtractRaw(details, {k5:String}), concat('\0', details))
  SETTINGS max_rows_to_group_by = 200000, group_by_overflow_mode = 'break';
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k5} = 'level'
-- {since} = 1000
-- {type} = 4
SELECT cityHash64(details) AS code, mpid, time_ms, sequence, position
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64});

-- recall, of too many different values
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k6} = 'level'
-- {name0} = 'signed up'
-- {since} = 1000
-- {type} = 1
SELECT groupUniqArray(cityHash64(details)), any(details), '', '', '', ''
  FROM (SELECT details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64}) AND name IN ({name0:String})
  GROUP BY details)
  GROUP BY multiIf(countSubstrings(details, concat('"', {k6:String}, '"')) = 0 AND position(details, '\\u') = 0 AND position(details, '\\/') = 0, '', countSubstrings(details, concat('"', {k6:String}, '"')) = 1 AND startsWith(details, '{"attributes":{') AND position(details, concat(concat('"', {k6:String}, '"'), ':')) > 0 AND position(details, concat(concat('"', {k6:String}, '"'), ':')) < position(details, '}') AND countSubstrings(substring(details, 1, position(details, concat(concat('"', {k6:String}, '"'), ':'))), '{') = 2 AND isValidJSON(details), simpleJSONExtractRaw(details, {k6:String}), concat('\0', details))
  SETTINGS max_rows_to_group_by = 0, group_by_overflow_mode = 'break';
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k6} = 'level'
-- {name0} = 'signed up'
-- {since} = 1000
-- {type} = 1
SELECT groupUniqArray(cityHash64(multiIf(countSubstrings(details, concat('"', {k6:String}, '"')) = 0 AND position(details, '\\u') = 0 AND position(details, '\\/') = 0, '', countSubstrings(details, concat('"', {k6:String}, '"')) = 1 AND startsWith(details, '{"attributes":{') AND position(details, concat(concat('"', {k6:String}, '"'), ':')) > 0 AND position(details, concat(concat('"', {k6:String}, '"'), ':')) < position(details, '}') AND countSubstrings(substring(details, 1, position(details, concat(concat('"', {k6:String}, '"'), ':'))), '{') = 2 AND isValidJSON(details), simpleJSONExtractRaw(details, {k6:String}), concat('\0', details)))), any(details), '', '', '', ''
  FROM (SELECT details
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64}) AND name IN ({name0:String}))
  GROUP BY multiIf(countSubstrings(details, concat('"', {k6:String}, '"')) = 0 AND position(details, '\\u') = 0 AND position(details, '\\/') = 0, '', countSubstrings(details, concat('"', {k6:String}, '"')) = 1 AND startsWith(details, '{"attributes":{') AND position(details, concat(concat('"', {k6:String}, '"'), ':')) > 0 AND position(details, concat(concat('"', {k6:String}, '"'), ':')) < position(details, '}') AND countSubstrings(substring(details, 1, position(details, concat(concat('"', {k6:String}, '"'), ':'))), '{') = 2 AND isValidJSON(details), simpleJSONExtractRaw(details, {k6:String}), concat('\0', details))
  SETTINGS max_rows_to_group_by = 0, group_by_overflow_mode = 'break';
-- {account} = 7
-- {input0} = 711
-- {input1} = 712
-- {k6} = 'level'
-- {name0} = 'signed up'
-- {since} = 1000
-- {type} = 1
SELECT mpid, time_ms, sequence, position, details, application_version, application_build, platform, os_version
  FROM audiences.events
  WHERE account_id = {account:Int64} AND partition IN (3, 5) AND NOT ((partition = 3 AND ((epoch <= 4 AND sequence > 500) OR (epoch <= 6 AND sequence > 900)))) AND NOT (mpid IN (13, 14) AND sequence <= transform(mpid, [13, 14], [950, 960], 0)) AND type = {type:Int16} AND time_ms >= {since:Int64} AND input_id IN ({input0:Int64}, {input1:Int64}) AND name IN ({name0:String});
