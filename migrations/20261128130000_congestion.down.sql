BEGIN;
SET LOCAL ROLE starling_migrate;
DROP TABLE congestion_diagrams;
DROP FUNCTION lanes_at(geometry, boolean);
DROP FUNCTION zones_at(geometry, boolean);
DROP FUNCTION area_of(double precision[]);
DROP INDEX lanes_geom;
COMMIT;
