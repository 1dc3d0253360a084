BEGIN;
SET LOCAL ROLE starling_migrate;
ALTER TABLE zone_roster DROP COLUMN map_id, DROP COLUMN map_version;
COMMIT;
