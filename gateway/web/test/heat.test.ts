import { expect, test } from "@playwright/test";
import { type Diagram, drawn, effectText, heatText, remedyOf, sparkOf, standing, trendOf, worthALine } from "../src/heat.js";
import { JAM_STEPS, jamLines, jamOf, jamsOf, sameJams } from "../src/map/heat.js";
import { LINE_WORDS, Lines } from "../src/map/lines.js";
import { jamText } from "../src/map/overlay.js";
import type { Scene } from "../src/map/scene.js";
import { type Rgba, Theme, TOKENS } from "../src/map/theme.js";
import { borderOf, fillOf, type ZoneShape } from "../src/map/zones.js";
import { indexOf } from "../src/past.js";

const lane = (index: number, more: object = {}) => ({ kind: "lane" as const, congestion_index: index, level: 0, queue_length: 0, from: [0, 0] as [number, number], to: [1, 0] as [number, number], ...more });
const zone = (more: Partial<ZoneShape> = {}): ZoneShape => ({ id: "z", kind: "traffic", name: "Z", ring: [[0, 0], [1, 0], [1, 1]], capacity: 10, occupancy: 9, queue: 0, ...more });
const theme = (): Theme => {
  const t = new Theme();
  TOKENS.forEach((token, i) => { t.rgba[token] = [i / TOKENS.length, 0, 0, 1] as Rgba; });
  return t;
};

test("an index belongs to the class that it has reached; below the first it is calm", () => {
  expect([0, 0.149, 0.15, 0.3, 0.449, 0.45, 0.6, 1].map(jamOf)).toEqual([-1, -1, 0, 1, 1, 2, 3, 3]);
});

test("lanes that jam are drawn, the worst on top; calm ones, zones and those without a place are not", () => {
  const jams = jamsOf([lane(0.7), lane(0.1), lane(0.2), lane(0.9, { from: undefined }), lane(0.9, { to: [0, 0] }), { ...lane(0.9), kind: "zone" as const }]);
  expect(jams.map((l) => l.index)).toEqual([0.2, 0.7]);
  expect(jams[0]!.y0).toBeCloseTo(-0.14); // on its right side
  expect(sameJams(jamsOf([lane(0.31)]), jamsOf([lane(0.4)]))).toBe(true);
  expect(sameJams(jamsOf([lane(0.31)]), jamsOf([lane(0.5)]))).toBe(false);

  const scene = (on: boolean) => ({ layers: { jams: on }, jams, theme: theme() }) as unknown as Scene;
  const out = new Lines();
  jamLines(scene(true), out);
  expect(out.count).toBe(4); // each on a halo
  expect(out.f32[3 * LINE_WORDS + 5]).toBeGreaterThan(out.f32[LINE_WORDS + 5]!);
  jamLines(scene(false), out);
  expect(out.count).toBe(0);
});

test("a zone's congestion is told by colour, border and number", () => {
  const t = theme();
  const alpha = (index: number | undefined) => fillOf(zone(index === undefined ? {} : { index }), "jams", t)![3];
  expect([undefined, 0.1, 0.2, 0.7].map(alpha)).toEqual([0.03, 0.03, JAM_STEPS[0]!.alpha, JAM_STEPS[3]!.alpha]);
  expect(fillOf(zone({ index: 0.7 }), "kind", t)![3]).toBe(0.05); // the layer is off
  const widths = [0, 1, 2, 3].map((level) => borderOf(zone({ level }), "jams").width);
  expect([...new Set(widths)].sort((a, b) => a - b)).toEqual(widths);
  expect(borderOf(zone({ level: 3 }), "kind")).toEqual({ width: 1, strong: false });
  expect([jamText(zone()), jamText(zone({ index: 0.1, level: 0 })), jamText(zone({ index: 0.2 })), jamText(zone({ index: 0.1, level: 1 }))]).toEqual(["", "", "0.20", "L1 0.10"]);
});

test("figures in words", () => {
  expect(heatText({ congestion_index: 0.517, level: 2, queue_length: 3 })).toBe("congestion 0.52 (L2) · 3 wait");
  expect(heatText({ congestion_index: 0, level: 0, queue_length: 0 })).toBe("congestion 0.00");
  expect([0.1, 0, -0.1].map((v) => trendOf(v).word)).toEqual(["rising", "steady", "falling"]);
  expect(worthALine([{ congestion_index: 0.1, level: 1 }, { congestion_index: 0.15, level: 0 }, { congestion_index: 0.14, level: 0 }])).toHaveLength(2);
  expect(effectText({ congestion_index: -0.12, robots: 5, within_s: 120 })).toBe("−0.12 within 2 min, 5 robots");
  expect(effectText({ congestion_index: 0, robots: 1, within_s: 0 })).toBe("effect not known, 1 robot");
});

test("a short past is a short line at the right edge", () => {
  expect(sparkOf([], 30, 90, 20)).toEqual([]);
  expect(sparkOf([0, 1, 0.5, 2], 4, 90, 20)).toEqual([[0, 20], [30, 0], [60, 10], [90, 0]]);
  expect(sparkOf([9, 0.5], 31, 90, 20).map(([x]) => x)).toEqual([87, 90]);
  expect(sparkOf([1, 0.25], 1, 90, 20)).toEqual([[90, 15]]);
});

test("an action is pressed where the server says how", () => {
  const a = { action: "close_lane" as const, label: "Close it", expected: { congestion_index: 0, robots: 0, within_s: 0 }, method: "PATCH", path: "/api/v1/lanes/x" };
  expect(remedyOf({ ...a, body: { closed: true } })).toEqual({ label: "Close it", method: "PATCH", path: a.path, body: { closed: true }, roles: [], allowed: null });
  expect(remedyOf(a)!.body).toBeNull();
  expect(remedyOf({ ...a, method: "", path: "" })).toBeNull();
  expect(remedyOf({ ...a, path: "https://elsewhere/api/" })).toBeNull();
});

const diagram = (more: Partial<Diagram> = {}): Diagram => ({
  zone_id: "z", kind: "aisle", class: "aisle", capacity: 50, points: [{ density: 0.2, production: 2, weight: 40 }], of_class: [{ density: 0.4, production: 1, weight: 1 }, { density: 0.1, production: 1, weight: 1 }],
  critical_density: 0.25, greatest_production: 2, peak_known: true, free_speed_mps: 1, now: { density: 0.5, production: 1, level: 2 }, ...more,
});

test("a diagram has all that there is within its box", () => {
  const d = drawn(diagram(), 200, 100);
  expect(d.most).toEqual({ density: 0.55, production: 2.3 });
  expect(d.ofClass.map(([x]) => x)).toEqual([36.4, 145.5]);
  for (const { x, y } of [...d.own, d.now, { x: d.critical!, y: 0 }]) expect(x >= 0 && x <= 200 && y >= 0 && y <= 100).toBe(true);
  expect(d.own[0]!.r).toBeGreaterThan(drawn(diagram({ points: [{ density: 0.2, production: 2, weight: 1 }] }), 200, 100).own[0]!.r);
  expect(standing(diagram())).toBe("Now 0.50 robots per vertex, 1.00 moves a second: 200 % of the critical density 0.25, beyond it production falls.");
  const bare = diagram({ points: [], of_class: [], critical_density: 0, greatest_production: 0, now: { density: 0, production: 0, level: 0 } });
  expect(drawn(bare, 200, 100)).toMatchObject({ own: [], ofClass: [], critical: null, now: { x: 0, y: 100 } });
});

test("the history of an index breaks where nothing was measured", () => {
  expect(indexOf([{ at: "1970-01-01T00:00:10Z", fields: { congestion_index: 0.2, "congestion_index.max": 0.3 } }, { at: "1970-01-01T00:00:20Z", fields: null }]))
    .toEqual([[10, 20], [0.2, null], [0.3, null]]);
});
