// Package postgres keeps the facts in PostgreSQL with PostGIS: the journal (group commit of recorded events with
// their outbox rows), what activation reads, the ownership of shards, and the repositories that clients' lists are
// read from. It decides nothing and knows no actors: it satisfies the ports that others declare.
//
// Every transaction names its tenant, and row-level security holds for it: the pool acts as starling_app.
//
// Size: one group commit takes three round trips and about ten statements however many units it holds; 512 task
// creations take some 20 ms. SQL of single statements is compiled by sqlc (queries/ -> gen/); the group statements,
// which unnest arrays of nullable columns, stand in statements/ and are run as they are.
package postgres
