import type { Lines } from "./lines.js";
import { bytesOf, STYLE } from "./lines.js";
import type { Scene } from "./scene.js";
import type { Token } from "./theme.js";

/** A lane that costs more than it does without traffic: its ends in map metres, its cost by the free one. */
export interface FlowLane {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  ratio: number;
}

/** Lanes that are drawn at most; the dearest stay. */
export const MOST_LANES = 10_000;

/** The classes of cost: from which ratio on, how it is named, its colour, its width in CSS pixels. Dearer is wider and stands out more. */
export const FLOW_STEPS: readonly { from: number; name: string; token: Token; width: number }[] = [
  { from: 1, name: "up to 1.5 ×", token: "flow-0", width: 2.5 },
  { from: 1.5, name: "1.5 to 2 ×", token: "flow-1", width: 3.5 },
  { from: 2, name: "2 to 3 ×", token: "flow-2", width: 4.5 },
  { from: 3, name: "3 × and more", token: "flow-3", width: 6 },
];

/** The class of a ratio, as a number in {@link FLOW_STEPS}. */
export function stepOf(ratio: number): number {
  let step = 0;
  while (step + 1 < FLOW_STEPS.length && ratio >= FLOW_STEPS[step + 1]!.from) step++;
  return step;
}

// How far a lane is moved to its right, so that the two directions of a road lie beside one another; metres, and part of its length.
const ASIDE_M = 0.3;
const ASIDE = 0.14;

/** Where a lane is drawn: a little to its right; null = it has no length. */
export function beside(from: readonly [number, number], to: readonly [number, number]): { x0: number; y0: number; x1: number; y1: number } | null {
  const dx = to[0] - from[0], dy = to[1] - from[1], long = Math.hypot(dx, dy);
  if (!(long > 0)) return null;
  const by = Math.min(ASIDE_M, ASIDE * long) / long;
  return { x0: from[0] + dy * by, y0: from[1] - dx * by, x1: to[0] + dy * by, y1: to[1] - dx * by };
}

/** The lanes of all zones as they are drawn, the dearest last, so that they lie on top. */
export function flowOf(zones: Iterable<{ lanes?: readonly { cost_ratio: number; from: readonly [number, number]; to: readonly [number, number] }[] }>): FlowLane[] {
  const out: FlowLane[] = [];
  for (const z of zones) {
    for (const { cost_ratio: ratio, from, to } of z.lanes ?? []) {
      const ends = beside(from, to);
      if (ends) out.push({ ...ends, ratio });
    }
  }
  return out.sort((a, b) => a.ratio - b.ratio).slice(-MOST_LANES);
}

/** Whether two lists show the same. */
export function sameFlow(a: readonly FlowLane[], b: readonly FlowLane[]): boolean {
  return a.length === b.length && a.every((l, i) => {
    const m = b[i]!;
    return l.x0 === m.x0 && l.y0 === m.y0 && l.x1 === m.x1 && l.y1 === m.y1 && stepOf(l.ratio) === stepOf(m.ratio);
  });
}

/** The lane nearest to a point, no farther than `reach` metres; null where there is none. */
export function flowAt<L extends { x0: number; y0: number; x1: number; y1: number }>(lanes: readonly L[], x: number, y: number, reach: number): L | null {
  let best: L | null = null, least = reach;
  for (const l of lanes) {
    const dx = l.x1 - l.x0, dy = l.y1 - l.y0;
    const t = Math.min(1, Math.max(0, ((x - l.x0) * dx + (y - l.y0) * dy) / (dx * dx + dy * dy)));
    const far = Math.hypot(x - l.x0 - t * dx, y - l.y0 - t * dy);
    if (far <= least) [best, least] = [l, far];
  }
  return best;
}

/** The dear lanes: colour and width say how dear, arrow heads which way. */
export function flowLines(s: Scene, out: Lines): void {
  out.clear();
  if (!s.layers.flow) return;
  const colours = FLOW_STEPS.map((step) => bytesOf(s.theme.rgba[step.token]));
  for (const l of s.flow) {
    const step = stepOf(l.ratio);
    out.add(l.x0, l.y0, l.x1, l.y1, 0, FLOW_STEPS[step]!.width, STYLE.arrows, colours[step]!);
  }
}
