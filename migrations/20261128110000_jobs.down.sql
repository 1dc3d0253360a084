BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TABLE task_timing;
REVOKE SELECT (tenant_id, warehouse_id, robot_id, removed_at, connection, connection_at, reported_at) ON robots FROM starling_worker;
DROP POLICY worker ON robots;
REVOKE SELECT (tenant_id, warehouse_id, task_id, status, robot_id, earliest_start, deadline, created_at, updated_at, version) ON tasks FROM starling_worker;
DROP POLICY worker ON tasks;
COMMIT;
