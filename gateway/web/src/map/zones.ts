import type { Rect } from "./camera.js";
import { JAM_STEPS, jamOf } from "./heat.js";
import { mixed, type Rgba, type Theme } from "./theme.js";

/** What a zone looks like on the map. */
export interface ZoneShape {
  id: string;
  kind: "traffic" | "keep_out" | "slow" | "parking" | "charging";
  name: string;
  /** Corners in map metres; the last joins the first. */
  ring: [number, number][];
  capacity: number;
  occupancy: number;
  queue: number;
  /** Its congestion index, 0..1, and its level, 0..3, where somebody wants to see them; absent = not measured. */
  index?: number;
  level?: number;
}

/** How much of a cluster's colour covers the floor. */
export const CLUSTER_ALPHA = 0.86;

/** How full a zone is: 0 = empty, 1 = jammed; null where nothing is counted. Robots that queue to enter count as being there. */
export function loadOf(z: ZoneShape): number | null {
  if (z.kind === "keep_out" || z.capacity <= 0) return null;
  return Math.min(1, Math.max(0, (z.occupancy + z.queue) / z.capacity));
}

/** The heat ramp between its four colours. */
export function heatOf(load: number, theme: Theme): Rgba {
  const { rgba } = theme;
  const t = Math.min(1, Math.max(0, load)) * 3;
  if (t < 1) return mixed(rgba["heat-0"], rgba["heat-1"], t);
  if (t < 2) return mixed(rgba["heat-1"], rgba["heat-2"], t - 1);
  return mixed(rgba["heat-2"], rgba["heat-3"], t - 2);
}

/** The tint of a kind. */
export function tintOf(z: ZoneShape, theme: Theme): Rgba {
  const { rgba } = theme;
  switch (z.kind) {
    case "keep_out": return rgba["zone-keep-out"];
    case "slow": return rgba["zone-slow"];
    case "parking": return rgba["zone-parking"];
    case "charging": return rgba["zone-charging"];
    case "traffic": return rgba["zone-line"];
  }
}

/** How zones are filled: by load (clusters strongly, the heat layer lightly), by congestion, by kind, or not at all. */
export type Fill = "clusters" | "heat" | "jams" | "kind" | "none";

/** What a zone is filled with; null = nothing. */
export function fillOf(z: ZoneShape, fill: Fill, theme: Theme): Rgba | null {
  if (fill === "none") return null;
  const tint = tintOf(z, theme);
  if (z.kind === "keep_out") return [tint[0], tint[1], tint[2], 0.3];
  if (fill === "jams" && z.kind === "traffic") {
    const step = JAM_STEPS[jamOf(z.index ?? 0)];
    const c = step && theme.rgba[step.token];
    return c ? [c[0], c[1], c[2], step.alpha] : [tint[0], tint[1], tint[2], 0.03];
  }
  const load = fill === "kind" || fill === "jams" ? null : loadOf(z);
  if (load !== null) {
    const c = heatOf(load, theme);
    return [c[0], c[1], c[2], fill === "clusters" ? CLUSTER_ALPHA : 0.25 + 0.35 * load];
  }
  return [tint[0], tint[1], tint[2], z.kind === "traffic" ? (fill === "kind" ? 0.05 : 0) : 0.14];
}

/** How wide a zone's border is, CSS pixels: of one with a level of congestion the wider, the higher it is. */
export function borderOf(z: ZoneShape, fill: Fill): { width: number; strong: boolean } {
  const level = fill === "jams" ? (z.level ?? 0) : 0;
  return level > 0 ? { width: 1 + 1.25 * level, strong: true } : { width: z.kind === "traffic" ? 1 : 1.5, strong: false };
}

/** A zone with what is computed once from its ring. */
export interface Zone {
  shape: ZoneShape;
  box: Rect;
  area: number;
  /** Where its number stands: the middle of its area. */
  x: number;
  y: number;
  /** Triangles: corner numbers of the ring, three each. */
  triangles: number[];
}

/** The zone of a shape; what `was` computed is kept where the ring is the same. */
export function zoneOf(shape: ZoneShape, was?: Zone): Zone {
  if (was && sameRing(was.shape.ring, shape.ring)) return { ...was, shape };
  const ring = shape.ring;
  let x0 = Infinity, y0 = Infinity, x1 = -Infinity, y1 = -Infinity;
  for (const [x, y] of ring) {
    x0 = Math.min(x0, x); y0 = Math.min(y0, y);
    x1 = Math.max(x1, x); y1 = Math.max(y1, y);
  }
  const [x, y] = middleOf(ring) ?? [(x0 + x1) / 2, (y0 + y1) / 2];
  return { shape, box: [x0, y0, x1, y1], area: Math.abs(signedArea(ring)), x, y, triangles: triangulate(ring) };
}

/** Whether the point lies in the ring (even-odd). */
export function inside(ring: readonly (readonly [number, number])[], x: number, y: number): boolean {
  let odd = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i]!, [xj, yj] = ring[j]!;
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) odd = !odd;
  }
  return odd;
}

/**
 * Cuts a simple polygon into triangles by clipping ears; corner numbers, three a triangle. A ring that repeats its first corner at the
 * end, or crosses itself, gives what can be cut of it.
 */
export function triangulate(ring: readonly (readonly [number, number])[]): number[] {
  const left = [...ring.keys()];
  const last = ring.length - 1;
  if (last > 0 && ring[0]![0] === ring[last]![0] && ring[0]![1] === ring[last]![1]) left.pop();
  if (signedArea(ring) < 0) left.reverse();
  const out: number[] = [];
  let misses = 0;
  for (let i = 0; left.length > 3 && misses < left.length; ) {
    const n = left.length;
    const a = left[(i + n - 1) % n]!, b = left[i % n]!, c = left[(i + 1) % n]!;
    if (isEar(ring, left, a, b, c)) {
      out.push(a, b, c);
      left.splice(i % n, 1);
      misses = 0;
    } else {
      misses++;
      i = (i + 1) % n;
    }
  }
  if (left.length === 3) out.push(...left);
  return out;
}

type Ring = readonly (readonly [number, number])[];

function isEar(ring: Ring, left: number[], a: number, b: number, c: number): boolean {
  const A = ring[a]!, B = ring[b]!, C = ring[c]!;
  if (turn(A, B, C) <= 0) return false;
  for (const i of left) {
    const P = ring[i]!;
    if (i === a || i === b || i === c || same(P, A) || same(P, B) || same(P, C)) continue;
    if (turn(A, B, P) >= 0 && turn(B, C, P) >= 0 && turn(C, A, P) >= 0) return false;
  }
  return true;
}

function turn(a: readonly [number, number], b: readonly [number, number], c: readonly [number, number]): number {
  return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}

function same(a: readonly [number, number], b: readonly [number, number]): boolean {
  return a[0] === b[0] && a[1] === b[1];
}

function signedArea(ring: Ring): number {
  let sum = 0;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) sum += ring[j]![0] * ring[i]![1] - ring[i]![0] * ring[j]![1];
  return sum / 2;
}

function middleOf(ring: Ring): [number, number] | null {
  const area = signedArea(ring);
  if (Math.abs(area) < 1e-6) return null;
  let x = 0, y = 0;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const cross = ring[j]![0] * ring[i]![1] - ring[i]![0] * ring[j]![1];
    x += (ring[j]![0] + ring[i]![0]) * cross;
    y += (ring[j]![1] + ring[i]![1]) * cross;
  }
  const middle: [number, number] = [x / (6 * area), y / (6 * area)];
  return inside(ring, ...middle) ? middle : null;
}

function sameRing(a: Ring, b: Ring): boolean {
  return a === b || (a.length === b.length && a.every((p, i) => p[0] === b[i]![0] && p[1] === b[i]![1]));
}
