// Package postgres keeps the facts in PostgreSQL with PostGIS: the journal (group commit of recorded events with their
// outbox rows), what activation reads, the ownership of shards, and the rows that clients list and read. It decides
// nothing and knows no actors: versions, unique rules and the fence are checked here, what they mean stands in package
// fact. It satisfies the ports that others declare.
//
// Every connection acts as starling_app (row-level security holds, whoever DATABASE_URL names), the two of the leases as
// starling_worker. Every transaction names its tenant. SQL stands in queries/ and is compiled by sqlc into gen/.
//
// Size: a group commit takes four round trips and one more pipeline for transitions, however many units it holds. On two
// shared cores with fsync on: one created task with its event, outbox row and key 1.1 to 1.5 ms, 100 of them 8 to 10 ms,
// 512 some 36 ms (14,000/s); 100 roster rows 2.5 ms (40,000/s); 100 awards with their decisions 17 ms. Memory: the rows
// of the groups in flight.
package postgres
