BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TABLE webhook_deliveries;
DROP TABLE webhook_hooks;
COMMIT;
