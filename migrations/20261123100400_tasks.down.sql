BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TABLE decisions;
DROP TABLE task_events;
DROP TABLE tasks;
COMMIT;
