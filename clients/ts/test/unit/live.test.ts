import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { Live, type ApiError, type TaskEvent } from "../../src/index.js";
import { WebSocket } from "ws";
import { pause, Rig, state, until, type Conn } from "./rig.js";

const event = (n: number): { type: string; data: object } => ({ type: "task_progress", data: { task_id: `t${n}`, event: "created" } });

/** A client that follows the tasks and writes down what it is told. */
function follow(live: Live): { log: string[]; sub: ReturnType<Live["tasks"]> } {
  const log: string[] = [];
  const sub = live.tasks(
    { filter: { warehouse_id: "w" } },
    {
      snapshot: (tasks) => log.push(`[${tasks.map((t) => t.task_id).join()}]`),
      events: (e: TaskEvent[]) => log.push(...e.map((x) => x.task_id)),
    },
  );
  return { log, sub };
}

/** Opens a connection and brings its one subscription to seq 5. */
async function flowing(t: TestContext): Promise<{ rig: Rig; live: Live; conn: Conn; log: string[] }> {
  const rig = await Rig.start(t);
  const live = rig.live(t);
  const { log } = follow(live);
  const conn = await rig.conn();
  const ask = await conn.next("subscribe");
  assert.deepEqual(ask, { op: "subscribe", id: 1, channel: "tasks", filter: { warehouse_id: "w" } });
  conn.subscribed(1, 3);
  conn.snapshot(1, 3, [{ task_id: "a" }]);
  conn.delta(1, 4, event(4));
  conn.delta(1, 5, event(5));
  await until("five", () => log.length === 3);
  assert.deepEqual(log.splice(0), ["[a]", "t4", "t5"]);
  return { rig, live, conn, log };
}

test("the token and the tenant go as sub-protocols, never in the address", async (t) => {
  const rig = await Rig.start(t);
  rig.live(t, { tenant: "00000000-0000-0000-0000-000000000001", encoding: "bin", token: async () => "a.b-c_d" });
  const conn = await rig.conn();
  assert.deepEqual(conn.protocols, ["starling.v1.bin", "bearer.a.b-c_d", "tenant.00000000-0000-0000-0000-000000000001"]);
});

test("after a break the events go on where they were, each once and in order", async (t) => {
  const { rig, live, conn, log } = await flowing(t);
  conn.socket.terminate();
  assert.equal((await state(live, (x) => x.phase === "waiting")).reason, "connection_lost");
  const again = await rig.conn();
  assert.deepEqual((await again.next("subscribe"))["since"], { epoch: "e1", seq: 5 });
  again.subscribed(1, 5, true);
  again.delta(1, 6, event(6));
  await until("six", () => log.length === 1);
  assert.deepEqual(log, ["t6"]);
  assert.deepEqual(live.counters, { opened: 2, gaps: 0, resyncs: 0, unreadable: 0 });
  assert.equal(live.state.phase, "open");
  assert.equal(live.state.reason, undefined);
});

test("where the server cannot go on, a snapshot replaces what the client had", async (t) => {
  const { rig, conn, log } = await flowing(t);
  conn.socket.terminate();
  const again = await rig.conn();
  await again.next("subscribe");
  again.send({ op: "subscribed", id: 1, epoch: "e2", seq: 0, recovered: false });
  again.snapshot(1, 0, [{ task_id: "b" }]);
  again.delta(1, 1, event(1));
  await until("one", () => log.length === 2);
  assert.deepEqual(log, ["[b]", "t1"]);
});

test("a break before a snapshot is complete is not bridged", async (t) => {
  const rig = await Rig.start(t);
  const { log } = follow(rig.live(t));
  const conn = await rig.conn();
  await conn.next("subscribe");
  conn.subscribed(1, 7);
  conn.snapshot(1, 7, [{ task_id: "a" }], true);
  await pause(20);
  conn.socket.terminate();
  const again = await rig.conn();
  assert.equal((await again.next("subscribe"))["since"], undefined);
  again.subscribed(1, 9);
  again.snapshot(1, 9, [{ task_id: "b" }], true);
  again.snapshot(1, 9, [{ task_id: "c" }]);
  await until("a snapshot", () => log.length > 0);
  assert.deepEqual(log, ["[b,c]"]);
});

test("a gap is counted, nothing after it is taken, and a snapshot is asked for", async (t) => {
  const { live, conn, log } = await flowing(t);
  conn.delta(1, 7, event(7));
  conn.delta(1, 8, event(8)); // still of the subscription that is being replaced
  const ask = await conn.next("subscribe");
  assert.equal(ask["id"], 1);
  assert.equal(ask["since"], undefined);
  conn.subscribed(1, 8);
  conn.snapshot(1, 8, [{ task_id: "t7" }, { task_id: "t8" }]);
  conn.delta(1, 9, event(9));
  await until("nine", () => log.length === 2);
  assert.deepEqual(log, ["[t7,t8]", "t9"]);
  assert.equal(live.counters.gaps, 1);
});

test("a delta that comes twice is a fault like a gap: its events are not told again", async (t) => {
  const { live, conn, log } = await flowing(t);
  conn.delta(1, 5, event(5));
  await conn.next("subscribe");
  assert.deepEqual([log, live.counters.gaps], [[], 1]);
});

test("a fault that stays does not have the server make snapshots in a hot loop", async (t) => {
  const { conn } = await flowing(t);
  let asked = 0;
  const end = performance.now() + 400;
  conn.socket.on("message", (data) => {
    const m = JSON.parse(String(data)) as { op: string };
    if (m.op !== "subscribe") return;
    asked++;
    conn.subscribed(1, 0);
    conn.snapshot(1, 0, []);
    conn.delta(1, 2, event(2));
  });
  conn.delta(1, 99, event(99));
  while (performance.now() < end) await pause(10);
  assert.ok(asked >= 1 && asked < 20, `${asked} times`);
});

test("an unasked subscribed with a snapshot replaces the state and is counted", async (t) => {
  const rig = await Rig.start(t);
  const live = rig.live(t);
  const seen: string[] = [];
  live.zones({ rateHz: 2 }, { change: (z) => seen.push([...z].map(([id, s]) => `${id}:${s.occupancy}`).join()) });
  const conn = await rig.conn();
  assert.equal((await conn.next("subscribe"))["rate_hz"], 2);
  conn.subscribed(1, 1);
  conn.snapshot(1, 1, [{ zone_id: "z1", occupancy: 1 }, { zone_id: "z2", occupancy: 2 }]);
  conn.delta(1, 2, { type: "zone_status", data: { zone_id: "z2", occupancy: 3 } });
  conn.subscribed(1, 40);
  conn.snapshot(1, 40, [{ zone_id: "z2", occupancy: 9 }]);
  conn.delta(1, 41, { type: "zone_status", data: { zone_id: "z1", occupancy: 4 } });
  await until("four", () => seen.length === 4);
  assert.deepEqual(seen, ["z1:1,z2:2", "z1:1,z2:3", "z2:9", "z2:9,z1:4"]);
  assert.deepEqual(live.counters, { opened: 1, gaps: 0, resyncs: 1, unreadable: 0 });
});

test("scores of congestion are kept by id, the newest of each", async (t) => {
  const rig = await Rig.start(t);
  const live = rig.live(t);
  const seen: string[] = [];
  live.congestion({ filter: { warehouse_id: "w" } }, { change: (h) => seen.push([...h].map(([id, s]) => `${s.kind} ${id}:${s.congestion_index}`).join()) });
  const conn = await rig.conn();
  assert.equal((await conn.next("subscribe"))["channel"], "congestion");
  conn.subscribed(1, 1);
  conn.snapshot(1, 1, [{ kind: "zone", id: "z", congestion_index: 0.1 }, { kind: "lane", id: "l", congestion_index: 0.4 }]);
  conn.delta(1, 2, { type: "congestion_heatmap_update", data: { kind: "lane", id: "l", congestion_index: 0.01 } });
  await until("two", () => seen.length === 2);
  assert.deepEqual(seen, ["zone z:0.1,lane l:0.4", "zone z:0.1,lane l:0.01"]);
});

test("robots in detail are asked with detail and kept in full", async (t) => {
  const rig = await Rig.start(t);
  const live = rig.live(t);
  let robots: unknown;
  const sub = live.robotDetails({ robotIds: ["r1"] }, { change: (r) => (robots = [...r.values()]) });
  const conn = await rig.conn();
  assert.deepEqual(await conn.next("subscribe"), { op: "subscribe", id: 1, channel: "robots", filter: { robot_ids: ["r1"] }, detail: true });
  conn.subscribed(1, 1);
  conn.snapshot(1, 1, [{ robot_id: "r1", order: { order_id: 7 } }]);
  await until("a robot", () => robots !== undefined);
  assert.deepEqual(robots, [{ robot_id: "r1", order: { order_id: 7 } }]);
  conn.delta(1, 2, { type: "robot_removed", data: { robot_id: "r1" } });
  await until("none", () => (robots as unknown[]).length === 0);
  sub.update({ filter: { robot_ids: ["r2"] }, rateHz: 5 });
  const ask = await conn.next("subscribe");
  assert.deepEqual([ask["filter"], ask["detail"], ask["rate_hz"]], [{ robot_ids: ["r2"] }, true, 5]);
  sub.close();
  assert.deepEqual(await conn.next("unsubscribe"), { op: "unsubscribe", id: 1 });
  sub.update({ rateHz: 1 });
  await pause(20);
  assert.deepEqual(conn.received, []);
});

test("another filter begins with a snapshot, and what is left of the old one is not taken", async (t) => {
  const rig = await Rig.start(t);
  const { log, sub } = follow(rig.live(t));
  const conn = await rig.conn();
  await conn.next("subscribe");
  conn.subscribed(1, 3);
  conn.snapshot(1, 3, []);
  await until("a snapshot", () => log.length === 1);
  sub.update({ filter: { task_ids: ["t1"] } });
  const ask = await conn.next("subscribe");
  assert.deepEqual([ask["filter"], ask["since"]], [{ task_ids: ["t1"] }, undefined]);
  conn.delta(1, 4, event(4));
  conn.subscribed(1, 0);
  conn.snapshot(1, 0, [{ task_id: "t1" }]);
  await until("two", () => log.length === 2);
  assert.deepEqual(log, ["[]", "[t1]"]);
});

test("a refused subscription tells its error; one that passes is asked again", async (t) => {
  const rig = await Rig.start(t);
  const live = rig.live(t);
  const told: string[] = [];
  live.onError((e) => told.push(`live ${e.code}`));
  live.zones({}, { change: () => {}, error: (e: ApiError) => told.push(`zones ${e.code} ${e.fields[0]?.field}`) });
  live.tasks({}, { snapshot: () => {}, events: () => {} });
  const conn = await rig.conn();
  await conn.next("subscribe");
  await conn.next("subscribe");
  const fields = [{ field: "filter.warehouse_id", problem: "no such warehouse" }];
  conn.send({ op: "error", id: 1, error: { code: "INVALID_ARGUMENT", message: "m", request_id: "q", details: { fields } } });
  conn.send({ op: "error", id: 2, error: { code: "UNAVAILABLE", message: "m", request_id: "q", details: {} } });
  conn.send({ op: "error", error: { code: "INVALID_ARGUMENT", message: "m", request_id: "q", details: {} } });
  assert.equal((await conn.next("subscribe"))["id"], 2);
  await pause(50);
  assert.deepEqual(told, ["zones INVALID_ARGUMENT filter.warehouse_id", "live UNAVAILABLE", "live INVALID_ARGUMENT"]);
  assert.deepEqual(conn.received, []);
});

test("what cannot be understood is counted and harms nobody", async (t) => {
  const { live, conn, log } = await flowing(t);
  for (const text of ["", "{", "null", "[]", "7", '{"op":"?"}', '{"op":"delta","id":1}', '{"op":"delta","id":1,"seq":6,"events":[{"type":"x"}]}']) {
    conn.socket.send(text);
  }
  conn.send(new Uint8Array([1, 2, 3]));
  conn.delta(77, 1, event(1));
  conn.delta(1, 6, { type: "something_new", data: {} }, event(6));
  await until("six", () => log.length === 1);
  assert.deepEqual([log, live.counters.unreadable, live.counters.gaps], [["t6"], 9, 0]);
});

test("a handler that throws is reported and does not stop the others", async (t) => {
  const uncaught: unknown[] = [];
  Object.assign(globalThis, { reportError: (e: Error) => uncaught.push(e.message) });
  t.after(() => Reflect.deleteProperty(globalThis, "reportError"));
  const rig = await Rig.start(t);
  const live = rig.live(t);
  const throws = (name: string) => (): void => {
    throw new Error(name);
  };
  live.onError(throws("error"));
  const off = live.onState(throws("state"));
  let calls = 0;
  live.zones({}, {
    change: () => {
      calls++;
      throw new Error("handler");
    },
  });
  const conn = await rig.conn();
  await conn.next("subscribe");
  conn.subscribed(1, 0);
  conn.snapshot(1, 0, []);
  await until("a call", () => calls === 1);
  off();
  conn.send({ op: "error", error: { code: "INVALID_ARGUMENT", message: "m", request_id: "q", details: {} } });
  await until("a report", () => uncaught.includes("error"));
  assert.deepEqual([...new Set(uncaught)].sort(), ["error", "handler", "state"]);
  assert.equal(live.state.phase, "open");
});

test("the round trip and the server's clock are measured", async (t) => {
  const rig = await Rig.start(t);
  const live = rig.live(t);
  const conn = await rig.conn();
  conn.answersPings = false;
  conn.socket.on("message", (data) => {
    const m = JSON.parse(String(data)) as { op: string; t: number };
    if (m.op === "ping") conn.send({ op: "pong", t: m.t, now: new Date(Date.now() + 3_600_000).toISOString() });
  });
  const s = await state(live, (x) => x.rttMs !== undefined);
  assert.ok(Math.abs(s.clockOffsetMs - 3_600_000) < 500, `${s.clockOffsetMs}`);
  assert.ok(s.rttMs! >= 0 && s.rttMs! < 500);
  assert.ok(Math.abs(Date.now() - s.lastMessageAt) < 500);
  conn.send({ op: "ping", t: 5 });
  assert.deepEqual(await conn.next("pong"), { op: "pong", t: 5 });
});

test("a token that cannot be sent is told in the state, not by a crash", async (t) => {
  const live = new Live({ url: "http://127.0.0.1:1", token: () => "no token: a space cannot be a sub-protocol", WebSocket });
  t.after(() => live.close());
  const s = await state(live, (x) => x.phase === "waiting");
  assert.equal(s.reason, "token_unavailable");
});
