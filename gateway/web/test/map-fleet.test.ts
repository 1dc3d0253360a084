import { expect, test } from "@playwright/test";
import { CONNECTIONS, FLAG, RobotTable, STATES } from "starling-client";
import { BLOCK, Fleet, WORDS } from "../src/map/fleet.js";
import { MARK } from "../src/map/look.js";
import { hitAt, nearest, type Pickable, zoneAt } from "../src/map/pick.js";
import { zoneOf, type ZoneShape } from "../src/map/zones.js";

function tableOf(n: number): RobotTable {
  const t = new RobotTable();
  t.reset(n);
  for (let i = 0; i < n; i++) put(t, i, 2 * i, 10);
  return t;
}

function put(t: RobotTable, i: number, x: number, y: number): void {
  const row = t.enter(`r${i}`, `R${i}`);
  t.x[row] = x;
  t.y[row] = y;
  t.state[row] = STATES.indexOf("IDLE");
  t.connection[row] = CONNECTIONS.indexOf("ONLINE");
  t.flags[row] = FLAG.posed;
  t.waiting[row] = 0;
  t.heardAt[row] = 5000;
}

function spans(f: Fleet): [number, number][] {
  const out: [number, number][] = [];
  f.drain((from, to) => out.push([from, to]));
  return out;
}

test("a robot moves from where it was drawn to where it is, in the time between two updates", () => {
  const t = tableOf(3), f = new Fleet(0, 0);
  f.take(t, null, 0, true);
  t.x[1] = 3;
  f.take(t, Uint32Array.of(1), 1000, true);
  expect(f.movingUntil).toBe(2000);
  expect(f.xAt(1, f.clock(1000))).toBeCloseTo(2);
  expect(f.xAt(1, f.clock(1500))).toBeCloseTo(2.5);
  expect(f.xAt(1, f.clock(9000))).toBe(3);
  expect(f.xAt(1, Infinity)).toBe(3);
  t.x[1] = 4; // before it arrived: it goes on from where the eye last saw it
  f.take(t, Uint32Array.of(1), 1500, true);
  expect(f.xAt(1, f.clock(1500))).toBeCloseTo(2.5);
  expect(f.xAt(1, f.clock(2500))).toBe(4);
});

test("a robot that did not move does not move again when others do", () => {
  const t = tableOf(2), f = new Fleet(0, 0);
  f.take(t, null, 0, true);
  t.x[0] = 1;
  f.take(t, Uint32Array.of(0), 1000, true);
  t.x[1] = 3;
  t.state[0] = STATES.indexOf("WAITING");
  f.take(t, null, 5000, true);
  expect(f.xAt(0, f.clock(5000))).toBe(1);
  expect(f.xAt(1, f.clock(5500))).toBeCloseTo(2.5);
});

test("where motions are not shown a new one begins where the last ended", () => {
  const t = tableOf(1), f = new Fleet(0, 0);
  f.take(t, null, 0, false);
  t.x[0] = 1;
  f.take(t, null, 1000, false);
  t.x[0] = 2;
  f.take(t, null, 1100, false);
  expect(f.xAt(0, f.clock(1100))).toBe(1);
});

test("a robot that was carried away does not slide through the racks", () => {
  const t = tableOf(1), f = new Fleet(0, 0);
  f.take(t, null, 0, true);
  t.x[0] = 80;
  f.take(t, null, 1000, true);
  expect(f.xAt(0, f.clock(1000))).toBe(80);
});

test("a robot turns the short way round", () => {
  const t = tableOf(1), f = new Fleet(0, 0);
  t.theta[0] = 3;
  f.take(t, null, 0, true);
  t.theta[0] = -3;
  f.take(t, null, 1000, true);
  expect(f.f32[5]! - f.f32[4]!).toBeCloseTo(2 * Math.PI - 6);
});

test("only blocks with changed rows are uploaded, joined where they touch", () => {
  const t = tableOf(4 * BLOCK + 10), f = new Fleet(0, 0);
  f.take(t, null, 0, true);
  expect(spans(f)).toEqual([[0, 4 * BLOCK + 10]]);
  expect(spans(f)).toEqual([]);
  f.take(t, Uint32Array.of(5, BLOCK + 1, 4 * BLOCK + 3), 1000, true);
  expect(spans(f)).toEqual([[0, 2 * BLOCK], [4 * BLOCK, 4 * BLOCK + 10]]);
});

test("robots that leave, come back, or lose their pose are drawn accordingly", () => {
  const t = tableOf(3), f = new Fleet(0, 0);
  f.take(t, null, 0, true);
  expect(f.drawn).toBe(3);
  t.leave(1);
  t.x[2] = NaN;
  f.take(t, Uint32Array.of(1, 2), 1000, true);
  expect([f.drawn, f.has(0), f.has(1), f.has(2)]).toEqual([1, true, false, false]);
  t.comeBack(1);
  f.take(t, Uint32Array.of(1), 2000, true);
  expect([f.drawn, f.has(1)]).toEqual([2, true]);
});

test("after a snapshot rows are other robots", () => {
  const t = tableOf(3), f = new Fleet(0, 0);
  f.take(t, null, 0, true);
  t.reset(2);
  put(t, 7, 50, 50);
  f.take(t, Uint32Array.of(0), 1000, true);
  expect([f.size, f.drawn, f.has(0), f.has(1)]).toEqual([1, 1, true, false]);
  expect(f.xAt(0, f.clock(1000))).toBe(50);
});

test("the filter dims who does not match, and still does after an update", () => {
  const t = tableOf(3), f = new Fleet(0, 0);
  const dimmed = (): boolean[] => [0, 1, 2].map((row) => ((f.u32[row * WORDS + 8]! >>> 16) & MARK.dim) !== 0);
  f.take(t, null, 0, true);
  spans(f);
  expect(f.match(null)).toBe(false);
  expect(f.match(Uint8Array.of(1, 0))).toBe(true);
  expect(f.match(Uint8Array.of(1, 0))).toBe(false); // looks as before
  expect(dimmed()).toEqual([false, true, false]); // a row beyond the filter's end is new, not unwanted
  expect(spans(f)).toHaveLength(1);
  f.take(t, null, 1000, true);
  expect(dimmed()).toEqual([false, true, false]);
  f.match(null);
  expect(dimmed()).toEqual([false, false, false]);
});

test("after weeks the clocks still tell milliseconds", () => {
  const t = tableOf(1), f = new Fleet(0, 0);
  f.take(t, null, 0, true);
  const week = 7 * 24 * 3600_000;
  t.x[0] = 1;
  t.heardAt[0] = week;
  f.take(t, null, week, true);
  expect(f.xAt(0, f.clock(week + 500))).toBeCloseTo(0.5, 3);
  expect(f.heardClock(week + 3000) - f.f32[7]!).toBeCloseTo(3, 3);
});

const square = (id: string, x0: number, y0: number, x1: number, y1: number): ZoneShape => ({
  id, kind: "traffic", name: id, ring: [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], capacity: 10, occupancy: 0, queue: 0,
});

function pickable(more: Partial<Pickable> = {}): Pickable {
  const t = tableOf(5), fleet = new Fleet(0, 0);
  fleet.take(t, null, 0, true);
  const zones = [square("large", -20, 0, 20, 20), square("small", 0, 5, 10, 15)].map((z) => zoneOf(z));
  return { camera: { x: 4, y: 10, scale: 20 }, width: 400, height: 400, robotPx: 17, fleet, clock: Infinity, zones, ...more };
}

test("a click near a robot means the nearest one", () => {
  expect(hitAt(pickable(), 200, 200)).toEqual({ type: "robot", row: 2 });
  expect(hitAt(pickable(), 208, 200)).toEqual({ type: "robot", row: 2 });
  expect(hitAt(pickable(), 234, 203)).toEqual({ type: "robot", row: 3 });
});

test("a click beside robots means the smallest zone there, else the floor", () => {
  expect(hitAt(pickable(), 220, 200)).toEqual({ type: "zone", id: "small", x: 5, y: 10 });
  expect(hitAt(pickable(), 20, 200)).toMatchObject({ type: "zone", id: "large" });
  expect(hitAt(pickable({ zones: [] }), 20, 200)).toEqual({ type: "floor", x: -5, y: 10 });
});

test("robots that are not drawn cannot be hit", () => {
  expect(hitAt(pickable({ robotPx: 0 }), 200, 200)).toMatchObject({ type: "zone", id: "small" });
});

test("a moving robot is hit where it is seen", () => {
  const t = tableOf(1), f = new Fleet(0, 0);
  f.take(t, null, 0, true);
  t.x[0] = 6;
  f.take(t, null, 1000, true);
  expect(nearest(f, f.clock(1500), 3, 10, 0.5)).toBe(0);
  expect(nearest(f, f.clock(1500), 6, 10, 0.5)).toBe(-1);
  expect(nearest(f, f.clock(2000), 6, 10, 0.5)).toBe(0);
});

test("a point outside of all zones is in none", () => {
  expect(zoneAt(pickable().zones, 21, 10)).toBeNull();
  expect(zoneAt(pickable().zones, 12, 10)?.shape.id).toBe("large");
});
