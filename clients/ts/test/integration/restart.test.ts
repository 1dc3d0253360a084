// The program is killed with -9 in the middle of its work and started again with the same data.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { RobotTable } from "../../src/index.js";
import { aPlace, caller, connect, follow, lines, over, pause, recorded, until } from "./rig.js";
import { ROBOTS, Starling } from "./server.js";

let server: Starling;
before(async () => void (server = await Starling.start()));
after(() => server?.stop());

test("a server that was killed is found again by the same client: each event once, or a snapshot that says that it begins anew", { timeout: 120_000 }, async () => {
  const { warehouse_id } = server.ready;
  const api = caller(server);
  const live = connect(server, { encoding: "bin" });
  try {
    const log = follow(live, server);
    let table: RobotTable | undefined;
    live.robots({ filter: { warehouse_id } }, { change: (t) => (table = t) });
    await until("robots and tasks", () => log.snapshots.length === 1 && table?.count === ROBOTS);
    const dropoff = await aPlace(api);
    const make = (key: string): Promise<{ task_id: string }> => api.create("/api/v1/tasks", { body: { task_type: "go_to", warehouse_id, payload: { dropoff } }, key });
    const early = await Promise.all([1, 2, 3, 4, 5].map((n) => make(`early ${n}`)));
    await until("they are told", () => early.every((t) => log.events.some((e) => e.task_id === t.task_id)));
    assert.equal(new Set(lines(log.events)).size, log.events.length, "none came twice");

    // Some tasks are asked for in the moment of the blow: whoever got no answer asks again with the same key.
    const unanswered: string[] = [];
    const asked = Array.from({ length: 20 }, (_, n) => make(`late ${n}`).catch(() => void unanswered.push(`late ${n}`)));
    const before = table!.generation;
    await server.kill();
    await until("it is noticed", () => live.state.phase !== "open");
    await server.run();
    await Promise.all(asked);
    const again = await Promise.all(unanswered.map(make));
    assert.equal(new Set(again.map((t) => t.task_id)).size, unanswered.length);
    const repeated = await Promise.all([1, 2, 3, 4, 5].map((n) => make(`early ${n}`)));
    assert.deepEqual(repeated.map((t) => t.task_id), early.map((t) => t.task_id));

    await until("it is open, and both begin anew", () => live.state.phase === "open" && log.snapshots.length > 1 && table!.generation > before);
    // Tasks come back one by one; the server says so with snapshots until all are there.
    for (let seen = 0; seen < log.snapshots.length; await pause(1_500)) seen = log.snapshots.length;
    const fresh = await make("fresh");
    await api.post("/api/v1/tasks/{task_id}/cancel", { path: fresh }).catch((e) => assert.equal(e.code, "CONFLICT", "it has succeeded already"));
    await until("the new task has come to its end", () => log.events.some((e) => e.task_id === fresh.task_id && over.includes(e.status)));
    assert.equal(new Set(lines(log.events)).size, log.events.length, "none came twice");
    const began = new Map(log.snapshots.at(-1)!.map((t) => [t.task_id, t.version])); // as many transitions as it has behind it
    for (const id of new Set(log.events.map((e) => e.task_id))) {
      const told = log.events.filter((e) => e.task_id === id).map((e) => e.event);
      const from = began.get(id) ?? 0;
      assert.deepEqual(told, (await recorded(api, id)).slice(from, from + told.length), `${id} since version ${from}`);
    }

    // What the client thinks is open is what is open.
    await until("the client knows what the server knows", async () => {
      const open: string[] = [];
      for (const status of ["CREATED", "ASSIGNED", "EXECUTING", "CANCELLING"] as const) {
        for await (const t of api.items("/api/v1/tasks", { query: { warehouse_id, status, limit: 500 } })) open.push(t.task_id);
      }
      await pause(50);
      return [...log.open.keys()].sort().join() === open.sort().join();
    });
    await until("all robots are back", () => table!.count === ROBOTS && table!.connection.subarray(0, table!.size).every((c) => c === 1));
    const { opened, gaps, unreadable } = live.counters;
    assert.ok(opened >= 2);
    assert.deepEqual([gaps, unreadable], [0, 0]);
  } finally {
    live.close();
  }
});
