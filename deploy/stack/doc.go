// Package stack runs the private servers that Starling needs on one machine: for `starling dev`, for
// tests and for a developer's shell (`go run ./deploy/stack/cmd/postgres`). So far that is one
// PostgreSQL cluster with PostGIS in a data folder of its own.
//
// It must not be used in production, touches no cluster of the distribution, listens on 127.0.0.1 alone
// and needs a password that only the user who started it can read. It works for root (PostgreSQL refuses
// root, so the server then runs as the account postgres) and for an ordinary user.
//
// Size sketch: an idle cluster takes about 60 MB of disk and 50 MB of memory; the first start takes 3 to
// 10 s (initdb and PostGIS), later ones under 1 s.
package stack
