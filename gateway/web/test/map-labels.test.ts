import { expect, test } from "@playwright/test";
import { shrunk } from "../src/map/gl.js";
import { LabelGrid, MOST_LABELS, TextWidths } from "../src/map/labels.js";
import { Ring } from "../src/map/ring.js";

test("labels never lie on one another", () => {
  const g = new LabelGrid();
  g.clear(600, 400);
  const placed: [number, number][] = [];
  for (let i = 0; i < 400; i++) {
    const x = (i * 37) % 560, y = (i * 53) % 380;
    if (g.place(x, y, 40, 12)) placed.push([x, y]);
  }
  expect(placed.length).toBeGreaterThan(20);
  const touching = placed.filter(([x, y], i) => placed.slice(i + 1).some(([u, v]) => Math.abs(x - u) < 40 && Math.abs(y - v) < 12));
  expect(touching).toEqual([]);
});

test("there is an end to labels", () => {
  const g = new LabelGrid();
  g.clear(4000, 4000);
  let placed = 0;
  for (let i = 0; i < 1000; i++) if (g.place((i % 50) * 60, Math.floor(i / 50) * 40, 10, 10)) placed++;
  expect(placed).toBe(MOST_LABELS);
});

test("what lies wholly outside is no label; what is cut off is", () => {
  const g = new LabelGrid();
  g.clear(300, 200);
  expect(g.place(-100, 10, 50, 12)).toBe(false);
  expect(g.place(10, 500, 50, 12)).toBe(false);
  expect(g.place(-20, 10, 50, 12)).toBe(true);
});

test("a pin keeps labels away, and a cleared grid takes them again", () => {
  const g = new LabelGrid();
  g.clear(300, 200);
  g.block(50, 50, 40, 40);
  expect(g.place(60, 60, 40, 12)).toBe(false);
  g.clear(300, 200);
  expect(g.place(60, 60, 40, 12)).toBe(true);
  g.clear(30, 20);
  g.clear(300, 200);
  expect(g.place(60, 60, 40, 12)).toBe(true);
});

test("a text is measured once a font, and the memory of it is bounded", () => {
  let measured = 0;
  const pen = { measureText: (text: string) => ({ width: (measured++, 7 * text.length) }) };
  const w = new TextWidths();
  expect([w.of(pen, "a", "abc"), w.of(pen, "a", "abc"), measured]).toEqual([21, 21, 1]);
  w.of(pen, "b", "abc");
  expect(measured).toBe(2);
  for (let i = 0; i < 2 * TextWidths.most; i++) w.of(pen, "b", `t${i}`);
  w.of(pen, "b", "abc");
  expect(measured).toBe(3 + 2 * TextWidths.most); // forgotten in between
});

test("the last numbers are kept in order", () => {
  const r = new Ring(3);
  expect([...r.values()]).toEqual([]);
  for (const v of [1, 2]) r.add(v);
  expect([...r.values()]).toEqual([1, 2]);
  for (const v of [3, 4, 5]) r.add(v);
  expect([...r.values()]).toEqual([3, 4, 5]);
  expect(r.total).toBe(5);
});

test("a floor larger than a texture is drawn coarser", () => {
  const free = Uint8Array.from({ length: 6 * 10 }, (_, i) => (i % 10 < 5 ? 1 : 0));
  expect(shrunk({ rows: 6, cols: 10, free }, 4096)).toMatchObject({ rows: 6, cols: 10 });
  expect([...shrunk({ rows: 6, cols: 10, free }, 4096).bytes.subarray(0, 10)]).toEqual([255, 255, 255, 255, 255, 0, 0, 0, 0, 0]);
  const small = shrunk({ rows: 6, cols: 10, free }, 5);
  expect([small.rows, small.cols, ...small.bytes.subarray(0, 5)]).toEqual([3, 5, 255, 255, 255, 0, 0]);
});
