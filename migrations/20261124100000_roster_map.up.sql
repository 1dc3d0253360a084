-- The map that a roster row's vertex is numbered on: a row of another map says that the robot is there, not where.
BEGIN;
SET LOCAL ROLE starling_migrate;
ALTER TABLE zone_roster ADD COLUMN map_id uuid, ADD COLUMN map_version integer NOT NULL DEFAULT 0;
COMMIT;
