import { expect, test } from "@playwright/test";
import { chartOf, SPANS, trackOf } from "../src/past.js";

const at = (s: number): string => new Date(Date.UTC(2026, 2, 1, 12, 0, s)).toISOString();
const item = (s: number, fields: Record<string, unknown> | null) => ({ at: at(s), fields });

test("a chart has percent and metres a second, and a gap where nothing was measured", () => {
  const [times, battery, mean, most] = chartOf([item(0, { battery_soc: 0.5, velocity_mps: 1, "velocity_mps.max": 1.5 }), item(15, null), item(30, { battery_soc: 0.25, velocity_mps: null })]);
  expect(times).toEqual([Date.parse(at(0)) / 1000, Date.parse(at(15)) / 1000, Date.parse(at(30)) / 1000]);
  expect(battery).toEqual([50, null, 25]);
  expect(mean).toEqual([1, null, null]);
  expect(most).toEqual([1.5, null, null]);
});

test("a track keeps its corners alone, and ends where it is not known", () => {
  const way: [number, number][] = [[0, 0], [1, 0], [2, 0], [2, 0], [2, 1], [2, 2], [1, 2]];
  const items = way.map(([x, y], i) => item(i, { x, y }));
  expect(trackOf(items)).toEqual([[[0, 0], [2, 0], [2, 2], [1, 2]]]);
  expect(trackOf([...items, item(20, null), item(60, { x: 9, y: 9 }), item(61, { x: 9, y: 8 }), item(62, { x: null, y: null }), item(63, { x: 5, y: 5 })])).toEqual([
    [[0, 0], [2, 0], [2, 2], [1, 2]],
    [[9, 9], [9, 8]],
  ]);
  expect(trackOf([])).toEqual([]);
  expect(trackOf(items.map((i) => ({ ...i, fields: { x: 1, y: 1 } })))).toEqual([]);
});

test("there and back is two ways", () => {
  const items = ([[0, 0], [4, 0], [2, 0]] as [number, number][]).map(([x, y], i) => item(i, { x, y }));
  expect(trackOf(items)).toEqual([[[0, 0], [4, 0], [2, 0]]]);
});

test("every span fits on a page, and each of its windows holds a measurement of a robot that stands", () => {
  const unit: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000 };
  for (const s of SPANS) {
    const every = Number(s.every.slice(0, -1)) * unit[s.every.slice(-1)]!;
    expect(s.ms / every).toBeLessThan(1000);
    expect(every).toBeGreaterThanOrEqual(12_500);
  }
});
