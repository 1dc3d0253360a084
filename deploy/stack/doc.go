// Package stack runs the private servers that Starling needs on one machine: for `starling dev`, for tests and for a
// developer's shell (`make stack-up`; `go run ./deploy/stack/cmd/…`): a PostgreSQL cluster with PostGIS, a Redis, a Kafka
// broker, an InfluxDB, an MQTT broker, and a Keycloak with the realm of realm/starling-realm.json, each in a folder of its
// own. `starling dev` needs PostgreSQL alone; the suites want all. docs/stack.md is the guide.
//
// It must not be used in production, touches no server of the distribution, listens on 127.0.0.1 alone
// and needs passwords that only the user who started it can read (but Kafka, which has none, and the realm's people: theirs
// stand in its file). It works for root (PostgreSQL refuses root, so the server then runs as the account postgres) and for
// an ordinary user.
//
// PostgreSQL, Redis and Mosquitto are the distribution's. Kafka and Keycloak come from Maven Central, InfluxDB is built from
// its Go module, each at one version with its checksums, once per machine, in
// ${XDG_CACHE_HOME:-$HOME/.cache}/starling/servers. The page's client of the realm takes any port of 127.0.0.1 and
// localhost: its web origins are "*", because Keycloak makes no origin of a redirect address with a wildcard port.
//
// Size sketch: an idle cluster takes about 60 MB of disk and 50 MB of memory; the first start takes 3 to
// 10 s (initdb and PostGIS), later ones under 1 s. Redis and Mosquitto: 10 MB, 0.1 s. Kafka: 350 MB, 2 to 3 CPU-seconds per
// start. InfluxDB: 95 MB, 1 s. Keycloak: 400 MB, 5 to 9 s and 7 CPU-seconds per start. What is done once for Keycloak takes 50
// CPU-seconds and 190 MB of disk, for Kafka 8 and 44 MB, for InfluxDB some 250 and 68 MB.
package stack
