import { readFileSync } from "node:fs";
import { expect, test } from "@playwright/test";
import { FLOW_STEPS, flowAt, flowLines, flowOf, MOST_LANES, sameFlow, stepOf } from "../src/map/flow.js";
import { LINE_WORDS, Lines } from "../src/map/lines.js";
import type { Scene } from "../src/map/scene.js";
import { brightness, contrast, type Rgba, Theme, TOKENS } from "../src/map/theme.js";

const lane = (ratio: number, from: [number, number] = [0, 0], to: [number, number] = [1, 0]) => ({ cost_ratio: ratio, from, to });

test("a ratio belongs to the class that it has reached", () => {
  expect([0.9, 1.1, 1.49, 1.5, 1.99, 2, 3, 60].map(stepOf)).toEqual([0, 0, 0, 1, 1, 2, 3, 3]);
});

test("the dearest lanes lie on top, each on its right side of the road", () => {
  const flow = flowOf([{ lanes: [lane(3), lane(1.2, [1, 0], [0, 0])] }, {}, { lanes: [lane(2, [5, 5], [5, 5])] }]);
  expect(flow.map((l) => l.ratio)).toEqual([1.2, 3]);
  expect(flow[1]!.y0).toBeCloseTo(-0.14); // to the east: the right side is the south
  expect(flow[0]!.y0).toBeCloseTo(0.14);
});

test("of too many the dearest stay", () => {
  const flow = flowOf([{ lanes: Array.from({ length: MOST_LANES + 5 }, (_, i) => lane(1.1 + i / 1000)) }]);
  expect(flow).toHaveLength(MOST_LANES);
  expect(flow[0]!.ratio).toBeCloseTo(1.105);
});

test("what looks the same is the same", () => {
  const of = (ratio: number) => flowOf([{ lanes: [lane(ratio)] }]);
  expect(sameFlow(of(1.5), of(1.9))).toBe(true);
  expect(sameFlow(of(1.5), of(2))).toBe(false);
  expect(sameFlow(of(1.5), [])).toBe(false);
});

test("the lane under the pointer is the nearest in reach", () => {
  const flow = flowOf([{ lanes: [lane(2), lane(3, [0, 3], [1, 3])] }]);
  expect(flowAt(flow, 0.5, 0.2, 0.5)?.ratio).toBe(2);
  expect(flowAt(flow, 0.5, 2.6, 0.5)?.ratio).toBe(3);
  expect(flowAt(flow, 0.5, 1.5, 0.5)).toBeNull();
});

test("lanes are drawn where their layer is on", () => {
  const theme = new Theme();
  for (const t of TOKENS) theme.rgba[t] = [0, 0, 0, 1];
  const scene = (flow: boolean) => ({ layers: { flow }, flow: flowOf([{ lanes: [lane(1.2), lane(5)] }]), theme }) as unknown as Scene;
  const out = new Lines();
  flowLines(scene(true), out);
  expect(out.count).toBe(2);
  expect(out.f32[LINE_WORDS + 5]).toBeGreaterThan(out.f32[5]!);
  flowLines(scene(false), out);
  expect(out.count).toBe(0);
});

/** The tokens of a theme as the style sheet has them. */
function colours(name: "light" | "dark"): Record<string, Rgba> {
  const css = readFileSync(new URL("../src/style/tokens.css", import.meta.url), "utf8");
  const block = css.slice(css.indexOf(`[data-theme="${name}"]`));
  const out: Record<string, Rgba> = {};
  for (const [, token, hex] of block.slice(0, block.indexOf("}")).matchAll(/--([\w-]+): #([0-9a-f]{6})/g)) {
    const v = parseInt(hex!, 16);
    out[token!] = [((v >> 16) & 255) / 255, ((v >> 8) & 255) / 255, (v & 255) / 255, 1];
  }
  return out;
}

// What people see who lack a kind of cone (Machado, Oliveira, Fernandes 2009, severity 1).
const blindness: Record<string, number[]> = {
  protanopia: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
  deuteranopia: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881],
  tritanopia: [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039],
};
const linear = (v: number): number => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const gamma = (v: number): number => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);
function seen(c: Rgba, m: number[]): Rgba {
  const [r, g, b] = [linear(c[0]), linear(c[1]), linear(c[2])];
  const row = (i: number): number => gamma(Math.min(1, Math.max(0, m[i]! * r + m[i + 1]! * g + m[i + 2]! * b)));
  return [row(0), row(3), row(6), 1];
}

for (const name of ["light", "dark"] as const) {
  test(`the classes are told apart by brightness alone, in the ${name} theme and by whoever sees fewer colours`, () => {
    const all = colours(name), floor = all["floor-free"]!;
    const steps = FLOW_STEPS.map((s) => all[s.token]!);
    for (const [who, m] of [["everybody", [1, 0, 0, 0, 1, 0, 0, 0, 1]] as [string, number[]], ...Object.entries(blindness)]) {
      const eye = steps.map((c) => seen(c, m)), ground = seen(floor, m);
      for (let i = 0; i < eye.length; i++) {
        expect(contrast(eye[i]!, ground), `class ${i} on the floor, ${who}`).toBeGreaterThan(2.2);
        if (i === 0) continue;
        expect(contrast(eye[i]!, eye[i - 1]!), `classes ${i - 1} and ${i}, ${who}`).toBeGreaterThan(1.3);
        expect(name === "light" ? brightness(eye[i]!) < brightness(eye[i - 1]!) : brightness(eye[i]!) > brightness(eye[i - 1]!), `${who}: dearer stands out more`).toBe(true);
      }
    }
  });
}
