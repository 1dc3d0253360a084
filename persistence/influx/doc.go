// Package influx keeps what is measured in InfluxDB 2: writes it in batches, keeps on a bounded disk what could not be
// written yet, makes the buckets and the tasks that thin them out, and reads histories. It knows no actors; what it loses
// it counts. It speaks line protocol, Flux and annotated CSV itself: both are small, and a status costs no allocation.
//
// Buckets, from Options.Bucket B: B keeps what was measured for 7 days, B_1m its minutes for 90 days, B_15m its quarters of
// an hour for 2 years. Measurements, their tags, and how many series they make at most:
//
//	robot_status     tenant, warehouse, robot_id            one a robot and field written (9 always, 10 more in key points)
//	zone_congestion  tenant, warehouse, kind, id            one a zone, a lane that tells something, a warehouse, and field (15)
//	task_timing      tenant, warehouse, task_type, outcome  at most 12 a warehouse and field (6); in B_1m
//
// agg (mean, last, min, max) is one more tag in B_1m and B_15m. No tag has a value that a client chooses freely: tenants,
// warehouses, robots, zones and lanes are registered things, and quotas bound them. 100,000 robots are 100,000 values of
// robot_id and about 1.9 million series in B; a server for so many wants 8 GB and the TSI index it has by default.
//
// Size: 110 to 130 bytes of line protocol a status, 400 in the minute's key point; 2 MB of batches in memory; on disk at
// most Options.SpoolBytes.
package influx
