import assert from "node:assert/strict";
import { test } from "node:test";
import { FLAG, FrameError, FrameReader, readFrame, RobotTable, STATES, WAITING, WAITING_OTHER, type Robot } from "../../src/index.js";
import { encode, type RobotIn } from "./encoder.js";
import { Rig, until } from "./rig.js";

const NOW = 1_700_000_000_000;
const uuid = (n: number): string => `0a1b2c3d-4e5f-4000-8000-${n.toString(16).padStart(12, "0")}`;
const robot = (n: number, o: Partial<RobotIn> = {}): RobotIn => ({
  handle: n, x: 100 + n, y: 200 + n, age: 0, heading: 64, speed: 20, battery: 100, state: 0x12, flags: FLAG.posed, waiting: 0, id: uuid(n), code: `R-${n}`, ...o,
});
const known = (n: number, o: Partial<RobotIn> = {}): RobotIn => {
  const { id: _, code: __, ...rest } = robot(n, o);
  return rest;
};

function started(...robots: RobotIn[]): { table: RobotTable; reader: FrameReader } {
  const table = new RobotTable();
  const reader = new FrameReader(table);
  reader.snapshot([readFrame(encode({ kind: 1, seq: 1, now: NOW, full: robots }))]);
  return { table, reader };
}
const near = (got: number, want: number): void => assert.ok(Math.abs(got - want) < 1e-4, `${got}, want ${want}`);

test("a snapshot in parts fills the table", () => {
  const table = new RobotTable();
  const reader = new FrameReader(table);
  const parts = [
    encode({ kind: 1, more: true, id: 9, seq: 4, now: NOW, coalesced: 3, full: [robot(5), robot(0, { age: 65535, state: 0, flags: 0, battery: 255, code: "Förderer-✓" })] }),
    encode({ kind: 1, id: 9, seq: 4, now: NOW, full: [robot(300, { heading: 192, state: 0x37, flags: 15, waiting: 13, age: 25 })] }),
  ].map((b) => readFrame(b));
  assert.deepEqual([parts[0]!.more, parts[1]!.more, parts[0]!.id, parts[0]!.seq, parts[0]!.coalesced], [true, false, 9, 4, 3]);
  reader.snapshot(parts);
  assert.deepEqual([table.generation, table.size, table.count], [1, 3, 3]);
  assert.deepEqual(table.ids, [uuid(5), uuid(0), uuid(300)]);
  assert.deepEqual(table.codes, ["R-5", "Förderer-✓", "R-300"]);
  assert.deepEqual([table.row(uuid(0)), table.row(uuid(300)), table.row("?")], [1, 2, -1]);
  near(table.x[0]!, -10 + 105 * 0.25);
  near(table.y[0]!, 20 + 205 * 0.25);
  near(table.theta[0]!, Math.PI / 2);
  near(table.theta[2]!, -Math.PI / 2);
  near(table.speed[0]!, 1);
  near(table.battery[0]!, 0.5);
  assert.deepEqual([table.state[0], table.connection[0], table.flags[2], table.waiting[2]], [2, 1, 15, 13]);
  assert.deepEqual([table.state[2], table.connection[2]], [7, 3]);
  assert.deepEqual([table.heardAt[0], table.heardAt[2]], [NOW, NOW - 2500]);
  assert.ok([table.x[1], table.y[1], table.battery[1], table.heardAt[1]].every((v) => Number.isNaN(v)), "what is unknown is NaN");
});

test("a delta moves, changes, adds and removes", () => {
  const { table, reader } = started(robot(0), robot(1), robot(2), robot(250));
  const { generation } = table;
  const changed = reader.delta(
    readFrame(
      encode({
        kind: 2, seq: 2, now: NOW + 1000,
        full: [robot(7, { code: "new" }), known(1, { state: 0x13, waiting: 2 })],
        moved: [{ handle: 0, dx: 4, dy: -8, heading: 128, speed: 5 }, { handle: 250, dx: -128, dy: 127, heading: 0, speed: 0 }],
        gone: [2],
      }),
    ),
  );
  assert.deepEqual([...changed].sort(), [0, 1, 2, 3, 4]);
  assert.deepEqual([table.generation, table.size, table.count], [generation, 5, 4]);
  near(table.x[0]!, -10 + 104 * 0.25);
  near(table.y[0]!, 20 + 192 * 0.25);
  near(table.theta[0]!, -Math.PI);
  near(table.x[3]!, -10 + (350 - 128) * 0.25);
  assert.equal(table.heardAt[0], NOW + 1000);
  assert.deepEqual([table.state[1], table.waiting[1]], [3, 2]);
  assert.deepEqual([table.live[2], table.row(uuid(2)), table.ids[2]], [0, -1, uuid(2)]);
  assert.deepEqual([table.ids[4], table.codes[4], table.row(uuid(7))], [uuid(7), "new", 4]);
});

test("a robot that comes back has its row again, with or without its name", () => {
  const { table, reader } = started(robot(0), robot(1));
  let seq = 1;
  const delta = (f: object): void => void reader.delta(readFrame(encode({ kind: 2, seq: ++seq, now: NOW, ...f })));
  delta({ gone: [1] });
  delta({ full: [known(1)] });
  assert.deepEqual([table.row(uuid(1)), table.count], [1, 2]);
  delta({ gone: [1, 0] });
  delta({ full: [robot(1, { handle: 9 })] });
  assert.deepEqual([table.row(uuid(1)), table.row(uuid(0)), table.count, table.size], [1, -1, 1, 2]);
  delta({ moved: [{ handle: 9, dx: 1, dy: 0, heading: 0, speed: 0 }] });
  near(table.x[1]!, -10 + 102 * 0.25);
});

test("a new snapshot replaces everything and is a new generation", () => {
  const { table, reader } = started(robot(0), robot(1));
  reader.snapshot([readFrame(encode({ kind: 1, seq: 9, now: NOW, x0: 0, y0: 0, step: 1, full: [robot(0, { id: uuid(77) })] }))]);
  assert.deepEqual([table.generation, table.size, table.count, table.row(uuid(0)), table.row(uuid(77))], [2, 1, 1, -1, 0]);
  near(table.x[0]!, 100);
});

test("a wider origin moves nobody, and moves go on from it", () => {
  const { table, reader } = started(robot(0), robot(1), robot(2, { flags: 0 }));
  const [x, y] = [table.x[1]!, table.y[1]!];
  const wider = { kind: 2, now: NOW, x0: -74, y0: -44, step: 0.5 } as const;
  reader.delta(readFrame(encode({ ...wider, seq: 2, full: [known(0, { x: 10, y: 10 })] })));
  near(table.x[0]!, -74 + 5);
  assert.deepEqual([table.x[1], table.y[1]], [x, y]);
  reader.delta(readFrame(encode({ ...wider, seq: 3, moved: [0, 1, 2].map((handle) => ({ handle, dx: 2, dy: -2, heading: 0, speed: 0 })) })));
  near(table.x[0]!, -74 + 6);
  assert.ok(Math.abs(table.x[1]! - (x + 1)) <= 0.25 && Math.abs(table.y[1]! - (y - 1)) <= 0.25, "within half a unit");
  assert.ok(Number.isNaN(table.x[2]!), "one that is nowhere is heard, and still nowhere");
  assert.equal(table.heardAt[2], NOW);
  reader.snapshot([0, -10].map((x0, n) => readFrame(encode({ kind: 1, seq: 4, now: NOW, more: n === 0, x0, full: [robot(n)] }))));
  near(table.x[0]!, 25);
  reader.delta(readFrame(encode({ kind: 2, seq: 5, now: NOW, moved: [{ handle: 0, dx: 4, dy: 0, heading: 0, speed: 0 }] })));
  near(table.x[0]!, 26);
});

test("a handle that is given to another robot is taken from the one that had it", () => {
  const { table, reader } = started(robot(0), robot(1), robot(2));
  const delta = (f: object): number[] => [...reader.delta(readFrame(encode({ kind: 2, seq: 2, now: NOW, ...f })))].sort();
  assert.deepEqual(delta({ gone: [1], full: [robot(1, { id: uuid(50) })] }), [1, 3]);
  assert.deepEqual(delta({ full: [robot(0, { id: uuid(51) })] }), [0, 4], "not even a word of its leaving");
  assert.deepEqual([table.count, table.row(uuid(0)), table.row(uuid(1)), table.row(uuid(50)), table.row(uuid(51))], [3, -1, -1, 3, 4]);
  delta({ gone: [2] });
  delta({ full: [robot(9, { id: uuid(2) })] });
  assert.deepEqual(delta({ full: [robot(2, { id: uuid(52) })] }), [5], "a robot that has another handle by now stays");
  assert.deepEqual([table.count, table.row(uuid(2))], [4, 2]);
});

const faults: Record<string, () => Uint8Array> = {
  "cut off": () => encode({ kind: 2, seq: 2, now: NOW, full: [known(0)] }).slice(0, -1),
  "longer than it says": () => Uint8Array.from([...encode({ kind: 2, seq: 2, now: NOW, full: [robot(3)] }), 0]),
  "a name cut off": () => encode({ kind: 2, seq: 2, now: NOW, full: [robot(3)] }).slice(0, -2),
  "another layout": () => encode({ kind: 2, seq: 2, now: NOW }).map((b, i) => (i === 2 ? 2 : b)),
  "another kind": () => encode({ kind: 2, seq: 2, now: NOW }).map((b, i) => (i === 0 ? 3 : b)),
  "counts beyond any memory": () => encode({ kind: 2, seq: 2, now: NOW }).map((b, i) => (i >= 40 ? 255 : b)),
  "an unknown robot in full": () => encode({ kind: 2, seq: 2, now: NOW, full: [known(5)] }),
  "an unknown robot moved": () => encode({ kind: 2, seq: 2, now: NOW, moved: [{ handle: 5, dx: 0, dy: 0, heading: 0, speed: 0 }] }),
  "a gap of nothing": () => encode({ kind: 2, seq: 2, now: NOW, moved: [0, 0].map((handle) => ({ handle, dx: 0, dy: 0, heading: 0, speed: 0 })) }),
  "a handle beyond any table": () => encode({ kind: 2, seq: 2, now: NOW, full: [robot(1, { handle: 0xffffffff })] }),
  "a seq that is no number": () => encode({ kind: 2, seq: NaN, now: NOW }),
};
for (const [name, make] of Object.entries(faults)) {
  test(`a frame with a fault changes nothing: ${name}`, () => {
    const { table, reader } = started(robot(0), robot(1));
    const before = structuredClone({ ...table });
    assert.throws(() => reader.delta(readFrame(make())), FrameError);
    assert.deepEqual(structuredClone({ ...table }), before);
  });
}

test("a snapshot with a fault leaves the old one", () => {
  const { table, reader } = started(robot(0));
  for (const full of [[robot(1), robot(1)], [known(0)], [robot(1, { handle: 1 << 22 })]]) {
    assert.throws(() => reader.snapshot([readFrame(encode({ kind: 1, seq: 2, now: NOW, full }))]), FrameError);
  }
  assert.throws(() => reader.snapshot([]), FrameError);
  assert.deepEqual([table.generation, table.count, table.row(uuid(0))], [1, 1, 0]);
});

// A small generator with a seed, so that a failure can be had again.
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test("no bytes whatever make the decoder throw anything but FrameError, hang, or lose count", () => {
  const began = performance.now();
  for (let seed = 1; seed <= 6000; seed++) {
    const next = random(seed);
    const below = (n: number): number => Math.floor(next() * n);
    const { table, reader } = started(robot(0), robot(1), robot(2));
    let bytes: Uint8Array;
    if (seed % 3 === 0) {
      bytes = Uint8Array.from({ length: below(400) }, () => below(256));
    } else {
      const full = [robot(3), known(below(4)), robot(below(6))].slice(0, below(4));
      const moved = [0, 2].slice(0, below(3)).map((handle) => ({ handle, dx: below(256), dy: 0, heading: 0, speed: 0 }));
      bytes = encode({ kind: next() < 0.5 ? 1 : 2, seq: below(9), now: NOW, full, moved, gone: [below(5)].slice(0, below(2)) });
      for (let k = below(4); k > 0; k--) bytes[below(bytes.length)] = below(256);
      if (next() < 0.2) bytes = bytes.slice(0, below(bytes.length));
    }
    try {
      const frame = readFrame(bytes);
      if (frame.snapshot) {
        reader.snapshot([frame]);
      } else {
        const rows = reader.delta(frame);
        assert.ok(rows.every((r) => r < table.size), `seed ${seed}: a row that is none`);
      }
    } catch (e) {
      assert.ok(e instanceof FrameError, `seed ${seed}: ${e}`);
    }
    assert.equal(table.live.subarray(0, table.size).reduce((n, l) => n + l, 0), table.count, `seed ${seed}`);
    assert.ok(table.ids.length === table.size && table.size <= table.live.length, `seed ${seed}`);
  }
  assert.ok(performance.now() - began < 30_000);
});

test("10,000 robots are read in less than 2 ms, in full or moved", () => {
  const N = 10_000;
  const { reader } = started(...Array.from({ length: N }, (_, n) => robot(n)));
  const full = encode({ kind: 2, seq: 2, now: NOW, full: Array.from({ length: N }, (_, n) => known(n)) });
  const moved = encode({ kind: 2, seq: 2, now: NOW, moved: Array.from({ length: N }, (_, handle) => ({ handle, dx: 1, dy: -1, heading: 7, speed: 9 })) });
  const snapshot = encode({ kind: 1, seq: 2, now: NOW, full: Array.from({ length: N }, (_, n) => robot(n)) });
  const best = (f: () => void): number => {
    let least = Infinity;
    for (let i = 0; i < 60; i++) {
      const began = performance.now();
      f();
      least = Math.min(least, performance.now() - began);
    }
    return least;
  };
  const ms = {
    full: best(() => reader.delta(readFrame(full))),
    moved: best(() => reader.delta(readFrame(moved))),
    snapshot: best(() => reader.snapshot([readFrame(snapshot)])),
  };
  assert.ok(ms.full < 2 && ms.moved < 2, JSON.stringify(ms));
  assert.ok(ms.snapshot < 20, JSON.stringify(ms)); // 10,000 new names: once per connection
});

const asJson = (o: Partial<Robot> = {}): Robot => ({
  robot_id: uuid(0), robot_code: "R-0", display_name: null, fleet: null, model: null, protocol: "link", warehouse_id: uuid(1), capabilities: [],
  allowed_zones: [], priority: 0, footprint_radius_m: 0.4, max_speed_mps: 2, control: "engine", connection: "ONLINE", state: "MOVING",
  pose: { x: 15, y: 70, theta: Math.PI / 2, map_id: uuid(2) }, vertex: "1", velocity_mps: 1, battery_soc: 0.5, task_id: null, age_ms: 0, errors: [],
  waiting: null, waiting_since: null, version: 1, created_at: "2026-01-01T00:00:00.000Z", ...o,
});

test("a robot is the same in the table whether it came as JSON or in a frame", () => {
  const binary = started(robot(0)).table;
  const json = new RobotTable();
  json.reset(1);
  json.put(asJson(), NOW);
  for (const column of ["x", "y", "theta", "speed", "battery", "state", "connection", "flags", "waiting", "heardAt"] as const) {
    near(json[column][0]!, binary[column][0]!);
  }
  assert.deepEqual([json.ids[0], json.codes[0], json.count], [binary.ids[0], binary.codes[0], 1]);
});

test("JSON that says less, or more than we know, is read as far as it goes", () => {
  const t = new RobotTable();
  const faulty = { code: "E1", level: "FATAL", message: "m" } as const;
  const row = t.put(asJson({ pose: null, state: null, velocity_mps: -1.5, battery_soc: null, task_id: uuid(5), age_ms: null, errors: [faulty], control: "external", connection: "NEVER_SEEN", waiting: "a cause of a later server" }), NOW);
  assert.ok([t.x[row], t.battery[row], t.heardAt[row]].every((v) => Number.isNaN(v)));
  assert.deepEqual([STATES[t.state[row]!], t.connection[row], t.flags[row], t.waiting[row]], ["UNKNOWN", 0, FLAG.tasked | FLAG.faulty | FLAG.external, WAITING_OTHER]);
  near(t.speed[row]!, 1.5);
  assert.equal(t.put(asJson({ waiting: "no_lease", pose: { x: 0, y: 0, theta: 7, map_id: "" } }), NOW), row);
  assert.equal(WAITING[t.waiting[row]!], "no_lease");
  near(t.theta[row]!, 7 - 2 * Math.PI);
});

test("over the channel: binary parts, deltas, a fault that heals itself", async (t) => {
  const rig = await Rig.start(t);
  const live = rig.live(t, { encoding: "bin" });
  const seen: string[] = [];
  live.robots({ filter: { warehouse_id: "w", rect: [0, 0, 9, 9] }, rateHz: 2 }, {
    change: (table, changed) => seen.push(`${table.generation}: ${changed === null ? "all" : [...changed].join()} of ${table.count}`),
  });
  const conn = await rig.conn();
  assert.deepEqual(await conn.next("subscribe"), { op: "subscribe", id: 1, channel: "robots", filter: { warehouse_id: "w", rect: [0, 0, 9, 9] }, rate_hz: 2 });
  conn.subscribed(1, 7);
  conn.send(encode({ kind: 1, more: true, seq: 7, now: NOW, full: [robot(0), robot(1)] }));
  conn.send(encode({ kind: 1, seq: 7, now: NOW, full: [robot(2)] }));
  conn.send(encode({ kind: 2, seq: 8, now: NOW, gone: [1] }));
  conn.send(encode({ kind: 2, seq: 9, now: NOW, full: [known(40)] }));
  assert.equal((await conn.next("subscribe"))["since"], undefined);
  conn.subscribed(1, 0);
  conn.send(encode({ kind: 1, seq: 0, now: NOW, full: [robot(0)] }));
  conn.send(encode({ kind: 2, seq: 1, now: NOW, moved: [{ handle: 0, dx: 1, dy: 1, heading: 0, speed: 1 }] }));
  await until("four", () => seen.length === 4);
  assert.deepEqual(seen, ["1: all of 3", "1: 1 of 2", "2: all of 1", "2: 0 of 1"]);
  assert.deepEqual(live.counters, { opened: 1, gaps: 0, resyncs: 0, unreadable: 1 });
});

test("over the channel: the same table from JSON", async (t) => {
  const rig = await Rig.start(t);
  const seen: string[] = [];
  rig.live(t).robots({}, { change: (table, changed) => seen.push(`${changed === null ? "all" : [...changed].join()} of ${table.count}`) });
  const conn = await rig.conn();
  await conn.next("subscribe");
  conn.subscribed(1, 1);
  conn.snapshot(1, 1, [asJson(), asJson({ robot_id: uuid(1) })]);
  conn.delta(1, 2, { type: "robot_removed", data: { robot_id: uuid(1) } }, { type: "robot_status", data: asJson({ robot_id: uuid(3) }) });
  await until("two", () => seen.length === 2);
  assert.deepEqual(seen, ["all of 2", "1,2 of 2"]);
});
