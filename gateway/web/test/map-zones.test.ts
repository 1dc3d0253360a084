import { expect, test } from "@playwright/test";
import { bytesOf, LINE_WORDS, Lines, STYLE } from "../src/map/lines.js";
import { contrast, mixed, type Rgba, Theme, TOKENS } from "../src/map/theme.js";
import { fillOf, heatOf, inside, loadOf, tintOf, triangulate, zoneOf, type ZoneShape } from "../src/map/zones.js";

type Points = [number, number][];

const L: Points = [[0, 0], [4, 0], [4, 1], [1, 1], [1, 3], [0, 3]];
const zone = (more: Partial<ZoneShape> = {}): ZoneShape => ({ id: "z", kind: "traffic", name: "Z", ring: L, capacity: 10, occupancy: 0, queue: 0, ...more });

function theme(): Theme {
  const t = new Theme();
  TOKENS.forEach((token, i) => { t.rgba[token] = [i / TOKENS.length, 0, 0, 1]; });
  return t;
}

function areaOf(ring: Points, triangles: number[]): number {
  let sum = 0;
  for (let i = 0; i < triangles.length; i += 3) {
    const [a, b, c] = [ring[triangles[i]!]!, ring[triangles[i + 1]!]!, ring[triangles[i + 2]!]!];
    sum += Math.abs((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])) / 2;
  }
  return sum;
}

test("polygons are cut into triangles that cover them once", () => {
  expect(triangulate(L)).toHaveLength(12);
  expect(areaOf(L, triangulate(L))).toBeCloseTo(6);
  const clockwise = [...L].reverse();
  expect(areaOf(clockwise, triangulate(clockwise))).toBeCloseTo(6);
  const closed: Points = [...L, [0, 0]];
  expect(areaOf(closed, triangulate(closed))).toBeCloseTo(6);
  const comb: Points = [[0, 0], [7, 0], [7, 5], [6, 5], [6, 1], [4, 1], [4, 5], [3, 5], [3, 1], [1, 1], [1, 5], [0, 5]];
  expect(areaOf(comb, triangulate(comb))).toBeCloseTo(7 + 3 * 4);
});

test("rings that are no polygons are survived", () => {
  expect(triangulate([])).toEqual([]);
  expect(triangulate([[0, 0], [1, 1]])).toEqual([]);
  expect(areaOf([[0, 0], [1, 1], [2, 2], [3, 3]], triangulate([[0, 0], [1, 1], [2, 2], [3, 3]]))).toBe(0);
  expect(() => triangulate([[0, 0], [2, 2], [2, 0], [0, 2]])).not.toThrow();
});

test("inside means inside, in the notch too", () => {
  expect(inside(L, 0.5, 2)).toBe(true);
  expect(inside(L, 3, 0.5)).toBe(true);
  expect(inside(L, 3, 2)).toBe(false);
  expect(inside(L, -1, 0.5)).toBe(false);
});

test("a zone's number stands in it or, where its middle lies outside, in its box", () => {
  const square = zoneOf(zone({ ring: [[0, 0], [4, 0], [4, 2], [0, 2]] }));
  expect([square.x, square.y]).toEqual([2, 1]);
  const u: Points = [[0, 0], [9, 0], [9, 9], [8, 9], [8, 1], [1, 1], [1, 9], [0, 9]];
  expect([zoneOf(zone({ ring: u })).x, zoneOf(zone({ ring: u })).y]).toEqual([4.5, 4.5]);
});

test("what was computed from a ring is kept until the ring changes", () => {
  const first = zoneOf(zone());
  const copied = L.map(([x, y]): [number, number] => [x, y]);
  const second = zoneOf(zone({ ring: copied, occupancy: 3 }), first);
  expect(second.triangles).toBe(first.triangles);
  expect(second.shape.occupancy).toBe(3);
  copied[0] = [-1, 0];
  expect(zoneOf(zone({ ring: copied }), first).triangles).not.toBe(first.triangles);
});

test("a zone's load counts those who queue, and stays within 0 and 1", () => {
  expect(loadOf(zone({ occupancy: 5 }))).toBe(0.5);
  expect(loadOf(zone({ occupancy: 5, queue: 2 }))).toBe(0.7);
  expect(loadOf(zone({ occupancy: 50 }))).toBe(1);
  expect(loadOf(zone({ capacity: 0, occupancy: 5 }))).toBeNull();
  expect(loadOf(zone({ kind: "keep_out", occupancy: 1 }))).toBeNull();
});

test("the heat ramp runs through its four colours", () => {
  const t = theme();
  expect(heatOf(0, t)).toEqual(t.rgba["heat-0"]);
  expect(heatOf(1, t)).toEqual(t.rgba["heat-3"]);
  expect(heatOf(7, t)).toEqual(t.rgba["heat-3"]);
  expect(heatOf(1 / 3, t)[0]).toBeCloseTo(t.rgba["heat-1"][0]);
  expect(heatOf(0.5, t)).toEqual(mixed(t.rgba["heat-1"], t.rgba["heat-2"], 0.5));
});

test("every kind has its tint; only loads are hot", () => {
  const t = theme();
  for (const kind of ["traffic", "keep_out", "slow", "parking", "charging"] as const) {
    expect(tintOf(zone({ kind }), t)).toBeDefined();
    expect(fillOf(zone({ kind }), "none", t)).toBeNull();
  }
  expect(fillOf(zone({ occupancy: 10 }), "clusters", t)?.slice(0, 3)).toEqual([...t.rgba["heat-3"]].slice(0, 3));
  expect(fillOf(zone({ occupancy: 10 }), "kind", t)?.slice(0, 3)).toEqual([...t.rgba["zone-line"]].slice(0, 3));
  expect(fillOf(zone({ kind: "keep_out" }), "heat", t)?.slice(0, 3)).toEqual([...t.rgba["zone-keep-out"]].slice(0, 3));
});

test("lines keep their place along the path and grow without end", () => {
  const lines = new Lines();
  lines.path([0, 0], [[0, 0], [3, 4], [3, 10]], 5, STYLE.arrows, 0xff112233);
  expect(lines.count).toBe(2);
  expect([...lines.f32.subarray(LINE_WORDS, LINE_WORDS + 7)]).toEqual([3, 4, 3, 10, 5, 5, STYLE.arrows]);
  for (let i = 0; i < 500; i++) lines.add(i, 0, i, 1, 0, 1, STYLE.solid, 7);
  expect(lines.count).toBe(502);
  expect(lines.u32[7]).toBe(0xff112233);
  expect(lines.u32[501 * LINE_WORDS + 7]).toBe(7);
  lines.clear();
  expect(lines.count).toBe(0);
});

test("colours as bytes and their contrast", () => {
  expect(bytesOf([1, 0, 0.5, 1])).toBe(0xff8000ff);
  const black: Rgba = [0, 0, 0, 1], white: Rgba = [1, 1, 1, 1];
  expect(contrast(black, white)).toBeCloseTo(21);
  expect(contrast(white, white)).toBe(1);
});
