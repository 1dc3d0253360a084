import type { Heat, Schemas } from "starling-client";

// What the figures of congestion mean to somebody who stands before the screen.

export type Hotspot = Schemas["HotspotItem"];
export type Diagram = Schemas["Diagram"];
type Remedy = NonNullable<Schemas["Remedy"]>;

/** Hotspots below this index, and without a level, are not worth a line. */
export const CALM = 0.15;
/** A change of the index within a minute that is worth an arrow. */
const STEADY = 0.03;

/** congestion 0.52 (L2) · 3 wait. */
export function heatText(h: Pick<Heat, "congestion_index" | "level" | "queue_length">): string {
  return `congestion ${h.congestion_index.toFixed(2)}${h.level > 0 ? ` (L${h.level})` : ""}${h.queue_length > 0 ? ` · ${h.queue_length} wait` : ""}`;
}

/** Those that are worth a line, as they came: the worst first. */
export function worthALine<T extends { congestion_index: number; level: number }>(items: readonly T[]): T[] {
  return items.filter((i) => i.level > 0 || i.congestion_index >= CALM);
}

/** How it changes, as a sign and a word. */
export function trendOf(change: number): { sign: string; word: string } {
  if (change >= STEADY) return { sign: "↗", word: "rising" };
  if (change <= -STEADY) return { sign: "↘", word: "falling" };
  return { sign: "→", word: "steady" };
}

/** A polyline of indices, the newest at the right edge, each `full`th of the width apart: a short past is a short line. */
export function sparkOf(recent: readonly number[], full: number, width: number, height: number): [number, number][] {
  const last = recent.slice(-full), step = width / Math.max(1, full - 1);
  return last.map((v, i) => [round(width - (last.length - 1 - i) * step), round(height * (1 - Math.min(1, Math.max(0, v))))]);
}

/** What one presses for an action; null where it is a suggestion in words alone. */
export function remedyOf(a: Schemas["Action"]): Remedy | null {
  if (a.method === "" || !a.path.startsWith("/api/")) return null;
  const body = typeof a.body === "object" && a.body !== null && !Array.isArray(a.body) ? (a.body as Record<string, unknown>) : null;
  return { label: a.label, method: a.method, path: a.path, body, roles: a.roles ?? [], allowed: a.allowed ?? null };
}

/** −0.12 within 2 min, 5 robots: what an action is expected to do. */
export function effectText(e: Schemas["Effect"]): string {
  const change = `${e.congestion_index > 0 ? "+" : "−"}${Math.abs(e.congestion_index).toFixed(2)}`;
  const within = e.within_s <= 0 ? "" : ` within ${e.within_s < 120 ? `${e.within_s} s` : `${Math.round(e.within_s / 60)} min`}`;
  return `${e.congestion_index === 0 ? "effect not known" : change}${within}${e.robots > 0 ? `, ${e.robots} ${e.robots === 1 ? "robot" : "robots"}` : ""}`;
}

/** A diagram as it is drawn: pixels of a box of `width` × `height`, y down. */
export interface Drawn {
  own: { x: number; y: number; r: number }[];
  ofClass: [number, number][];
  critical: number | null;
  now: { x: number; y: number };
  /** The ends of the axes: robots per vertex, moves a second. */
  most: { density: number; production: number };
}

/** Lays a diagram out. Points with more weight are larger; the axes end a little beyond what there is to show. */
export function drawn(d: Diagram, width: number, height: number): Drawn {
  const all = [...d.points, ...d.of_class, d.now];
  const density = Math.min(1, Math.max(0.1, d.critical_density, ...all.map((p) => p.density)) * 1.1);
  const production = Math.max(0.1, d.greatest_production, ...all.map((p) => p.production)) * 1.15;
  const x = (v: number): number => round((width * Math.min(v, density)) / density);
  const y = (v: number): number => round(height * (1 - Math.min(v, production) / production));
  return {
    own: d.points.map((p) => ({ x: x(p.density), y: y(p.production), r: round(Math.min(5, 1.5 + Math.sqrt(Math.max(0, p.weight)) / 2)) })),
    ofClass: [...d.of_class].sort((a, b) => a.density - b.density).map((p) => [x(p.density), y(p.production)]),
    critical: d.critical_density > 0 && d.critical_density <= density ? x(d.critical_density) : null,
    now: { x: x(d.now.density), y: y(d.now.production) },
    most: { density, production },
  };
}

/** Where it is now, against the critical density, in words. */
export function standing(d: Diagram): string {
  const at = `${d.now.density.toFixed(2)} robots per vertex, ${d.now.production.toFixed(2)} moves a second`;
  if (d.critical_density <= 0) return `Now ${at}.`;
  const share = Math.round((100 * d.now.density) / d.critical_density);
  return `Now ${at}: ${share} % of the critical density ${d.critical_density.toFixed(2)}${share > 100 ? ", beyond it production falls" : ""}.`;
}

function round(v: number): number {
  return Math.round(v * 10) / 10;
}
