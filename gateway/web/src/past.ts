import type { Schemas } from "starling-client";
import type { Series } from "./memory.js";

/** How far back a history looks, and how long its windows are: each holds a measurement of a robot that stands, which is measured every ten seconds. */
export interface Span {
  word: string;
  ms: number;
  every: string;
}

export const SPANS: readonly Span[] = [
  { word: "15 min", ms: 15 * 60_000, every: "15s" },
  { word: "1 h", ms: 3_600_000, every: "30s" },
  { word: "6 h", ms: 6 * 3_600_000, every: "2m" },
  { word: "24 h", ms: 24 * 3_600_000, every: "10m" },
  { word: "7 d", ms: 7 * 24 * 3_600_000, every: "1h" },
];

/** The longest time of which a track is drawn: a line of more would tell nothing. */
export const TRACK_MS = 15 * 60_000;
/** Points nearer to the line than this, m, are left out of a track. */
const STRAIGHT = 0.05;

type Item = Schemas["HistoryItem"];

const numberOf = (v: unknown): number | null => (typeof v === "number" && Number.isFinite(v) ? v : null);

/** Battery (percent) and speed (m/s) as a chart draws them: mean, and the greatest speed; a gap breaks the line. */
export function chartOf(items: readonly Item[]): Series {
  const battery = items.map((i) => numberOf(i.fields?.["battery_soc"]));
  return [
    items.map((i) => Date.parse(i.at) / 1000), battery.map((b) => (b === null ? null : 100 * b)),
    items.map((i) => numberOf(i.fields?.["velocity_mps"])), items.map((i) => numberOf(i.fields?.["velocity_mps.max"])),
  ];
}

/** A zone's congestion index as a chart draws it: mean and greatest; a gap breaks the line. */
export function indexOf(items: readonly Item[]): Series {
  return [
    items.map((i) => Date.parse(i.at) / 1000), items.map((i) => numberOf(i.fields?.["congestion_index"])), items.map((i) => numberOf(i.fields?.["congestion_index.max"])),
  ];
}

/** Where the robot was, as lines; a gap, or a time in which it was not located, ends one. */
export function trackOf(items: readonly Item[]): [number, number][][] {
  const out: [number, number][][] = [];
  let line: [number, number][] = [];
  const end = (): void => {
    if (line.length > 1) out.push(line);
    line = [];
  };
  for (const i of items) {
    const x = numberOf(i.fields?.["x"]), y = numberOf(i.fields?.["y"]);
    if (x === null || y === null) {
      end();
      continue;
    }
    const [a, b] = [line[line.length - 2], line[line.length - 1]];
    if (b && Math.hypot(x - b[0], y - b[1]) < STRAIGHT) continue; // it stood
    if (a && b && onLine(a, b, [x, y])) line.pop();
    line.push([x, y]);
  }
  end();
  return out;
}

/** Whether b lies between a and c, and the way goes on there. */
function onLine(a: readonly [number, number], b: readonly [number, number], c: readonly [number, number]): boolean {
  const dx = c[0] - a[0], dy = c[1] - a[1], l = Math.hypot(dx, dy);
  if (l === 0) return false;
  const along = ((b[0] - a[0]) * dx + (b[1] - a[1]) * dy) / l;
  return along > 0 && along < l && Math.abs((b[0] - a[0]) * dy - (b[1] - a[1]) * dx) / l < STRAIGHT;
}
