BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TABLE shard_incarnations;
DROP TABLE warehouses;
DROP TABLE users;
DROP TABLE tenants;
COMMIT;
