import { beside } from "./flow.js";
import type { Lines } from "./lines.js";
import { bytesOf, STYLE } from "./lines.js";
import type { Scene } from "./scene.js";
import type { Token } from "./theme.js";

/** A lane on which robots lose time: its ends in map metres, its congestion index, its level. */
export interface JamLane {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  index: number;
  level: number;
  queue: number;
}

/** Lanes that are drawn at most; the worst stay. */
export const MOST_JAMS = 5_000;

/**
 * The classes of the congestion index: from which on, how it is named, its colour, the width of a lane of it in CSS pixels, how much of
 * the floor a zone of it covers. Below the first nothing is drawn. The colours are those of dear lanes: tested for eyes that see fewer.
 */
export const JAM_STEPS: readonly { from: number; name: string; token: Token; width: number; alpha: number }[] = [
  { from: 0.15, name: "0.15 to 0.3", token: "flow-0", width: 3, alpha: 0.3 },
  { from: 0.3, name: "0.3 to 0.45", token: "flow-1", width: 4, alpha: 0.4 },
  { from: 0.45, name: "0.45 to 0.6", token: "flow-2", width: 5.5, alpha: 0.5 },
  { from: 0.6, name: "0.6 and more", token: "flow-3", width: 7, alpha: 0.6 },
];

/** The class of an index, as a number in {@link JAM_STEPS}; -1 = calm. */
export function jamOf(index: number): number {
  let step = -1;
  while (step + 1 < JAM_STEPS.length && index >= JAM_STEPS[step + 1]!.from) step++;
  return step;
}

/** What the server says of a lane, as far as it is drawn. */
export interface Told {
  kind: "zone" | "lane";
  congestion_index: number;
  level: number;
  queue_length: number;
  from?: readonly [number, number];
  to?: readonly [number, number];
}

/** The lanes that jam, as they are drawn: the worst last, so that they lie on top. Those whose place is not known are left out. */
export function jamsOf(all: Iterable<Told>): JamLane[] {
  const out: JamLane[] = [];
  for (const h of all) {
    if (h.kind !== "lane" || !h.from || !h.to || jamOf(h.congestion_index) < 0) continue;
    const ends = beside(h.from, h.to);
    if (ends) out.push({ ...ends, index: h.congestion_index, level: h.level, queue: h.queue_length });
  }
  return out.sort((a, b) => a.index - b.index).slice(-MOST_JAMS);
}

/** Whether two lists look the same. */
export function sameJams(a: readonly JamLane[], b: readonly JamLane[]): boolean {
  return a.length === b.length && a.every((l, i) => {
    const m = b[i]!;
    return l.x0 === m.x0 && l.y0 === m.y0 && l.x1 === m.x1 && l.y1 === m.y1 && jamOf(l.index) === jamOf(m.index);
  });
}

/** The lanes that jam: colour and width say how badly, arrow heads which way. */
export function jamLines(s: Scene, out: Lines): void {
  out.clear();
  if (!s.layers.jams) return;
  const halo = bytesOf(s.theme.rgba["map-text-halo"], 0.85);
  const colours = JAM_STEPS.map((step) => bytesOf(s.theme.rgba[step.token]));
  for (const l of s.jams) {
    const step = jamOf(l.index);
    if (step < 0) continue;
    const { width } = JAM_STEPS[step]!;
    out.add(l.x0, l.y0, l.x1, l.y1, 0, width + 2, STYLE.solid, halo); // or it would be lost on a zone of its own colour
    out.add(l.x0, l.y0, l.x1, l.y1, 0, width, STYLE.arrows, colours[step]!);
  }
}
