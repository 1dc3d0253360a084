BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TABLE commands;
DROP TABLE zone_roster;
DROP TABLE robots;
COMMIT;
