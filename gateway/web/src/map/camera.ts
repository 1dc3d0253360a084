/** Where the camera looks: centre in map metres, CSS pixels per metre. y is up. */
export interface Camera {
  x: number;
  y: number;
  scale: number;
}

/** x0, y0, x1, y1 in map metres. */
export type Rect = readonly [number, number, number, number];

/** The closest zoom: a cell of one metre fills a good part of the screen. */
export const MAX_SCALE = 160;

/** Where a point of the map lies on the host, CSS pixels from its left edge. */
export function screenX(c: Camera, width: number, x: number): number {
  return (x - c.x) * c.scale + width / 2;
}

/** Where a point of the map lies on the host, CSS pixels from its top edge. */
export function screenY(c: Camera, height: number, y: number): number {
  return height / 2 - (y - c.y) * c.scale;
}

/** The map's x under a pixel of the host. */
export function mapX(c: Camera, width: number, px: number): number {
  return c.x + (px - width / 2) / c.scale;
}

/** The map's y under a pixel of the host. */
export function mapY(c: Camera, height: number, py: number): number {
  return c.y - (py - height / 2) / c.scale;
}

/** What is visible, map metres. */
export function rectOf(c: Camera, width: number, height: number): [number, number, number, number] {
  const w = width / 2 / c.scale, h = height / 2 / c.scale;
  return [c.x - w, c.y - h, c.x + w, c.y + h];
}

/** The camera that shows all of `bounds` with `pad` CSS pixels around it. */
export function fitted(bounds: Rect, width: number, height: number, pad = 24): Camera {
  const [x0, y0, x1, y1] = bounds;
  const w = Math.max(1, width - 2 * pad), h = Math.max(1, height - 2 * pad);
  const scale = Math.min(w / Math.max(1e-3, x1 - x0), h / Math.max(1e-3, y1 - y0), MAX_SCALE);
  return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, scale };
}

/** The same camera, held to sensible scales, its centre held to the bounds: the floor cannot be lost out of sight. */
export function held(c: Camera, bounds: Rect, width: number, height: number): Camera {
  const [x0, y0, x1, y1] = bounds;
  const least = fitted(bounds, width, height).scale / 2;
  const finite = (v: number, or: number) => (Number.isFinite(v) ? v : or);
  return {
    x: Math.min(Math.max(finite(c.x, (x0 + x1) / 2), x0), x1),
    y: Math.min(Math.max(finite(c.y, (y0 + y1) / 2), y0), y1),
    scale: Math.min(Math.max(finite(c.scale, least), Math.min(least, MAX_SCALE)), MAX_SCALE),
  };
}

/** Zooms by `factor`; the point under the pixel (px, py) stays where it is, as far as the scale may change at all. */
export function zoomedAt(c: Camera, bounds: Rect, width: number, height: number, px: number, py: number, factor: number): Camera {
  const scale = held({ ...c, scale: c.scale * factor }, bounds, width, height).scale;
  const x = mapX(c, width, px), y = mapY(c, height, py);
  return held({ x: x - (px - width / 2) / scale, y: y + (py - height / 2) / scale, scale }, bounds, width, height);
}

/** The camera moved by pixels: the map follows a finger that moves by (dx, dy). */
export function panned(c: Camera, bounds: Rect, width: number, height: number, dx: number, dy: number): Camera {
  return held({ x: c.x - dx / c.scale, y: c.y + dy / c.scale, scale: c.scale }, bounds, width, height);
}

/**
 * The camera on its way, `t` = 0..1. The scale changes geometrically and the centre in step with it, so that the zoom keeps one
 * point of the screen still, as the wheel does.
 */
export function between(from: Camera, to: Camera, t: number): Camera {
  const k = t * t * (3 - 2 * t);
  const scale = from.scale * (to.scale / from.scale) ** k;
  const ratio = to.scale / from.scale;
  const m = Math.abs(ratio - 1) < 1e-3 ? k : (1 / from.scale - 1 / scale) / (1 / from.scale - 1 / to.scale);
  return { x: from.x + (to.x - from.x) * m, y: from.y + (to.y - from.y) * m, scale };
}
