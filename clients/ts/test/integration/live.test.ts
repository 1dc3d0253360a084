// The client against the real program: the example, a connection that is cut again and again, tokens, robots in both encodings.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Api, FLAG, STATES, type Live, type Robot, type RobotDetail, type RobotTable, type ZoneStatus } from "../../src/index.js";
import { Proxy } from "./proxy.js";
import { aPlace, caller, connect, follow, lines, pause, recorded, until, type Log } from "./rig.js";
import { ROBOTS, Starling } from "./server.js";

let server: Starling;
let api: Api;
before(async () => {
  server = await Starling.start();
  api = caller(server);
});
after(() => server?.stop());

test("the example follows a task to its end", { timeout: 120_000 }, async (t) => {
  const { url, token, warehouse_id } = server.ready;
  const example = fileURLToPath(new URL("../../examples/follow.js", import.meta.url));
  const child = spawn(process.execPath, [example], {
    env: { ...process.env, STARLING_URL: url, STARLING_TOKEN: token, STARLING_WAREHOUSE: warehouse_id },
    stdio: ["ignore", "pipe", "inherit"],
    signal: t.signal,
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, "close")) as [number];
  assert.equal(code, 0, output);
  assert.match(output, /^task +[0-9a-f-]{36}\ncreated +CREATED +0\/1  robot -\nassigned +ASSIGNED +0\/1  robot [0-9a-f-]{36}\n(.*\n)*succeeded +SUCCEEDED +1\/1 .*\nSUCCEEDED after [\d.]+ s\n$/);
});

/** Makes tasks and cancels them as fast as the server takes them, until told to stop; gives their ids. */
async function bustle(stopped: () => boolean, dropoff: string): Promise<string[]> {
  const made: string[] = [];
  const { warehouse_id } = server.ready;
  while (!stopped()) {
    const items = Array.from({ length: 20 }, () => ({ task_type: "go_to" as const, warehouse_id, payload: { dropoff } }));
    const ids = (await api.create("/api/v1/tasks:batch", { body: { items } })).items.map((i) => i.task_id);
    made.push(...ids);
    // One that has succeeded in the meantime cannot be cancelled any more.
    await Promise.all(ids.map((task_id) => api.post("/api/v1/tasks/{task_id}/cancel", { path: { task_id } }).catch((e) => assert.equal(e.code, "CONFLICT"))));
  }
  return made;
}

/** Cuts the connection and waits for the next one. */
async function cutOnce(proxy: Proxy, live: Live): Promise<void> {
  const { opened } = live.counters;
  proxy.cut();
  await until("it is open again", () => live.counters.opened > opened);
}

/** Cuts the connection whenever events have come over it, for so long; gives how often. */
async function cutAgainAndAgain(proxy: Proxy, live: Live, log: Log, ms: number): Promise<number> {
  let cuts = 0;
  for (const end = Date.now() + ms; Date.now() < end; cuts++) {
    const had = log.events.length;
    await until("events flow through the proxy", () => log.events.length > had);
    await pause(Math.random() * 100);
    await cutOnce(proxy, live);
  }
  return cuts;
}

test("cut again and again while events flow, each event comes once and in order", { timeout: 120_000 }, async () => {
  const proxy = await new Proxy(server.ready.url).start();
  const cut = connect(server, { url: proxy.url });
  const whole = connect(server);
  try {
    const [a, b] = [follow(cut, server), follow(whole, server)];
    await until("both have begun", () => a.snapshots.length === 1 && b.snapshots.length === 1);
    const place = await aPlace(api);
    let stop = false;
    const made = bustle(() => stop, place);
    const cuts = await cutAgainAndAgain(proxy, cut, a, 8_000).finally(() => (stop = true));
    const ids = await made;
    const { task_id } = await api.create("/api/v1/tasks", { body: { task_type: "go_to", warehouse_id: server.ready.warehouse_id, payload: { dropoff: place } } });
    await until("the last one came to both", () => [a, b].every((l) => l.events.some((e) => e.task_id === task_id)));
    const common = (l: Log): string[] => lines(l.events.slice(0, l.events.findIndex((e) => e.task_id === task_id) + 1));
    const [told, toldWhole] = [common(a), common(b)];
    const first = toldWhole.find((e) => told.includes(e))!;
    assert.deepEqual(told.slice(told.indexOf(first)), toldWhole.slice(toldWhole.indexOf(first)));
    assert.equal(new Set(told).size, told.length, "none came twice");
    assert.deepEqual([a.snapshots.length, cut.counters.gaps, cut.counters.resyncs, cut.counters.unreadable], [1, 0, 0, 0]);
    assert.ok(cuts >= 8, `${cuts} cuts`);
    assert.equal(cut.counters.opened, cuts + 1);
    assert.ok(told.length > 500, `${told.length} events`);
    for (const id of ids.slice(-20)) {
      assert.deepEqual(a.events.filter((e) => e.task_id === id).map((e) => e.event), await recorded(api, id));
    }
  } finally {
    cut.close();
    whole.close();
    await proxy.stop();
  }
});

test("a connection is never more than one, however often it is cut", { timeout: 120_000 }, async () => {
  const proxy = await new Proxy(server.ready.url).start();
  const live = connect(server, { url: proxy.url });
  try {
    await until("it is open", () => live.state.phase === "open");
    for (let n = 0; n < 10; n++) {
      await pause(Math.random() * 30);
      await cutOnce(proxy, live);
    }
    assert.deepEqual([proxy.most, proxy.cuts], [1, 10]);
  } finally {
    live.close();
    await proxy.stop();
  }
});

test("a token that the server does not know is told as such", { timeout: 120_000 }, async () => {
  const live = connect(server, { token: () => "a.b.c" });
  try {
    await until("the end", () => live.state.phase === "closed");
    assert.equal(live.state.reason, "unauthenticated");
    await assert.rejects(new Api({ url: server.ready.url, token: () => "a.b.c" }).get("/api/v1/me"), { status: 401, code: "UNAUTHENTICATED" });
  } finally {
    live.close();
  }
});

/** A token of the development issuer that lasts so many seconds. */
async function tokenFor(seconds: number, role: string): Promise<string> {
  const answer = await fetch(`${server.ready.url}/dev/token`, {
    method: "POST",
    body: JSON.stringify({ tenant: server.ready.tenant_id, role, expires_in_s: seconds }),
  });
  return ((await answer.json()) as { access_token: string }).access_token;
}

test("tokens are renewed over the open connection, which outlives them; another's is refused", { timeout: 120_000 }, async () => {
  let asked = 0;
  let role = "viewer";
  const live = connect(server, { token: () => (asked++, tokenFor(4, role)) });
  const reasons: unknown[] = [];
  live.onState((s) => s.reason !== undefined && reasons.push(s.reason));
  try {
    const log = follow(live, server);
    await until("it has begun", () => log.snapshots.length === 1);
    await pause(7_000); // the first token expired 3 s ago
    assert.ok(asked >= 3, `${asked} tokens`);
    await live.renewToken();
    role = "operator"; // another subject
    await assert.rejects(live.renewToken(), { code: "FORBIDDEN" });
    role = "viewer";
    await live.renewToken();
    assert.deepEqual([live.state.phase, live.counters.opened, log.snapshots.length, reasons], ["open", 1, 1, []]);
  } finally {
    live.close();
  }
});

/** Halts these robots and waits until they have. */
async function halt(ids: string[], command: "pause" | "resume"): Promise<void> {
  const given = await Promise.all(ids.map(async (robot_id) => {
    const { command_id } = await api.post("/api/v1/robots/{robot_id}/commands", { path: { robot_id }, body: { command } });
    return { robot_id, command_id };
  }));
  await Promise.all(given.map((path) => until(`${command} is done`, async () => {
    const { stages } = await api.get("/api/v1/robots/{robot_id}/commands/{command_id}", { path });
    return stages.some((s) => s.stage === "done");
  })));
}

test("a robot is the same as JSON, in a binary frame and over REST", { timeout: 120_000 }, async () => {
  const tables = new Map<string, { table: RobotTable; changes: number }>();
  const lives = (["json", "bin"] as const).map((encoding) => {
    const live = connect(server, { encoding });
    live.robots({ filter: { warehouse_id: server.ready.warehouse_id }, rateHz: 10 }, {
      change: (table) => tables.set(encoding, { table, changes: (tables.get(encoding)?.changes ?? 0) + 1 }),
    });
    return live;
  });
  const still: string[] = [];
  try {
    for await (const r of api.items("/api/v1/robots")) if (still.push(r.robot_id) === ROBOTS / 2) break;
    // One look at all three; half of the robots stand. The demo lets one of them go on now and then: it is halted again.
    const standing = (t: RobotTable, id: string): boolean => STATES[t.state[t.row(id)]!] === "PAUSED" && t.speed[t.row(id)] === 0;
    let robots: Robot[] = [];
    await until("all of them stand", async () => {
      robots = [];
      for await (const r of api.items("/api/v1/robots")) robots.push(r);
      const away = robots.filter((r) => still.includes(r.robot_id) && r.state !== "PAUSED").map((r) => r.robot_id);
      if (away.length === 0 && tables.size === 2 && [...tables.values()].every((t) => t.changes > 20 && still.every((id) => standing(t.table, id)))) return true;
      await halt(away, "pause");
      await pause(300);
      return false;
    });
    const [json, bin] = [tables.get("json")!.table, tables.get("bin")!.table];
    for (const r of robots) {
      const [j, b] = [json.row(r.robot_id), bin.row(r.robot_id)];
      assert.ok(j >= 0 && b >= 0, `${r.robot_code} is missing`);
      assert.deepEqual([json.codes[j], bin.codes[b], json.connection[j], bin.connection[b]], [r.robot_code, r.robot_code, 1, 1]);
      // Half a unit of what a frame rounds to, where the robot stands; where it drives, 3 m: the looks are not at one moment.
      const halted = still.includes(r.robot_id);
      const near = (what: string, x: number, y: number, within: number): void => assert.ok(Math.abs(x - y) <= within, `${r.robot_code}: ${what} ${x} and ${y}`);
      for (const [t, row] of [[json, j], [bin, b]] as const) {
        near("x", t.x[row]!, r.pose!.x, halted ? 0.01 : 3);
        near("y", t.y[row]!, r.pose!.y, halted ? 0.01 : 3);
        near("battery", t.battery[row]!, r.battery_soc!, 0.004);
        near("heard", t.heardAt[row]!, Date.now(), 5000);
        if (!halted) continue;
        near("heading", Math.cos(t.theta[row]! - r.pose!.theta), 1, 0.001);
        assert.equal(t.flags[row]! & FLAG.tasked, r.task_id === null ? 0 : FLAG.tasked);
        assert.deepEqual([t.waiting[row], t.flags[row]], [json.waiting[j], json.flags[j]]);
      }
    }
    assert.deepEqual([json.count, bin.count, robots.length], [ROBOTS, ROBOTS, ROBOTS]);
    assert.ok(lives.every((l) => Object.values(l.counters).join() === "1,0,0,0"), JSON.stringify(lives.map((l) => l.counters)));
  } finally {
    lives.forEach((l) => l.close());
    await halt(still, "resume");
  }
});

test("a robot in detail has its order, on a binary connection too; zones count their robots", { timeout: 120_000 }, async () => {
  const live = connect(server, { encoding: "bin" });
  const errors: unknown[] = [];
  live.onError((e) => errors.push(e));
  try {
    const ids: string[] = [];
    for await (const r of api.items("/api/v1/robots", { query: { limit: 10 } })) ids.push(r.robot_id);
    let robots = new Map<string, RobotDetail>();
    let zones = new Map<string, ZoneStatus>();
    let table: RobotTable | undefined;
    live.robotDetails({ robotIds: ids, rateHz: 5 }, { change: (r) => (robots = r) });
    live.zones({ filter: { warehouse_id: server.ready.warehouse_id }, rateHz: 5 }, { change: (z) => (zones = z) });
    const sub = live.robots({ filter: { robot_ids: ids.slice(0, 2) } }, { change: (t) => (table = t) });
    await until("an order", () => [...robots.values()].some((r) => (r.order?.base.length ?? 0) > 0));
    await until("every robot in a zone", () => [...zones.values()].reduce((n, z) => n + z.occupancy, 0) >= ROBOTS);
    await until("two robots", () => table?.count === 2);
    assert.equal(robots.size, ROBOTS);
    const { generation } = table!;
    sub.update({ filter: { robot_ids: ids.slice(0, 3) }, rateHz: 10 });
    await until("three robots", () => table?.count === 3);
    assert.equal(table!.generation, generation + 1);
    sub.close();
    const refused: string[] = [];
    live.robots({ filter: { rect: [0, 0, 9, 9] } }, { change: () => {}, error: (e) => refused.push(`${e.code} ${e.fields[0]?.field}`) });
    await until("a filter is refused", () => refused.length > 0);
    assert.deepEqual([refused, errors], [["INVALID_ARGUMENT filter.rect"], []]);
  } finally {
    live.close();
  }
});
