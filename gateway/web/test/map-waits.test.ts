import { expect, test } from "@playwright/test";
import { RobotTable } from "starling-client";
import { Fleet } from "../src/map/fleet.js";
import { LINE_WORDS, Lines, STYLE } from "../src/map/lines.js";
import type { Scene } from "../src/map/scene.js";
import { Theme, TOKENS } from "../src/map/theme.js";
import { MOST_EDGES, sameEdges, WAIT, WaitGraph, waitLines } from "../src/map/waits.js";

const waits = (...pairs: string[]) => pairs.map((p) => ({ robot_id: p[0]!, holder_id: p[1]! }));
const row = (id: string): number => "abcdefgh".indexOf(id);

test("a chain leads from a robot to its root", () => {
  const g = new WaitGraph(waits("ab", "bc", "dc"));
  expect(g.chain("a")).toEqual(["a", "b", "c"]);
  expect(g.chain("c")).toEqual(["c"]);
  expect(g.ringed.size).toBe(0);
  expect(g.edges("a", true, row)).toEqual([{ from: 3, to: 2, kind: 0 }, { from: 0, to: 1, kind: WAIT.chain }, { from: 1, to: 2, kind: WAIT.chain }]);
  expect(g.edges("a", false, row)).toHaveLength(2);
  expect(g.edges(null, false, row)).toEqual([]);
});

test("a ring is found, and who waits for it is not of it", () => {
  const g = new WaitGraph(waits("ab", "bc", "cb", "de", "ed", "ff"));
  expect([...g.ringed].sort()).toEqual(["b", "c", "d", "e"]);
  expect(g.chain("a")).toEqual(["a", "b", "c"]);
  const edges = g.edges("a", true, row);
  expect(edges.filter((e) => e.kind === (WAIT.chain | WAIT.ring))).toEqual([{ from: 1, to: 2, kind: 3 }, { from: 2, to: 1, kind: 3 }]);
  expect(edges.filter((e) => e.kind === WAIT.chain)).toEqual([{ from: 0, to: 1, kind: 1 }]);
  expect(edges[0]!.kind).toBe(WAIT.ring);
});

test("robots that are not followed have no line; the first word about a robot counts", () => {
  expect(new WaitGraph(waits("az", "za")).edges(null, true, row)).toEqual([]);
  expect(new WaitGraph(waits("ab", "ac")).chain("a")).toEqual(["a", "b"]);
});

test("of too many waits the chain of the selected robot stays", () => {
  const many = Array.from({ length: MOST_EDGES + 50 }, (_, i) => ({ robot_id: `r${i}`, holder_id: "root" }));
  const edges = new WaitGraph([{ robot_id: "me", holder_id: "root" }, ...many]).edges("me", true, (id) => (id === "me" ? 7 : 1));
  expect(edges).toHaveLength(MOST_EDGES);
  expect(edges.at(-1)).toEqual({ from: 7, to: 1, kind: WAIT.chain });
});

test("ten thousand robots in one chain are gone through once", () => {
  const g = new WaitGraph(Array.from({ length: 10_000 }, (_, i) => ({ robot_id: `${i}`, holder_id: `${(i + 1) % 10_000}` })));
  expect(g.ringed.size).toBe(10_000);
  expect(g.chain("5")).toHaveLength(10_000);
});

test("lists are compared by what they show", () => {
  expect(sameEdges([{ from: 1, to: 2, kind: 0 }], [{ from: 1, to: 2, kind: 0 }])).toBe(true);
  expect(sameEdges([{ from: 1, to: 2, kind: 0 }], [{ from: 1, to: 2, kind: 1 }])).toBe(false);
});

test("lines go between robots that are drawn, rings dashed", () => {
  const t = new RobotTable();
  ["a", "b", "c"].forEach((id, i) => {
    t.x[t.enter(id, id)] = i;
    t.y[i] = i === 2 ? NaN : 0; // nobody knows where c is
  });
  const fleet = new Fleet(0, 0);
  fleet.take(t, null, 0, false);
  const theme = new Theme();
  for (const token of TOKENS) theme.rgba[token] = [0, 0, 0, 1];
  const scene = { detail: "robots", fleet, theme, waits: [{ from: 0, to: 1, kind: 0 }, { from: 1, to: 2, kind: 0 }, { from: 1, to: 0, kind: WAIT.ring }] } as unknown as Scene;
  const out = new Lines();
  waitLines(scene, out);
  const styles = Array.from({ length: out.count }, (_, i) => out.f32[i * LINE_WORDS + 6]);
  expect(styles).toEqual([STYLE.solid, STYLE.arrows, STYLE.solid, STYLE.dashed]);
  expect([...out.f32.slice(0, 4)]).toEqual([0, 0, 1, 0]);
  waitLines({ ...scene, detail: "clusters" }, out);
  expect(out.count).toBe(0);
});
