BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TABLE alert_handling;
DROP TABLE alerts;
COMMIT;
