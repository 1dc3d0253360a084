// Package outbox sends the recorded facts on: one pump per shard takes what is pending from the store, hands it to the
// brokers and marks it. It knows neither the store nor the brokers; both are small interfaces.
//
// Promises. Each fact reaches the brokers at least once, with the same event_id; facts of one aggregate reach them in order,
// with any number of processes: a fact is handed over only when all earlier ones of its aggregate are known to be kept. A
// crash between the brokers' answer and the mark doubles facts (at most a batch a shard) and reorders none: each pump sends
// an aggregate from its first unmarked fact on.
//
// Faults. What the brokers refuse (this fact, whoever sends it) is tried Options.Attempts times with growing pauses, then it
// is a dead letter: in the store and on <topic>.dlq with its cause. Later facts of its aggregate wait until somebody has
// retried or discarded it; all others go on. What fails otherwise is the brokers' fault: its aggregate is left out until the
// others of the topic have been tried, a topic of which nothing is taken rests, for at most Options.MaxRest with jitter,
// nothing is counted against a fact, and other topics go on.
//
// Size: a pump holds one batch (500 facts of each topic, some 0.3 to 1 MB); at most Options.MaxWaiting aggregates (1,000) of a
// shard wait for another try, what fails beyond rests with its topic. One goroutine a shard, three more.
package outbox
