BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TABLE lock_fences;
COMMIT;
