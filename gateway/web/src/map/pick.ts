import { type Camera, mapX, mapY } from "./camera.js";
import { type Fleet, WORDS } from "./fleet.js";
import { ABSENT } from "./look.js";
import { inside, type Zone } from "./zones.js";

/** What lies under the pointer. x, y in map metres. */
export type Hit = { type: "robot"; row: number } | { type: "zone"; id: string; x: number; y: number } | { type: "floor"; x: number; y: number };

/** How far from a robot's middle a click still means it, CSS pixels; larger robots are hit anywhere on them. */
export const REACH_PX = 10;

/** The row of the robot nearest to the point, no farther than `reach` metres; -1 where there is none. */
export function nearest(fleet: Fleet, clock: number, x: number, y: number, reach: number): number {
  const { f32, u32, size, interval } = fleet;
  let best = -1, least = reach * reach;
  for (let row = 0, o = 0; row < size; row++, o += WORDS) {
    if ((u32[o + 8]! & 0xff) === ABSENT) continue;
    let t = (clock - f32[o + 6]!) / interval;
    t = t <= 0 ? 0 : t >= 1 ? 1 : t;
    const dx = f32[o]! + (f32[o + 2]! - f32[o]!) * t - x;
    const dy = f32[o + 1]! + (f32[o + 3]! - f32[o + 1]!) * t - y;
    const d = dx * dx + dy * dy;
    if (d <= least) {
      best = row;
      least = d;
    }
  }
  return best;
}

/** The smallest zone around the point, so that a charging place inside a traffic zone can be had; null where there is none. */
export function zoneAt(zones: readonly Zone[], x: number, y: number): Zone | null {
  let best: Zone | null = null;
  for (const z of zones) {
    const [x0, y0, x1, y1] = z.box;
    if (x < x0 || x > x1 || y < y0 || y > y1 || (best && best.area <= z.area)) continue;
    if (inside(z.shape.ring, x, y)) best = z;
  }
  return best;
}

/** What can be hit: robots where they are drawn, zones where they are seen. */
export interface Pickable {
  camera: Camera;
  width: number;
  height: number;
  /** Drawn size of a robot, CSS pixels; 0 = robots are not drawn. */
  robotPx: number;
  fleet: Fleet;
  clock: number;
  /** Empty where zones are not shown. */
  zones: readonly Zone[];
}

/** What lies under a pixel of the host. */
export function hitAt(p: Pickable, px: number, py: number): Hit {
  const x = mapX(p.camera, p.width, px), y = mapY(p.camera, p.height, py);
  if (p.robotPx > 0) {
    const row = nearest(p.fleet, p.clock, x, y, Math.max(REACH_PX, p.robotPx * 0.6) / p.camera.scale);
    if (row >= 0) return { type: "robot", row };
  }
  const zone = zoneAt(p.zones, x, y);
  return zone ? { type: "zone", id: zone.shape.id, x, y } : { type: "floor", x, y };
}
