// Package stack runs the private servers that Starling needs on one machine: for `starling dev`, for
// tests and for a developer's shell (`go run ./deploy/stack/cmd/postgres`, `…/redis`, `…/keycloak`): a PostgreSQL cluster
// with PostGIS, a Redis, and a Keycloak with the realm of realm/starling-realm.json, each in a folder of its own.
// `starling dev` needs PostgreSQL alone; the suites want all three.
//
// It must not be used in production, touches no server of the distribution, listens on 127.0.0.1 alone
// and needs passwords that only the user who started it can read (but the realm's people: theirs stand in its file). It
// works for root (PostgreSQL refuses root, so the server then runs as the account postgres) and for an ordinary user.
//
// Keycloak comes from Maven Central, at one version with its checksum, and is unpacked, built and filled with the realm
// once per machine in ${XDG_CACHE_HOME:-$HOME/.cache}/starling/servers. The page's client takes any port of 127.0.0.1 and
// localhost: its web origins are "*", because Keycloak makes no origin of a redirect address with a wildcard port.
//
// Size sketch: an idle cluster takes about 60 MB of disk and 50 MB of memory; the first start takes 3 to
// 10 s (initdb and PostGIS), later ones under 1 s. Redis: 10 MB, 0.1 s. Keycloak: 400 MB, 5 to 9 s and 7 CPU-seconds per start;
// what is done once takes 50 CPU-seconds and 190 MB of disk.
package stack
